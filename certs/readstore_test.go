package certs_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// stores are one of each kind that certs writes.
func stores(tb testing.TB, password secret.Text) map[string][]byte {
	tb.Helper()
	root, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "Root", KeyType: certs.P256, Years: 1})
	if err != nil {
		tb.Fatal(err)
	}
	issued, err := root.IssueServer(certs.ServerProfile{Hosts: []string{"tb.example.com"}, KeyType: certs.P256, Days: 1})
	if err != nil {
		tb.Fatal(err)
	}
	store := certs.KeyStore{Password: password}
	made := map[string][]byte{}
	keep := func(name string, data []byte, err error) {
		if err != nil {
			tb.Fatal(err)
		}
		made[name] = data
	}
	data, err := store.PKCS12(issued)
	keep("p12", data, err)
	data, err = store.PKCS12Trust(issued.Chain[:1])
	keep("p12 trust", data, err)
	data, err = store.JKS(issued, time.Unix(0, 0))
	keep("jks", data, err)
	data, err = store.JKSTrust(issued.Chain[:1], time.Unix(0, 0))
	keep("jks trust", data, err)
	return made
}

func TestReadKeyStore(t *testing.T) {
	t.Parallel()
	password := secret.New("not-the-usual")
	for name, data := range stores(t, password) {
		if !certs.IsKeyStore(data) {
			t.Errorf("%s is taken for no keystore", name)
		}
		entries, err := certs.ReadKeyStore(data, password)
		if err != nil || len(entries) != 1 || len(entries[0].Chain) != 1 || certs.Hosts(entries[0].Chain[0])[0] != "tb.example.com" {
			t.Errorf("%s: %d entries, %v", name, len(entries), err)
			continue
		}
		if wantKey := name == "p12" || name == "jks"; entries[0].HasKey != wantKey || wantKey && !certs.KeyFits(entries[0].Key, entries[0].Chain[0]) {
			t.Errorf("%s: its key is %t", name, entries[0].HasKey)
		}
		if entries, err := certs.ReadKeyStore(data, secret.New("wrong-password")); err != certs.ErrWrongPassphrase || entries != nil { //nolint:errorlint // itself
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
	for _, data := range []string{"", "-----BEGIN CERTIFICATE-----\n", "\x30\x00", "\x30\x03\x02\x01\x03"} {
		if certs.IsKeyStore([]byte(data)) {
			t.Errorf("%q is taken for a keystore", data)
		}
	}
}

// Whatever a file holds, reading it ends, and an error comes with nothing.
func FuzzReadKeyStore(f *testing.F) {
	password := secret.New("changeit")
	for _, data := range stores(f, password) {
		f.Add(data)
	}
	f.Add([]byte("\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 0 && data[0] == 0x30 {
			t.Skip("a file of PKCS#12 says how many rounds its password takes, which may be a day's work")
		}
		if entries, err := certs.ReadKeyStore(data, password); err != nil && entries != nil {
			t.Error("there is an error, and entries")
		}
		if objects, err := certs.Inspect(data); err != nil && objects != nil {
			t.Error("there is an error, and objects")
		}
	})
}

// A certificate of a public CA has most of what there is.
func TestDetail(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("remote/testdata/recorded-2019.pem")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := certs.Inspect(data)
	if err != nil || len(objects) != 2 || objects[0].Details != nil {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	certs.AddDetails(objects)
	leaf := objects[0].Details
	if leaf.Version != 3 || !slices.Equal(leaf.OCSP, []string{"http://ocsp.int-x3.letsencrypt.org"}) ||
		!slices.Equal(leaf.IssuerURLs, []string{"http://cert.int-x3.letsencrypt.org/"}) || !slices.Contains(leaf.Policies, "2.23.140.1.2.1") {
		t.Errorf("the leaf: %+v", leaf)
	}
	if !slices.Contains(leaf.Extensions, certs.Extension{OID: "2.5.29.19", Name: "basicConstraints", Critical: true, Bytes: 2}) {
		t.Errorf("the extensions: %+v", leaf.Extensions)
	}
}

// The two of RFC 6962's own list.
func TestSignedTimestamps(t *testing.T) {
	t.Parallel()
	key, err := certs.Maker{}.NewKeyOf(certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	list := []byte{0x04, 0x0a, 0, 8, 0, 2, 1, 2, 0, 2, 3, 4} // an OCTET STRING: eight bytes, two of two
	template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: list}, {Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 0x03, 0x02, 0x01, 0x05}},
	}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if details := certs.Detail(cert); details.SignedTimestamps != 2 || !details.MustStaple {
		t.Errorf("%+v", details)
	}
}
