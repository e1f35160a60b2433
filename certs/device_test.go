package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs"
)

// newDeviceCA makes a device CA below a root, both of one kind of key.
func newDeviceCA(tb testing.TB, kind certs.KeyType) *certs.Authority {
	tb.Helper()
	return newIssuing(tb, newRoot(tb, kind, 1), certs.PurposeDevice)
}

func issueDevice(tb testing.TB, ca *certs.Authority, name string) *certs.Issued {
	tb.Helper()
	issued, err := ca.IssueDevice(certs.DeviceProfile{CommonName: name, Organization: "Example", KeyType: certs.KeyTypeOf(ca.Key.Public()), Days: 365})
	if err != nil {
		tb.Fatal(err)
	}
	return issued
}

func TestDeviceProfile(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	issued := issueDevice(t, ca, "meter 1, Zähler")
	leaf := issued.Chain[0]
	described := certs.Describe(leaf)
	want := certs.Certificate{
		Subject: `CN=meter 1\, Zähler,O=Example`, Issuer: "CN=tb.example.com CA",
		NotBefore: now().Add(-24 * time.Hour), NotAfter: now().AddDate(0, 0, 365).Add(-time.Second),
		KeyType: certs.P256, SignatureAlgorithm: "ECDSA-SHA256",
		KeyUsage: []string{"digitalSignature"}, ExtKeyUsage: []string{"clientAuth"},
		AuthorityKeyID: certs.Describe(ca.Certificate).SubjectKeyID,
		CredentialsID:  certs.CredentialsID(leaf),
		Serial:         described.Serial, SubjectKeyID: described.SubjectKeyID, Fingerprint: described.Fingerprint, PublicKey: described.PublicKey,
	}
	if diff := cmp.Diff(want, described); diff != "" {
		t.Error(diff)
	}
	if len(described.SubjectKeyID) != 40 || described.SubjectKeyID == described.AuthorityKeyID {
		t.Errorf("the key's identifier is %q", described.SubjectKeyID)
	}
	if !leaf.BasicConstraintsValid || len(leaf.EmailAddresses)+len(leaf.URIs) != 0 {
		t.Error("no basicConstraints, or a subjectAltName")
	}
	if len(issued.Chain) != 2 || !issued.Chain[1].Equal(ca.Certificate) {
		t.Errorf("the chain has %d certificates; want the leaf and its issuer", len(issued.Chain))
	}
	if !certs.KeyFits(issued.Key, leaf) {
		t.Error("the key is not the certificate's")
	}
}

// A root that signs leaves itself presents no chain, and nothing outlives it.
func TestDeviceOfASingleTier(t *testing.T) {
	t.Parallel()
	root, err := maker().NewRoot(certs.RootProfile{CommonName: "short", KeyType: certs.P256, Years: 1})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := root.IssueDevice(certs.DeviceProfile{CommonName: "meter", KeyType: certs.P256, Days: 4000})
	if err != nil {
		t.Fatal(err)
	}
	if len(issued.Chain) != 1 || !issued.Chain[0].NotAfter.Equal(root.Certificate.NotAfter) || issued.Chain[0].NotBefore.Before(root.Certificate.NotBefore) {
		t.Errorf("%d certificates, from %v to %v", len(issued.Chain), issued.Chain[0].NotBefore, issued.Chain[0].NotAfter)
	}
	root.Maker.Now = func() time.Time { return now().AddDate(1, 0, 1) }
	if _, err := root.IssueDevice(certs.DeviceProfile{CommonName: "meter", KeyType: certs.P256, Days: 1}); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired CA: %v", err)
	}
}

