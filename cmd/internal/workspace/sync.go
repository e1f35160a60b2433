package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

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
	whole  bool // the file system is synced by the caller, not the files
	open   []*newFile
	made   []string
	known  map[string]directory // directories that have others in them
	dir    directory            // the one that was asked for last
	name   string               // its name; "" is none yet
	mask   fs.FileMode          // the bits that the umask takes from new files
}

func newSyncer(staged *os.Root, mask fs.FileMode, whole bool) (*syncer, error) {
	top, err := openDirectory(staged)
	if err != nil {
		return nil, err
	}
	return &syncer{
		staged: staged,
		whole:  whole,
		mask:   mask,
		made:   []string{"."},
		known:  map[string]directory{".": top},
	}, nil
}

// findMask finds out what the umask takes from the modes of new files: asking
// for it would mean to change it, for all threads.
func findMask(staged *os.Root) (fs.FileMode, error) {
	const probe, all = ".mask", 0o777
	f, err := staged.OpenFile(probe, os.O_WRONLY|os.O_CREATE|os.O_EXCL|openNoFollow, all)
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close(), staged.Remove(probe)); err != nil {
		return 0, err
	}
	return all &^ info.Mode().Perm(), nil
}

// makeDir makes a directory, unless it is there, and opens it for writeNew.
// Files of one directory are to follow each other.
func (s *syncer) makeDir(name string) error {
	if s.name == name {
		return nil
	}
	s.leave()
	if known, ok := s.known[name]; ok {
		s.dir, s.name = known, name
		return nil
	}
	above, err := s.parent(path.Dir(name))
	if err != nil {
		return err
	}
	if s.dir, err = above.open(path.Base(name), directoryMode); err != nil {
		return err
	}
	s.name = name
	s.made = append(s.made, name)
	return nil
}

// parent gives a directory that has others in it, which stays open.
func (s *syncer) parent(name string) (directory, error) {
	if known, ok := s.known[name]; ok {
		return known, nil
	}
	above, err := s.parent(path.Dir(name))
	if err != nil {
		return directory{}, err
	}
	made, err := above.open(path.Base(name), directoryMode)
	if err != nil {
		return directory{}, err
	}
	s.known[name] = made
	s.made = append(s.made, name)
	return made, nil
}

// leave closes the directory that was asked for last, unless it stays open.
func (s *syncer) leave() {
	if _, stays := s.known[s.name]; s.name != "" && !stays {
		_ = s.dir.close() // nothing was written through it that is not synced by name
	}
	s.name = ""
}

// take takes a written file, to be synced and closed by flush or before.
func (s *syncer) take(f *newFile) error {
	if s.whole {
		return f.close()
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
		group.Go(func() error { return errors.Join(f.sync(), f.close()) })
	}
	s.open = s.open[:0]
	return group.Wait()
}

// flush returns once everything taken is on the disk, unless the caller sees to
// that.
func (s *syncer) flush() error {
	if s.whole {
		return nil
	}
	var group errgroup.Group
	group.SetLimit(syncers)
	group.Go(s.syncFiles)
	for _, dir := range s.made {
		group.Go(func() error { return syncDir(s.staged, dir) })
	}
	return group.Wait()
}

// close closes the directories, and what an error left open.
func (s *syncer) close() {
	s.leave()
	for _, dir := range s.known {
		_ = dir.close()
	}
	for _, f := range s.open {
		_ = f.close() // the stage is thrown away
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
