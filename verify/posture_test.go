package verify_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/verify"
)

// postureRow is one server, and what Posture must say of it.
type postureRow struct {
	at string // the endpoint
	// want is a letter a check, in order, as in row.want.
	want string
	// about is the check that must say this.
	about              verify.CheckID
	detail, cause, fix string

	plain   string // the endpoint of the plain port; "" is a closed port
	options verify.PostureOptions
	edit    func(*postures, *verify.Target)
	patient time.Duration // 0: patience
	later   time.Duration // that the clock is ahead
}

// postureRows cover every check.
func postureRows() []postureRow {
	return slices.Concat(loginRows(), tlsRows(), plainRows(), certRows(), revocationRows())
}

// TestPosture asks real endpoints, strict and not.
func TestPosture(t *testing.T) {
	t.Parallel()
	w := newPostures(t)
	for _, row := range postureRows() {
		t.Run(fmt.Sprintf("%s %s %s", row.about, row.at, row.plain), func(t *testing.T) {
			t.Parallel()
			row.run(t, w)
		})
	}
}

func (row postureRow) run(t *testing.T, w *postures) {
	t.Helper()
	port, known := w.ports[row.at]
	plain, knownPlain := w.ports[row.plain]
	if !known || row.plain != "" && !knownPlain {
		t.Fatalf("there is no endpoint %q or %q", row.at, row.plain)
	}
	target := verify.Target{Host: "127.0.0.1", Port: port, TLS: true, Roots: []*x509.Certificate{w.root.cert}, RootsName: "ca-root.pem", Login: token()}
	if row.edit != nil {
		row.edit(w, &target)
	}
	if row.options.PlainPort == 0 {
		row.options.PlainPort = plain
		if row.plain == "" {
			row.options.PlainPort = w.ports["closed"]
		}
	}
	verifier := &verify.Verifier{Timeout: patience, Now: func() time.Time { return time.Now().Add(row.later) }}
	if row.patient > 0 {
		verifier.Timeout = row.patient
	}
	checks := verifier.Posture(t.Context(), target, row.options)
	if got := postureLetters(t, checks); got != row.want {
		t.Errorf("checks are %s, want %s", got, row.want)
	}
	for _, check := range checks {
		if check.ID == row.about {
			row.explained(t, check)
		}
		if t.Failed() {
			t.Logf("%s %s\n\t%s\n\tcause: %s\n\tfix: %s", check.ID, check.Status, check.Detail, check.Cause, check.Fix)
		}
	}
}

func (row postureRow) explained(t *testing.T, check verify.Check) {
	t.Helper()
	for _, text := range [][3]string{{"detail", check.Detail, row.detail}, {"cause", check.Cause, row.cause}, {"fix", check.Fix, row.fix}} {
		if (text[1] == "") != (text[2] == "") {
			t.Errorf("the row says %q of the %s: %s", text[2], text[0], text[1])
		}
		for _, want := range strings.Split(text[2], " … ") {
			if !strings.Contains(text[1], want) {
				t.Errorf("the %s of %s is %q, and does not hold %q", text[0], check.ID, text[1], want)
			}
		}
	}
}

// postureLetters also holds the checks to what every check owes.
func postureLetters(t *testing.T, checks []verify.Check) string {
	t.Helper()
	var got strings.Builder
	for i, check := range checks {
		if i >= len(verify.PostureIDs()) || check.ID != verify.PostureIDs()[i] {
			t.Fatalf("out of order: %s", check.ID)
		}
		postureRow{}.complete(t, check)
		got.WriteRune(statuses()[check.Status])
	}
	return got.String()
}

func (postureRow) complete(t *testing.T, check verify.Check) {
	t.Helper()
	row{}.complete(t, check)
	if strings.Contains(check.Detail+check.Cause+check.Fix, "%!") {
		t.Errorf("%s has a broken text: %+v", check.ID, check)
	}
}

