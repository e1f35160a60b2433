package workspace

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Scratch is a file that grows while a command runs, and becomes a file of the
// workspace when that ends, or is dropped. Until then it has no name, so that
// commands that run at the same time do not take it from each other, and none is
// left by one that is killed.
type Scratch struct {
	ws   *Workspace
	file *os.File
	out  *bufio.Writer
	name string // relative to the workspace; where an open file has to have one
	kept string // what it shall be called
}

// Scratch begins a file that will be called name, 0600.
func (w *Workspace) Scratch(name string) (*Scratch, error) {
	root, err := w.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	s := &Scratch{ws: w, kept: name}
	if s.name, s.file, err = w.unnamed(root); err != nil {
		return nil, err
	}
	_ = root.Remove(s.name) // end does it where an open file cannot be removed
	s.out = bufio.NewWriter(s.file)
	return s, nil
}

// unnamed makes a file whose name nobody else has; that of a run which was killed
// is removed by the next Lock.
func (w *Workspace) unnamed(root *os.Root) (string, *os.File, error) {
	name := spoolPrefix + rand.Text()
	file, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|openNoFollow, secretMode)
	if err != nil {
		return "", nil, w.named(name, err)
	}
	return name, file, nil
}

// Write adds to the file.
func (s *Scratch) Write(data []byte) (int, error) { return s.out.Write(data) }

// Keep gives the file its name, once it is on the disk.
func (s *Scratch) Keep() error {
	root, err := s.ws.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := errors.Join(s.copyTo(root), s.end(root)); err != nil {
		return fmt.Errorf("write %s: %w", s.ws.Path(s.kept), err)
	}
	return syncDir(root, ".")
}

// copyTo puts what was written into the file of the name that it shall have.
func (s *Scratch) copyTo(root *os.Root) error {
	if err := s.out.Flush(); err != nil {
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	name, file, err := s.ws.unnamed(root)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, s.file)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = root.Rename(name, s.kept)
	}
	if err != nil {
		return errors.Join(err, root.Remove(name))
	}
	return nil
}

// end closes the file, which is gone with that.
func (s *Scratch) end(root *os.Root) error {
	return errors.Join(s.file.Close(), s.remove(root, s.name))
}

func (s *Scratch) remove(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.ws.named(name, err)
	}
	return nil
}

// Drop removes the file, and one of the name that it would have got: it is of an
// earlier run.
func (s *Scratch) Drop() error {
	root, err := s.ws.open()
	if err != nil {
		return err
	}
	defer root.Close()
	return errors.Join(s.end(root), s.remove(root, s.kept))
}

// Discard removes the file, and leaves one of the name that it would have got as
// it is.
func (s *Scratch) Discard() error {
	root, err := s.ws.open()
	if err != nil {
		return err
	}
	defer root.Close()
	return s.end(root)
}
