package workspace_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

func TestSecondLockWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	ws := workspace.New(t.TempDir())
	unlock, err := ws.Lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var holder string
	second, err := workspace.New(ws.Dir()).Lock(t.Context(), func(name string) {
		holder = name
		unlock()
	})
	if err != nil {
		t.Fatal(err)
	}
	second()
	if !strings.Contains(holder, "process") {
		t.Errorf("the holder is told as %q", holder)
	}
}

func TestWaitingForTheLockCanBeInterrupted(t *testing.T) {
	t.Parallel()
	ws := workspace.New(t.TempDir())
	lock(t, ws)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := workspace.New(ws.Dir()).Lock(ctx, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestLockLeavesNoTrace(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "a", "site")
	unlock, err := workspace.New(dir).Lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := os.Stat(filepath.Join(parent, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that was made for nothing is still there: %v", tree(t, parent))
	}
}
