// Package verify proves that a device gets into ThingsBoard over MQTTS, and
// explains what fails when it does not.
//
// One [Verifier.Run] goes the way of a device: resolve the name, connect, shake
// hands, judge the server's certificate, CONNECT, publish one telemetry message
// and, when asked, read a client attribute back. It is one connection with one
// verified TLS handshake. A refused certificate is judged from the chain that
// the handshake kept, so that chain, name, dates and usage are each told apart,
// and no credential ever crosses a connection that was not verified.
package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/thingsboard/device"
)

// DefaultTimeout is the patience with each step that waits on the network.
const DefaultTimeout = 10 * time.Second

// Target is one server as one device sees it.
type Target struct {
	Host string // DNS name or IP text
	Port int
	TLS  bool // false: plain MQTT, and the checks from tls to usage are skipped

	Roots     []*x509.Certificate // to trust; nil: the system's
	RootsName string              // the file they come from, for the texts

	Login             device.Login
	ClientCertificate *tls.Certificate // shown when the server asks; nil: none

	// Names are other names of the server. When its certificate does not fit,
	// they are asked for as well.
	Names []string
	// Intermediates are CA certificates that the server should have sent. They
	// are not trusted: with them a missing one is told from a wrong root.
	Intermediates []*x509.Certificate
	// WebPorts are where the server's time may be learnt by plain HTTP; nil: 8080
	// and 80.
	WebPorts []int
	// AskOnce leaves out the question in MQTT 5 after a refusal: for a fleet that
	// must stay below ThingsBoard's limit of wrong credentials.
	AskOnce bool

	// LoginOnly ends with CONNACK: nothing is published, nor what follows tried.
	LoginOnly bool
	Payload   []byte // telemetry; empty: {"tbcert_verify":<unix ms>}
	RoundTrip bool   // also write a client attribute and read it back
	// KeepAlive is how long the session is kept open without a word after the
	// message; 0: it is not.
	KeepAlive time.Duration
	// Stored tells, when it is not nil, once the server has stored the payload
	// that was published.
	Stored func(ctx context.Context, payload []byte) error
}

// Verifier runs checks. The zero value uses the system's resolver, dialer and
// clock. It is safe for concurrent use when its functions are.
type Verifier struct {
	// Resolve finds the addresses of a host name; nil: the system's resolver. It
	// is not asked for a host that is an IP address.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial opens a TCP connection to an address and port; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock, for dates and for the time that checks take; nil:
	// time.Now.
	Now func() time.Time
	// Timeout bounds each step that waits on the network; 0: DefaultTimeout.
	Timeout time.Duration

	fleet *fleetRun // that the run is of; nil: none
}

// Run goes through the checks in order and reports every one of them. A check
// whose need failed is skipped. It never fails itself: when ctx ends, the
// checks that are left are skipped and the report's exit code is
// [ExitInterrupted].
//
// ThingsBoard closes the older session of a device when a second client comes
// with its credential, so a device that is at work is disconnected for a moment.
func (v *Verifier) Run(ctx context.Context, target Target) Report {
	r := v.begin(target)
	defer r.close()
	if v.fleet != nil {
		r.leave = v.fleet.enter(ctx)
	}
	for _, step := range r.steps() {
		r.do(ctx, step)
	}
	return r.report()
}

func (v *Verifier) begin(target Target) *run {
	if host, err := certs.ParseHost(target.Host); err == nil {
		target.Host = host
	}
	return &run{verifier: v, target: target, now: v.now()}
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

func (v *Verifier) timeout() time.Duration {
	if v.Timeout > 0 {
		return v.Timeout
	}
	return DefaultTimeout
}

func (v *Verifier) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	ask := v.Resolve
	if ask == nil {
		ask = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if v.fleet != nil {
		return v.fleet.resolve(ctx, host, ask)
	}
	return ask(ctx, host)
}

func (v *Verifier) dial(ctx context.Context, address string) (net.Conn, error) {
	if v.Dial != nil {
		return v.Dial(ctx, "tcp", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// rootsName names the trusted roots in a text.
func (t Target) rootsName() string {
	switch {
	case t.RootsName != "":
		return t.RootsName
	case t.Roots == nil:
		return "the system's roots"
	default:
		return "the trusted roots"
	}
}

// payload is what is published.
func (t Target) payload(now time.Time) []byte {
	if len(t.Payload) > 0 {
		return t.Payload
	}
	return fmt.Appendf(nil, `{"tbcert_verify":%d}`, now.UnixMilli())
}
