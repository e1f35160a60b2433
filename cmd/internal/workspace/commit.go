package workspace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The two names under which changes wait. A stage is being written and may be
// thrown away; a committed stage is decided and must be carried out. In either,
// removeFile lists the files that are to go, as JSON.
const (
	stageDir   = ".tbcert-stage"
	commitDir  = ".tbcert-commit"
	removeFile = ".remove"
)

// Commit makes all files appear, or none. It needs the lock.
//
// The files are written to a stage directory with their final modes, brought
// to the disk, and the stage is renamed to a commit: that one rename is the
// decision. Then every file moves to its place, a directory that was not there
// before as a whole. A crash before the decision leaves the old state; a crash
// after it is finished by the next Lock. Files whose bytes and mode are what
// they should be are left alone; Commit gives the names of the others.
func (w *Workspace) Commit(files ...File) (changed []string, err error) {
	root, err := w.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	files, err = differing(root, files)
	if err != nil {
		return nil, w.writeError(err)
	}
	if len(files) == 0 {
		return nil, nil
	}
	if err := stage(root, files); err != nil {
		return nil, errors.Join(w.writeError(err), root.RemoveAll(stageDir))
	}
	if err := root.Rename(stageDir, commitDir); err != nil {
		return nil, errors.Join(w.writeError(err), root.RemoveAll(stageDir))
	}
	for _, file := range files {
		changed = append(changed, file.Name)
	}
	if err := rollForward(root); err != nil {
		return nil, fmt.Errorf("move the new files from %s to their places: %w (they are safe there; mend this and run the command again)", w.Path(commitDir), err)
	}
	return changed, nil
}

// Interrupted reports whether a crash left a decided change unfinished. The
// next Lock finishes it.
func (w *Workspace) Interrupted() (bool, error) { return w.Exists(commitDir) }

// recover finishes a commit that was decided and drops a stage that was not.
func (w *Workspace) recover() error {
	root, err := w.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Lstat(commitDir); err == nil {
		if err := rollForward(root); err != nil {
			return fmt.Errorf("finish the interrupted change in %s: %w", w.Path(commitDir), err)
		}
	}
	if _, err := root.Lstat(stageDir); err == nil {
		if err := root.RemoveAll(stageDir); err != nil {
			return fmt.Errorf("drop the interrupted change in %s: %w", w.Path(stageDir), err)
		}
	}
	return w.dropSpools(root)
}

// spoolPrefix begins the names of files that a run keeps its input in
// (inventory.Spool). They have no name any more once they are open.
const spoolPrefix = ".tbcert-spool-"

// dropSpools removes those of runs that were killed just then.
func (w *Workspace) dropSpools(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return w.named(".", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), spoolPrefix) {
			continue
		}
		if err := root.Remove(entry.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return w.named(entry.Name(), err)
		}
	}
	return nil
}

// differing keeps the files that are not on the disk as they should be. Of a
// directory that is not there, one look tells that for all its files that follow
// each other.
func differing(root *os.Root, files []File) ([]File, error) {
	kept := make([]File, 0, len(files))
	look := looker{root: root}
	defer look.close()
	for _, file := range files {
		there, err := look.at(path.Dir(file.Name))
		if err != nil {
			return nil, err
		}
		if !there {
			kept = addMissing(kept, file)
			continue
		}
		info, err := root.Lstat(file.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			kept = addMissing(kept, file)
			continue
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is in the way: it is not a regular file", file.Name)
		}
		same, err := isSame(root, file, info)
		if err != nil {
			return nil, err
		}
		if !same {
			kept = append(kept, file)
		}
	}
	return kept, nil
}

// A looker looks which directories are there, and remembers the last one.
type looker struct {
	root   *os.Root
	dir    string
	there  bool
	above  string
	parent *os.Root // opened for above; nil is none
}

// at reports whether a directory is there.
func (l *looker) at(dir string) (bool, error) {
	if dir == l.dir || dir == "." {
		return dir == "." || l.there, nil
	}
	if above := path.Dir(dir); above != l.above {
		l.close()
		parent, err := l.root.OpenRoot(above)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		l.above, l.parent = above, parent
	}
	l.dir, l.there = dir, false
	if l.parent == nil {
		return false, nil
	}
	_, err := l.parent.Lstat(path.Base(dir))
	l.there = err == nil
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return l.there, err
}

func (l *looker) close() {
	if l.parent != nil {
		_ = l.parent.Close()
		l.parent = nil
	}
}

// addMissing adds a file that is not on the disk, unless it is not to be there.
func addMissing(kept []File, file File) []File {
	if file.Remove {
		return kept
	}
	return append(kept, file)
}

// isSame reports whether a file is on the disk as it should be. One that is
// written as it goes is taken for another.
func isSame(root *os.Root, file File, info fs.FileInfo) (bool, error) {
	if file.Remove || file.Write != nil || info.Mode() != file.mode() || info.Size() != int64(len(file.Data)) {
		return false, nil
	}
	data, err := root.ReadFile(file.Name)
	return bytes.Equal(data, file.Data), err
}

// stage writes the files below the stage directory and syncs them.
func stage(root *os.Root, files []File) error {
	if err := root.Mkdir(stageDir, directoryMode); err != nil {
		return err
	}
	staged, err := root.OpenRoot(stageDir)
	if err != nil {
		return err
	}
	defer staged.Close()
	mask, err := findMask(staged)
	if err != nil {
		return err
	}
	written, err := toWrite(files)
	if err != nil {
		return err
	}
	whole := canSyncFileSystem && len(written) > syncBatch
	var group errgroup.Group
	for _, part := range parts(written) {
		group.Go(func() error { return stagePart(staged, part, mask, whole) })
	}
	if err := group.Wait(); err != nil || !whole {
		return err
	}
	d, err := staged.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return syncFileSystem(d)
}

