package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"
)

// How long a second tbcert waits for the first, and how often it looks.
const (
	lockPatience = time.Minute
	lockInterval = 20 * time.Millisecond
)

// LockedError says who holds the workspace.
type LockedError struct {
	Dir    string
	Holder string // "process 4711 (tbcert)", or "another process"
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is in use by %s; wait until it has finished, then run this again", e.Dir, e.Holder)
}

// Lock takes the workspace for this process, finishing first what a crashed
// commit left. It makes the directory when it is not there; unlock removes it
// again when nothing came into it. When another
// process holds the lock, waiting is called once with its description, and
// Lock waits up to a minute: then it gives a *LockedError. The lock ends with
// unlock, and with the process, however that dies.
func (w *Workspace) Lock(ctx context.Context, waiting func(holder string)) (unlock func(), err error) {
	made := missing(w.dir)
	if err := os.MkdirAll(w.dir, directoryMode); err != nil {
		return nil, fmt.Errorf("make the workspace: %w", err)
	}
	lock := newLock(w.dir)
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w (the file system must support flock)", w.dir, err)
	}
	if !held {
		if err := w.wait(ctx, lock, waiting); err != nil {
			return nil, err
		}
	}
	unlock = func() {
		for _, dir := range made {
			_ = os.Remove(dir) // fails unless it is empty, which is wanted
		}
		_ = lock.Close() // the process's end would release it as well
	}
	if err := w.recover(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// missing lists the directories of a path that are not there, innermost first.
func missing(dir string) []string {
	var dirs []string
	for {
		if _, err := os.Lstat(dir); err == nil {
			return dirs
		}
		dirs = append(dirs, dir)
		parent := filepath.Dir(dir)
		if parent == dir {
			return dirs
		}
		dir = parent
	}
}

// wait polls for the lock until its holder lets go or patience ends.
func (w *Workspace) wait(ctx context.Context, lock *flock.Flock, waiting func(holder string)) error {
	holder := lockHolder(w.dir)
	if waiting != nil {
		waiting(holder)
	}
	patient, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	_, err := lock.TryLockContext(patient, lockInterval)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return &LockedError{Dir: w.dir, Holder: lockHolder(w.dir)}
	default:
		return fmt.Errorf("lock %s: %w", w.dir, err)
	}
}

// newLock locks the directory itself, so that a workspace has no lock file
// that could be left behind, copied or committed. Windows cannot lock a
// directory and gets a file.
func newLock(dir string) *flock.Flock {
	if runtime.GOOS == "windows" {
		return flock.New(dir+`\.tbcert.lock`, flock.SetPermissions(secretMode))
	}
	return flock.New(dir, flock.SetFlag(os.O_RDONLY), flock.SetPermissions(fs.FileMode(0)))
}
