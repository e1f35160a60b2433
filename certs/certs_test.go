package certs_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs"
)

// now is a fixed time in the life of every test's certificates.
func now() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func maker() certs.Maker { return certs.Maker{Now: now} }

// newRoot makes a root, or fails the test.
func newRoot(tb testing.TB, kind certs.KeyType, pathLen int) *certs.Authority {
	tb.Helper()
	root, err := maker().NewRoot(certs.RootProfile{CommonName: "tb.example.com Root CA", Organization: "Example", KeyType: kind, Years: 20, PathLen: pathLen})
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

func newIssuing(tb testing.TB, root *certs.Authority, purpose certs.Purpose) *certs.Authority {
	tb.Helper()
	ca, err := root.NewIssuing(certs.IssuingProfile{CommonName: "tb.example.com CA", KeyType: certs.KeyTypeOf(root.Key.Public()), Purpose: purpose})
	if err != nil {
		tb.Fatal(err)
	}
	return ca
}

func issueServer(tb testing.TB, ca *certs.Authority, hosts ...string) *certs.Issued {
	tb.Helper()
	issued, err := ca.IssueServer(certs.ServerProfile{Hosts: hosts, KeyType: certs.KeyTypeOf(ca.Key.Public()), Days: 397})
	if err != nil {
		tb.Fatal(err)
	}
	return issued
}

func TestRootProfile(t *testing.T) {
	t.Parallel()
	root := newRoot(t, certs.P256, 1).Certificate
	described := certs.Describe(root)
	one := 1
	want := certs.Certificate{
		Subject: "CN=tb.example.com Root CA,O=Example", Issuer: "CN=tb.example.com Root CA,O=Example",
		NotBefore: now().Add(-24 * time.Hour), NotAfter: now().AddDate(20, 0, 0),
		KeyType: certs.P256, SignatureAlgorithm: "ECDSA-SHA256", IsCA: true, PathLen: &one,
		KeyUsage: []string{"keyCertSign", "cRLSign"}, SelfSigned: true,
		Serial: described.Serial, SubjectKeyID: described.SubjectKeyID, AuthorityKeyID: described.AuthorityKeyID,
		Fingerprint: described.Fingerprint, PublicKey: described.PublicKey,
	}
	if diff := cmp.Diff(want, described); diff != "" {
		t.Error(diff)
	}
	if described.SubjectKeyID == "" {
		t.Error("no subject key id")
	}
}

func TestServerProfile(t *testing.T) {
	t.Parallel()
	root := newRoot(t, certs.P256, 1)
	server := newIssuing(t, root, certs.PurposeServer)
	issued := issueServer(t, server, "TB.example.com", "192.0.2.1", "::1", "tb.example.com", "*.example.com")
	leaf := issued.Chain[0]
	if diff := cmp.Diff([]string{"tb.example.com", "*.example.com", "192.0.2.1", "::1"}, certs.Hosts(leaf)); diff != "" {
		t.Error(diff)
	}
	described := certs.Describe(leaf)
	if diff := cmp.Diff([]string{"serverAuth"}, described.ExtKeyUsage); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"digitalSignature"}, described.KeyUsage); diff != "" {
		t.Error(diff)
	}
	if leaf.Subject.CommonName != "tb.example.com" || described.IsCA || described.SelfSigned {
		t.Errorf("unexpected: %+v", described)
	}
	if got := leaf.NotAfter.Sub(now()); got != 397*24*time.Hour-time.Second {
		t.Errorf("life from now is %v", got)
	}
	if got := now().Sub(leaf.NotBefore); got != 24*time.Hour {
		t.Errorf("notBefore is %v back", got)
	}
	if len(issued.Chain) != 2 || !issued.Chain[1].Equal(server.Certificate) {
		t.Errorf("the chain has %d certificates; want the leaf and its issuer", len(issued.Chain))
	}
	if !certs.KeyFits(issued.Key, leaf) || certs.KeyFits(root.Key, leaf) || certs.KeyFits(nil, leaf) {
		t.Error("KeyFits is wrong")
	}
	if bits := leaf.SerialNumber.BitLen(); bits > 128 || bits < 64 {
		t.Errorf("the serial number has %d bits", bits)
	}
}

// The purpose of an issuing CA holds for what it signs.
func TestPurposesDoNotMix(t *testing.T) {
	t.Parallel()
	root := newRoot(t, certs.P256, 1)
	for purpose, want := range map[certs.Purpose]bool{certs.PurposeServer: true, certs.PurposeDevice: false} {
		ca := newIssuing(t, root, purpose)
		issued := issueServer(t, ca, "tb.example.com")
		roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(root.Certificate)
		intermediates.AddCert(ca.Certificate)
		_, err := issued.Chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now(), DNSName: "tb.example.com"})
		if (err == nil) != want {
			t.Errorf("a server certificate of the %s CA: %v", purpose, err)
		}
	}
	if _, err := root.NewIssuing(certs.IssuingProfile{KeyType: certs.P256, Purpose: "other"}); err == nil {
		t.Error("an unknown purpose is taken")
	}
}

func TestNothingOutlivesItsIssuer(t *testing.T) {
	t.Parallel()
	root, err := maker().NewRoot(certs.RootProfile{CommonName: "short", KeyType: certs.P256, Years: 1, PathLen: 1})
	if err != nil {
		t.Fatal(err)
	}
	ca := newIssuing(t, root, certs.PurposeServer)
	issued := issueServer(t, ca, "tb.example.com")
	for _, cert := range issued.Chain {
		if !cert.NotAfter.Equal(root.Certificate.NotAfter) || cert.NotBefore.Before(root.Certificate.NotBefore) {
			t.Errorf("%s lives from %v to %v, its root from %v to %v", cert.Subject, cert.NotBefore, cert.NotAfter, root.Certificate.NotBefore, root.Certificate.NotAfter)
		}
	}
	ca.Maker.Now = func() time.Time { return now().AddDate(1, 0, 1) }
	if _, err := ca.IssueServer(certs.ServerProfile{Hosts: []string{"tb.example.com"}, KeyType: certs.P256, Days: 1}); err == nil {
		t.Error("an expired CA issues")
	}
}

