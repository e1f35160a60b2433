package hook_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/cmd/internal/hook"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		line, problem string
		want          []string
	}{
		{"systemctl reload mosquitto", "", []string{"systemctl", "reload", "mosquitto"}},
		{`cp 'a b' "c d" e\ f`, "", []string{"cp", "a b", "c d", "e f"}},
		{"echo $HOME `id`", "", []string{"echo", "$HOME", "`id`"}},
		{"a; b", "needs a shell", nil},
		{"a | b", "needs a shell", nil},
		{"a > b", "needs a shell", nil},
		{"a & b", "needs a shell", nil},
		{`a "b`, "no command line", nil},
		{"  ", "names no program", nil},
	} {
		words, err := hook.Parse(row.line)
		if !slices.Equal(words, row.want) || (err == nil) != (row.problem == "") {
			t.Errorf("%s: %q, %v", row.line, words, err)
		}
		if err != nil && !strings.Contains(err.Error(), row.problem) {
			t.Errorf("%s: %v, want %q", row.line, err, row.problem)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	environ := append(os.Environ(), "TBCERT_PASSWORD=canary", "PGPASSWORD=canary", "OTHER=there")
	for _, row := range []struct {
		name, script, output, problem string
		timeout                       time.Duration
	}{
		{"its output, from both", "echo one; echo two >&2", "one\ntwo\n", "", 0},
		{"no secret", `echo "[$TBCERT_PASSWORD$PGPASSWORD$OTHER]"`, "[there]\n", "", 0},
		{"a failure", "echo why; exit 3", "why\n", "exit status 3", 0},
		{"too long", "exec sleep 600", "", hook.ErrTimeout.Error(), 50 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := hook.Command{Arguments: []string{"sh", "-c", row.script}, Environ: environ, Output: &out, Timeout: row.timeout}.Run(t.Context())
			if out.String() != row.output {
				t.Errorf("got %q, want %q", out.String(), row.output)
			}
			if (err == nil) != (row.problem == "") || (err != nil && !strings.Contains(err.Error(), row.problem)) {
				t.Errorf("got %v, want %q", err, row.problem)
			}
			if row.timeout != 0 && !errors.Is(err, hook.ErrTimeout) {
				t.Errorf("got %v, want ErrTimeout", err)
			}
		})
	}
	if err := (hook.Command{Arguments: []string{"/no/such/program"}}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}

// What a program has started ends with it; a lock shows that.
func TestRunStopsChildren(t *testing.T) {
	t.Parallel()
	lock := filepath.Join(t.TempDir(), "lock")
	command := hook.Command{Arguments: []string{"sh", "-c", `exec 9>"$0"; flock 9; sleep 600 >/dev/null 2>&1 & wait`, lock}, Environ: os.Environ(), Timeout: time.Second}
	if err := command.Run(t.Context()); !errors.Is(err, hook.ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	if _, err := os.Stat(lock); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("flock", "-w", "10", lock, "true").CombinedOutput(); err != nil {
		t.Errorf("its child is still there: %v\n%s", err, out)
	}
}
