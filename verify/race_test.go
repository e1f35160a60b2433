package verify_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/verify"
)

// TestSilentAddress has a first address that never answers: the second is tried
// beside it, and a connection that comes too late is closed.
func TestSilentAddress(t *testing.T) {
	t.Parallel()
	answer := script{connack: "\x20\x02\x00\x00"}
	port := listener(t, func(conn net.Conn) { answer.serve(conn) })
	late, far := net.Pipe()
	verifier := &verify.Verifier{
		Timeout: patience,
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("127.0.0.1")}, nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[2001:db8::1]:") {
				<-ctx.Done() // the other has won
				return late, nil
			}
			return dialTo(port)(ctx, network, address)
		},
	}
	report := verifier.Run(t.Context(), verify.Target{Host: "broker.test", Port: 1883, Login: token()})
	if !report.OK || report.Checks[1].Milliseconds > float64(patience.Milliseconds())/2 {
		t.Errorf("the silent address kept the run: %+v", report.Checks[1])
	}
	if _, err := far.Read(make([]byte, 1)); err == nil { // io.EOF, once it is closed
		t.Error("the late connection said something")
	}
}
