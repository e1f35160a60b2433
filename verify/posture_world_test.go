package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// modern are the suites that RFC 9325 recommends, of those that a P-256
// certificate can have.
const modern = "ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"

// postures is every endpoint of the posture tests, by what it is.
type postures struct {
	root, issuing *pair
	client        *pair // that the demanding endpoints take
	ports         map[string]int
	pki           *revoking
}

func newPostures(t *testing.T) *postures {
	t.Helper()
	w := &postures{root: newRoot(t, "Site Root CA"), ports: map[string]int{}}
	w.issuing = w.root.issuing(t, "Site Server CA", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign })
	fleet := newRoot(t, "Fleet CA")
	w.client = fleet.leaf(t, usage(x509.ExtKeyUsageClientAuth))
	w.pki = newRevoking(t, w.issuing)
	fleetFile, _ := fleet.files(t)
	w.brokers(t, fleetFile)
	w.opensslServers(t, fleetFile)
	w.goServers(t)
	server := w.sandbox(t)
	w.ports["sandbox"], w.ports["sandbox, plain"] = portOf(server.MQTTSAddr()), portOf(server.MQTTAddr())
	w.ports["closed"] = freePort(t)
	return w
}

// brokers starts the real broker, strict unless said otherwise.
func (w *postures) brokers(t *testing.T, fleet string) {
	t.Helper()
	m := &mosquitto{}
	passwords := "password_file " + passwordFile(t, theToken, thePassword)
	strict := func(name string, p *pair, lines ...string) {
		if len(lines) == 0 {
			lines = []string{modern}
		}
		w.ports[name] = m.listen(t, p, append(lines, "allow_anonymous false", passwords)...)
	}
	good := w.issuing.leaf(t)
	strict("strict", good)
	strict("as mosquitto comes", good, "")
	strict("TLS 1.1", good, "tls_version tlsv1.1", "ciphers DEFAULT@SECLEVEL=0")
	strict("plain", nil, "")
	w.ports["open"] = m.listen(t, good, modern, "allow_anonymous true")
	w.ports["plain and open"] = m.listen(t, nil)
	w.ports["demanding"] = m.listen(t, good, modern, "allow_anonymous true", "require_certificate true", "cafile "+fleet)
	for name, p := range w.certificates(t) {
		strict(name, p)
	}
	strict("RSA 2048", rekeyed(t, w.issuing, good, newRSA(t, 2048)), "")
	strict("RSA 1024", rekeyed(t, w.issuing, good, newRSA(t, 1024)), "ciphers ECDHE-RSA-AES128-GCM-SHA256@SECLEVEL=0")
	m.start(t)
}

// certificates are those that a strict broker presents.
func (w *postures) certificates(t *testing.T) map[string]*pair {
	t.Helper()
	good := w.issuing.leaf(t)
	weakCA := w.root.issuing(t, "Weak Server CA")
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weakCA = rekeyed(t, w.root, weakCA, p224)
	weakCA.with = []*x509.Certificate{weakCA.cert}
	all := map[string]*pair{
		"root in chain":     {cert: good.cert, key: good.key, with: append(good.with[:1:1], w.root.cert)},
		"P-224 CA":          weakCA.leaf(t),
		"counted":           w.issuing.leaf(t, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4711) }),
		"long-lived":        w.issuing.leaf(t, lives(-day, 900*day)),
		"3 days left":       w.issuing.leaf(t, lives(-80*day, 3*day+day/2)),
		"20 days left":      w.issuing.leaf(t, lives(-80*day, 20*day+day/2)),
		"short-lived":       w.issuing.leaf(t, lives(-day, 5*day)),
		"short-lived, over": w.issuing.leaf(t, lives(-6*day, day)),
		"old issuing CA":    w.root.issuing(t, "Old Server CA", lives(-300*day, 5*day+day/2)).leaf(t, lives(-80*day, 20*day)),
		"ending issuing CA": w.root.issuing(t, "Ending Server CA", lives(-300*day, 25*day+day/2)).leaf(t),
	}
	for name, p := range w.pki.leaves {
		all[name] = p
	}
	return all
}

