package workspace

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Scratch is a file that grows while a command runs, and becomes a file of the
// workspace or is dropped. It is not to be used by several goroutines at once.
type Scratch struct {
	ws   *Workspace
	file *os.File
	out  *bufio.Writer
	name string // relative to the workspace
	kept string // what it shall be called
}

// Scratch begins a file that will be called name, 0600. It needs the lock: one
// that a crash left is replaced.
func (w *Workspace) Scratch(name string) (*Scratch, error) {
	root, err := w.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	s := &Scratch{ws: w, name: ".tbcert-" + name, kept: name}
	if err := root.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, w.named(s.name, err)
	}
	if s.file, err = root.OpenFile(s.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|openNoFollow, secretMode); err != nil {
		return nil, w.named(s.name, err)
	}
	s.out = bufio.NewWriter(s.file)
	return s, nil
}

// Write adds to the file.
func (s *Scratch) Write(data []byte) (int, error) { return s.out.Write(data) }

// Keep gives the file its name, once it is on the disk.
func (s *Scratch) Keep() error {
	if err := errors.Join(s.out.Flush(), s.file.Sync(), s.file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", s.ws.Path(s.name), err)
	}
	root, err := s.ws.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Rename(s.name, s.kept); err != nil {
		return s.ws.named(s.kept, err)
	}
	return syncDir(root, ".")
}

// Drop removes the file, and one of the name that it would have got: it is of an
// earlier run.
func (s *Scratch) Drop() error {
	root, err := s.ws.open()
	if err != nil {
		return err
	}
	defer root.Close()
	err = s.file.Close()
	for _, name := range []string{s.name, s.kept} {
		if gone := root.Remove(name); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, s.ws.named(name, gone))
		}
	}
	return err
}

// Discard removes the file, and leaves one of the name that it would have got as
// it is.
func (s *Scratch) Discard() error {
	root, err := s.ws.open()
	if err != nil {
		return err
	}
	defer root.Close()
	err = s.file.Close()
	if removed := root.Remove(s.name); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, s.ws.named(s.name, removed))
	}
	return err
}
