package inventory_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
	"github.com/tbcert/tbcert/provision/inventory/postgrestest"
)

// server is the PostgreSQL of all tests here, started by the first that needs
// it.
var server = sync.OnceValues(func() (*postgrestest.Server, error) {
	return postgrestest.Run(context.Background())
})

func TestMain(m *testing.M) {
	code := m.Run()
	if running, err := server(); err == nil {
		if err := running.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// database is the URL of an empty PostgreSQL database.
func database(t testing.TB) string {
	t.Helper()
	running, err := server()
	if err != nil {
		t.Fatal(err)
	}
	return running.Database(t)
}

// A place is where an inventory may be: it is opened there, again and again.
type place struct {
	open func(testing.TB, inventory.Options) (*inventory.Store, error)
}

func (p place) mustOpen(t testing.TB) *inventory.Store {
	t.Helper()
	return p.openWith(t, inventory.Options{})
}

func (p place) openWith(t testing.TB, options inventory.Options) *inventory.Store {
	t.Helper()
	s, err := p.open(t, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, s) })
	return s
}

func inSQLite(t testing.TB) place {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inventory.db")
	return place{func(t testing.TB, options inventory.Options) (*inventory.Store, error) {
		t.Helper()
		return inventory.Open(t.Context(), path, options)
	}}
}

func inPostgres(t testing.TB) place {
	t.Helper()
	address := secret.New(database(t))
	return place{func(t testing.TB, options inventory.Options) (*inventory.Store, error) {
		t.Helper()
		return inventory.OpenPostgres(t.Context(), address, options)
	}}
}

// everywhere runs a test with SQLite and with PostgreSQL.
func everywhere(t *testing.T, test func(*testing.T, place)) {
	t.Helper()
	t.Parallel()
	for name, where := range map[string]func(testing.TB) place{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, where(t))
		})
	}
}

func closeIt(t testing.TB, s *inventory.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
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
		State:      provision.StateRegistered,
		Credential: provision.TokenCredential(secret.New(fmt.Sprintf("token-%d", i))),
		Created:    at,
		Updated:    at.Add(time.Hour),
		Replaced:   at.Add(time.Minute),
	}
}

func save(t testing.TB, s *inventory.Store, records ...provision.Record) []provision.Record {
	t.Helper()
	if err := s.Save(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	return records
}

func all(t testing.TB, s *inventory.Store) []provision.Record {
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
