// Package workspace is the disk: the layout of a site's directory, the modes of
// its files, the lock that keeps two tbcert processes apart, and the commit that
// makes many files appear together.
//
// Every path given to a [Workspace] is relative to its directory, uses slashes,
// and is opened through [os.Root], so that no name and no symbolic link leads
// out of the directory.
//
// A Workspace may be read by many goroutines. Writing (Commit, WriteBundles)
// needs the lock and one goroutine at a time.
package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
)

// The names of a site's files, as operators and runbooks know them.
const (
	SettingsFile    = "tbcert.yaml"
	RootFile        = "ca-root.pem"
	RootCert        = "ca/root.pem"
	RootKey         = "ca/root.key"
	ServerCACert    = "ca/server-ca.pem"
	ServerCAKey     = "ca/server-ca.key"
	DeviceCACert    = "ca/device-ca.pem"
	DeviceCAKey     = "ca/device-ca.key"
	ServerCARequest = "ca/server-ca.csr"
	DeviceCARequest = "ca/device-ca.csr"
	ServerPEM       = "server/mqttserver.pem"
	ServerCert      = "server/cert.pem"
	ServerKey       = "server/key.pem"
	ServerPKCS12    = "server/mqttserver.p12"
	ServerConf      = "server/thingsboard.conf"
	PreviousPEM     = "server/previous/mqttserver.pem"
	HookOwed        = "server/hook-owed"
	Delivered       = "ca/delivered"
	AccountKey      = "acme/account.key"
	PendingKey      = "acme/server.key"
	PendingChain    = "acme/server.pem"
	DevicesDir      = "devices"
	TemplatesDir    = "templates" // a user's own, in the place of tbcert's
	InventoryFile   = "inventory.db"
	ImportFile      = "thingsboard-import.csv"
	FailedFile      = "provision-failed.ndjson"
	UnprovedFile    = "verify-failed.ndjson"
	DeviceCRL       = "ca/device-ca.crl"
	maxFileSize     = 64 << 20 // bytes; the import file of 500,000 devices has about 25 MiB
	secretMode      = 0o600
	publicMode      = 0o644
	executableMode  = 0o755
	directoryMode   = 0o700
)

// Workspace is one site's directory. The directory need not exist: reading
// from it then says fs.ErrNotExist, and the first commit makes it.
type Workspace struct {
	dir     string
	anyMode bool
}

// File is one file to be committed.
type File struct {
	Name       string // relative to the workspace, with slashes
	Data       []byte
	Secret     bool // 0600; anything else is 0644, or 0755 when Executable
	Executable bool
	// Write writes the file instead of Data, for one that is too long to be held.
	Write func(io.Writer) error
	// Remove says that there shall be no such file; only Name is looked at.
	Remove bool
}

func (f File) mode() fs.FileMode {
	switch {
	case f.Secret:
		return secretMode
	case f.Executable:
		return executableMode
	default:
		return publicMode
	}
}

// ModeError says that a file with a secret in it can be read by others.
type ModeError struct {
	Path string
	Mode fs.FileMode
}

func (e *ModeError) Error() string {
	return fmt.Sprintf("%s can be read by group or others (mode %04o): it holds a secret; run `chmod 600 %s`, and treat what is in it as known to them", e.Path, e.Mode.Perm(), e.Path)
}

// New describes the workspace in dir. It touches nothing.
func New(dir string) *Workspace { return &Workspace{dir: dir} }

// AnyMode gives the same workspace for status, which tells about modes itself:
// ReadSecret then reads whatever the mode is.
func (w *Workspace) AnyMode() *Workspace { return &Workspace{dir: w.dir, anyMode: true} }

// Dir is the directory as the user gave it.
func (w *Workspace) Dir() string { return w.dir }

// Path is the path of name as it is shown to the user.
func (w *Workspace) Path(name string) string {
	return filepath.Join(w.dir, filepath.FromSlash(name))
}

// open opens the directory for use through os.Root.
func (w *Workspace) open() (*os.Root, error) {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	return root, nil
}

// Read reads a file that holds no secret. A missing file (or directory) gives
// an error that is fs.ErrNotExist.
func (w *Workspace) Read(name string) ([]byte, error) { return w.read(name, false) }

// ReadSecret reads a file that holds a secret; it refuses with a *ModeError
// when group or others can read it.
func (w *Workspace) ReadSecret(name string) ([]byte, error) { return w.read(name, !w.anyMode) }

func (w *Workspace) read(name string, secret bool) ([]byte, error) {
	root, err := w.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, w.named(name, err)
	}
	defer f.Close()
	return readAll(f, w.Path(name), secret)
}

