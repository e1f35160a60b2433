package cmd

import (
	"context"
	"path"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
)

// shelf is the devices directory of a workspace, as package provision wants
// it.
type shelf struct {
	ws      *workspace.Workspace
	devices *workspace.Directory
}

func newShelf(ws *workspace.Workspace) shelf {
	return shelf{ws, ws.Directory(workspace.DevicesDir)}
}

func (s shelf) close() error { return s.devices.Close() }

var _ provision.Shelf = shelf{}

func (s shelf) ReadBundle(_ context.Context, directory string) ([]provision.File, error) {
	read, err := s.devices.ReadFiles(directory, provision.BundleFiles())
	if err != nil {
		return nil, err
	}
	files := make([]provision.File, len(read))
	for i, file := range read {
		files[i] = provision.File{Name: path.Base(file.Name), Data: file.Data, Secret: file.Secret, Executable: file.Executable}
	}
	return files, nil
}

func (s shelf) WriteBundles(_ context.Context, bundles []provision.Bundle) error {
	files := make([]workspace.File, 0, len(bundles)*len(provision.BundleFiles()))
	for _, bundle := range bundles {
		dir := path.Join(workspace.DevicesDir, bundle.Directory)
		for _, file := range bundle.Files {
			files = append(files, workspace.File{Name: dir + "/" + file.Name, Data: file.Data, Secret: file.Secret, Executable: file.Executable})
		}
		for _, name := range bundle.Remove {
			files = append(files, workspace.File{Name: dir + "/" + name, Remove: true})
		}
	}
	_, err := s.ws.Commit(files...)
	return err
}
