package workspace

import (
	"bufio"
	"errors"
	"io"
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
