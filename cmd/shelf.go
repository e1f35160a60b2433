package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
)

// shelf is the devices directory of a workspace, as package provision wants
// it.
type shelf struct{ ws *workspace.Workspace }

var _ provision.Shelf = shelf{}

// bundleFiles are the files of a bundle that tbcert wrote and looks at.
func bundleFiles() []string {
	return []string{provision.RootFile, provision.TokenFile, provision.InfoFile, provision.ConnectFile}
}

func (s shelf) ReadBundle(_ context.Context, directory string) ([]provision.File, error) {
	var files []provision.File
	dir := path.Join(workspace.DevicesDir, directory)
	if there, err := s.ws.Exists(dir); err != nil || !there {
		return nil, errors.Join(err, fmt.Errorf("%s: %w", s.ws.Path(dir), fs.ErrNotExist))
	}
	for _, name := range bundleFiles() {
		file, err := s.ws.ReadFile(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, provision.File{Name: name, Data: file.Data, Secret: file.Secret, Executable: file.Executable})
	}
	return files, nil
}

func (s shelf) WriteBundles(_ context.Context, bundles []provision.Bundle) error {
	files := make([]workspace.File, 0, len(bundles)*len(bundleFiles()))
	for _, bundle := range bundles {
		for _, file := range bundle.Files {
			files = append(files, workspace.File{
				Name: path.Join(workspace.DevicesDir, bundle.Directory, file.Name),
				Data: file.Data, Secret: file.Secret, Executable: file.Executable,
			})
		}
	}
	_, err := s.ws.Commit(files...)
	return err
}
