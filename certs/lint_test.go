package certs_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/tbcert/tbcert/certs"
)

// privatePKI is the part of zlint that holds for a CA that nobody but its own
// devices trusts: the RFCs and the community's lints. The CA/Browser Forum's
// requirements (and the browsers' and ETSI's on top of them) bind public CAs;
// they ask for what a private one does not have (policies, OCSP) and forbid
// what it is for (internal names).
func privatePKI(t *testing.T) lint.Registry {
	t.Helper()
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962, lint.RFC8813, lint.Community},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(registry.Names()) < 100 {
		t.Fatalf("only %d lints", len(registry.Names()))
	}
	return registry
}

// faults are the lints that find an error in a certificate.
func faults(t *testing.T, registry lint.Registry, cert *x509.Certificate) []string {
	t.Helper()
	parsed, err := zx509.ParseCertificate(cert.Raw)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for name, result := range zlint.LintCertificateEx(parsed, registry).Results {
		if result.Status >= lint.Error {
			found = append(found, name+": "+result.Details)
		}
	}
	return found
}

// crlFaults are the lints that find an error in a CRL.
func crlFaults(t *testing.T, registry lint.Registry, crl *x509.RevocationList) []string {
	t.Helper()
	parsed, err := zx509.ParseRevocationList(crl.Raw)
	if err != nil {
		t.Fatal(err)
	}
	results := zlint.LintRevocationListEx(parsed, registry).Results
	if len(results) < 5 {
		t.Fatalf("only %d lints of CRLs", len(results))
	}
	var found []string
	for name, result := range results {
		if result.Status >= lint.Error {
			found = append(found, name+": "+result.Details)
		}
	}
	return found
}

func TestEveryProfilePassesZlint(t *testing.T) {
	t.Parallel()
	registry := privatePKI(t)
	for _, kind := range certs.KeyTypes() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			root := newRoot(t, kind, 1)
			server, device := newIssuing(t, root, certs.PurposeServer), newIssuing(t, root, certs.PurposeDevice)
			for profile, cert := range map[string]*x509.Certificate{
				"root": root.Certificate, "server CA": server.Certificate, "device CA": device.Certificate,
				"server":                issueServer(t, server, "tb.example.com", "192.0.2.1", "localhost").Chain[0],
				"server, addresses":     issueServer(t, server, "192.0.2.1", "::1").Chain[0],
				"server, international": issueServer(t, server, "bücher.example").Chain[0],
				"server, single tier":   issueServer(t, newRootLike(t, root), "tb.example.com").Chain[0],
				"device":                issueDevice(t, device, "meter-1").Chain[0],
				"device, single tier":   issueDevice(t, newRootLike(t, root), "meter-1").Chain[0],
				"device, odd name":      issueDevice(t, device, `Zähler *1 & "2" @_#;<\>+=,/`).Chain[0],
				"device, longest name":  issueDevice(t, device, strings.Repeat("ü", 64)).Chain[0],
			} {
				for _, fault := range faults(t, registry, cert) {
					t.Errorf("%s: %s", profile, fault)
				}
			}
			for name, data := range map[string][]byte{
				"empty CRL": newCRL(t, device, 1),
				"CRL":       newCRL(t, device, 2, revoked(5, 0), revoked(6, 1), revoked(7, 9), revoked(5, 4)),
			} {
				crl, err := certs.ParseCRL(data)
				if err != nil {
					t.Fatal(err)
				}
				for _, fault := range crlFaults(t, registry, crl) {
					t.Errorf("%s: %s", name, fault)
				}
			}
		})
	}
}

// newRootLike makes a single-tier root with the key of another: RSA keys are
// slow to make.
func newRootLike(t *testing.T, other *certs.Authority) *certs.Authority {
	t.Helper()
	m := maker()
	m.NewKey = func(certs.KeyType) (crypto.Signer, error) { return other.Key, nil }
	root, err := m.NewRoot(certs.RootProfile{CommonName: "single", KeyType: certs.KeyTypeOf(other.Key.Public()), Years: 20})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// The linting finds what is wrong: a serial number of 0, a CA without
// keyCertSign, no key identifiers.
func TestZlintFindsABadCertificate(t *testing.T) {
	t.Parallel()
	key := newRoot(t, certs.P256, 0).Key
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0), Subject: pkix.Name{CommonName: "bad"},
		NotBefore: now(), NotAfter: now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		template.SerialNumber = big.NewInt(1)
		der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if found := faults(t, privatePKI(t), cert); len(found) == 0 {
		t.Error("zlint finds nothing")
	}
}

// It finds a CRL's faults too: a reason that there is not.
func TestZlintFindsABadCRL(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	bad := x509.RevocationListEntry{SerialNumber: big.NewInt(5), RevocationTime: now(), ReasonCode: 7}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now(), NextUpdate: now().Add(time.Hour), RevokedCertificateEntries: []x509.RevocationListEntry{bad},
	}, ca.Certificate, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if found := crlFaults(t, privatePKI(t), crl); len(found) == 0 {
		t.Error("zlint finds nothing")
	}
}
