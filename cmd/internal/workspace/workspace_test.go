package workspace_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// lock takes the lock for the length of a test.
func lock(t *testing.T, ws *workspace.Workspace) {
	t.Helper()
	unlock, err := ws.Lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
}

// tree reads a directory: name to mode and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var data []byte
		if info.Mode().IsRegular() {
			data, err = os.ReadFile(path)
		}
		found[filepath.ToSlash(name)] = info.Mode().String() + " " + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestCommitMakesFilesWithTheirModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "site")
	ws := workspace.New(dir)
	lock(t, ws)
	changed, err := ws.Commit(
		workspace.File{Name: "ca-root.pem", Data: []byte("root")},
		workspace.File{Name: "ca/root.key", Data: []byte("key"), Secret: true},
		workspace.File{Name: "devices/a/connect.sh", Data: []byte("#!"), Executable: true},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"ca-root.pem":          "-rw-r--r-- root",
		"ca":                   "drwx------ ",
		"ca/root.key":          "-rw------- key",
		"devices":              "drwx------ ",
		"devices/a":            "drwx------ ",
		"devices/a/connect.sh": "-rwxr-xr-x #!",
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"ca-root.pem", "ca/root.key", "devices/a/connect.sh"}, changed); diff != "" {
		t.Error(diff)
	}
}

func TestCommitLeavesAloneWhatIsRight(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ws := workspace.New(dir)
	lock(t, ws)
	same := workspace.File{Name: "same", Data: []byte("1")}
	mode := workspace.File{Name: "mode", Data: []byte("2"), Secret: true}
	content := workspace.File{Name: "content", Data: []byte("3")}
	if _, err := ws.Commit(same, mode, content); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(dir, "same"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "mode"), 0o644); err != nil {
		t.Fatal(err)
	}
	content.Data = []byte("4")
	changed, err := ws.Commit(same, mode, content)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"mode", "content"}, changed); diff != "" {
		t.Error(diff)
	}
	after, err := os.Stat(filepath.Join(dir, "same"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("a file that was right was written again")
	}
	if got := tree(t, dir)["mode"]; got != "-rw------- 2" {
		t.Errorf("mode is %q: not put right", got)
	}
}

func TestManyFilesAreCommittedAsAWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ws := workspace.New(dir)
	lock(t, ws)
	var files []workspace.File
	for _, a := range "abcdefghijklmnop" {
		for _, b := range "abcdefghijklmnop" {
			name := string(a) + string(b)
			files = append(files, workspace.File{Name: "devices/" + name + "/token", Data: []byte(name), Secret: true})
		}
	}
	if _, err := ws.Commit(files...); err != nil {
		t.Fatal(err)
	}
	found := tree(t, dir)
	for _, file := range files {
		if got := found[file.Name]; got != "-rw------- "+string(file.Data) {
			t.Fatalf("%s is %q", file.Name, got)
		}
	}
	if len(found) != 1+2*len(files) {
		t.Errorf("%d entries, want %d: something was left behind", len(found), 1+2*len(files))
	}
}

func TestCommitRefusesWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	cases := map[string]func(t *testing.T, dir string){
		"a directory where the file belongs": func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Mkdir(filepath.Join(dir, "token"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"a symbolic link out of the workspace": func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Symlink(outside, filepath.Join(dir, "token")); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, arrange := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			arrange(t, dir)
			before := tree(t, dir)
			ws := workspace.New(dir)
			lock(t, ws)
			_, err := ws.Commit(workspace.File{Name: "token", Data: []byte("x"), Secret: true}, workspace.File{Name: "other", Data: []byte("y")})
			if err == nil || !strings.Contains(err.Error(), "token is in the way") {
				t.Errorf("error is %v", err)
			}
			if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := os.Lstat(outside); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was written outside the workspace")
	}
}

func TestNamesCannotLeaveTheWorkspace(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "site")
	ws := workspace.New(dir)
	lock(t, ws)
	if _, err := ws.Commit(workspace.File{Name: "../escaped", Data: []byte("x")}); err == nil {
		t.Error("Commit took ../escaped")
	}
	if err := os.WriteFile(filepath.Join(parent, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ws.Read("../secret"); err == nil {
		t.Error("Read took ../secret")
	}
	if found := tree(t, parent); len(found) != 2 {
		t.Errorf("unexpected files: %v", found)
	}
}

func TestSecretsReadableByOthersAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "root.key")
	for mode, refused := range map[fs.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o644: true} {
		if err := os.WriteFile(path, []byte("key"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var modeErr *workspace.ModeError
		_, err := workspace.New(dir).ReadSecret("root.key")
		if errors.As(err, &modeErr) != refused {
			t.Errorf("mode %04o: ReadSecret gives %v", mode, err)
		}
		if refused && !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: no fix in %q", mode, err)
		}
		if _, err := workspace.ReadInput(path, true); errors.As(err, &modeErr) != refused {
			t.Errorf("mode %04o: ReadInput gives %v", mode, err)
		}
		if _, err := workspace.New(dir).AnyMode().ReadSecret("root.key"); err != nil {
			t.Errorf("mode %04o: AnyMode gives %v", mode, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrorsNameTheWholePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := workspace.New(dir).Read("ca/root.pem")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join(dir, "ca", "root.pem")) {
		t.Errorf("error is %v", err)
	}
	if _, err := workspace.New(filepath.Join(dir, "none")).Read("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no workspace: %v", err)
	}
}

func TestCommitRemovesAndStreams(t *testing.T) {
	t.Parallel()
	w := workspace.New(t.TempDir())
	lock(t, w)
	if _, err := w.Commit(
		workspace.File{Name: "devices/a/token", Data: []byte("old\n"), Secret: true},
		workspace.File{Name: "devices/a/notes", Data: []byte("mine\n")},
	); err != nil {
		t.Fatal(err)
	}
	changed, err := w.Commit(
		workspace.File{Name: "devices/a/token", Remove: true},
		workspace.File{Name: "devices/a/never-there", Remove: true},
		workspace.File{Name: "devices/b/token", Remove: true},
		workspace.File{Name: "devices/a/cert.pem", Write: func(out io.Writer) error {
			_, err := io.WriteString(out, "new\n")
			return err
		}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"devices/a/token", "devices/a/cert.pem"}; !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	left, err := w.List("devices/a")
	if err != nil || !slices.Equal(left, []string{"cert.pem", "notes"}) {
		t.Errorf("the directory holds %q (%v)", left, err)
	}
	if data, err := w.Read("devices/a/cert.pem"); err != nil || string(data) != "new\n" {
		t.Errorf("the streamed file holds %q (%v)", data, err)
	}
	if names, err := w.List("."); err != nil || !slices.Equal(names, []string{"devices"}) {
		t.Errorf("the workspace holds %q (%v)", names, err)
	}
}

func TestCommitDropsAStreamThatFails(t *testing.T) {
	t.Parallel()
	w := workspace.New(t.TempDir())
	lock(t, w)
	broken := errors.New("no more")
	_, err := w.Commit(workspace.File{Name: "a", Data: []byte("a")}, workspace.File{Name: "b", Write: func(io.Writer) error { return broken }})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if names, err := w.List("."); err != nil || len(names) != 0 {
		t.Errorf("the workspace holds %q (%v)", names, err)
	}
}
