package remote_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/remote"
)

// isrgRootX1 is the fingerprint of the root of Let's Encrypt that every list of
// roots has (https://letsencrypt.org/certificates/).
const isrgRootX1 = "sha256:96bcec06264976f37460779acf28c5a7cfe8a3c0aae11a8ffcee05c0bddf08c6"

// The chain of a real server leads to the root that Mozilla has of its CA.
func TestRecordedChain(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/recorded-2019.pem")
	if err != nil {
		t.Fatal(err)
	}
	chain, err := certs.ParseCertificates(data)
	if err != nil {
		t.Fatal(err)
	}
	finder := &remote.Finder{System: x509.NewCertPool(), NoNetwork: true}
	found, err := finder.Find(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	if got := certs.Fingerprint(found.Root); got != isrgRootX1 || found.How != remote.HowMozilla || !found.Public || len(found.Path) != 3 || len(found.Missing) != 0 {
		t.Errorf("found %s, %q, %+v", got, found.Root.Subject, found)
	}
}

// A party is a certificate and its key.
type party struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// sign makes a certificate for a party, signed by another; aia is where its issuer
// is.
func sign(t *testing.T, name string, key *ecdsa.PrivateKey, by *party, aia ...string) *party { //nolint:revive // for tests
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: !strings.Contains(name, "."), BasicConstraintsValid: true, IssuingCertificateURL: aia,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if !template.IsCA {
		template.DNSNames, template.KeyUsage = []string{name}, x509.KeyUsageDigitalSignature
	}
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	issuer := &party{template, key}
	if by != nil {
		issuer = by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, &key.PublicKey, issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &party{cert, key}
}

// A publisher is where issuers are found.
type publisher struct {
	*httptest.Server
	*http.ServeMux
}

func publish(t *testing.T) publisher {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return publisher{server, mux}
}

func (p publisher) at(path string, answer func() []byte) string {
	p.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer()) })
	return p.URL + path
}

func lonely() *remote.Finder {
	return &remote.Finder{System: x509.NewCertPool(), Mozilla: [][]byte{}, Timeout: 5 * time.Second}
}

func chainOf(parties ...*party) (chain []*x509.Certificate) {
	for _, p := range parties {
		chain = append(chain, p.Certificate)
	}
	return chain
}

func TestFind(t *testing.T) {
	t.Parallel()
	p := publish(t)
	root := sign(t, "Root", nil, nil)
	oldRoot := sign(t, "Old Root", nil, nil)
	cross := sign(t, "Root", root.key, oldRoot)
	var issuing *party
	atRoot := p.at("/root.der", func() []byte { return root.Raw })
	atRootPEM := p.at("/root.pem", func() []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}) })
	atBag := p.at("/bag.p7c", func() []byte {
		bag, err := pkcs7.DegenerateCertificate(append(append([]byte{}, oldRoot.Raw...), root.Raw...))
		if err != nil {
			t.Error(err)
		}
		return bag
	})
	atIssuing := p.at("/issuing.der", func() []byte { return issuing.Raw })
	issuing = sign(t, "Issuing", nil, root, atRoot)
	leaf := sign(t, "tb.example.com", nil, issuing, atIssuing)
	byPEM := sign(t, "Issuing", issuing.key, root, "ldap://example.com/x", atRootPEM)
	byBag := sign(t, "Issuing", issuing.key, root, p.URL+"/missing", atBag)
	alone := sign(t, "alone.example.com", nil, nil)
	public := lonely()
	public.Mozilla = [][]byte{oldRoot.Raw[:len(oldRoot.Raw)-1], root.Raw}
	system := lonely()
	system.System = x509.NewCertPool()
	system.System.AddCert(root.Certificate)
	for _, row := range []struct {
		name    string
		finder  *remote.Finder
		chain   []*x509.Certificate
		root    *party
		how     remote.How
		missing int
		self    bool
	}{
		{"the whole chain", lonely(), chainOf(leaf, issuing, root), root, remote.HowPresented, 0, false},
		{"in another order", lonely(), chainOf(leaf, root, issuing), root, remote.HowPresented, 0, false},
		{"without the root, which Mozilla has", public, chainOf(leaf, issuing), root, remote.HowMozilla, 0, false},
		{"with a cross-signed root, which an older one has signed", public, chainOf(leaf, issuing, cross, oldRoot), root, remote.HowMozilla, 0, false},
		{"the same, which nobody else has", lonely(), chainOf(leaf, issuing, cross, oldRoot), oldRoot, remote.HowPresented, 0, false},
		{"without the root, which this machine has", system, chainOf(leaf, issuing), root, remote.HowSystem, 0, false},
		{"without the root, which is where it says", lonely(), chainOf(leaf, issuing), root, remote.HowIssuerURL, 0, false},
		{"the same in PEM, at the second address", lonely(), chainOf(leaf, byPEM), root, remote.HowIssuerURL, 0, false},
		{"the same in PKCS#7, at the second address", lonely(), chainOf(leaf, byBag), root, remote.HowIssuerURL, 0, false},
		{"the certificate alone", lonely(), chainOf(leaf), root, remote.HowIssuerURL, 1, false},
		{"the certificate alone, whose root Mozilla has", public, chainOf(leaf), root, remote.HowMozilla, 1, false},
		{"a certificate of its own", lonely(), chainOf(alone), alone, remote.HowPresented, 0, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			found, err := row.finder.Find(t.Context(), row.chain)
			if err != nil {
				t.Fatal(err)
			}
			if !found.Root.Equal(row.root.Certificate) || found.How != row.how || len(found.Missing) != row.missing || found.SelfSigned != row.self {
				t.Errorf("found %q, %s, %d missing, self-signed %t", found.Root.Subject, found.How, len(found.Missing), found.SelfSigned)
			}
			if found.Public != (row.how == remote.HowMozilla || row.how == remote.HowSystem) {
				t.Errorf("public is %t", found.Public)
			}
			if last := found.Path[len(found.Path)-1]; !last.Equal(found.Root) || !found.Path[0].Equal(row.chain[0]) {
				t.Errorf("the path is from %q to %q", found.Path[0].Subject, last.Subject)
			}
		})
	}
}

