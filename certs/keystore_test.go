package certs_test

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// twoRoots are the roots of a rollover.
func twoRoots(t *testing.T) []*x509.Certificate {
	t.Helper()
	return []*x509.Certificate{newRoot(t, certs.P256, 1).Certificate, newRoot(t, certs.RSA2048, 1).Certificate}
}

func TestKeyStoreRoundTrip(t *testing.T) {
	t.Parallel()
	for _, kind := range []certs.KeyType{certs.P256, certs.RSA2048, certs.Ed25519} {
		issued := issueServer(t, newIssuing(t, newRoot(t, kind, 1), certs.PurposeServer), "tb.example.com")
		for _, legacy := range []bool{false, true} {
			data, err := certs.KeyStore{Password: password(), Legacy: legacy}.PKCS12(issued)
			if err != nil {
				t.Fatal(err)
			}
			got, err := certs.DecodePKCS12(data, password())
			if err != nil || !bytes.Equal(got.Chain[0].Raw, issued.Chain[0].Raw) || len(got.Chain) != 2 || !certs.KeyFits(got.Key, issued.Chain[0]) {
				t.Errorf("%s, legacy %v: %v", kind, legacy, err)
			}
		}
		made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		data, err := certs.KeyStore{Password: password()}.JKS(issued, made)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := openJKS(t, data).GetPrivateKeyEntry("device", []byte(password().Reveal()))
		if err != nil || len(entry.CertificateChain) != 2 || !entry.CreationTime.Equal(made) || !bytes.Equal(entry.CertificateChain[0].Content, issued.Chain[0].Raw) {
			t.Errorf("%s: %v, %v", kind, entry.CreationTime, err)
		}
		want, err := x509.MarshalPKCS8PrivateKey(issued.Key)
		if err != nil || !bytes.Equal(entry.PrivateKey, want) {
			t.Errorf("%s: another key comes back (%v)", kind, err)
		}
	}
}

func openJKS(t *testing.T, data []byte) keystore.KeyStore {
	t.Helper()
	store := keystore.New()
	if err := store.Load(bytes.NewReader(data), []byte(password().Reveal())); err != nil {
		t.Fatal(err)
	}
	if err := keystore.New().Load(bytes.NewReader(data), []byte("another")); err == nil {
		t.Error("it opens with another password")
	}
	return store
}

// All roots of a rollover are in a truststore, under names of their own.
func TestTruststoreRoundTrip(t *testing.T) {
	t.Parallel()
	roots := twoRoots(t)
	data, err := certs.KeyStore{Password: password()}.PKCS12Trust(roots)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pkcs12.DecodeTrustStore(data, password().Reveal())
	if err != nil || len(got) != 2 || !got[0].Equal(roots[0]) || !got[1].Equal(roots[1]) {
		t.Errorf("%d certificates, %v", len(got), err)
	}
	data, err = certs.KeyStore{Password: password()}.JKSTrust(roots, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	store := openJKS(t, data)
	for i, alias := range []string{"ca-root", "ca-root-2"} {
		entry, err := store.GetTrustedCertificateEntry(alias)
		if err != nil || !bytes.Equal(entry.Certificate.Content, roots[i].Raw) {
			t.Errorf("%s: %v", alias, err)
		}
	}
}

// With the same salts a keystore is the same, and its salts are those.
func TestKeyStoreTakesItsSalts(t *testing.T) {
	t.Parallel()
	issued := issueServer(t, newIssuing(t, newRoot(t, certs.P256, 1), certs.PurposeServer), "tb.example.com")
	write := func(salt string) [2]string {
		k := certs.KeyStore{Password: password(), Random: strings.NewReader(strings.Repeat(salt, 1000))}
		p12, err := k.PKCS12(issued)
		if err != nil {
			t.Fatal(err)
		}
		jks, err := k.JKS(issued, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		return [2]string{string(p12), string(jks)}
	}
	first, other := write("salt"), write("tlas")
	if first != write("salt") || first[0] == other[0] || first[1] == other[1] {
		t.Error("the salts are not those that were given")
	}
}

func TestCheckKeyStorePassword(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"sixsix": "", "with space and ~!\"": "", "": "0 characters", "short": "5 characters", "canaryé": "position 7", "canary\n": "position 7",
	} {
		err := certs.CheckKeyStorePassword(secret.New(text))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
