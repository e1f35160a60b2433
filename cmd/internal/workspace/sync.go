package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sync/errgroup"
)

// Up to syncBatch files are synced one by one, syncers of them at a time
// (journaling file systems put those that wait together into one commit); for
// more, syncing the file system as a whole is the cheaper way, where there is
// one.
const (
	syncBatch = 64
	syncers   = 16
)

// A syncer makes the directories of a stage, takes its written files and
// brings all of it to the disk.
type syncer struct {
	staged *os.Root
	whole  bool // sync the file system, not the files
	open   []*os.File
	made   []string
	known  map[string]bool
	dir    *os.Root    // the directory made last
	name   string      // its name
	mask   fs.FileMode // the bits that the umask takes from new files
}

func newSyncer(staged *os.Root, files int) *syncer {
	return &syncer{
		staged: staged,
		whole:  canSyncFileSystem && files > syncBatch,
		made:   []string{"."},
		known:  map[string]bool{".": true},
	}
}

// findMask finds out what the umask takes from the modes of new files: asking
// for it would mean to change it, for all threads.
func (s *syncer) findMask() error {
	const probe, all = ".mask", 0o777
	f, err := s.staged.OpenFile(probe, os.O_WRONLY|os.O_CREATE|os.O_EXCL|openNoFollow, all)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close(), s.staged.Remove(probe)); err != nil {
		return err
	}
	s.mask = all &^ info.Mode().Perm()
	return nil
}

// makeDir makes a directory, unless it is there, and opens it for writeNew.
func (s *syncer) makeDir(name string) error {
	if s.dir != nil && s.name == name {
		return nil
	}
	if !s.known[name] {
		if err := s.staged.MkdirAll(name, directoryMode); err != nil {
			return err
		}
		s.known[name] = true
		s.made = append(s.made, name)
	}
	dir, err := s.staged.OpenRoot(name)
	if err != nil {
		return err
	}
	if s.dir != nil {
		_ = s.dir.Close() // nothing was written through it that is not synced by name
	}
	s.dir, s.name = dir, name
	return nil
}

// take takes a written file, to be synced and closed by flush or before.
func (s *syncer) take(f *os.File) error {
	if s.whole {
		return f.Close()
	}
	s.open = append(s.open, f)
	if len(s.open) < syncBatch {
		return nil
	}
	return s.syncFiles()
}

// syncFiles syncs and closes the files that are still open.
func (s *syncer) syncFiles() error {
	var group errgroup.Group
	group.SetLimit(syncers)
	for _, f := range s.open {
		group.Go(func() error { return errors.Join(f.Sync(), f.Close()) })
	}
	s.open = s.open[:0]
	return group.Wait()
}

// flush returns once everything taken is on the disk.
func (s *syncer) flush() error {
	if s.whole {
		d, err := s.staged.Open(".")
		if err != nil {
			return err
		}
		defer d.Close()
		return syncFileSystem(d)
	}
	var group errgroup.Group
	group.SetLimit(syncers)
	group.Go(s.syncFiles)
	for _, dir := range s.made {
		group.Go(func() error { return syncDir(s.staged, dir) })
	}
	return group.Wait()
}

// close closes the directory, and what an error left open.
func (s *syncer) close() {
	if s.dir != nil {
		_ = s.dir.Close()
	}
	for _, f := range s.open {
		_ = f.Close() // the stage is thrown away
	}
}

// syncDir brings a directory's entries to the disk.
func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := syncDirectory(d); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}
