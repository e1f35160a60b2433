package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const day = 24 * time.Hour

// pair is a certificate with its key and the issuers that go with it. The
// tests make their certificates by the library alone, wrong ones among them,
// which package certs refuses to make.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
	with []*x509.Certificate // issuers to present after it
}

// template is the start of a certificate's text.
func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-day), NotAfter: time.Now().Add(365 * day),
	}
}

// sign makes a certificate; with no issuer it signs itself.
func sign(tb testing.TB, tmpl *x509.Certificate, issuer *pair) *pair {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return signKey(tb, tmpl, issuer, key)
}

// signKey makes a certificate for a key.
func signKey(tb testing.TB, tmpl *x509.Certificate, issuer *pair, key crypto.Signer) *pair {
	tb.Helper()
	parent, signer := tmpl, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &pair{cert: cert, key: key}
}

type edit func(*x509.Certificate)

func newRoot(tb testing.TB, name string, edits ...edit) *pair {
	tb.Helper()
	tmpl := template(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	tmpl.MaxPathLen = 1
	for _, e := range edits {
		e(tmpl)
	}
	return sign(tb, tmpl, nil)
}

func (p *pair) issuing(tb testing.TB, name string, edits ...edit) *pair {
	tb.Helper()
	tmpl := template(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	tmpl.MaxPathLenZero = true
	for _, e := range edits {
		e(tmpl)
	}
	made := sign(tb, tmpl, p)
	made.with = append([]*x509.Certificate{made.cert}, p.with...)
	return made
}

// again is another certificate of the same CA and key.
func (p *pair) again(tb testing.TB, issuer *pair, edits ...edit) *pair {
	tb.Helper()
	tmpl := template(p.cert.Subject.CommonName)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	tmpl.MaxPathLenZero = true
	for _, e := range edits {
		e(tmpl)
	}
	return signKey(tb, tmpl, issuer, p.key)
}

// leaf is a server's certificate for localhost, 127.0.0.1 and broker.test.
func (p *pair) leaf(tb testing.TB, edits ...edit) *pair {
	tb.Helper()
	tmpl := template("broker.test")
	tmpl.KeyUsage, tmpl.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	tmpl.DNSNames, tmpl.IPAddresses = []string{"broker.test", "localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, e := range edits {
		e(tmpl)
	}
	made := sign(tb, tmpl, p)
	made.with = p.with
	return made
}

func lives(from, to time.Duration) edit {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to) }
}

func names(hosts ...string) edit {
	return func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = hosts, nil }
}

func usage(usages ...x509.ExtKeyUsage) edit {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

func notCA(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0 }

func leavesOnly(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }

// alone leaves the issuers out.
func (p *pair) alone() *pair { return &pair{cert: p.cert, key: p.key} }

func (p *pair) tls() *tls.Certificate {
	c := &tls.Certificate{PrivateKey: p.key, Leaf: p.cert, Certificate: [][]byte{p.cert.Raw}}
	for _, issuer := range p.with {
		c.Certificate = append(c.Certificate, issuer.Raw)
	}
	return c
}

// files writes the chain and the key for a broker, and gives their paths.
func (p *pair) files(tb testing.TB) (chain, key string) {
	tb.Helper()
	dir := tb.TempDir()
	chain, key = filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	var text []byte
	for _, der := range p.tls().Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, chain, text)
	write(tb, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return chain, key
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
