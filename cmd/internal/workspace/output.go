package workspace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteOutput writes a file that the user named outside the workspace and that
// holds no secret: it appears whole, under a temporary name beside it until then.
func WriteOutput(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	out := bufio.NewWriter(f)
	if err := errors.Join(write(out), out.Flush(), f.Chmod(publicMode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// A TakenError says that a file that was to be written is there already, with
// other bytes.
type TakenError struct {
	Path string
}

func (e *TakenError) Error() string { return e.Path + " is there already and holds something else" }

// WriteOutputs writes files that the user named outside the workspace, whose
// Names are paths as the user gave them, with the modes that File says. All are
// written beside their places before the first takes its own. One that is there
// already with other bytes is a *TakenError, and nothing is written, unless it may
// be replaced. It gives the files that were written.
func WriteOutputs(files []File, replace bool) (written []File, err error) {
	for _, file := range files {
		same, err := isOutput(file, replace)
		if err != nil {
			return nil, err
		}
		if !same {
			written = append(written, file)
		}
	}
	staged := make([]string, 0, len(written))
	defer func() {
		for _, name := range staged {
			if removeErr := os.Remove(name); !errors.Is(removeErr, fs.ErrNotExist) {
				err = errors.Join(err, removeErr)
			}
		}
	}()
	for _, file := range written {
		name, err := stageOutput(file)
		if err != nil {
			return nil, err
		}
		staged = append(staged, name)
	}
	for i, file := range written {
		if err := os.Rename(staged[i], file.Name); err != nil {
			return nil, err
		}
	}
	return written, nil
}

// isOutput reports whether a file is there as it should be.
func isOutput(file File, replace bool) (bool, error) {
	info, err := os.Lstat(file.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s is in the way: it is not a regular file", file.Name)
	}
	held, err := ReadInput(file.Name, false)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(held, file.Data) {
		if !replace {
			return false, &TakenError{Path: file.Name}
		}
		return false, nil
	}
	return !file.Secret || !readableByOthers(info), nil
}

// stageOutput writes a file beside its place, with the mode that it is to have.
func stageOutput(file File) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(file.Name), "."+filepath.Base(file.Name)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(file.Data)
	if err := errors.Join(err, f.Chmod(file.mode()), f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// MakeOutputDir makes a directory that the user named, if it is not there.
func MakeOutputDir(name string) error { return os.MkdirAll(name, directoryMode) }

// IsDir reports whether a path that the user named is a directory.
func IsDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
