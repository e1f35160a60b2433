package verify_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/verify"
)

var update = flag.Bool("update", false, "write the golden files")

// fixed is a clock that stands still, so that a report's times are zero.
func fixed() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }

// dialTo leads every dial to a listener of the test.
func dialTo(port int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)).String())
	}
}

// TestJSON holds the reports against golden files: scripts read them
// (design.md's tbcert.verify/v1). go test -run JSON -update writes them.
func TestJSON(t *testing.T) {
	t.Parallel()
	accepting := script{connack: "\x20\x02\x00\x00"}
	refusing := script{connack: "\x20\x02\x00\x05"}
	for name, c := range map[string]struct {
		serve  func(net.Conn)
		target verify.Target
	}{
		"passed":  {func(conn net.Conn) { accepting.serve(conn) }, verify.Target{Host: "tb.example.com", Port: 1883, Login: token()}},
		"refused": {func(conn net.Conn) { refusing.serve(conn) }, verify.Target{Host: "tb.example.com", Port: 1883, Login: token(), RoundTrip: true}},
		"not-tls": {says("\x20\x02\x00\x00\x00"), verify.Target{Host: "tb.example.com", Port: 8883, TLS: true, Login: token()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			verifier := &verify.Verifier{Resolve: everywhere, Dial: dialTo(listener(t, c.serve)), Now: fixed, Timeout: patience}
			got, err := json.MarshalIndent(verifier.Run(t.Context(), c.target), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".json")
			if *update {
				write(t, path, append(got, '\n'))
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		})
	}
}

// TestExitCodes holds the codes that runbooks rely on.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	want := map[verify.CheckID]int{
		"": 0, "resolve": 10, "tcp": 11, "tls": 12, "chain": 13, "usage": 13, "name": 14,
		"dates": 15, "connect": 16, "publish": 17, "round-trip": 18,
	}
	got := map[verify.CheckID]int{"": verify.CheckID("").ExitCode()}
	for _, id := range verify.CheckIDs() {
		got[id] = id.ExitCode()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestInterrupted ends the run while the server keeps it waiting: what the user
// did is not the server's failure.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	port := listener(t, func(conn net.Conn) {
		_, _ = packets.ReadPacket(conn)
		cancel()
		_, _ = conn.Read(make([]byte, 1)) // until the client goes
	})
	report := (&verify.Verifier{}).Run(ctx, verify.Target{Host: "127.0.0.1", Port: port, Login: token(), RoundTrip: true})
	if got := letters(report); got != "ppssssssss" || report.ExitCode != verify.ExitInterrupted || report.OK || report.Failed != "" {
		t.Errorf("checks are %s, exit code %d, ok %t, failed %q", got, report.ExitCode, report.OK, report.Failed)
	}
	for _, check := range report.Checks[7:] {
		if !strings.Contains(check.Detail, "interrupted") || check.Cause != "" {
			t.Errorf("%s does not say that it was interrupted: %+v", check.ID, check)
		}
	}
}

// TestInterruptedBefore begins nothing.
func TestInterruptedBefore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	verifier := &verify.Verifier{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialed")
		return nil, os.ErrClosed
	}}
	report := verifier.Run(ctx, verify.Target{Host: "127.0.0.1", Port: 1, TLS: true})
	if got := letters(report); got != "ssssssssss" || report.ExitCode != verify.ExitInterrupted {
		t.Errorf("checks are %s with exit code %d", got, report.ExitCode)
	}
}

// counted counts the packets that a client writes, and reads.
type counted struct {
	net.Conn
	reads, writes *atomic.Int32
}

func (c counted) Read(b []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(b)
}

func (c counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// TestOneConnection proves that a good server costs one dial and no round trip
// more than MQTT over TLS 1.3 needs.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Site Root CA")
	config := &tls.Config{Certificates: []tls.Certificate{*root.leaf(t).tls()}, MinVersion: tls.VersionTLS13}
	answer := script{connack: "\x20\x02\x00\x00"}
	dial := dialTo(listener(t, func(conn net.Conn) { answer.serve(tls.Server(conn, config)) }))
	var dials, reads, writes atomic.Int32
	verifier := &verify.Verifier{Resolve: everywhere, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		conn, err := dial(ctx, network, address)
		return counted{conn, &reads, &writes}, err
	}}
	report := verifier.Run(t.Context(), verify.Target{Host: "broker.test", Port: 8883, TLS: true, Roots: []*x509.Certificate{root.cert}, Login: token()})
	if !report.OK {
		t.Fatalf("%+v", report)
	}
	// ClientHello, Finished, CONNECT, PUBLISH, DISCONNECT, close_notify; one
	// more for the change_cipher_spec of compatibility.
	if dials.Load() != 1 || writes.Load() > 7 {
		t.Errorf("%d dials and %d writes for one good server", dials.Load(), writes.Load())
	}
}

// TestUnexplainedRefusal has a clock that jumps after the checks' moment, so
// that the handshake refuses what every check finds right: the run must fail
// all the same.
func TestUnexplainedRefusal(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Site Root CA")
	config := &tls.Config{Certificates: []tls.Certificate{*root.leaf(t).tls()}, MinVersion: tls.VersionTLS13}
	answer := script{connack: "\x20\x02\x00\x00"}
	var calls atomic.Int32
	verifier := &verify.Verifier{Timeout: patience, Now: func() time.Time {
		if calls.Add(1) == 1 {
			return time.Now()
		}
		return time.Now().AddDate(100, 0, 0)
	}}
	report := verifier.Run(t.Context(), verify.Target{
		Host: "localhost", TLS: true, Roots: []*x509.Certificate{root.cert}, Login: token(),
		Port: listener(t, func(conn net.Conn) { answer.serve(tls.Server(conn, config)) }),
	})
	if got := letters(report); got != "pppFpppsss" || !strings.Contains(report.Problem(), "expired") {
		t.Errorf("checks are %s: %s", got, report.Problem())
	}
}

// TestHostIsNormalized asks the resolver as DNS has the name.
func TestHostIsNormalized(t *testing.T) {
	t.Parallel()
	verifier := &verify.Verifier{Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "xn--bcher-kva.example" {
			t.Errorf("asked for %q", host)
		}
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}}
	if report := verifier.Run(t.Context(), verify.Target{Host: "B\u00fccher.Example", Port: 1883}); report.Failed != verify.CheckResolve {
		t.Errorf("failed %q", report.Failed)
	}
}