func TestDeviceRefusals(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	serverCA := newIssuing(t, newRoot(t, certs.P256, 1), certs.PurposeServer)
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := func() certs.DeviceProfile {
		return certs.DeviceProfile{CommonName: "meter", KeyType: certs.P256, Days: 30}
	}
	cases := map[string]struct {
		ca      *certs.Authority
		change  func(*certs.DeviceProfile)
		problem string // "" for success
	}{
		"good":                {ca, func(*certs.DeviceProfile) {}, ""},
		"64 characters":       {ca, func(p *certs.DeviceProfile) { p.CommonName = strings.Repeat("ü", 64) }, ""},
		"65 characters":       {ca, func(p *certs.DeviceProfile) { p.CommonName = strings.Repeat("ü", 65) }, "it has 65 characters, at most 64"},
		"no name":             {ca, func(p *certs.DeviceProfile) { p.CommonName = "" }, "it is empty"},
		"blanks":              {ca, func(p *certs.DeviceProfile) { p.CommonName = " " }, "it is empty"},
		"a control character": {ca, func(p *certs.DeviceProfile) { p.CommonName = "a\x00b" }, "control character"},
		"not UTF-8":           {ca, func(p *certs.DeviceProfile) { p.CommonName = "a\xff" }, "not UTF-8"},
		"no days":             {ca, func(p *certs.DeviceProfile) { p.Days = 0 }, "0 days"},
		"an unknown kind":     {ca, func(p *certs.DeviceProfile) { p.KeyType = "p257" }, "the types are p256"},
		"a weak key":          {ca, func(p *certs.DeviceProfile) { p.Key = weak }, "P-224"},
		"the CA's own name":   {ca, func(p *certs.DeviceProfile) { p.CommonName = ca.Certificate.Subject.CommonName }, "the name of the CA"},
		"a CA for servers":    {serverCA, func(*certs.DeviceProfile) {}, "not for device certificates"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := good()
			test.change(&p)
			issued, err := test.ca.IssueDevice(p)
			switch {
			case test.problem == "" && (err != nil || issued.Chain[0].Subject.CommonName != p.CommonName):
				t.Errorf("refused or renamed: %v", err)
			case test.problem != "" && (issued != nil || err == nil || !strings.Contains(err.Error(), test.problem)):
				t.Errorf("error is %v, want one with %q", err, test.problem)
			}
		})
	}
}

func TestDeviceKeepsItsKey(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	own := newRoot(t, certs.P384, 0).Key
	issued, err := ca.IssueDevice(certs.DeviceProfile{CommonName: "meter", KeyType: certs.P256, Days: 30, Key: own})
	if err != nil || issued.Key != own || !certs.KeyFits(own, issued.Chain[0]) {
		t.Errorf("the certificate is not for the device's own key (%v)", err)
	}
}

func TestManyIssueAtOnce(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	var serials sync.Map
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				issued, err := ca.IssueDevice(certs.DeviceProfile{CommonName: "meter", KeyType: certs.P256, Days: 30})
				if err != nil {
					t.Error(err)
					return
				}
				if _, twice := serials.LoadOrStore(issued.Chain[0].SerialNumber.String(), true); twice {
					t.Error("a serial number is given twice")
				}
			}
		})
	}
	group.Wait()
}

// OpenSSL takes a device for a client, and not for a server, nor with another
// root.
func TestPeersAcceptDevices(t *testing.T) {
	t.Parallel()
	for _, kind := range []certs.KeyType{certs.P256, certs.P384, certs.RSA2048, certs.Ed25519} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ca := newDeviceCA(t, kind)
			issued := issueDevice(t, ca, "meter-1")
			dir := t.TempDir()
			write(t, dir, "root.pem", certs.EncodeCertificates(ca.Root()))
			write(t, dir, "other.pem", certs.EncodeCertificates(newRoot(t, certs.P256, 1).Certificate))
			write(t, dir, "chain.pem", certs.EncodeCertificates(issued.Chain...))
			for _, test := range []struct {
				purpose, roots string
				want           bool
			}{{"sslclient", "root.pem", true}, {"sslserver", "root.pem", false}, {"sslclient", "other.pem", false}} {
				chain := filepath.Join(dir, "chain.pem")
				out, err := exec.Command("openssl", "verify", "-x509_strict", "-attime", attime, "-purpose", test.purpose,
					"-CAfile", filepath.Join(dir, test.roots), "-untrusted", chain, chain).CombinedOutput()
				if (err == nil) != test.want {
					t.Errorf("%s, %s: %v\n%s", test.purpose, test.roots, err, out)
				}
			}
		})
	}
}

// attime is now() for OpenSSL.
const attime = "1795435200"

// knownCredentialsID is that of testdata/device.pem.
const knownCredentialsID = "419a7c7423931bb018327643399064bd28e28bd11571a01f74a80cd302ab7f43"

