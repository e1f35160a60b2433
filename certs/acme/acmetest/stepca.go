package acmetest

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"crypto/x509"

	"github.com/tbcert/tbcert/certs"
)

// stepVersion is that of step-ca's module.
const stepVersion = "v0.30.2"

// A StepCA is a step-ca, as a company has one: two tiers, certificates of a day, no
// renewal information (ARI), and a chain that ends below the root.
type StepCA struct {
	Directory string // address of its ACME directory
	CAFile    string // its root, which also its web server's certificate leads to
	HTTPAddr  string // where it looks for http-01
	TLSAddr   string // where it looks for tls-alpn-01
}

//nolint:gochecknoglobals // the program is built once
var stepProgram = sync.OnceValues(func() (string, error) {
	return build("github.com/smallstep/certificates", stepVersion, "cmd/step-ca")
})

// StartStepCA starts a step-ca, which asks the DNS server at resolver, and offers
// challenges; none are all.
func StartStepCA(tb testing.TB, resolver string, challenges ...string) *StepCA {
	tb.Helper()
	bin, err := stepProgram()
	if err != nil {
		tb.Fatalf("build step-ca: %v", err)
	}
	dir, address := tb.TempDir(), free(tb)
	s := &StepCA{
		Directory: "https://" + address + "/acme/company/directory", CAFile: filepath.Join(dir, "root.pem"),
		HTTPAddr: free(tb), TLSAddr: free(tb),
	}
	root, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "Company root", KeyType: certs.P256, Years: 2, PathLen: 1})
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := root.NewIssuing(certs.IssuingProfile{CommonName: "Company CA", KeyType: certs.P256, Purpose: certs.PurposeServer})
	if err != nil {
		tb.Fatal(err)
	}
	key, err := certs.EncodeKey(ca.Key)
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, s.CAFile, certs.EncodeCertificates(root.Certificate))
	write(tb, filepath.Join(dir, "ca.pem"), certs.EncodeCertificates(ca.Certificate))
	write(tb, filepath.Join(dir, "ca.key"), key)
	config, err := json.Marshal(map[string]any{
		"root": s.CAFile, "crt": filepath.Join(dir, "ca.pem"), "key": filepath.Join(dir, "ca.key"),
		"address": address, "dnsNames": []string{"127.0.0.1"},
		"db": map[string]any{"type": "bbolt", "dataSource": filepath.Join(dir, "db")},
		"authority": map[string]any{"provisioners": []any{
			map[string]any{"type": "ACME", "name": "company", "challenges": challenges},
		}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, filepath.Join(dir, "ca.json"), config)
	run(tb, []string{"STEPPATH=" + dir}, filepath.Join(bin, "step-ca"), filepath.Join(dir, "ca.json"), "--resolver", resolver, "--insecure",
		"--acme-http-port", strconv.Itoa(portOf(tb, s.HTTPAddr)), "--acme-tls-port", strconv.Itoa(portOf(tb, s.TLSAddr)))
	roots := x509.NewCertPool()
	roots.AddCert(root.Certificate)
	get(tb, roots, s.Directory)
	return s
}