// ReadFile reads a file with its mode as it is: Secret is false when group or
// others can read it.
func (w *Workspace) ReadFile(name string) (File, error) {
	root, err := w.open()
	if err != nil {
		return File{}, err
	}
	defer root.Close()
	return w.readIn(root, "", name)
}

// A Directory is a directory of the workspace that stays open while many
// directories in it are read. It may be used by several goroutines.
type Directory struct {
	w    *Workspace
	name string

	mu   sync.Mutex
	root *os.Root // nil until it is there
}

// Directory gives a directory, which need not be there yet.
func (w *Workspace) Directory(name string) *Directory { return &Directory{w: w, name: name} }

// ReadFiles reads those of the named files in a directory in d that are there, as
// [Workspace.ReadFile] does. A missing directory gives an error that is
// fs.ErrNotExist.
func (d *Directory) ReadFiles(dir string, names []string) ([]File, error) {
	above, err := d.open()
	if err != nil {
		return nil, err
	}
	full := path.Join(d.name, dir)
	below, err := above.OpenRoot(dir)
	if err != nil {
		return nil, d.w.named(full, err)
	}
	defer below.Close()
	var files []File
	for _, name := range names {
		file, err := d.w.readIn(below, full, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (d *Directory) open() (*os.Root, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.root != nil {
		return d.root, nil
	}
	root, err := d.w.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	below, err := root.OpenRoot(d.name)
	if err != nil {
		return nil, d.w.named(d.name, err)
	}
	d.root = below
	return below, nil
}

// Close lets go of the directory. It may be used again.
func (d *Directory) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.root == nil {
		return nil
	}
	root := d.root
	d.root = nil
	return root.Close()
}

// readIn reads a file of the directory dir that is open as below.
func (w *Workspace) readIn(below *os.Root, dir, name string) (File, error) {
	full := path.Join(dir, name)
	f, err := below.Open(name)
	if err != nil {
		return File{}, w.named(full, err)
	}
	defer f.Close()
	data, err := readAll(f, w.Path(full), false)
	if err != nil {
		return File{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return File{}, w.named(full, err)
	}
	return File{Name: full, Data: data, Secret: !readableByOthers(info), Executable: info.Mode()&0o100 != 0}, nil
}

// OpenInput opens a file that the user named outside the workspace, to be read as
// it goes.
func OpenInput(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory, not a file", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ReadInput reads a file that the user named outside the workspace ("-" is not
// known here). With secret, its mode is checked as ReadSecret does.
func ReadInput(name string, secret bool) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, secret)
}

// readAll reads a regular file of bounded size.
func readAll(f *os.File, shown string, secret bool) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory, not a file", shown)
	}
	if secret && readableByOthers(info) {
		return nil, &ModeError{Path: shown, Mode: info.Mode()}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shown, err)
	}
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("%s is larger than %d MiB", shown, maxFileSize>>20)
	}
	return data, nil
}

// readableByOthers reports whether the mode lets group or others in. A pipe (a
// shell's process substitution) has no mode worth checking, and Windows keeps
// its rights elsewhere.
func readableByOthers(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
}

// Exists reports whether there is such a file. Any failure but absence is an
// error, so that an unreadable directory is never taken for an empty one.
func (w *Workspace) Exists(name string) (bool, error) {
	_, err := w.Mode(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Mode is the mode of a file or directory.
func (w *Workspace) Mode(name string) (fs.FileMode, error) {
	root, err := w.open()
	if err != nil {
		return 0, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return 0, w.named(name, err)
	}
	return info.Mode(), nil
}

// List gives the names in a directory, sorted; none for a directory that is
// not there.
func (w *Workspace) List(name string) ([]string, error) {
	root, err := w.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, w.named(name, err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	slices.Sort(names)
	return names, nil
}

// named puts the whole path into an error of os.Root, which knows only the
// name below it.
func (w *Workspace) named(name string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return &fs.PathError{Op: pathErr.Op, Path: w.Path(path.Clean(name)), Err: pathErr.Err}
	}
	return fmt.Errorf("%s: %w", w.Path(name), err)
}

// Temporary makes an empty private directory, and a function that removes it
// with all that is in it.
func Temporary(prefix string) (dir string, remove func() error, err error) {
	dir, err = os.MkdirTemp("", prefix)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

// OpenToOthers reports whether group or others can read a file that the user named
// outside the workspace.
func OpenToOthers(name string) (bool, error) {
	info, err := os.Stat(name)
	return err == nil && readableByOthers(info), err
}
