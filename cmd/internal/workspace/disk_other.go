//go:build !linux

package workspace

import (
	"io/fs"
	"os"
)

// A directory is an open directory.
type directory struct{ root *os.Root }

// openDirectory opens the directory that a root stands for.
func openDirectory(root *os.Root) (directory, error) {
	below, err := root.OpenRoot(".")
	return directory{below}, err
}

// open opens a directory in d, and makes it when there is none.
func (d directory) open(name string, mode fs.FileMode) (directory, error) {
	if err := d.root.MkdirAll(name, mode); err != nil {
		return directory{}, err
	}
	return d.enter(name)
}

// enter opens a directory in d that is there.
func (d directory) enter(name string) (directory, error) {
	below, err := d.root.OpenRoot(name)
	return directory{below}, err
}

// create makes a file in d.
func (d directory) create(name string, mode fs.FileMode) (*newFile, error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|openNoFollow, mode)
	if err != nil {
		return nil, err
	}
	return &newFile{f}, nil
}

// move is not to be had here: the error sends the caller to os.Root.
func (d directory) move(string, directory) error { return fs.ErrExist }

func (d directory) close() error { return d.root.Close() }

// A newFile is a file that is being written.
type newFile struct{ file *os.File }

func (f *newFile) Write(data []byte) (int, error) { return f.file.Write(data) }

func (f *newFile) chmod(mode fs.FileMode) error { return f.file.Chmod(mode) }

func (f *newFile) sync() error { return f.file.Sync() }

func (f *newFile) close() error { return f.file.Close() }
