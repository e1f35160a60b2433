package inventory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
	return fmt.Sprintf("%s can be read by group or others (mode %04o), and it holds credentials: run `chmod 600 %s`, and treat those credentials as known to them",
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