// TestPostureCoversEveryCheck wants every check seen to pass, to warn and to
// fail, with its texts looked at.
func TestPostureCoversEveryCheck(t *testing.T) {
	t.Parallel()
	for i, id := range verify.PostureIDs() {
		seen := map[byte]bool{}
		for _, row := range postureRows() {
			if len(row.want) != len(verify.PostureIDs()) {
				t.Fatalf("row %q says %q", row.at, row.want)
			}
			if row.about == id {
				seen[row.want[i]] = true
			}
		}
		for _, letter := range []byte("pwF") {
			if !seen[letter] {
				t.Errorf("no row about %s has it end with %c: add one", id, letter)
			}
		}
	}
}

// TestPostureSendsNoCredential listens: one random token, no name otherwise, and
// nothing of the target's login.
func TestPostureSendsNoCredential(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Site Root CA")
	shown := make(chan tls.ConnectionState, 100)
	config := &tls.Config{
		Certificates: []tls.Certificate{*root.leaf(t).tls()}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			shown <- state
			return nil
		},
	}
	heard := make(chan *packets.ConnectPacket, 10)
	hear := func(conn net.Conn) {
		if packet, err := packets.ReadPacket(conn); err == nil {
			heard <- packet.(*packets.ConnectPacket)
			_, _ = conn.Write([]byte{0x20, 2, 0, 5})
		}
	}
	secure := listener(t, func(conn net.Conn) { hear(tls.Server(conn, config)) })
	plain := listener(t, hear)
	target := verify.Target{
		Host: "localhost", Port: secure, TLS: true, Roots: []*x509.Certificate{root.cert}, Login: login(theToken, thePassword),
		ClientCertificate: newRoot(t, "Fleet CA").leaf(t, usage(x509.ExtKeyUsageClientAuth)).tls(),
	}
	(&verify.Verifier{Resolve: everywhere, Timeout: patience}).Posture(t.Context(), target, verify.PostureOptions{PlainPort: plain})
	close(heard)
	tried := 0
	for packet := range heard {
		if strings.Contains(packet.String(), theToken) || packet.PasswordFlag {
			t.Error("a credential of the target was sent")
		}
		if packet.UsernameFlag {
			tried++
			if len(packet.Username) != 20 {
				t.Errorf("the random token has %d characters", len(packet.Username))
			}
		}
	}
	if tried != 1 {
		t.Errorf("%d wrong tries, want exactly one", tried)
	}
	proofs, questions := 0, 0
	for len(shown) > 0 {
		state := <-shown
		questions++
		if len(state.PeerCertificates) > 0 {
			proofs++
			if state.Version != tls.VersionTLS13 {
				t.Errorf("the client certificate was shown in %s", tls.VersionName(state.Version))
			}
		}
	}
	if proofs > 1 || questions < 4 {
		t.Errorf("the client certificate was shown in %d of %d handshakes, want the first look alone", proofs, questions)
	}
}

// TestPostureSkips asks nothing of a server that is not verified, and nothing at
// all of plain MQTT or when it is interrupted; the plain port needs no
// certificate.
func TestPostureSkips(t *testing.T) {
	t.Parallel()
	root, other := newRoot(t, "Site Root CA"), newRoot(t, "Other Root CA")
	m := &mosquitto{}
	port := m.listen(t, root.leaf(t))
	m.start(t)
	for name, c := range map[string]struct {
		ended        bool
		edit         func(*verify.Target)
		want, detail string
	}{
		"another root": {false, func(target *verify.Target) { target.Roots = []*x509.Certificate{other.cert} }, "sssspsss", "chain failed"},
		"another name": {false, func(target *verify.Target) { target.Host = "127.0.0.2" }, "sssspsss", "name failed"},
		"closed":       {false, func(target *verify.Target) { target.Port = freePort(t) }, "sssspsss", "tcp failed"},
		"unknown host": {false, func(target *verify.Target) { target.Host = "no such host" }, "ssssssss", "resolve failed"},
		"plain":        {false, func(target *verify.Target) { target.TLS = false }, "ssssssss", "plain MQTT"},
		"interrupted":  {true, func(*verify.Target) {}, "ssssssss", "interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := verify.Target{Host: "127.0.0.1", Port: port, TLS: true, Roots: []*x509.Certificate{root.cert}, Login: token()}
			c.edit(&target)
			closed := freePort(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.ended {
				cancel()
			}
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, strings.Replace(address, "127.0.0.2", "127.0.0.1", 1))
			}
			checks := (&verify.Verifier{Timeout: patience, Dial: dial}).Posture(ctx, target, verify.PostureOptions{PlainPort: closed})
			if got := postureLetters(t, checks); got != c.want || !strings.Contains(checks[0].Detail, c.detail) {
				t.Errorf("checks are %s, want %s: %s", got, c.want, checks[0].Detail)
			}
		})
	}
}

