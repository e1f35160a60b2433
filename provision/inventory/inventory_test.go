package inventory_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

func open(t *testing.T, path string) *inventory.SQLite {
	t.Helper()
	s, err := inventory.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeIt(t *testing.T, s *inventory.SQLite) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// fresh opens a new inventory, closed at the end of the test.
func fresh(t *testing.T) (s *inventory.SQLite, path string) {
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

func record(i int) provision.Record {
	at := time.Date(2026, 3, 4, 5, 6, 7, int(8*time.Millisecond), time.UTC)
	return provision.Record{
		Name:       fmt.Sprintf("meter-%05d", i),
		Directory:  fmt.Sprintf("meter-%05d", i),
		Label:      `Hall "1", Zähler`,
		Profile:    "meter",
		Registrar:  provision.RegistrarOffline,
		Credential: provision.TokenCredential(secret.New(fmt.Sprintf("token-%d", i))),
		State:      provision.StateRegistered,
		Created:    at,
		Updated:    at.Add(time.Hour),
	}
}

func all(t *testing.T, s *inventory.SQLite) []provision.Record {
	t.Helper()
	var records []provision.Record
	for record, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}

func secrets() cmp.Option {
	return cmp.Transformer("Reveal", func(t secret.Text) string { return t.Reveal() })
}

func TestSaveAndRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	s := open(t, path)
	one, two := record(1), record(2)
	two.Registrar, two.ThingsBoardID, two.State, two.Credential.Token = provision.RegistrarThingsBoard, "784f394c-42b6-435a-983c-b7beff2784f9", provision.StatePending, secret.Text{}
	if err := s.Save(t.Context(), []provision.Record{two, one}); err != nil {
		t.Fatal(err)
	}
	closeIt(t, s)

	s = open(t, path)
	defer closeIt(t, s)
	got, err := s.Records(t.Context(), []string{"meter-00002", "meter-00001", "nobody", `x" OR 1=1`})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]provision.Record{one.Name: one, two.Name: two}, got, secrets()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]provision.Record{one, two}, all(t, s), secrets()); diff != "" {
		t.Errorf("All (-want +got):\n%s", diff)
	}
	if got, err := s.Records(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("Records of no names: %v, %v", got, err)
	}
}

func TestSaveReplacesAllButTheCreation(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	first := record(1)
	second := provision.Record{
		Name: first.Name, Directory: "elsewhere", Label: "l", Profile: "p", Registrar: provision.RegistrarThingsBoard,
		ThingsBoardID: "id", Credential: provision.Credential{Kind: "other"}, State: provision.StatePending,
		Created: first.Created.Add(time.Minute), Updated: first.Updated.Add(time.Minute),
	}
	for _, r := range []provision.Record{first, second} {
		if err := s.Save(t.Context(), []provision.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	want := second
	want.Created = first.Created
	if diff := cmp.Diff([]provision.Record{want}, all(t, s), secrets()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestSaveIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	one, two := record(1), record(2)
	two.Directory = one.Directory // two devices in one directory: refused by the schema
	err := s.Save(t.Context(), []provision.Record{one, two})
	if err == nil {
		t.Fatal("no error")
	}
	if strings.Contains(err.Error(), one.Credential.Token.Reveal()) || strings.Contains(err.Error(), two.Credential.Token.Reveal()) {
		t.Errorf("the error holds a token: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Save(canceled, []provision.Record{one}); !errors.Is(err, context.Canceled) {
		t.Errorf("Save with a context that ended: %v", err)
	}
	if got := all(t, s); len(got) != 0 {
		t.Errorf("%d records were saved", len(got))
	}
	if err := s.Save(t.Context(), nil); err != nil {
		t.Errorf("Save of nothing: %v", err)
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
		{"a newer schema", sqlite("PRAGMA application_id = 1952605044", "PRAGMA user_version = 9"), inventory.ErrNewer, "its schema is 9, this tbcert knows 1"},
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
			s, err := inventory.Open(t.Context(), path)
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
	if _, err := inventory.Open(t.Context(), path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
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
	if err := s.Save(t.Context(), []provision.Record{record(1)}); err != nil {
		t.Fatal(err)
	}
	closeIt(t, s)
	data := read(t, path)
	const page = 4096 // the first page, with the schema, stays
	for i := page; i < len(data); i++ {
		data[i] = 0xa5
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer closeIt(t, s)
	if _, err := s.Records(t.Context(), []string{"meter-00001"}); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
		t.Errorf("the error is %v", err)
	}
	for _, err := range s.All(t.Context()) {
		if err == nil || !strings.Contains(err.Error(), path+" is damaged") {
			t.Errorf("All: the error is %v", err)
		}
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

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	other := open(t, path)
	defer closeIt(t, other)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			writer := []*inventory.SQLite{s, other}[i%2]
			if err := writer.Save(t.Context(), []provision.Record{record(i), record(100 + i)}); err != nil {
				t.Error(err)
			}
			if _, err := writer.Records(t.Context(), []string{record(i).Name}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := all(t, s); len(got) != 40 {
		t.Errorf("%d records, want 40", len(got))
	}
}

// A record may be saved while others are being read.
func TestSaveWhileReadingAll(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	if err := s.Save(t.Context(), []provision.Record{record(1), record(2)}); err != nil {
		t.Fatal(err)
	}
	for record, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		record.Label = "seen"
		if err := s.Save(t.Context(), []provision.Record{record}); err != nil {
			t.Fatal(err)
		}
	}
	for _, record := range all(t, s) {
		if record.Label != "seen" {
			t.Errorf("%s was not saved", record.Name)
		}
	}
}
