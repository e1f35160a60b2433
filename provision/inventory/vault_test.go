package inventory_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

func passphrase(text string) inventory.Options {
	return inventory.Options{Passphrase: func(context.Context) (secret.Text, error) { return secret.New(text), nil }}
}

func TestPassphrase(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		asked := atomic.Int32{}
		s := p.storeWith(inventory.Options{Passphrase: func(context.Context) (secret.Text, error) {
			asked.Add(1)
			return secret.New("right"), nil
		}})
		bare := record(9)
		bare.Credential = provision.Credential{Kind: provision.CredentialToken}
		save(t, s, bare)
		all(t, s)
		if n := asked.Load(); n != 0 {
			t.Errorf("asked for %d times while there is no secret", n)
		}
		want := save(t, s, record(1))[0]
		all(t, s)
		if n := asked.Load(); n != 1 {
			t.Errorf("asked for %d times, want 1", n)
		}
		for name, test := range map[string]struct {
			options inventory.Options
			want    error
		}{
			"none":  {inventory.Options{}, inventory.ErrPassphraseNeeded},
			"zero":  {passphrase(""), inventory.ErrPassphraseNeeded},
			"wrong": {passphrase("wrong"), inventory.ErrWrongPassphrase},
		} {
			s := p.storeWith(test.options)
			if _, err := s.Records(t.Context(), []string{want.Name}); !errors.Is(err, test.want) {
				t.Errorf("%s: Records: %v", name, err)
			}
			if err := s.Save(t.Context(), []provision.Record{record(2)}); !errors.Is(err, test.want) {
				t.Errorf("%s: Save: %v", name, err)
			}
			if _, err := s.Holders(t.Context(), []secret.Text{secret.New("token-1")}); !errors.Is(err, test.want) {
				t.Errorf("%s: Holders: %v", name, err)
			}
			for r, err := range s.Overview(t.Context()) {
				if err != nil || r.Credential.Kind != provision.CredentialToken {
					t.Errorf("%s: Overview: %v, %v", name, r, err)
				}
			}
		}
		s = p.storeWith(passphrase("right"))
		want.Version = 1
		if got, err := s.Records(t.Context(), []string{want.Name}); err != nil || !cmp.Equal(got[want.Name], want, secrets()) {
			t.Errorf("with the right one: %v, %v", got, err)
		}
	})
}

func TestAPassphraseThatCannotBeRead(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		cause := errors.New("no terminal")
		s := p.storeWith(inventory.Options{Passphrase: func(context.Context) (secret.Text, error) { return secret.Text{}, cause }})
		if err := s.Save(t.Context(), []provision.Record{record(1)}); !errors.Is(err, cause) {
			t.Errorf("the error is %v", err)
		}
	})
}

// A passphrase that is set later protects what is there.
func TestAPassphraseIsSetLater(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		save(t, p.store(), record(1))
		if got := all(t, p.storeWith(passphrase("right"))); len(got) != 1 || got[0].Credential.Token.Reveal() != "token-1" {
			t.Errorf("records are %v", got)
		}
		if _, err := p.store().Records(t.Context(), []string{"meter-00001"}); !errors.Is(err, inventory.ErrPassphraseNeeded) {
			t.Errorf("the error is %v", err)
		}
	})
}

// Those who make the key at the same time have the same one after all.
func TestTheKeyIsMadeOnce(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		var group sync.WaitGroup
		for i := range 6 {
			s := p.store()
			group.Go(func() {
				if err := s.Save(t.Context(), []provision.Record{record(i)}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := all(t, p.store()); len(got) != 6 {
			t.Errorf("%d records, want 6", len(got))
		}
	})
}

// The file gives away neither a secret nor, once there is a passphrase, its key.
func TestTheFileHoldsNoSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	s := open(t, path)
	r := record(1)
	r.Credential = provision.Credential{
		Kind: provision.CredentialBasic, ClientID: secret.New("canary-c"), Username: secret.New("canary-u"), Password: secret.New("canary-p"),
	}
	save(t, s, r)
	closeIt(t, s)
	if bytes.Contains(read(t, path), []byte("canary")) {
		t.Error("the file holds a secret")
	}
	var plain string
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	err = db.QueryRowContext(t.Context(), `SELECT value->>'plain' FROM meta WHERE key = 'vault'`).Scan(&plain)
	if err = errors.Join(err, db.Close()); err != nil || len(plain) < 40 {
		t.Fatalf("the plain key is %q, %v", plain, err)
	}
	s, err = inventory.Open(t.Context(), path, passphrase("right"))
	if err != nil {
		t.Fatal(err)
	}
	all(t, s)
	for _, name := range []string{path, path + "-wal"} {
		if bytes.Contains(read(t, name), []byte(plain)) {
			t.Errorf("%s holds the plain key", filepath.Base(name))
		}
	}
	closeIt(t, s)
}

// A secret cannot be put in the place of another.
func TestSecretsBelongToTheirPlace(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		`UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE device = 'meter-00002') WHERE device = 'meter-00001' AND role = 'current'`,
		`UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE role = 'next') WHERE device = 'meter-00001' AND role = 'current'`,
		`UPDATE credentials SET sealed = CAST(x'02' || substr(sealed, 2) AS BLOB)`,
		`UPDATE credentials SET sealed = substr(sealed, 1, 5)`,
		`UPDATE meta SET value = '{"version":1,"plain":"AAAA"}'`,
		`UPDATE meta SET value = '{"version":2}'`,
		`UPDATE meta SET value = '{"version":1,"kdf":"pbkdf2-hmac-sha256","rounds":1000000000,"wrapped":"AAAA"}'`,
		`UPDATE meta SET value = 'x'`,
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "inventory.db")
			s := open(t, path)
			one := record(1)
			one.Next = provision.TokenCredential(secret.New("canary"))
			save(t, s, one, record(2))
			closeIt(t, s)
			raw(t, path, statement)
			s, err := inventory.Open(t.Context(), path, passphrase("x"))
			if err != nil {
				t.Fatal(err)
			}
			defer closeIt(t, s)
			if got, err := s.Records(t.Context(), []string{"meter-00001"}); err == nil {
				t.Errorf("got %v", fmt.Sprint(got))
			}
		})
	}
}
