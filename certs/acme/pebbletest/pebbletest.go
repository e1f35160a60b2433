// Package pebbletest starts Pebble, Let's Encrypt's ACME server for tests, with a DNS
// that a test fills. It is built from its Go module, by the go command.
package pebbletest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec" //nolint:depguard // this package is for tests
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs"
)

// version of Pebble's module.
const version = "v2.10.1"

// patience bounds the wait for a server.
const patience = 20 * time.Second

// A Server is a Pebble that runs until the end of the test.
type Server struct {
	Directory string // address of its ACME directory
	CAFile    string // the root of its web server, and the root of what it issues
	HTTPAddr  string // where it looks for http-01
	TLSAddr   string // where it looks for tls-alpn-01
	dns       string // address of the DNS's management
	roots     *x509.CertPool
	t         testing.TB
}

// Options are what a test wants to be otherwise.
type Options struct {
	NonceReject int               // percent of good nonces that are refused; 0 is 5
	EAB         map[string]string // key identifiers and keys, one of which an account needs
	DNSServer   string            // that is asked; "" is one that a test fills
}

//nolint:gochecknoglobals // the programs are built once for all tests of a process
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pebble-")
	if err != nil {
		return "", err
	}
	const module = "github.com/letsencrypt/pebble/v2/cmd/"
	build := exec.Command("go", "install", module+"pebble@"+version, module+"pebble-challtestsrv@"+version)
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	return dir, build.Run()
})

// Start starts a Pebble.
func Start(tb testing.TB, options Options) *Server {
	tb.Helper()
	bin, err := programs()
	if err != nil {
		tb.Fatalf("build Pebble: %v", err)
	}
	s := &Server{t: tb, CAFile: filepath.Join(tb.TempDir(), "acme-ca.pem")}
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
	s.run(filepath.Join(bin, "pebble"), []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=" + strconv.Itoa(reject)},
		"-config", filepath.Join(dir, "config.json"), "-dnsserver", options.DNSServer)
	issuing := s.get("https://" + management + "/roots/0")
	web, err := os.ReadFile(s.CAFile)
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, s.CAFile, append(web, issuing...))
	return s
}

// identity makes the certificate of Pebble's own web server.
func (s *Server) identity(dir string) {
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
func (s *Server) startDNS(bin string) (address string) {
	address, management := free(s.t), free(s.t)
	s.dns = "http://" + management
	s.run(filepath.Join(bin, "pebble-challtestsrv"), nil, "-dnsserver", address, "-management", management,
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "")
	s.get(s.dns + "/")
	return address
}

// SetTXT puts a record into the DNS, and ClearTXT takes all of a name away.
func (s *Server) SetTXT(name, value string) {
	s.post("/set-txt", map[string]string{"host": name, "value": value})
}

// ClearTXT takes the records of a name out of the DNS.
func (s *Server) ClearTXT(name string) { s.post("/clear-txt", map[string]string{"host": name}) }

// DNSManagement is where a program may change the DNS: POST /set-txt and /clear-txt.
func (s *Server) DNSManagement() string { return s.dns }

func (s *Server) post(path string, body any) {
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

// run starts a program, to be ended with the test.
func (s *Server) run(program string, environ []string, arguments ...string) {
	var log bytes.Buffer
	process := exec.Command(program, arguments...) //nolint:gosec,noctx // built just now; ended with the test
	process.Env, process.Stdout, process.Stderr = append(os.Environ(), environ...), &log, &log
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		_ = process.Wait()
		if s.t.Failed() {
			s.t.Logf("%s says:\n%s", filepath.Base(program), log.String())
		}
	})
}

// get asks until there is an answer.
func (s *Server) get(address string) []byte {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		answer, err := client.Do(request)
		if err != nil {
			if time.Now().After(deadline) {
				s.t.Fatal(err)
			}
			continue
		}
		data, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			s.t.Fatal(err)
		}
		return data
	}
}

func free(tb testing.TB) string {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func portOf(tb testing.TB, address string) int {
	tb.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

func write(tb testing.TB, file string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil { //nolint:gosec // the test's own
		tb.Fatal(err)
	}
}
