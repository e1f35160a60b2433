package acmetest

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/tbcert/tbcert/certs"
)

// pebbleVersion is that of Pebble's module.
const pebbleVersion = "v2.10.1"

// A Pebble runs until the end of the test.
type Pebble struct {
	Directory string // address of its ACME directory
	CAFile    string // the root of its web server, and the root of what it issues
	HTTPAddr  string // where it looks for http-01
	TLSAddr   string // where it looks for tls-alpn-01
	dns       string // address of the DNS's management
	roots     *x509.CertPool
	t         testing.TB
}

// PebbleOptions are what a test wants to be otherwise.
type PebbleOptions struct {
	NonceReject int               // percent of good nonces that are refused; 0 is 5
	EAB         map[string]string // key identifiers and keys, one of which an account needs
	DNSServer   string            // that is asked; "" is one that a test fills
}

//nolint:gochecknoglobals // the programs are built once
var pebblePrograms = sync.OnceValues(func() (string, error) {
	return build("github.com/letsencrypt/pebble/v2", pebbleVersion, "cmd/pebble", "cmd/pebble-challtestsrv")
})

// StartPebble starts a Pebble.
func StartPebble(tb testing.TB, options PebbleOptions) *Pebble {
	tb.Helper()
	bin, err := pebblePrograms()
	if err != nil {
		tb.Fatalf("build Pebble: %v", err)
	}
	s := &Pebble{t: tb, CAFile: filepath.Join(tb.TempDir(), "acme-ca.pem")}
	dir := tb.TempDir()
	acme, management := free(tb), free(tb)
	s.HTTPAddr, s.TLSAddr = free(tb), free(tb)
	s.Directory = "https://" + acme + "/dir"
	s.identity(dir)
	config := map[string]any{
		"listenAddress": acme, "managementListenAddress": management,
		"certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": portOf(tb, s.HTTPAddr), "tlsPort": portOf(tb, s.TLSAddr), "keyAlgorithm": "ecdsa",
		"externalAccountBindingRequired": len(options.EAB) > 0, "externalAccountMACKeys": options.EAB,
		"domainBlocklist": []string{"blocked-domain.example"}, "retryAfter": map[string]int{"authz": 1, "order": 1},
	}
	text, err := json.Marshal(map[string]any{"pebble": config})
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, filepath.Join(dir, "config.json"), text)
	if options.DNSServer == "" {
		options.DNSServer = s.startDNS(bin)
	}
	reject := options.NonceReject
	if reject == 0 {
		reject = 5
	}
	run(tb, []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=" + strconv.Itoa(reject)}, filepath.Join(bin, "pebble"),
		"-config", filepath.Join(dir, "config.json"), "-dnsserver", options.DNSServer)
	issuing := get(tb, s.roots, "https://"+management+"/roots/0")
	web, err := os.ReadFile(s.CAFile)
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, s.CAFile, append(web, issuing...))
	return s
}

// identity makes the certificate of Pebble's own web server.
func (s *Pebble) identity(dir string) {
	root, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "Pebble's web server", KeyType: certs.P256, Years: 1, PathLen: 0})
	if err != nil {
		s.t.Fatal(err)
	}
	issued, err := root.IssueServer(certs.ServerProfile{Hosts: []string{"127.0.0.1"}, KeyType: certs.P256, Days: 30})
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := certs.EncodeKey(issued.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	write(s.t, filepath.Join(dir, "cert.pem"), certs.EncodeCertificates(issued.Chain...))
	write(s.t, filepath.Join(dir, "key.pem"), key)
	write(s.t, s.CAFile, certs.EncodeCertificates(root.Certificate))
	s.roots = x509.NewCertPool()
	s.roots.AddCert(root.Certificate)
}

// startDNS starts a DNS in which every name is this machine's.
func (s *Pebble) startDNS(bin string) (address string) {
	address, management := free(s.t), free(s.t)
	s.dns = "http://" + management
	run(s.t, nil, filepath.Join(bin, "pebble-challtestsrv"), "-dnsserver", address, "-management", management,
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "")
	get(s.t, s.roots, s.dns+"/")
	return address
}

// SetTXT puts a record into the DNS, and ClearTXT takes all of a name away.
func (s *Pebble) SetTXT(name, value string) {
	s.post("/set-txt", map[string]string{"host": name, "value": value})
}

// ClearTXT takes the records of a name out of the DNS.
func (s *Pebble) ClearTXT(name string) { s.post("/clear-txt", map[string]string{"host": name}) }

// DNSManagement is where a program may change the DNS: POST /set-txt and /clear-txt.
func (s *Pebble) DNSManagement() string { return s.dns }

func (s *Pebble) post(path string, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.dns+path, bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = answer.Body.Close()
}
