package inventory

import (
	"crypto/tls"
	"database/sql"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision/inventory/postgrestest"
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

// What is true of one dialect's tables is true of the other's.
func TestBothDialectsHaveTheSameTables(t *testing.T) {
	t.Parallel()
	lite, err := Open(t.Context(), filepath.Join(t.TempDir(), "inventory.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	post, err := OpenPostgres(t.Context(), secret.New(postgrestest.Start(t)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer post.Close()
	columns := func(s *Store, query string) []string {
		t.Helper()
		var found []string
		err := s.read(t.Context(), selection{query, nil}, func(rows *sql.Rows) error {
			var table, column, kind string
			err := rows.Scan(&table, &column, &kind)
			found = append(found, table+"."+column+" "+kind)
			return err
		})
		if err != nil || len(found) < 40 {
			t.Fatal(found, err)
		}
		slices.Sort(found)
		return found
	}
	want := columns(lite, `
		SELECT t.name, c.name, replace(replace(lower(c.type), 'integer', 'bigint'), 'blob', 'bytea') || iif(c.pk > 0, ' key ' || c.pk, '')
		FROM sqlite_schema t, pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name NOT LIKE 'goose%' AND t.name NOT LIKE 'sqlite%' AND c."notnull"`)
	got := columns(post, `
		SELECT c.table_name, c.column_name, c.data_type || coalesce(' key ' || k.ordinal_position, '')
		FROM information_schema.columns c
		LEFT JOIN information_schema.key_column_usage k ON k.table_schema = c.table_schema AND k.table_name = c.table_name
			AND k.column_name = c.column_name AND k.constraint_name = c.table_name || '_pkey'
		WHERE c.table_schema = 'tbcert' AND c.table_name <> 'tbcert_schema' AND c.is_nullable = 'NO'`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns (-sqlite +postgres):\n%s", diff)
	}
}

// A connection to another machine never falls back to plain.
func TestAddressesAreEncrypted(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"postgres://u@db.example.com/x":                            "verified",
		"postgres://u@db.example.com/x?sslmode=prefer":             "verified",
		"postgres://u@db.example.com/x?sslmode=allow":              "verified",
		"host=db.example.com dbname=x":                             "verified",
		"host=db.example.com dbname=x sslmode=prefer":              "verified",
		"postgres://u@db.example.com/x?sslmode=verify-full":        "verified",
		"postgres://u@10.0.0.1,db.example.com/x":                   "verified",
		"postgres://u@localhost,db.example.com/x":                  "verified",
		"postgres://u@db.example.com/x?sslmode=require":            "encrypted",
		"postgres://u@db.example.com/x?sslmode=disable":            "plain",
		"postgres://u@127.0.0.1/x":                                 "either",
		"postgres://u@/x?host=/var/run/postgresql":                 "plain",
		"postgres://u@localhost/x?sslmode=verify-full":             "verified",
		"host=/var/run/postgresql dbname=x password=' sslmode=x '": "plain",
	} {
		config, err := parseAddress(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if got := safety(config); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}

func safety(config *pgx.ConnConfig) string {
	one := func(c *tls.Config) string {
		switch {
		case c == nil:
			return "plain"
		case c.InsecureSkipVerify:
			return "encrypted"
		default:
			return "verified"
		}
	}
	found := one(config.TLSConfig)
	for _, fallback := range config.Fallbacks {
		if one(fallback.TLSConfig) != found {
			return "either"
		}
	}
	return found
}
