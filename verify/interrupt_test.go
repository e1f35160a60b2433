package verify_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/verify"
)

// TestInterruptedAnywhere ends the run at every step that waits: it ends at
// once, keeps what it proved, and blames nobody for the rest.
func TestInterruptedAnywhere(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Site Root CA")
	config := &tls.Config{Certificates: []tls.Certificate{*root.leaf(t).tls()}, MinVersion: tls.VersionTLS12}
	// until answers packets up to one of this type, and interrupts there.
	until := func(kind string) func(net.Conn, func()) {
		return func(conn net.Conn, interrupt func()) {
			secure := tls.Server(conn, config)
			for {
				packet, err := packets.ReadPacket(secure)
				if err != nil {
					return
				}
				if strings.HasPrefix(packet.String(), kind) {
					interrupt()
					continue // and no answer
				}
				switch p := packet.(type) {
				case *packets.ConnectPacket:
					_, _ = secure.Write([]byte{0x20, 2, 0, 0})
				case *packets.PublishPacket:
					_, _ = secure.Write([]byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
				}
			}
		}
	}
	waits := func(ctx context.Context, interrupt func()) error {
		interrupt()
		<-ctx.Done()
		return ctx.Err()
	}
	for name, c := range map[string]struct {
		want   string
		edit   func(v *verify.Verifier, interrupt func())
		answer func(net.Conn, func())
	}{
		"resolve": {"ssssssssss", func(v *verify.Verifier, interrupt func()) {
			v.Resolve = func(ctx context.Context, _ string) ([]netip.Addr, error) { return nil, waits(ctx, interrupt) }
		}, nil},
		"tcp": {"psssssssss", func(v *verify.Verifier, interrupt func()) {
			v.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, waits(ctx, interrupt) }
		}, nil},
		"tls": {"ppssssssss", nil, func(conn net.Conn, interrupt func()) {
			_, _ = conn.Read(make([]byte, 4096))
			interrupt()
			_, _ = conn.Read(make([]byte, 4096))
		}},
		"connect":    {"pppppppsss", nil, until("CONNECT")},
		"publish":    {"ppppppppss", nil, until("PUBLISH")},
		"round-trip": {"ppppppppps", nil, until("SUBSCRIBE")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			verifier := &verify.Verifier{Resolve: everywhere, Timeout: time.Hour} // only the interruption ends it
			if c.edit != nil {
				c.edit(verifier, interrupt)
			}
			port := listener(t, func(conn net.Conn) {
				if c.answer != nil {
					c.answer(conn, interrupt)
				}
			})
			report := verifier.Run(ctx, verify.Target{
				Host: "localhost", Port: port, TLS: true, Roots: []*x509.Certificate{root.cert}, Login: token(), RoundTrip: true,
			})
			if got := letters(report); got != c.want || report.ExitCode != verify.ExitInterrupted || report.OK || report.Failed != "" {
				t.Errorf("checks are %s, want %s; exit code %d, ok %t, failed %q", got, c.want, report.ExitCode, report.OK, report.Failed)
			}
			for _, check := range report.Checks[len(strings.TrimRight(c.want, "s")):] {
				if !strings.Contains(check.Detail, "interrupted") || check.Cause != "" || check.Fix != "" {
					t.Errorf("%s does not say that it was interrupted: %+v", check.ID, check)
				}
			}
		})
	}
}
