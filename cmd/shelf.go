package cmd

import (
	"context"
	"path"
	"slices"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
)

// shelf is the devices directory of a workspace, as package provision wants
// it.
type shelf struct {
	ws      *workspace.Workspace
	devices *workspace.Directory
	also    []string // files that are read besides, because they may be about to be written
}

func newShelf(ws *workspace.Workspace) shelf {
	return shelf{ws: ws, devices: ws.Directory(workspace.DevicesDir)}
}

func (s shelf) close() error { return s.devices.Close() }

var _ provision.Shelf = shelf{}

func (s shelf) ReadBundle(_ context.Context, directory string) ([]provision.File, error) {
	files, err := s.read(directory, provision.BundleFiles())
	if err != nil {
		return nil, err
	}
	more := slices.Clone(s.also)
	for _, name := range provision.AllFiles(files) {
		if !slices.Contains(provision.BundleFiles(), name) && !slices.Contains(more, name) {
			more = append(more, name)
		}
	}
	if len(more) == 0 {
		return files, nil
	}
	exported, err := s.read(directory, more)
	return append(files, exported...), err
}

func (s shelf) read(directory string, names []string) ([]provision.File, error) {
	read, err := s.devices.ReadFiles(directory, names)
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
