package inventory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// fileMode is the mode of the inventory, and of the files that SQLite keeps
// beside it while it is open: those take it over.
const fileMode fs.FileMode = 0o600

// A ModeError says that the inventory can be read by others.
type ModeError struct {
	Path string
	Mode fs.FileMode
}

func (e *ModeError) Error() string {
	return fmt.Sprintf("%s can be read by group or others (mode %04o), and it holds tokens: run `chmod 600 %s`, and treat those tokens as known to them",
		e.Path, e.Mode.Perm(), e.Path)
}

// prepareFile checks the file, or makes an empty one, so that SQLite never makes
// one itself, with the mode that the umask happens to leave.
func prepareFile(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = makeFile(path)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err = os.Lstat(path) // another process was faster
	}
	if err != nil {
		return fmt.Errorf("open the inventory: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: the inventory cannot be a link, a directory or a device", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return &ModeError{Path: path, Mode: info.Mode()}
	}
	return nil
}

// makeFile makes an empty file that is nobody else's, and brings its name to the
// disk.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|openNoFollow, fileMode)
	if err != nil {
		return fmt.Errorf("make the inventory: %w", err)
	}
	if err := errors.Join(f.Chmod(fileMode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make the inventory: %w", err)
	}
	return syncDirectory(filepath.Dir(path))
}

// readError says what a failure to read the file means for the user.
func (s *SQLite) readError(err error) error {
	var failed *sqlite.Error
	if errors.As(err, &failed) {
		switch failed.Code() & 0xff { // the primary code
		case sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("%s is %w: move it away", s.path, ErrForeign)
		case sqlite3.SQLITE_CORRUPT:
			return fmt.Errorf("%s is damaged (%w): put a copy back, or move it away; tbcert provision then takes the tokens from the bundles", s.path, err)
		case sqlite3.SQLITE_BUSY:
			return fmt.Errorf("%s is in use by another program that does not let go: %w", s.path, err)
		}
	}
	return fmt.Errorf("read %s: %w", s.path, err)
}