// ThingsBoard's name for a certificate: a known answer, which OpenSSL gave
// (x509 -outform der, base64 -w0, dgst -sha3-256), and that of OpenSSL here.
func TestCredentialsID(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "device.pem"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := certs.ParseCertificates(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := certs.CredentialsID(known[0]); got != knownCredentialsID {
		t.Errorf("the id is %s, want %s", got, knownCredentialsID)
	}
	leaf := issueDevice(t, newDeviceCA(t, certs.P256), "meter-1").Chain[0]
	der := openssl(t, certs.EncodeCertificates(leaf), "x509", "-outform", "der")
	want := openssl(t, openssl(t, der, "base64", "-A"), "dgst", "-sha3-256", "-r")
	if got := certs.CredentialsID(leaf); got != string(want[:64]) {
		t.Errorf("the id is %s, and OpenSSL's %s", got, want)
	}
	again, err := certs.ParseBase64(base64.StdEncoding.EncodeToString(leaf.Raw))
	if err != nil || len(again) != 1 || !again[0].Equal(leaf) {
		t.Errorf("%d certificates come back (%v)", len(again), err)
	}
	for _, text := range []string{"", "?", "AAAA"} {
		if chain, err := certs.ParseBase64(text); err == nil || chain != nil {
			t.Errorf("%q is taken for a certificate", text)
		}
	}
}

// A CA that was brought along may have neither key identifier nor usages: what
// it signs has both, and a CRL of it is possible.
func TestDeviceOfAPlainCA(t *testing.T) {
	t.Parallel()
	ca := plainCA(t, "")
	leaf := issueDevice(t, ca, "meter-1").Chain[0]
	if len(ca.Certificate.SubjectKeyId) != 0 || len(leaf.AuthorityKeyId) != 20 || len(leaf.SubjectKeyId) != 20 {
		t.Errorf("key identifiers: %x of the CA; %x and %x", ca.Certificate.SubjectKeyId, leaf.AuthorityKeyId, leaf.SubjectKeyId)
	}
	if err := leaf.CheckSignatureFrom(ca.Certificate); err != nil {
		t.Error(err)
	}
	crl, err := ca.NewCRL(certs.CRLProfile{Number: big.NewInt(1), Days: 30})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(crl.AuthorityKeyId, leaf.AuthorityKeyId) || crl.CheckSignatureFrom(ca.Certificate) != nil {
		t.Error("the CRL is not of the CA")
	}
	issueDevice(t, plainCA(t, "extendedKeyUsage=anyExtendedKeyUsage"), "meter-1")
	odd := plainCA(t, "extendedKeyUsage=1.2.3.4")
	if _, err := odd.IssueDevice(certs.DeviceProfile{CommonName: "meter", KeyType: certs.P256, Days: 30}); err == nil {
		t.Error("a CA for another purpose issues")
	}
	unsigning := plainCA(t, "keyUsage=keyCertSign")
	if _, err := unsigning.NewCRL(certs.CRLProfile{Number: big.NewInt(1), Days: 30}); err == nil || !strings.Contains(err.Error(), "without cRLSign") {
		t.Errorf("a CA that may sign no CRLs: %v", err)
	}
}

// plainCA has OpenSSL make a CA with basicConstraints and one more extension,
// "" for none.
func plainCA(t *testing.T, extension string) *certs.Authority {
	t.Helper()
	key := newRoot(t, certs.P256, 0).Key
	data, err := certs.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "key.pem", data)
	write(t, dir, "config", []byte("[req]\ndistinguished_name=name\nx509_extensions=ca\n[name]\n[ca]\nbasicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n"+extension+"\n"))
	made := openssl(t, nil, "req", "-x509", "-new", "-key", filepath.Join(dir, "key.pem"), "-config", filepath.Join(dir, "config"), "-subj", "/CN=Plain CA", "-days", "3650")
	chain, err := certs.ParseCertificates(made)
	if err != nil {
		t.Fatal(err)
	}
	// OpenSSL's certificate begins today: the system's clock.
	ca, err := certs.ImportAuthority(chain, key, certs.Maker{})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// What cannot be asked for: a key that Go's TLS would refuse.
func TestTooLargeKey(t *testing.T) {
	t.Parallel()
	large := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8192), E: 65537}
	request := &x509.CertificateRequest{PublicKey: large, Subject: pkix.Name{CommonName: "meter"}}
	chain, err := newDeviceCA(t, certs.P256).SignDevice(request, certs.DeviceProfile{CommonName: "meter", Days: 30})
	if chain != nil || err == nil || !strings.Contains(err.Error(), "RSA of 8193 bits") {
		t.Errorf("error is %v", err)
	}
}

// BenchmarkIssueDevice measures IssueDevice against the standard library alone,
// in turns, because other work on the machine then slows both. Its ratio is
// their rates', and 1 would be no cost at all.
func BenchmarkIssueDevice(b *testing.B) {
	ca := newDeviceCA(b, certs.P256)
	profile := certs.DeviceProfile{CommonName: "meter-1", Organization: "Example", KeyType: certs.P256, Days: 365}
	var issue, bare time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := ca.IssueDevice(profile); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if err := bareIssue(ca); err != nil {
			b.Fatal(err)
		}
		issue += middle.Sub(start)
		bare += time.Since(middle)
	}
	b.ReportMetric(float64(issue.Nanoseconds())/float64(b.N), "ns/issue")
	b.ReportMetric(float64(bare)/float64(issue), "ratio")
}

func bareIssue(ca *certs.Authority) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "meter-1", Organization: []string{"Example"}},
		NotBefore: now(), NotAfter: now().AddDate(1, 0, 0), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	_, err = x509.CreateCertificate(rand.Reader, template, ca.Certificate, key.Public(), ca.Key)
	return err
}