func TestDatesPast2049(t *testing.T) {
	t.Parallel()
	root, err := maker().NewRoot(certs.RootProfile{CommonName: "long", KeyType: certs.P256, Years: 100})
	if err != nil {
		t.Fatal(err)
	}
	if got := root.Certificate.NotAfter; got.Year() != 2126 {
		t.Errorf("notAfter is %v", got)
	}
}

func TestMakerIsTheOnlySource(t *testing.T) {
	t.Parallel()
	fixed := newRoot(t, certs.P256, 0).Key
	m := certs.Maker{
		Now:       now,
		NewKey:    func(certs.KeyType) (crypto.Signer, error) { return fixed, nil },
		NewSerial: func() (*big.Int, error) { return big.NewInt(42), nil },
	}
	root, err := m.NewRoot(certs.RootProfile{CommonName: "fixed", KeyType: certs.P256, Years: 1})
	if err != nil {
		t.Fatal(err)
	}
	if root.Key != fixed || root.Certificate.SerialNumber.Int64() != 42 {
		t.Errorf("serial %v", root.Certificate.SerialNumber)
	}
	broken := errors.New("no entropy")
	m.NewKey = func(certs.KeyType) (crypto.Signer, error) { return nil, broken }
	if _, err := m.NewRoot(certs.RootProfile{CommonName: "x", KeyType: certs.P256, Years: 1}); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

func TestImportAuthority(t *testing.T) {
	t.Parallel()
	root := newRoot(t, certs.P256, 1)
	other := newRoot(t, certs.P256, 0)
	issuing := newIssuing(t, root, certs.PurposeServer)
	leaf := issueServer(t, issuing, "tb.example.com")
	cases := map[string]struct {
		chain   []*x509.Certificate
		key     crypto.Signer
		problem string // "" for success
	}{
		"a root":                {[]*x509.Certificate{root.Certificate}, root.Key, ""},
		"an intermediate":       {[]*x509.Certificate{issuing.Certificate, root.Certificate}, issuing.Key, ""},
		"more than the root":    {[]*x509.Certificate{root.Certificate, other.Certificate}, root.Key, ""},
		"nothing":               {nil, root.Key, "no CA certificate"},
		"another key":           {[]*x509.Certificate{root.Certificate}, other.Key, "does not belong"},
		"no key":                {[]*x509.Certificate{root.Certificate}, nil, "does not belong"},
		"a leaf":                {leaf.Chain, leaf.Key, "CA:TRUE"},
		"no root":               {[]*x509.Certificate{issuing.Certificate}, issuing.Key, "add the certificate of its issuer"},
		"a gap":                 {[]*x509.Certificate{issuing.Certificate, other.Certificate}, issuing.Key, "put the certificates in order"},
		"the root first, wrong": {[]*x509.Certificate{root.Certificate, issuing.Certificate}, issuing.Key, "does not belong"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := certs.ImportAuthority(test.chain, test.key, maker())
			if test.problem == "" {
				if err != nil {
					t.Fatal(err)
				}
				if !got.Root().Equal(root.Certificate) {
					t.Errorf("the root is %v", got.Root().Subject)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error is %v, want one with %q", err, test.problem)
			}
		})
	}
	later := certs.Maker{Now: func() time.Time { return now().AddDate(21, 0, 0) }}
	if _, err := certs.ImportAuthority([]*x509.Certificate{root.Certificate}, root.Key, later); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired CA: %v", err)
	}
}

func TestPathLengthsAreKept(t *testing.T) {
	t.Parallel()
	if err := newRoot(t, certs.P256, 1).AllowsIssuing(); err != nil {
		t.Error(err)
	}
	single := newRoot(t, certs.P256, 0)
	if err := single.AllowsIssuing(); err == nil || !strings.Contains(err.Error(), "path length of 0") {
		t.Errorf("error is %v", err)
	}
	if _, err := single.NewIssuing(certs.IssuingProfile{KeyType: certs.P256, Purpose: certs.PurposeServer}); err == nil {
		t.Error("a CA with path length 0 makes another")
	}
	if err := newIssuing(t, newRoot(t, certs.P256, 1), certs.PurposeServer).AllowsIssuing(); err == nil {
		t.Error("an issuing CA may make another")
	}
}

func TestPKCS12RoundTrip(t *testing.T) {
	t.Parallel()
	issued := issueServer(t, newIssuing(t, newRoot(t, certs.P256, 1), certs.PurposeServer), "tb.example.com")
	data, err := certs.EncodePKCS12(issued, password())
	if err != nil {
		t.Fatal(err)
	}
	got, err := certs.DecodePKCS12(data, password())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Chain[0].Raw, issued.Chain[0].Raw) || len(got.Chain) != 2 || !certs.KeyFits(got.Key, issued.Chain[0]) {
		t.Error("what comes back is not what went in")
	}
	if _, err := certs.DecodePKCS12(data, wrong()); !errors.Is(err, certs.ErrWrongPassphrase) {
		t.Errorf("a wrong password gives %v", err)
	}
	if _, err := certs.DecodePKCS12([]byte("nothing"), password()); err == nil {
		t.Error("nothing is taken for PKCS#12")
	}
}
