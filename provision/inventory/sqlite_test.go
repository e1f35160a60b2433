package inventory_test

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

func open(t *testing.T, path string) *inventory.Store {
	t.Helper()
	s, err := inventory.Open(t.Context(), path, inventory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fresh opens a new inventory, closed at the end of the test.
func fresh(t *testing.T) (s *inventory.Store, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "inventory.db")
	s = open(t, path)
	t.Cleanup(func() { closeIt(t, s) })
	return s, path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// raw opens the file past the package.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFilesBelongToTheirOwner(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if err := s.Save(t.Context(), []provision.Record{record(1)}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v", filepath.Base(name), info.Mode())
		}
	}
}

func TestNothingIsWrittenWhereNothingIsSaved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	s := open(t, path)
	if err := s.Save(t.Context(), []provision.Record{record(1)}); err != nil {
		t.Fatal(err)
	}
	closeIt(t, s)
	before := read(t, path)
	s = open(t, path)
	if got := all(t, s); len(got) != 1 {
		t.Errorf("%d records, want 1", len(got))
	}
	closeIt(t, s)
	if !bytes.Equal(before, read(t, path)) {
		t.Error("reading changed the file")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("files are left beside it: %v, %v", entries, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	sqlite := func(statements ...string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			raw(t, path, statements...)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	text := func(text string, mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		make func(*testing.T, string)
		is   error
		want string
	}{
		{"text", text(strings.Repeat("meter-1,token\n", 100), 0o600), inventory.ErrForeign, "move it away"},
		{"a short text", text("hello", 0o600), inventory.ErrForeign, "move it away"},
		{"another program's database", sqlite("CREATE TABLE notes (text)"), inventory.ErrForeign, "move it away"},
		{"another application", sqlite("PRAGMA application_id = 7"), inventory.ErrForeign, "move it away"},
		{"a newer schema", sqlite("PRAGMA application_id = 1952605044", "PRAGMA user_version = 9"), inventory.ErrNewer, "its schema is 9, this tbcert knows 3"},
		{"readable by the group", text("", 0o640), nil, "chmod 600"},
		{"readable by all", text("", 0o604), nil, "chmod 600"},
		{"a directory", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, "not a regular file"},
		{"a link", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Symlink("elsewhere.db", path); err != nil {
				t.Fatal(err)
			}
		}, nil, "not a regular file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "inventory.db")
			test.make(t, path)
			before, beforeErr := os.ReadFile(path)
			s, err := inventory.Open(t.Context(), path, inventory.Options{})
			if err == nil {
				t.Fatal(errors.Join(errors.New("no error"), s.Close()))
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("the error is %v, want one with the path and %q", err, test.want)
			}
			if after, afterErr := os.ReadFile(path); !bytes.Equal(before, after) || (beforeErr == nil) != (afterErr == nil) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOpenSaysWhereTheDirectoryIsMissing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nowhere", "inventory.db")
	if _, err := inventory.Open(t.Context(), path, inventory.Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("the error is %v", err)
	}
}

// A crash while the file was being made leaves one of these.
func TestOpenGoesOnWithAnUnfinishedFile(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"empty":            nil,
		"in WAL mode":      {"PRAGMA journal_mode = WAL"},
		"marked":           {"PRAGMA journal_mode = WAL", "PRAGMA application_id = 1952605044"},
		"with goose's row": {"PRAGMA application_id = 1952605044", gooseTable, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)"},
	}
	for name, statements := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "inventory.db")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			raw(t, path, statements...)
			s := open(t, path)
			defer closeIt(t, s)
			if err := s.Save(t.Context(), []provision.Record{record(1)}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// gooseTable is how goose keeps its version.
const gooseTable = `CREATE TABLE goose_db_version (
	id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL,
	tstamp TIMESTAMP DEFAULT (datetime('now')))`

func TestADamagedFileIsToldAsSuch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	s := open(t, path)
	records := make([]provision.Record, 1000)
	for i := range records {
		records[i] = record(i)
	}
	save(t, s, records...)
	closeIt(t, s)
	data := read(t, path)
	damage := func(from int) {
		t.Helper()
		for i := from; i < len(data); i++ {
			data[i] = 0xa5
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage(len(data) / 4) // the schema stays
	s = open(t, path)
	defer closeIt(t, s)
	var last error
	for _, err := range s.All(t.Context()) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), path+" is damaged") {
		t.Errorf("All: the error is %v", last)
	}
	damage(4096)
	if _, err := inventory.Open(t.Context(), path, inventory.Options{}); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
		t.Errorf("Open: the error is %v", err)
	}
}

func TestPathsThatMeanSomethingInAURI(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c#d%20&mode=memory")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "inventory.db")
	s := open(t, path)
	if err := s.Save(t.Context(), []provision.Record{record(1)}); err != nil {
		t.Fatal(err)
	}
	closeIt(t, s)
	if !bytes.Contains(read(t, path), []byte("meter-00001")) {
		t.Error("the record is not in that file")
	}
}
