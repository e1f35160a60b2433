package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tbcert/tbcert/verify"
)

// mostRead is what a run may read at most of an endpoint that never ends, in
// bytes: all its looks together.
const mostRead = 4 << 20

// counting is a dialer that counts what is read.
type counting struct{ read atomic.Int64 }

type countedConn struct {
	net.Conn

	all *counting
}

func (c countedConn) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	c.all.read.Add(int64(n))
	return n, err
}

func (c *counting) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return countedConn{conn, c}, err
}

// endless writes a piece again and again after something else.
func endless(first string, piece []byte) func(net.Conn) {
	return func(conn net.Conn) {
		buffer := make([]byte, 4096)
		if _, err := conn.Read(buffer); err != nil {
			return
		}
		_, _ = conn.Write([]byte(first))
		for {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
	}
}

// slow writes a text a byte at a time.
func slow(text string, pause time.Duration) func(net.Conn) {
	return func(conn net.Conn) {
		buffer := make([]byte, 4096)
		if _, err := conn.Read(buffer); err != nil {
			return
		}
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := range len(text) {
			<-tick.C
			if _, err := conn.Write([]byte{text[i]}); err != nil {
				return
			}
		}
	}
}

// Endpoints that are slow or hostile never hang a run nor grow its memory, and
// are named for what they are.
func TestHostileEndpoints(t *testing.T) {
	t.Parallel()
	const helloBegins = "\x16\x03\x03\x40\x00\x02"
	zeros := make([]byte, 16<<10)
	accepted := "\x20\x02\x00\x00"
	publish := append([]byte{0x30, 0x82, 0x20, 0, 1, 'a'}, bytes.Repeat([]byte("x"), 4095)...)
	for _, row := range []struct {
		name   string
		serve  func(net.Conn)
		tls    bool
		trip   bool
		want   verify.DiagnosisID
		detail string
	}{
		{"a handshake a byte at a time", slow(helloBegins+strings.Repeat("\x00", 64), short/5), true, false, verify.TLSSilent, "no more than"},
		{"a handshake message of 16 MiB", endless("\x16\x03\x03\x40\x00\x02\xff\xff\xff", zeros), true, false, verify.TLSTooMuch, "exceeds maximum"},
		{"TLS warnings without end", endless("", bytes.Repeat([]byte("\x15\x03\x03\x00\x02\x01\x5a"), 1000)), true, false, verify.TLSTooMuch, "too many"},
		{"garbage without end on the TLS port", endless("", bytes.Repeat([]byte("garbage!"), 2000)), true, false, verify.TLSOtherProtocol, "not TLS"},
		{"garbage without end", endless("", bytes.Repeat([]byte("garbage!"), 2000)), false, false, verify.ConnectNotMQTT, "not MQTT"},
		{"a CONNACK a byte at a time", slow(accepted, 2*short), false, false, verify.ConnectSilent, "no CONNACK"},
		{"a CONNACK of 256 MiB", endless("\x20\xff\xff\xff\x7f", zeros), false, false, verify.ConnectNotMQTT, "not MQTT"},
		{"bytes behind the CONNACK", endless(accepted, []byte("trailing")), false, false, verify.PublishBroken, "PUBACK"},
		{"messages without end", endless(accepted+"\x40\x02\x00\x01\x90\x03\x00\x02\x01", publish), false, true, verify.RoundTripSilent, "more messages came than are kept"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var count counting
			verifier := &verify.Verifier{Dial: count.dial, Timeout: short}
			target := verify.Target{Host: "127.0.0.1", Port: listener(t, row.serve), TLS: row.tls, Login: token(), RoundTrip: row.trip}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			report := verifier.Run(ctx, target)
			if report.Diagnosis != row.want {
				t.Errorf("the diagnosis is %q, want %q", report.Diagnosis, row.want)
			}
			if ctx.Err() != nil {
				t.Error("it never ended")
			}
			if read := count.read.Load(); read > 2*mostRead {
				t.Errorf("%d bytes were read", read)
			}
			for _, check := range report.Checks {
				if check.ID == report.Failed && !strings.Contains(check.Detail, row.detail) {
					t.Errorf("the detail of %s is %q, want %q in it", check.ID, check.Detail, row.detail)
				}
			}
		})
	}
}

// silentFleet are subjects at one port.
func silentFleet(port, count int) iter.Seq2[verify.Subject, error] {
	return func(yield func(verify.Subject, error) bool) {
		for i := range count {
			subject := verify.Subject{Seq: int64(i), Device: fmt.Sprintf("meter-%d", i), Plan: func(context.Context) (verify.Plan, error) {
				return verify.Plan{Target: verify.Target{Host: "127.0.0.1", Port: port, TLS: true, Login: token()}}, nil
			}}
			if !yield(subject, nil) {
				return
			}
		}
	}
}

// Ten thousand devices at a silent server come to their end, each with a result,
// and with no more goroutines than a few hundred need.
func TestSilentFleet(t *testing.T) {
	t.Parallel()
	const devices, mostGoroutines = 10_000, 4_000
	port := listener(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<16)); _, _ = conn.Read(make([]byte, 1)) })
	fleet := &verify.Fleet{Verifier: &verify.Verifier{Timeout: short / 2}}
	seen, spared, highest := map[string]bool{}, 0, 0
	err := fleet.Run(t.Context(), silentFleet(port, devices), func(result verify.Result) {
		seen[result.Subject.Device] = true
		highest = max(highest, runtime.NumGoroutine())
		if strings.Contains(result.Report.Checks[2].Detail, "not tried, because 128 devices in a row failed here") {
			spared++
		}
		if result.Report.Diagnosis != verify.TLSSilent {
			t.Errorf("%s: %s", result.Subject.Device, result.Report.Diagnosis)
		}
	})
	if err != nil || len(seen) != devices {
		t.Errorf("%d of %d devices have a result: %v", len(seen), devices, err)
	}
	if spared < devices/2 {
		t.Errorf("%d devices were spared the waiting", spared)
	}
	if highest > mostGoroutines {
		t.Errorf("there were %d goroutines", highest)
	}
}

// A fleet that is interrupted ends, and tells what it has.
func TestInterruptedFleet(t *testing.T) {
	t.Parallel()
	port := listener(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<16)); _, _ = conn.Read(make([]byte, 1)) })
	ctx, cancel := context.WithCancel(t.Context())
	fleet := &verify.Fleet{Verifier: &verify.Verifier{Timeout: short / 2}}
	told := 0
	err := fleet.Run(ctx, silentFleet(port, 10_000), func(verify.Result) {
		told++
		cancel()
	})
	if err == nil || told == 10_000 {
		t.Errorf("after the end of its context it told %d and gave %v", told, err)
	}
}
