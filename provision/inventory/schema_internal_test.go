package inventory

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// What Open compares must be what the migrations say: the number of the last
// one, in its name, in user_version and in goose's own table.
func TestSchemaVersionIsTheLastMigration(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	if err != nil || len(files)+1 != schemaVersion { // the last is in Go
		t.Fatalf("there are %d migrations (%v), and the schema's version is %d", len(files), err, schemaVersion)
	}
	files, err = fs.Glob(migrations, "migrations/postgres/*.sql")
	if err != nil || len(files) == 0 || !strings.HasPrefix(filepath.Base(files[len(files)-1]), fmt.Sprintf("%05d_", schemaVersion)) {
		t.Fatalf("the last migration of %v (%v) is not the schema's version %d", files, err, schemaVersion)
	}
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "inventory.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var id, version, migrated int
	var journal string
	for query, into := range map[string]any{
		"PRAGMA application_id":                        &id,
		"PRAGMA user_version":                          &version,
		"SELECT max(version_id) FROM goose_db_version": &migrated,
		"PRAGMA journal_mode":                          &journal,
	} {
		if err := s.db.QueryRowContext(t.Context(), query).Scan(into); err != nil {
			t.Fatal(err)
		}
	}
	if id != applicationID || version != schemaVersion || migrated != schemaVersion || !strings.EqualFold(journal, "wal") {
		t.Errorf("application_id %d, user_version %d, migrations %d, journal %s", id, version, migrated, journal)
	}
}

// Every connection of the pool must be set up, not only the first.
func TestEveryConnectionIsSetUp(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "inventory.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		conn, err := s.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() // not before the next is open
		for pragma, want := range map[string]int{"busy_timeout": 10000, "foreign_keys": 1, "synchronous": 2} {
			var got int
			if err := conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %d (%v), want %d", pragma, got, err, want)
			}
		}
	}
}
