package sandbox_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// chained is a sandbox whose profile "factory" holds the CA of a factory.
func (f factory) chained(t *testing.T, edits ...func(*sandbox.Config)) *world {
	t.Helper()
	return start(t, append([]func(*sandbox.Config){func(config *sandbox.Config) {
		config.Profiles = []sandbox.Profile{{Name: "factory", Chain: &sandbox.Chain{
			Certificate: certs.EncodeCertificates(f.ca.Certificate), Pattern: "^(.+)$", AllowCreate: true,
		}}}
	}}, edits...)...)
}

// code is the CONNACK that a certificate gets.
func (w *world) code(t *testing.T, certificate *tls.Certificate) byte {
	t.Helper()
	p := w.dialTLS(t, certificate)
	p.send(connect(""))
	return receive[*paho.ConnackPacket](p).ReturnCode
}

// certificateOf is the certificate that a device has in ThingsBoard; "" for none.
func (w *world) certificateOf(name string) string {
	for _, device := range w.Devices() {
		if device.Name == name {
			return string(device.Certificate)
		}
	}
	return ""
}

// TestOldCertificateComesBackByItsChain: of two certificates of the profile's CA
// the one that was presented last counts, the older one too. The session that
// went by the other is ended.
func TestOldCertificateComesBackByItsChain(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	w := f.chained(t)
	older, olderPEM := f.device("meter-9", true)
	newer, newerPEM := f.device("meter-9", true)
	if code := w.code(t, older); code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	p := w.dialTLS(t, newer)
	p.logInV5(connect(""))
	if got := w.certificateOf("meter-9"); got != string(newerPEM) {
		t.Errorf("the device has %s", got)
	}
	if code := w.code(t, older); code != 0 {
		t.Errorf("the older certificate: CONNACK %d", code)
	}
	if got := p.bytes(4); !bytes.Equal(got, []byte{0xe0, 2, 0x98, 0}) {
		t.Errorf("got % x, want DISCONNECT 98", got)
	}
	p.wantClosed()
	if got := w.certificateOf("meter-9"); got != string(olderPEM) {
		t.Errorf("the device has %s", got)
	}
	if alone := (&tls.Certificate{Certificate: newer.Certificate[:1], PrivateKey: newer.PrivateKey}); w.code(t, alone) != 5 {
		t.Error("a leaf that was replaced was let in without its chain")
	}
}

// TestOtherCredentialKeepsCertificatesOut: a device that has a token, or basic
// credentials, does not get in by a certificate of its profile's CA, and keeps
// what it has.
func TestOtherCredentialKeepsCertificatesOut(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	w := f.chained(t, func(config *sandbox.Config) {
		config.Devices = []sandbox.Device{
			{Name: "meter-1", Type: "factory", Token: secret.New(token)},
			{Name: "meter-2", Type: "factory", Basic: sandbox.Basic{ClientID: secret.New("c")}},
			{Name: "meter-3", Type: "other", Token: secret.New(token2)},
		}
	})
	for _, name := range []string{"meter-1", "meter-2", "meter-3"} {
		certificate, _ := f.device(name, true)
		if code := w.code(t, certificate); code != 5 {
			t.Errorf("%s: CONNACK %d", name, code)
		}
	}
	w.dial(t).logIn(token)
	if n := len(w.Devices()); n != 3 {
		t.Errorf("there are %d devices", n)
	}
}

// TestExpiredCertificateReplacesAndIsRefused: the handshake does not look at
// dates, so an expired certificate with its chain takes the place of the good one,
// and is refused in CONNECT. The good one then comes back the same way.
func TestExpiredCertificateReplacesAndIsRefused(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	expired, expiredPEM := f.device("meter-9", true)
	f.ca.Maker.Now = func() time.Time { return time.Now().AddDate(0, 1, 0) }
	good, goodPEM := f.device("meter-9", true)
	w := f.chained(t, func(config *sandbox.Config) {
		config.Now = func() time.Time { return time.Now().AddDate(0, 1, 0) }
	})
	for _, step := range []struct {
		certificate *tls.Certificate
		code        byte
		has         []byte
	}{{good, 0, goodPEM}, {expired, 5, expiredPEM}, {good, 0, goodPEM}} {
		if code := w.code(t, step.certificate); code != step.code || w.certificateOf("meter-9") != string(step.has) {
			t.Errorf("CONNACK %d, want %d; the device has %s", code, step.code, w.certificateOf("meter-9"))
		}
	}
}

// TestChainPatterns has CNs that a profile's pattern finds a name in, or not.
func TestChainPatterns(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	for _, row := range []struct {
		pattern string
		allow   bool
		want    string
	}{
		{"^(.+)$", true, "meter-9.lan"},
		{"(meter-[0-9])", true, "meter-9"}, // anywhere in the CN
		{"^(.+)\\.lan", true, "meter-9"},
		{"^(.+)\\.wan", true, ""},
		{"meter", true, ""}, // no group
		{"(", true, ""},
		{"^(.+)$", false, ""},
	} {
		t.Run(row.pattern, func(t *testing.T) {
			t.Parallel()
			w := f.chained(t, func(config *sandbox.Config) {
				config.Devices = nil
				config.Profiles[0].Chain.Pattern, config.Profiles[0].Chain.AllowCreate = row.pattern, row.allow
			})
			certificate, _ := f.device("meter-9.lan", true)
			got := ""
			if w.code(t, certificate) == 0 {
				device := w.Devices()[0]
				got = device.Name
				if state := w.Attributes(got, "SERVER_SCOPE")["provisionState"]; state != "provisioned" || device.Type != "factory" {
					t.Errorf("the device is %q with the profile %q", state, device.Type)
				}
			}
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// TestChainThatDoesNotFit is refused in the handshake; with TLS 1.3 it shows when
// the client reads.
func TestChainThatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := start(t)
	leaf, _ := newFactory(t).device("meter-9", false)
	leaf.Certificate = append(leaf.Certificate, newFactory(t).ca.Certificate.Raw)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.identity.pem)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conn, err := tls.Dial("tcp", w.MQTTSAddr().String(), &tls.Config{
			RootCAs: roots, MinVersion: version, MaxVersion: version,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return leaf, nil },
		})
		if err == nil {
			conn.SetDeadline(time.Now().Add(patience))
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "remote error: tls") {
			t.Errorf("TLS %#x: got %v, want an alert", version, err)
		}
	}
}

// TestAcceptedIssuers: the server names its own certificate as the only issuer
// that it accepts, as ThingsBoard does.
func TestAcceptedIssuers(t *testing.T) {
	t.Parallel()
	w := start(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.identity.pem)
	server, err := x509.ParseCertificate(w.identity.tls.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	var named [][]byte
	conn, err := tls.Dial("tcp", w.MQTTSAddr().String(), &tls.Config{
		RootCAs: roots,
		GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			named = info.AcceptableCAs
			return &tls.Certificate{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if len(named) != 1 || !bytes.Equal(named[0], server.RawSubject) {
		t.Errorf("got %q", named)
	}
}
