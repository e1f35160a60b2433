package workspace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// childDir makes the test binary a process that commits for ever, to be killed.
const childDir = "WORKSPACE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		commitForEver(dir)
	}
	os.Exit(m.Run())
}

// generation is a set of files that must all be of one generation. The first
// is in a directory that appears anew each time.
func generation(n int) []workspace.File {
	text := []byte(fmt.Sprintf("%d\n", n))
	return []workspace.File{
		{Name: fmt.Sprintf("devices/%d/token", n), Data: text, Secret: true},
		{Name: fmt.Sprintf("devices/%d/ca-root.pem", n), Data: text},
		{Name: "ca/root.key", Data: text, Secret: true},
		{Name: "server/cert.pem", Data: text},
		{Name: "server/key.pem", Data: text, Secret: true},
		{Name: "ca-root.pem", Data: text},
	}
}

func commitForEver(dir string) {
	ws := workspace.New(dir)
	unlock, err := ws.Lock(context.Background(), nil)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	defer unlock()
	start := 0
	if data, err := ws.Read("ca-root.pem"); err == nil {
		_, _ = fmt.Sscan(string(data), &start)
	}
	for n := start + 1; ; n++ {
		if _, err := ws.Commit(generation(n)...); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

// A process is killed while it commits, again and again; after each death the
// next lock must find one generation, not older than the last that was told.
func TestKilledAtAnyMomentLeavesOldOrNew(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "site")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for round := range 40 {
		told = max(told, killed(t, exe, dir, round))
		ws := workspace.New(dir)
		unlock, err := ws.Lock(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		seen := oneGeneration(t, dir)
		unlock()
		if seen < told {
			t.Fatalf("round %d: generation %d was told and %d is on the disk", round, told, seen)
		}
	}
}

// killed runs the child until it has told of a few commits, kills it in the
// middle of the next, and gives the last that it told.
func killed(t *testing.T, exe, dir string, round int) int {
	t.Helper()
	child := exec.Command(exe)
	child.Env = append(os.Environ(), childDir+"="+dir)
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for range round%3 + 1 {
		var line string
		if _, err := fmt.Fscanln(stdout, &line); err != nil || strings.HasPrefix(line, "error") {
			t.Fatalf("the child failed: %q %v", line, err)
		}
		_, _ = fmt.Sscan(line, &last)
	}
	// Let it get a little further, by work and not by the clock.
	for range round * 997 {
		_ = bytes.Repeat([]byte{1}, 64)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	return last
}

// oneGeneration checks that all files are of one generation and nothing is
// left over, and gives it.
func oneGeneration(t *testing.T, dir string) int {
	t.Helper()
	var n int
	data, err := os.ReadFile(filepath.Join(dir, "ca-root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(data), &n); err != nil {
		t.Fatal(err)
	}
	for _, file := range generation(n) {
		got, err := os.ReadFile(filepath.Join(dir, file.Name))
		if err != nil || !bytes.Equal(got, file.Data) {
			t.Fatalf("%s is %q (%v), want generation %d", file.Name, got, err, n)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "devices", fmt.Sprint(n+1))); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a part of generation %d is there, and the rest is of %d", n+1, n)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			t.Fatalf("%s was left behind", entry.Name())
		}
	}
	return n
}

// The two states a crash can leave, made by hand: a stage that was not decided
// is dropped, a commit that was is carried out, also when half of it was.
func TestLockSettlesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, dir, name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		left, want map[string]string
	}{
		"a stage": {
			left: map[string]string{"a": "old", ".tbcert-stage/a": "new", ".tbcert-stage/b/c": "new"},
			want: map[string]string{"a": "old"},
		},
		"a commit": {
			left: map[string]string{"a": "old", ".tbcert-commit/a": "new", ".tbcert-commit/b/c": "new"},
			want: map[string]string{"a": "new", "b/c": "new"},
		},
		"a commit half carried out": {
			left: map[string]string{"a": "new", "b/c": "new", "b/d": "old", ".tbcert-commit/b/d": "new", ".tbcert-commit/e": "new"},
			want: map[string]string{"a": "new", "b/c": "new", "b/d": "new", "e": "new"},
		},
		"a commit carried out": {
			left: map[string]string{"a": "new", ".tbcert-commit/.": ""},
			want: map[string]string{"a": "new"},
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range test.left {
				if strings.HasSuffix(file, "/.") {
					if err := os.Mkdir(filepath.Join(dir, filepath.Dir(file)), 0o700); err != nil {
						t.Fatal(err)
					}
					continue
				}
				write(t, dir, file, text)
			}
			lock(t, workspace.New(dir))
			got := map[string]string{}
			for file, text := range tree(t, dir) {
				if !strings.HasPrefix(text, "d") {
					got[file] = strings.TrimPrefix(text, "-rw------- ")
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
