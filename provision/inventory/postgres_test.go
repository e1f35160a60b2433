package inventory_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

// in runs statements in a database past the package.
func in(t *testing.T, address string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenPostgresAtOnce(t *testing.T) {
	t.Parallel()
	address := secret.New(database(t))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			s, err := inventory.OpenPostgres(t.Context(), address, inventory.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer closeIt(t, s)
			if err := s.Save(t.Context(), []provision.Record{record(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestOpenPostgresRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make []string
		is   error
		want string
	}{
		"another program's tables": {[]string{"CREATE SCHEMA tbcert", "CREATE TABLE tbcert.devices (id int)"}, inventory.ErrForeign, "of its own"},
		"a newer schema": {[]string{
			"CREATE SCHEMA tbcert", "CREATE TABLE tbcert.tbcert_schema (version_id bigint, is_applied boolean)",
			"INSERT INTO tbcert.tbcert_schema VALUES (9, true)",
		}, inventory.ErrNewer, "its schema is 9, this tbcert knows 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := database(t)
			in(t, address, test.make...)
			s, err := inventory.OpenPostgres(t.Context(), secret.New(address), inventory.Options{})
			if err == nil {
				t.Fatal(errors.Join(errors.New("no error"), s.Close()))
			}
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// Other programs' tables, ThingsBoard's among them, may be in the database.
func TestPostgresHasASchemaOfItsOwn(t *testing.T) {
	t.Parallel()
	address := database(t)
	in(t, address, "CREATE TABLE devices (id int)", "CREATE TABLE meta (id int)", "CREATE TABLE goose_db_version (id int)")
	s, err := inventory.OpenPostgres(t.Context(), secret.New(address), inventory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	save(t, s, record(1))
	closeIt(t, s)
	in(t, address, "SELECT name FROM tbcert.devices")

	in(t, address, "CREATE SCHEMA factory")
	s, err = inventory.OpenPostgres(t.Context(), secret.New(address+"&search_path=factory"), inventory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Count(t.Context()); err != nil || n != 0 {
		t.Errorf("%d records in the other schema, %v", n, err)
	}
	closeIt(t, s)
	in(t, address, "SELECT name FROM factory.devices")
}

func TestNoErrorHoldsThePassword(t *testing.T) {
	t.Parallel()
	const canary = "canary/7"
	local := strings.Replace(database(t), "postgres://tbcert@", "postgres://tbcert:canary%2F7@", 1)
	for _, address := range []string{
		"postgres://u:" + canary + "@127.0.0.1:1/db",
		"postgres://u:canary%2F7@127.0.0.1:1/db",
		"postgres://u:canary%2F7@127.0.0.1:1/db?sslmode=canary",
		"postgres://u:" + canary + "@[::1/db",
		"postgres://u:canary%zz@127.0.0.1/db",
		"host=127.0.0.1 port=1 password=" + canary + " sslmode=wrong",
		"host=127.0.0.1 port=1 password=" + canary,
		"host=127.0.0.1 port=canary",
		canary,
		strings.Replace(local, "/test_", "/no_such_", 1),
	} {
		s, err := inventory.OpenPostgres(t.Context(), secret.New(address), inventory.Options{})
		if err == nil {
			t.Error(errors.Join(errors.New("no error"), s.Close()))
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error is %v", err)
		}
	}
}
