package cmd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
)

const (
	renewals = 5   // under load
	onLine   = 200 // devices that are connected meanwhile
	knocking = 8   // that shake hands again and again
)

// rootsOf is what devices of a site trust.
func rootsOf(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "ca-root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		t.Fatal("there is no root")
	}
	return roots
}

// Devices stay connected while the certificate is renewed below a mosquitto that
// reloads on the hook; none that comes meanwhile meets a key that is another
// certificate's; and the new certificate is what is served in the end.
func TestRenewUnderLoad(t *testing.T) {
	t.Parallel()
	l := newRush(t)
	l.begin(rootsOf(t, l.dir))
	for range renewals {
		result := l.tbcert(0, "renew", "--force", "--hook", l.hook, "--wait", patience.String())
		if result["served"] != "new" || result["hook"] != "ran" {
			t.Errorf("renew tells %v", result)
		}
		l.more()
	}
	l.end()
}

// A rush is a site with a mosquitto, devices that are connected to it, and others
// that come again and again.
type rush struct {
	*plant
	port     int
	address  string
	hook     string // has mosquitto load its certificate again
	stop     context.CancelFunc
	knockers sync.WaitGroup
	good     atomic.Int64 // handshakes
}

func newRush(t *testing.T) *rush {
	t.Helper()
	l := &rush{plant: &plant{t: t, dir: t.TempDir()}, port: unusedPort(t)}
	l.address = net.JoinHostPort("localhost", strconv.Itoa(l.port))
	l.tbcert(0, "init", "--host", "localhost", "--mqtts-port", strconv.Itoa(l.port))
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, mosquittoConf, unusedPort(t), l.port, l.dir, l.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := exec.Command("mosquitto", "-c", conf)
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = broker.Process.Signal(syscall.SIGTERM)
		_ = broker.Wait()
	})
	if !answers(l.port) {
		t.Fatal("mosquitto does not answer")
	}
	l.hook = "sh -c 'kill -HUP " + strconv.Itoa(broker.Process.Pid) + "'"
	return l
}

// begin has devices with these roots connect and come.
func (l *rush) begin(roots *x509.CertPool) {
	l.t.Helper()
	for i := range onLine {
		l.sessions = append(l.sessions, comeOnLine(l.t, l.address, roots, fmt.Sprintf("meter-%03d", i)))
	}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(l.t.Context())
	shake := func(ctx context.Context) error {
		dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
		conn, err := dialer.DialContext(ctx, "tcp", l.address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	for range knocking {
		l.knockers.Go(func() { knock(ctx, l.t, shake, &l.good) })
	}
}

// more waits until devices have come after what was done last.
func (l *rush) more() {
	l.t.Helper()
	before := l.good.Load()
	for deadline := time.Now().Add(patience); l.good.Load() < before+knocking; {
		if time.Now().After(deadline) {
			l.t.Fatal("no devices come any more")
		}
		l.work(l.sessions[0])
	}
}

// end has all devices that were connected work once more.
func (l *rush) end() {
	l.t.Helper()
	l.stop()
	l.knockers.Wait()
	for _, session := range l.sessions {
		l.work(session)
	}
	l.t.Logf("%d handshakes", l.good.Load())
}

func comeOnLine(t *testing.T, address string, roots *x509.CertPool, name string) *device.Session {
	t.Helper()
	conn, err := device.DialTLS(t.Context(), address, roots, nil)
	if err != nil {
		t.Fatal(err)
	}
	session, err := device.Connect(t.Context(), conn, device.Login{Username: secret.New(name), ClientID: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Disconnect() })
	return session
}

// knock shakes hands until the end of ctx, and counts how often.
func knock(ctx context.Context, t *testing.T, shake func(context.Context) error, good *atomic.Int64) {
	t.Helper()
	for {
		err := shake(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.Errorf("after %d handshakes: %v", good.Load(), err)
			return
		}
		good.Add(1)
	}
}

// heldPair gives the leaf in a file of dir, which devices with these roots accept
// and whose key is there, too, or in a second file.
func heldPair(t *testing.T, dir string, roots *x509.CertPool, files ...string) []byte {
	t.Helper()
	certFile, keyFile := files[0], files[len(files)-1]
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatalf("%s and %s: %v", certFile, keyFile, err)
	}
	intermediates := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		intermediates.AddCert(cert)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: "localhost"}); err != nil {
		t.Fatalf("%s: %v", certFile, err)
	}
	return pair.Leaf.Raw
}

// Whenever renew is killed, server/mqttserver.pem has a key and a chain that belong
// together and that devices trust; once one run has come to its end, the split
// files have the same.
func TestRenewKilled(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	dir := s.init()
	roots := rootsOf(t, dir)
	killed, seen := 0, map[string]bool{}
	most := 20 * time.Millisecond
	for range 50 * kills {
		if s.kill(s.soon(most), "renew", "-q", "-C", dir, "--force") {
			killed++
		}
		seen[string(heldPair(t, dir, roots, "server/mqttserver.pem"))] = true
		if _, err := os.Stat(filepath.Join(dir, "server/previous/mqttserver.pem")); err == nil {
			heldPair(t, dir, roots, "server/previous/mqttserver.pem")
		}
		if killed >= kills && len(seen) > 2 {
			break
		}
		if killed > kills && len(seen) < 3 {
			most += most / 20
		}
	}
	t.Logf("%d killed, %d certificates", killed, len(seen))
	if killed < kills || len(seen) < 3 {
		t.Errorf("only %d were killed, and %d certificates were seen", killed, len(seen))
	}
	if s.kill(time.Minute, "renew", "-q", "-C", dir, "--force") {
		t.Fatal("it takes longer than a minute")
	}
	if string(heldPair(t, dir, roots, "server/cert.pem", "server/key.pem")) != string(heldPair(t, dir, roots, "server/mqttserver.pem")) {
		t.Error("the split files hold another certificate")
	}
}