// TestPostureInterrupted ends each question that waits: nothing is blamed.
func TestPostureInterrupted(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Site Root CA")
	leaf := root.leaf(t)
	for name, c := range map[string]struct {
		version uint16 // at whose hello the user ends it
		connect int    // or at which CONNECT
		passed  int    // checks that came before
	}{
		"at the token":   {connect: 1},
		"at no user":     {connect: 2, passed: 1},
		"at TLS 1.0":     {version: tls.VersionTLS10, passed: 2},
		"at TLS 1.1":     {version: tls.VersionTLS11, passed: 2},
		"at the ciphers": {version: tls.VersionTLS12, passed: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			config := &tls.Config{Certificates: []tls.Certificate{*leaf.tls()}, MinVersion: tls.VersionTLS12}
			config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if hello.SupportedVersions[0] == c.version {
					cancel()
					<-t.Context().Done()
				}
				return nil, nil //nolint:nilnil // crypto/tls's way of saying: as it is
			}
			connects := make(chan struct{}, 10)
			port := listener(t, func(conn net.Conn) {
				server := tls.Server(conn, config)
				if _, err := packets.ReadPacket(server); err != nil {
					return
				}
				connects <- struct{}{}
				if len(connects) == c.connect {
					cancel()
					<-t.Context().Done()
				}
				_, _ = server.Write([]byte{0x20, 2, 0, 5})
			})
			checks := (&verify.Verifier{Timeout: patience}).Posture(ctx, verify.Target{Host: "localhost", Port: port, TLS: true, Roots: []*x509.Certificate{root.cert}}, verify.PostureOptions{PlainPort: port})
			want := strings.Repeat("p", c.passed) + strings.Repeat("s", len(verify.PostureIDs())-c.passed)
			if got := postureLetters(t, checks); got != want {
				t.Errorf("checks are %s, want %s: %+v", got, want, checks)
			}
		})
	}
}

// TestPostureUsesItsHTTPClient gives the one of the options.
func TestPostureUsesItsHTTPClient(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Site Root CA")
	config := &tls.Config{Certificates: []tls.Certificate{*root.leaf(t, func(c *x509.Certificate) {
		c.CRLDistributionPoints = []string{"https://crl.example.com/list.crl"}
	}).tls()}, MinVersion: tls.VersionTLS12}
	refusing := script{connack: "\x20\x02\x00\x05"}
	port := listener(t, func(conn net.Conn) { refusing.serve(tls.Server(conn, config)) })
	asked := make(chan string, 1)
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		asked <- r.Method + " " + r.URL.String()
		return nil, net.ErrClosed
	})}
	(&verify.Verifier{Timeout: patience}).Posture(t.Context(), verify.Target{Host: "localhost", Port: port, TLS: true, Roots: []*x509.Certificate{root.cert}},
		verify.PostureOptions{PlainPort: port, HTTP: client})
	if got := <-asked; got != "GET https://crl.example.com/list.crl" {
		t.Errorf("asked for %q", got)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
