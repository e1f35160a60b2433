package inventory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

// schema1 is a file as the first tbcert wrote it, with n tokens, and those of as
// many devices that are gone again.
func schema1(t *testing.T, n int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "inventory.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	migration := read(t, "migrations/sqlite/00001_devices.sql")
	statements := []string{
		"PRAGMA journal_mode = WAL", "PRAGMA application_id = 1952605044", gooseTable, string(migration),
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1)",
		`INSERT INTO devices VALUES ('remote', 'remote', 'l', 'p', 'thingsboard', 'id', 'token', NULL, 'pending', 1000, 2000)`,
	}
	var devices []string
	for i := range 2 * n {
		devices = append(devices, fmt.Sprintf(
			`INSERT INTO devices VALUES ('m-%04d', 'm-%04d', 'l', 'p', 'offline', '', 'token', 'canary-%d', 'registered', 1000, 2000)`, i, i, i))
	}
	statements = append(statements, "BEGIN; "+strings.Join(devices, "; ")+"; COMMIT")
	raw(t, path, append(statements, fmt.Sprintf(`DELETE FROM devices WHERE name >= 'm-%04d' AND name < 'n'`, n))...)
	return path
}

func wantOfSchema1(n int) []provision.Record {
	one := provision.Record{
		Label: "l", Profile: "p", Registrar: provision.RegistrarOffline, State: provision.StateRegistered, Version: 1,
		Created: time.UnixMilli(1000).UTC(), Updated: time.UnixMilli(2000).UTC(), Replaced: time.UnixMilli(2000).UTC(),
	}
	var want []provision.Record
	for i := range n {
		r := one
		r.Name = fmt.Sprintf("m-%04d", i)
		r.Directory, r.Credential = r.Name, provision.TokenCredential(secret.New(fmt.Sprintf("canary-%d", i)))
		want = append(want, r)
	}
	r := one
	r.Name, r.Directory, r.Registrar, r.ThingsBoardID, r.State = "remote", "remote", provision.RegistrarThingsBoard, "id", provision.StatePending
	r.Credential = provision.Credential{Kind: provision.CredentialToken}
	return append(want, r)
}

// noCanary looks for plain tokens in a file and its journal.
func noCanary(t *testing.T, path string) {
	t.Helper()
	for _, name := range []string{path, path + "-wal"} {
		data, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("canary")) {
			t.Errorf("%s has plain tokens", filepath.Base(name))
		}
	}
}

func TestTokensOfSchema1AreSealed(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]inventory.Options{"plain": {}, "passphrase": passphrase("right")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 1100
			path := schema1(t, n)
			if !bytes.Contains(append(read(t, path), readIfThere(t, path+"-wal")...), []byte("canary-0")) {
				t.Fatal("there is nothing to be sealed")
			}
			s, err := inventory.Open(t.Context(), path, options)
			if err != nil {
				t.Fatal(err)
			}
			noCanary(t, path)
			if diff := cmp.Diff(wantOfSchema1(n), all(t, s), secrets()); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			holders, err := s.Holders(t.Context(), []secret.Text{secret.New("canary-7")})
			if err != nil || holders["canary-7"] != "m-0007" {
				t.Errorf("holders are %v, %v", holders, err)
			}
			closeIt(t, s)
			noCanary(t, path)
			s, err = inventory.Open(t.Context(), path, options)
			if err != nil || len(all(t, s)) != n+1 {
				t.Fatalf("opened again: %v", err)
			}
			closeIt(t, s)
		})
	}
}

func readIfThere(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return data
}

// Where the passphrase cannot be had, the tokens are still there for the next
// time.
func TestSchema1WaitsForThePassphrase(t *testing.T) {
	t.Parallel()
	path := schema1(t, 3)
	cause := errors.New("no terminal")
	_, err := inventory.Open(t.Context(), path, inventory.Options{
		Passphrase: func(context.Context) (secret.Text, error) { return secret.Text{}, cause },
	})
	if !errors.Is(err, cause) {
		t.Fatalf("the error is %v", err)
	}
	s, err := inventory.Open(t.Context(), path, passphrase("right"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, s)
	if diff := cmp.Diff(wantOfSchema1(3), all(t, s), secrets()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	noCanary(t, path)
}

// A crash after the last migration, before the file was cleaned.
func TestSchema1IsCleanedInTheEnd(t *testing.T) {
	t.Parallel()
	path := schema1(t, 3)
	s := open(t, path)
	closeIt(t, s)
	raw(t, path, "CREATE TABLE rest (text)", "INSERT INTO rest VALUES ('"+string(bytes.Repeat([]byte("canary"), 1000))+"')",
		"DROP TABLE rest", "PRAGMA user_version = 1")
	s = open(t, path)
	defer closeIt(t, s)
	noCanary(t, path)
	if diff := cmp.Diff(wantOfSchema1(3), all(t, s), secrets()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
