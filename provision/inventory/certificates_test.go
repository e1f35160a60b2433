package inventory_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

// chain is a certificate in PEM that the key signs itself.
func chain(tb testing.TB, serial int64, subject string) (*x509.Certificate, []byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: subject},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func x509Record(i int, pem []byte) provision.Record {
	r := record(i)
	r.Credential = provision.Credential{Kind: provision.CredentialX509, Chain: pem, Key: secret.New("key")}
	return r
}

func serials(certificates []inventory.Certificate) []string {
	var list []string
	for _, c := range certificates {
		list = append(list, c.Serial)
	}
	slices.Sort(list)
	return list
}

func TestCertificatesAreOnRecord(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		now := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
		s := p.storeWith(inventory.Options{Now: func() time.Time { return now }})
		first, firstPEM := chain(t, 0xa1, "meter-00001")
		second, secondPEM := chain(t, 0xa2, "meter-00001")
		r := x509Record(1, firstPEM)
		r.Next = provision.Credential{Kind: provision.CredentialX509, Chain: secondPEM, Key: secret.New("next")}
		r.State = provision.StateRotating
		r = save(t, s, r)[0]
		r.Credential, r.Next = r.Next, provision.Credential{}
		now = now.Add(time.Hour)
		r = save(t, s, r)[0]

		got, err := s.CertificatesOf(t.Context(), r.Name)
		want := []inventory.Certificate{{
			Serial: "a1", Fingerprint: certs.Fingerprint(first), Device: r.Name, Issuer: "CN=meter-00001", Subject: "CN=meter-00001",
			NotBefore: first.NotBefore, NotAfter: first.NotAfter, Issued: now.Add(-time.Hour),
		}, {
			Serial: "a2", Fingerprint: certs.Fingerprint(second), Device: r.Name, Issuer: "CN=meter-00001", Subject: "CN=meter-00001",
			NotBefore: second.NotBefore, NotAfter: second.NotAfter, Issued: now.Add(-time.Hour),
		}}
		byTime := cmp.Transformer("sorted", func(in []inventory.Certificate) []inventory.Certificate {
			return slices.SortedFunc(slices.Values(in), func(a, b inventory.Certificate) int {
				return a.Issued.Compare(b.Issued)*2 + cmpText(a.Serial, b.Serial)
			})
		})
		if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool { return len(p) == 1 }, byTime)); err != nil || diff != "" {
			t.Errorf("%v; certificates (-want +got):\n%s", err, diff)
		}
		id := secret.New(certs.CredentialsID(second))
		if holders, err := s.Holders(t.Context(), []secret.Text{id}); err != nil || holders[id.Reveal()] != r.Name {
			t.Errorf("holders of the certificate: %v, %v", holders, err)
		}
		gone := secret.New(certs.CredentialsID(first))
		if holders, err := s.Holders(t.Context(), []secret.Text{gone}); err != nil || len(holders) != 0 {
			t.Errorf("holders of the certificate before: %v, %v", holders, err)
		}
	})
}

func cmpText(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

func TestRevoke(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		first, firstPEM := chain(t, 1, "a")
		_, secondPEM := chain(t, 2, "a")
		_, otherPEM := chain(t, 3, "b")
		r := x509Record(1, firstPEM)
		r.Next = provision.Credential{Kind: provision.CredentialX509, Chain: secondPEM}
		save(t, s, r, x509Record(2, otherPEM))
		at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		const superseded, compromise = 4, 1

		got, err := s.RevokeCertificate(t.Context(), certs.Fingerprint(first), superseded, at)
		if err != nil || len(got) != 1 || got[0].Serial != "1" || got[0].Reason != superseded || !got[0].Revoked.Equal(at) {
			t.Errorf("revoked by fingerprint: %+v, %v", got, err)
		}
		got, err = s.Revoke(t.Context(), r.Name, compromise, at.Add(time.Hour))
		if diff := cmp.Diff([]string{"2"}, serials(got)); err != nil || diff != "" {
			t.Errorf("%v; revoked by device (-want +got):\n%s", err, diff)
		}
		if got, err = s.Revoke(t.Context(), r.Name, compromise, at); err != nil || len(got) != 0 {
			t.Errorf("revoked again: %+v, %v", got, err)
		}
		r.Version, r.Label = 1, "saved again" // a certificate stays revoked
		save(t, s, r)
		revoked := make(map[string]int)
		for c, err := range s.Revoked(t.Context()) {
			if err != nil || c.NotAfter.IsZero() {
				t.Fatal(c, err)
			}
			revoked[c.Serial] = c.Reason
		}
		if diff := cmp.Diff(map[string]int{"1": superseded, "2": compromise}, revoked); diff != "" {
			t.Errorf("revoked (-want +got):\n%s", diff)
		}
	})
}

// Saved as well is a certificate whose device is not told its key.
func TestACertificateThatIsNone(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		for _, chain := range []string{"canary", "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n"} {
			if err := s.Save(t.Context(), []provision.Record{x509Record(1, []byte(chain))}); err == nil {
				t.Errorf("%s was saved", chain)
			}
		}
		if n, err := s.Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d records, %v", n, err)
		}
	})
}

// Many revoked certificates come in pages.
func TestManyRevoked(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		var records []provision.Record
		const many = 520
		for i := range many {
			_, pem := chain(t, int64(i+1), fmt.Sprint(i))
			records = append(records, x509Record(i, pem))
		}
		save(t, s, records...)
		for _, r := range records {
			if _, err := s.Revoke(t.Context(), r.Name, 0, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		seen := make(map[string]bool)
		for c, err := range s.Revoked(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			seen[c.Serial] = true
		}
		if len(seen) != many {
			t.Errorf("%d are revoked, want %d", len(seen), many)
		}
	})
}

func TestCRLNumbersOnlyRise(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		stores := []*inventory.Store{p.store(), p.store()}
		var group sync.WaitGroup
		var mu sync.Mutex
		var numbers []int64
		for i := range 4 {
			group.Go(func() {
				last := int64(0)
				for range 10 {
					number, err := stores[i%2].NextCRLNumber(t.Context())
					if err != nil || number <= last {
						t.Errorf("%d after %d, %v", number, last, err)
						return
					}
					last = number
					mu.Lock()
					numbers = append(numbers, number)
					mu.Unlock()
				}
			})
		}
		group.Wait()
		slices.Sort(numbers)
		for i, number := range numbers {
			if number != int64(i+1) {
				t.Fatalf("the numbers are %v", numbers)
			}
		}
		if number, err := p.store().NextCRLNumber(t.Context()); err != nil || number != 41 {
			t.Errorf("opened again it is %d, %v", number, err)
		}
	})
}
