package workspace

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	openNoFollow      = syscall.O_NOFOLLOW
	canSyncFileSystem = true
)

// syncFileSystem brings everything written to the file system of d to the
// disk: for many small files far less work than an fsync each.
func syncFileSystem(d *os.File) error { return unix.Syncfs(int(d.Fd())) }

func syncDirectory(d *os.File) error { return d.Sync() }

// A directory is an open directory. Files in it are made by the system's own
// calls: os.Root goes the whole way for each, and package os asks of each file
// whether it can be waited for.
type directory struct{ fd int }

// openDirectory opens the directory that a root stands for.
func openDirectory(root *os.Root) (directory, error) {
	f, err := root.Open(".")
	if err != nil {
		return directory{}, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return directory{fd}, err
}

// open opens a directory in d, and makes it when there is none. A link is
// refused.
func (d directory) open(name string, mode fs.FileMode) (directory, error) {
	if err := again(func() error { return unix.Mkdirat(d.fd, name, uint32(mode.Perm())) }); err != nil && !errors.Is(err, unix.EEXIST) {
		return directory{}, &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return d.enter(name)
}

// enter opens a directory in d that is there.
func (d directory) enter(name string) (below directory, err error) {
	err = again(func() (err error) {
		below.fd, err = unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return directory{}, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return below, nil
}

// create makes a file in d.
func (d directory) create(name string, mode fs.FileMode) (*newFile, error) {
	f := &newFile{name: name}
	err := again(func() (err error) {
		f.fd, err = unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(mode.Perm()))
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	return f, nil
}

// move moves what is called name from d to another directory, unless something
// of that name is there: then the error is fs.ErrExist.
func (d directory) move(name string, to directory) error {
	err := again(func() error { return unix.Renameat2(d.fd, name, to.fd, name, unix.RENAME_NOREPLACE) })
	if err != nil {
		return &fs.PathError{Op: "rename", Path: name, Err: err}
	}
	return nil
}

func (d directory) close() error { return unix.Close(d.fd) }

// A newFile is a file that is being written.
type newFile struct {
	fd   int
	name string
}

func (f *newFile) Write(data []byte) (written int, err error) {
	for written < len(data) {
		var n int
		err := again(func() (err error) {
			n, err = unix.Write(f.fd, data[written:])
			return err
		})
		if err != nil {
			return written, &fs.PathError{Op: "write", Path: f.name, Err: err}
		}
		written += n
	}
	return written, nil
}

func (f *newFile) chmod(mode fs.FileMode) error {
	return again(func() error { return unix.Fchmod(f.fd, uint32(mode.Perm())) })
}

func (f *newFile) sync() error { return again(func() error { return unix.Fsync(f.fd) }) }

func (f *newFile) close() error { return unix.Close(f.fd) }

// again makes a call again that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
