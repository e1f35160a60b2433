package workspace_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// listed are the names in a directory, hidden ones too.
func listed(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func modeOf(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestWriteOutputs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	files := []workspace.File{
		{Name: at("key"), Data: []byte("secret"), Secret: true}, {Name: at("root"), Data: []byte("root")}, {Name: at("run"), Data: []byte("#!"), Executable: true},
	}
	write := func(replace bool) int {
		written, err := workspace.WriteOutputs(files, replace)
		if err != nil {
			t.Fatal(err)
		}
		return len(written)
	}
	if n := write(false); n != 3 {
		t.Errorf("%d files were written", n)
	}
	for name, want := range map[string]os.FileMode{"key": 0o600, "root": 0o644, "run": 0o755} {
		if got := modeOf(t, at(name)); got != want {
			t.Errorf("%s has the mode %o", name, got)
		}
	}
	if n := write(false); n != 0 {
		t.Errorf("%d files were written again", n)
	}
	// What holds a secret that others can read is closed, though its bytes are right.
	if err := os.Chmod(at("key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if n := write(false); n != 1 || modeOf(t, at("key")) != 0o600 {
		t.Errorf("%d files were written, the mode is %o", n, modeOf(t, at("key")))
	}
	// Something else is replaced only with leave, and then nothing of the others is
	// written either.
	files[1].Data, files[2].Data = []byte("other root"), []byte("other script")
	var taken *workspace.TakenError
	if _, err := workspace.WriteOutputs(files, false); !errors.As(err, &taken) || taken.Path != at("root") {
		t.Errorf("error %v", err)
	}
	if data, _ := os.ReadFile(at("run")); string(data) != "#!" {
		t.Errorf("the script became %q", data)
	}
	if n := write(true); n != 2 {
		t.Errorf("%d files were replaced", n)
	}
	if names := listed(t, dir); !slices.Equal(names, []string{"key", "root", "run"}) {
		t.Errorf("the directory has %q", names)
	}
}

// What is in the way stays, and nothing is left behind.
func TestWriteOutputsRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(at("dir"), 0o700), os.WriteFile(at("target"), []byte("target"), 0o600), os.Symlink("target", at("link"))); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a directory": at("dir"), "a link": at("link"), "no directory": at("nowhere/x"), "a file for a directory": at("target/x")} {
		if written, err := workspace.WriteOutputs([]workspace.File{{Name: at("first"), Data: []byte("1")}, {Name: path, Data: []byte("2")}}, true); err == nil || len(written) > 0 {
			t.Errorf("%s: %v, %v", name, written, err)
		}
	}
	if data, _ := os.ReadFile(at("target")); string(data) != "target" {
		t.Errorf("the target of the link became %q", data)
	}
	if names := listed(t, dir); !slices.Equal(names, []string{"dir", "link", "target"}) {
		t.Errorf("the directory has %q", names)
	}
}