// opensslServers are for what mosquitto cannot do. They take one connection at a
// time, so no two rows may share one, and do not speak MQTT.
func (w *postures) opensslServers(t *testing.T, fleet string) {
	t.Helper()
	const suites = "ECDHE-ECDSA-AES128-GCM-SHA256"
	chain := func() string { path, _ := (&pair{cert: w.issuing.cert, key: w.issuing.key}).files(t); return path }
	serve := func(name string, p *pair, args ...string) {
		w.ports[name] = openssl(t, p, append(args, "-cert_chain", chain())...)
	}
	good := w.issuing.leaf(t)
	serve("old TLS", good, "-min_protocol", "TLSv1", "-cipher", "DEFAULT@SECLEVEL=0")
	serve("old TLS, demanding", good, "-min_protocol", "TLSv1", "-cipher", "DEFAULT@SECLEVEL=0", "-Verify", "1", "-verify_return_error", "-CAfile", fleet)
	serve("demanding in TLS 1.2", good, "-tls1_2", "-cipher", suites, "-Verify", "1", "-verify_return_error", "-CAfile", fleet)
	for _, name := range []string{"stapled good", "stapled revoked"} {
		serve(name, w.pki.staples[name], "-cipher", suites, "-status_file", w.pki.stapled[name])
	}
}

// goServers are for what no server that Debian has can be made to do: it builds
// OpenSSL without RC4 and 3DES. "mute" ones answer nothing to a weak offer.
func (w *postures) goServers(t *testing.T) {
	t.Helper()
	refusing := script{connack: "\x20\x02\x00\x05"}
	serve := func(name string, answer script, config *tls.Config) {
		w.ports[name] = listener(t, func(conn net.Conn) { answer.serve(tls.Server(conn, config)) })
	}
	strict := func(p *pair) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{*p.tls()}, MinVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
	}
	good := w.issuing.leaf(t)
	rsaLeaf := rekeyed(t, w.issuing, good, newRSA(t, 2048))
	serve("broken suites", refusing, &tls.Config{Certificates: []tls.Certificate{*rsaLeaf.tls()}, MinVersion: tls.VersionTLS12, CipherSuites: []uint16{
		tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	}})
	serve("TLS 1.3 alone", refusing, &tls.Config{Certificates: []tls.Certificate{*good.tls()}, MinVersion: tls.VersionTLS13})
	mute := strict(good)
	mute.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
			<-t.Context().Done()
		}
		return nil, nil //nolint:nilnil // crypto/tls's way of saying: as it is
	}
	serve("mute", refusing, mute)
	serve("closes", script{}, strict(good))
	serve("out of order", script{connack: "\x20\x02\x00\x03"}, strict(good))
	w.ports["gone"] = once(t, strict(good))
	// A certificate on the side that no path goes through.
	crossed := w.issuing.leaf(t)
	crossed.with = append(crossed.with[:1:1], w.issuing.again(t, w.root, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }).cert)
	serve("SHA-1", refusing, strict(crossed))
	for name, file := range w.pki.stapled {
		if w.ports[name] != 0 {
			continue
		}
		response, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config := strict(w.pki.staples[name])
		config.Certificates[0].OCSPStaple = response
		serve(name, refusing, config)
	}
	w.ports["HTTP"] = listener(t, says("HTTP/1.1 400 Bad Request\r\n\r\n"))
	w.ports["silent"], w.ports["dropped"] = listener(t, nil), dropping(t)
}

// once is a TLS server that is gone after its first connection.
func once(t *testing.T, config *tls.Config) int {
	t.Helper()
	port := freePort(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		l.Close()
		if err == nil {
			defer conn.Close()
			_, _ = tls.Server(conn, config).Read(make([]byte, 1))
		}
	}()
	return port
}

func (w *postures) sandbox(t *testing.T) *sandbox.Server {
	t.Helper()
	server, err := sandbox.Start(t.Context(), sandbox.Config{
		MQTTAddr: "127.0.0.1:0", MQTTSAddr: "127.0.0.1:0", Certificate: w.issuing.leaf(t).tls(),
		Devices: []sandbox.Device{{Name: "meter-1", Token: secret.New(theToken)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// rekeyed is the same certificate of the same issuer for another key.
func rekeyed(tb testing.TB, issuer, p *pair, key crypto.Signer) *pair {
	tb.Helper()
	made := signKey(tb, p.cert, issuer, key)
	made.with = p.with
	return made
}

func newRSA(tb testing.TB, bits int) crypto.Signer {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
