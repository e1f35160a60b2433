package workspace_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// Two commands that write a file of one name each have their own until the end,
// and the workspace has no other file of theirs.
func TestScratchesOfOneName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ws := workspace.New(dir)
	begin := func(text string) *workspace.Scratch {
		t.Helper()
		scratch, err := ws.Scratch("failed")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := scratch.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return scratch
	}
	long, short, interrupted := begin("of the long one"), begin("of the short one"), begin("of none")
	for _, step := range []struct {
		end  func() error
		want string
	}{
		{short.Keep, "of the short one"},
		{interrupted.Discard, "of the short one"},
		{long.Keep, "of the long one"},
	} {
		if err := step.end(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "failed")); err != nil || string(got) != step.want {
			t.Errorf("the file holds %q (%v), want %q", got, err, step.want)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "failed"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v (%v), want it private", info, err)
	}
	if err := begin("of nobody").Drop(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left (%v), want nothing", left, err)
	}
}
