package inventory_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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
var (
	server  = sync.OnceValues(startServer)
	started atomic.Bool
)

func startServer() (*postgrestest.Server, error) {
	started.Store(true)
	return postgrestest.Run(context.Background())
}

func TestMain(m *testing.M) {
	code := m.Run()
	if !started.Load() {
		os.Exit(code)
	}
	if running, err := server(); err == nil {
		if err := running.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// database is the URL of an empty PostgreSQL database.
func database(tb testing.TB) string {
	tb.Helper()
	running, err := server()
	if err != nil {
		tb.Fatal(err)
	}
	return running.Database(tb)
}

// A place is where an inventory may be: it is opened there, again and again.
type place struct {
	t    *testing.T // the test for this place
	name string
	open func(inventory.Options) (*inventory.Store, error)
}

// store opens the inventory until the test ends.
func (p place) store() *inventory.Store {
	p.t.Helper()
	return p.storeWith(inventory.Options{})
}

func (p place) storeWith(options inventory.Options) *inventory.Store {
	p.t.Helper()
	s, err := p.open(options)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { closeIt(p.t, s) })
	return s
}

func inSQLite(t *testing.T) place {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inventory.db")
	return place{t, "sqlite", func(options inventory.Options) (*inventory.Store, error) {
		return inventory.Open(t.Context(), path, options)
	}}
}

func inPostgres(t *testing.T) place {
	t.Helper()
	address := secret.New(database(t))
	return place{t, "postgres", func(options inventory.Options) (*inventory.Store, error) {
		return inventory.OpenPostgres(t.Context(), address, options)
	}}
}

// everywhere runs a test with SQLite and with PostgreSQL.
func everywhere(t *testing.T, test func(place)) {
	t.Helper()
	t.Parallel()
	for name, where := range map[string]func(*testing.T) place{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(where(t))
		})
	}
}

func closeIt(tb testing.TB, s *inventory.Store) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Error(err)
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

func save(tb testing.TB, s *inventory.Store, records ...provision.Record) []provision.Record {
	tb.Helper()
	if err := s.Save(tb.Context(), records); err != nil {
		tb.Fatal(err)
	}
	return records
}

func all(tb testing.TB, s *inventory.Store) []provision.Record {
	tb.Helper()
	var records []provision.Record
	for record, err := range s.All(tb.Context()) {
		if err != nil {
			tb.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}

func secrets() cmp.Option {
	return cmp.Transformer("Reveal", func(t secret.Text) string { return t.Reveal() })
}
