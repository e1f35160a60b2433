package verify_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"

	"github.com/tbcert/tbcert/verify"
)

// TestNoCredentialCrossesAnUnverifiedConnection listens as an impostor would,
// for each thing that can be wrong with a certificate: nothing but the
// handshake may come.
func TestNoCredentialCrossesAnUnverifiedConnection(t *testing.T) {
	t.Parallel()
	root, other := newRoot(t, "Site Root CA"), newRoot(t, "Other Root CA")
	for name, p := range map[string]*pair{
		"chain": other.leaf(t), "name": root.leaf(t, names("tb.example.com")),
		"dates": root.leaf(t, lives(-10*day, -day)), "usage": root.leaf(t, usage(x509.ExtKeyUsageClientAuth)),
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				heard := make(chan []byte, 1)
				config := &tls.Config{Certificates: []tls.Certificate{*p.tls()}, MinVersion: version, MaxVersion: version}
				port := listener(t, func(conn net.Conn) {
					said, _ := io.ReadAll(tls.Server(conn, config)) // ends with the client's alert
					heard <- said
				})
				report := (&verify.Verifier{Timeout: patience}).Run(t.Context(), verify.Target{
					Host: "localhost", Port: port, TLS: true, Roots: []*x509.Certificate{root.cert}, Login: login(theToken, thePassword),
				})
				if said := <-heard; len(said) > 0 {
					t.Errorf("the impostor got %d bytes, with the token among them: %t", len(said), bytes.Contains(said, []byte(theToken)))
				}
				if string(report.Failed) != name {
					t.Errorf("failed %q, want %q", report.Failed, name)
				}
			})
		}
	}
}

// TestInspect looks at a server without logging in.
func TestInspect(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Site Root CA")
	leaf := root.issuing(t, "Site Server CA").leaf(t)
	config := &tls.Config{Certificates: []tls.Certificate{*leaf.tls()}, MinVersion: tls.VersionTLS13}
	for name, c := range map[string]struct {
		host, version, want string
	}{
		"good":       {"localhost", "TLS 1.3", "ppppppp"},
		"wrong name": {"127.0.0.2", "", "ppppFpp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard := make(chan []byte, 1)
			port := listener(t, func(conn net.Conn) {
				said, _ := io.ReadAll(tls.Server(conn, config))
				heard <- said
			})
			verifier := &verify.Verifier{Resolve: everywhere, Dial: dialTo(port), Timeout: patience}
			shown, report := verifier.Inspect(t.Context(), verify.Target{
				Host: c.host, Port: port, Roots: []*x509.Certificate{root.cert}, Login: token(),
			})
			if got := letters(report); got != c.want {
				t.Errorf("checks are %s, want %s", got, c.want)
			}
			if len(shown.Chain) != 2 || !shown.Chain[0].Equal(leaf.cert) || shown.Version != c.version {
				t.Errorf("shown %d certificates and version %q, want 2 and %q", len(shown.Chain), shown.Version, c.version)
			}
			if (report.Problem() == "") != report.OK {
				t.Errorf("problem %q, ok %t", report.Problem(), report.OK)
			}
			if said := <-heard; len(said) > 0 {
				t.Errorf("the server got %d bytes of a client that only looks", len(said))
			}
		})
	}
}

// BenchmarkRun is a whole run against a real mosquitto over TLS.
func BenchmarkRun(b *testing.B) {
	root := newRoot(b, "Site Root CA")
	m := &mosquitto{}
	port := m.listen(b, root.issuing(b, "Site Server CA").leaf(b))
	m.start(b)
	target := verify.Target{Host: "localhost", Port: port, TLS: true, Roots: []*x509.Certificate{root.cert}, Login: token()}
	for b.Loop() {
		if report := new(verify.Verifier).Run(b.Context(), target); !report.OK {
			b.Fatalf("%+v", report)
		}
	}
}