// toWrite is what is written for files: themselves, and the list of those that
// are to go.
func toWrite(files []File) (written []File, err error) {
	var removed []string
	for _, file := range files {
		if file.Remove {
			removed = append(removed, file.Name)
		} else {
			written = append(written, file)
		}
	}
	if len(removed) == 0 {
		return written, nil
	}
	list, err := json.Marshal(removed)
	return append(written, File{Name: removeFile, Data: list, Secret: true}), err
}

// stagePart writes some of the files, and syncs them unless all are to be synced
// as a whole.
func stagePart(staged *os.Root, files []File, mask fs.FileMode, whole bool) error {
	sync, err := newSyncer(staged, mask, whole)
	if err != nil {
		return err
	}
	defer sync.close()
	for _, file := range files {
		if err := sync.makeDir(path.Dir(file.Name)); err != nil {
			return err
		}
		if err := writeNew(file, sync); err != nil {
			return err
		}
	}
	return sync.flush()
}

// parts splits many files so that all processors have some to write, and no
// directory's files are in two of them.
func parts(files []File) [][]File {
	size := len(files)
	if size > syncBatch {
		size = size/runtime.GOMAXPROCS(0) + 1
	}
	var split [][]File
	for len(files) > 0 {
		end := min(size, len(files))
		for end < len(files) && path.Dir(files[end].Name) == path.Dir(files[end-1].Name) {
			end++
		}
		split = append(split, files[:end])
		files = files[end:]
	}
	return split
}

// writeNew makes one file in the directory made last, its mode set before its
// first byte, and hands it over to be synced and closed.
func writeNew(file File, sync *syncer) error {
	mode := file.mode()
	f, err := sync.dir.create(path.Base(file.Name), mode)
	if err != nil {
		return err
	}
	// Chmod past the umask: a root certificate that a service cannot read
	// is as bad as a key that it can.
	if mode&sync.mask != 0 {
		if err := f.chmod(mode); err != nil {
			return errors.Join(err, f.close())
		}
	}
	if err := writeData(f, file); err != nil {
		return errors.Join(err, f.close())
	}
	return sync.take(f)
}

func writeData(f *newFile, file File) error {
	if file.Write == nil {
		_, err := f.Write(file.Data)
		return err
	}
	buffer := bufio.NewWriterSize(f, 256<<10)
	if err := file.Write(buffer); err != nil {
		return err
	}
	return buffer.Flush()
}

// rollForward carries out a committed stage: it can stop anywhere and be
// begun again.
func rollForward(root *os.Root) error {
	if err := syncDir(root, "."); err != nil {
		return err
	}
	touched, err := moveInto(root, ".")
	if err != nil {
		return err
	}
	emptied, err := removeListed(root)
	if err != nil {
		return err
	}
	for _, dir := range append(touched, emptied...) {
		if err := syncDir(root, dir); err != nil {
			return err
		}
	}
	return root.RemoveAll(commitDir)
}

// removeListed removes the files that a commit lists, and gives the directories
// that they were in.
func removeListed(root *os.Root) (emptied []string, err error) {
	list, err := root.ReadFile(path.Join(commitDir, removeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(list, &names); err != nil {
		return nil, fmt.Errorf("%s: %w", path.Join(commitDir, removeFile), err)
	}
	for _, name := range names {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if dir := path.Dir(name); !slices.Contains(emptied, dir) {
			emptied = append(emptied, dir)
		}
	}
	return emptied, nil
}

// moveInto moves what is staged for dir to its place: a file, or a directory
// that is not there yet, by one rename; into a directory that is there, file
// by file. It gives the directories that got new entries.
func moveInto(root *os.Root, dir string) (touched []string, err error) {
	staged := path.Join(commitDir, dir)
	entries, err := fs.ReadDir(root.FS(), staged)
	if err != nil {
		return nil, err
	}
	m, err := openMove(root, staged, dir)
	if err != nil {
		return nil, err
	}
	defer m.close()
	for _, entry := range entries {
		target := path.Join(dir, entry.Name())
		if target == removeFile || m.from.move(entry.Name(), m.to) == nil {
			continue
		}
		// Something is there, or the file system cannot tell by itself.
		if entry.IsDir() && isDir(root, target) {
			below, err := moveInto(root, target)
			if err != nil {
				return nil, err
			}
			touched = append(touched, below...)
			continue
		}
		if err := root.Rename(path.Join(staged, entry.Name()), target); err != nil {
			return nil, err
		}
	}
	return append(touched, dir), nil
}

// A move is from one directory to another.
type move struct{ from, to directory }

func openMove(root *os.Root, from, to string) (m move, err error) {
	for _, end := range []struct {
		name string
		into *directory
	}{{from, &m.from}, {to, &m.to}} {
		below, err := root.OpenRoot(end.name)
		if err != nil {
			return move{}, err
		}
		*end.into, err = openDirectory(below)
		if err := errors.Join(err, below.Close()); err != nil {
			return move{}, err
		}
	}
	return m, nil
}

func (m move) close() {
	_, _ = m.from.close(), m.to.close() // nothing was written through them
}

func isDir(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	return err == nil && info.IsDir()
}

// writeError says what a failed write means for the user.
func (w *Workspace) writeError(err error) error {
	return fmt.Errorf("write in %s: %w (no file was changed)", w.dir, err)
}