// What answers at an issuer's address may be anybody's.
func TestHostileIssuers(t *testing.T) {
	t.Parallel()
	p := publish(t)
	root := sign(t, "Root", nil, nil)
	impostor := sign(t, "Root", nil, nil)
	endless := func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 1<<16)
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	p.HandleFunc("/endless", endless)
	p.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	p.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	p.at("/impostor", func() []byte { return impostor.Raw })
	p.at("/text", func() []byte { return []byte("hello") })
	p.at("/empty", func() []byte { return nil })
	// Two CAs that have signed each other, with another certificate each time.
	one, other := sign(t, "One", nil, nil), sign(t, "Other", nil, nil)
	p.at("/one", func() []byte { return sign(t, "One", one.key, other, p.URL+"/other").Raw })
	p.at("/other", func() []byte { return sign(t, "Other", other.key, one, p.URL+"/one").Raw })
	for path, want := range map[string]string{
		"/endless": "more than 1048576 bytes", "/loop": "it answers 302", "/impostor": "did not sign it", "/text": "holds no certificate",
		"/empty": "holds no certificate", "/nowhere": "it answers 404",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			leaf := sign(t, "tb.example.com", nil, root, p.URL+path)
			_, err := lonely().Find(t.Context(), chainOf(leaf))
			if !errors.Is(err, remote.ErrNoRoot) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		finder := lonely()
		finder.Timeout = 100 * time.Millisecond
		leaf := sign(t, "tb.example.com", nil, root, p.URL+"/silent", p.URL+"/silent", "http:///x", "file:///etc/passwd")
		if _, err := finder.Find(t.Context(), chainOf(leaf)); !errors.Is(err, remote.ErrNoRoot) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("without end", func(t *testing.T) {
		t.Parallel()
		leaf := sign(t, "tb.example.com", nil, one, p.URL+"/one")
		if _, err := lonely().Find(t.Context(), chainOf(leaf)); !errors.Is(err, remote.ErrNoRoot) || !strings.Contains(err.Error(), "longer than 8") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no address, and no network", func(t *testing.T) {
		t.Parallel()
		if _, err := lonely().Find(t.Context(), chainOf(sign(t, "tb.example.com", nil, root))); err == nil || !strings.Contains(err.Error(), "does not say where") {
			t.Errorf("got %v", err)
		}
		finder := lonely()
		finder.NoNetwork = true
		if _, err := finder.Find(t.Context(), chainOf(sign(t, "tb.example.com", nil, root, p.URL+"/text"))); !errors.Is(err, remote.ErrNoRoot) {
			t.Errorf("got %v", err)
		}
		if _, err := finder.Find(t.Context(), nil); !errors.Is(err, remote.ErrEmpty) {
			t.Errorf("got %v", err)
		}
	})
}

// A server shows its certificates whatever is wrong with them, and is sent nothing
// but a handshake.
func TestPresent(t *testing.T) {
	t.Parallel()
	root := sign(t, "Root", nil, nil)
	leaf := sign(t, "tb.example.com", nil, root)
	for name, config := range map[string]*tls.Config{
		"TLS 1.3": {}, "TLS 1.2": {MaxVersion: tls.VersionTLS12}, "a client certificate": {ClientAuth: tls.RequireAnyClientCert},
		"a client certificate, TLS 1.2": {ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12},
	} {
		for _, trusted := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				config := config.Clone()
				config.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw, root.Raw}, PrivateKey: leaf.key}}
				port, said := serve(t, config)
				finder := lonely()
				if trusted {
					finder.System.AddCert(root.Certificate)
				}
				finder.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, port)
				}
				chain, err := finder.Present(t.Context(), "tb.example.com:8883")
				if err != nil || len(chain) != 2 || !chain[0].Equal(leaf.Certificate) {
					t.Errorf("%d certificates, %v", len(chain), err)
				}
				if text := <-said; text != "" {
					t.Errorf("it was sent %q", text)
				}
			})
		}
	}
	finder := lonely()
	finder.Timeout = time.Second
	if _, err := finder.Present(t.Context(), "no-port"); err == nil {
		t.Error("no port is no error")
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	go func() {
		if conn, err := plain.Accept(); err == nil {
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	if _, err := finder.Present(t.Context(), plain.Addr().String()); err == nil || !strings.Contains(err.Error(), "TLS with "+plain.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

// serve is a TLS server for one connection; it gives what it was sent inside.
func serve(t *testing.T, config *tls.Config) (address string, said <-chan string) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	texts := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			texts <- err.Error()
			return
		}
		defer conn.Close()
		text, _ := io.ReadAll(conn)
		texts <- string(text)
	}()
	return listener.Addr().String(), texts
}
