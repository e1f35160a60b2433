package verify_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"net"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
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
// are named for what they are. No other test runs beside this and the next three,
// for their figures.
func TestHostileEndpoints(t *testing.T) {
	const helloBegins = "\x16\x03\x03\x40\x00\x02"
	hello := "\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + strings.Repeat("r", 32) + "\x00\xc0\x2b\x00"
	zeros := make([]byte, 16<<10)
	fragment := append([]byte("\x16\x03\x03\x40\x00"), zeros...)
	accepted := "\x20\x02\x00\x00"
	publish := append([]byte{0x30, 0x82, 0x20, 0, 1, 'a'}, bytes.Repeat([]byte("x"), 4095)...)
	garbage := bytes.Repeat([]byte("garbage!"), 2000)
	for _, row := range []hostileRow{
		{"a handshake a byte at a time", slow(helloBegins+strings.Repeat("\x00", 64), short/5), true, false, verify.TLSSilent, "no more than"},
		{"a handshake message of 16 MiB", endless("\x16\x03\x03\x40\x00\x02\xff\xff\xff", zeros), true, false, verify.TLSTooMuch, "exceeds maximum"},
		{"certificates without end", endless(hello+"\x16\x03\x03\x00\x04\x0b\xff\xff\xff", fragment), true, false, verify.TLSTooMuch, "exceeds maximum"},
		{"TLS warnings without end", endless("", bytes.Repeat([]byte("\x15\x03\x03\x00\x02\x01\x5a"), 1000)), true, false, verify.TLSTooMuch, "too many"},
		{"empty TLS records without end, and no handshake", endless("", bytes.Repeat([]byte("\x17\x03\x03\x00\x00"), 1000)), true, false, verify.TLSOtherProtocol, "not TLS"},
		{"empty parts of a handshake without end", endless("", bytes.Repeat([]byte("\x16\x03\x03\x00\x00"), 1000)), true, false, verify.TLSBroken, "unexpected message"},
		{"garbage without end on the TLS port", endless("", garbage), true, false, verify.TLSOtherProtocol, "not TLS"},
		{"a web page without end on the TLS port", endless("", bytes.Repeat([]byte("HTTP/1.1 "), 2000)), true, false, verify.TLSHTTP, "plain HTTP"},
		{"a reset as soon as it is open", resets, true, false, verify.TCPReset, "reset"},
		{"a reset at CONNECT", func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)); resets(conn) }, false, false, verify.ConnectClosed, "without a CONNACK"},
		{"garbage without end", endless("", garbage), false, false, verify.ConnectNotMQTT, "not MQTT"},
		{"a CONNACK a byte at a time", slow(accepted, 2*short), false, false, verify.ConnectSilent, "no CONNACK"},
		{"a CONNACK of 256 MiB", endless("\x20\xff\xff\xff\x7f", zeros), false, false, verify.ConnectNotMQTT, "not MQTT"},
		{"answers to pings without end", endless("", bytes.Repeat([]byte("\xd0\x00"), 1000)), false, false, verify.ConnectNotMQTT, "PINGRESP"},
		{"messages without end before the CONNACK", endless("", publish), false, false, verify.ConnectNotMQTT, "a PUBLISH came"},
		{"bytes behind the CONNACK", endless(accepted, []byte("trailing")), false, false, verify.PublishBroken, "PUBACK"},
		{"messages without end before the PUBACK", endless(accepted, publish), false, false, verify.PublishBroken, "more messages came than are kept"},
		{"empty messages without end before the PUBACK", endless(accepted, bytes.Repeat([]byte("\x30\x03\x00\x01a"), 1000)), false, false, verify.PublishBroken, "more messages came than are kept"},
		{"PUBACKs of other messages without end", endless(accepted, []byte("\x40\x02\x00\x63")), false, false, verify.PublishBroken, "for packet 99"},
		{"the PUBACK without end", endless(accepted, []byte("\x40\x02\x00\x01")), false, true, verify.RoundTripSilent, "PUBACK"},
		{"messages without end", endless(accepted+"\x40\x02\x00\x01\x90\x03\x00\x02\x01", publish), false, true, verify.RoundTripSilent, "more messages came than are kept"},
		{"answers without end, to nothing", endless(accepted+"\x40\x02\x00\x01\x90\x03\x00\x02\x01", []byte("\x30\x27\x00\x23v1/devices/me/attributes/response/1{}")), false, true, verify.RoundTripSilent, "more messages came than are kept"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.run(t, verify.Target{Host: "127.0.0.1", Port: listener(t, row.serve), TLS: row.tls})
		})
	}
}

// A hostileRow is an endpoint that would take all of a run's time or memory.
type hostileRow struct {
	name   string
	serve  func(net.Conn)
	tls    bool
	trip   bool
	want   verify.DiagnosisID
	detail string // of the check that fails
}

func (row hostileRow) run(t *testing.T, target verify.Target) {
	t.Helper()
	var count counting
	verifier := &verify.Verifier{Dial: count.dial, Timeout: short}
	target.Login, target.RoundTrip = token(), row.trip
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := allocated()
	report := verifier.Run(ctx, target)
	if taken := allocated() - before; taken > mostTaken {
		t.Errorf("%d bytes of memory were taken", taken)
	}
	if ctx.Err() != nil {
		t.Error("it never ended")
	}
	if report.Diagnosis != row.want || report.OK || report.ExitCode != report.Failed.ExitCode() {
		t.Errorf("the diagnosis is %q with exit code %d, want %q", report.Diagnosis, report.ExitCode, row.want)
	}
	if read := count.read.Load(); read > 2*mostRead {
		t.Errorf("%d bytes were read", read)
	}
	texts := 0
	for _, check := range report.Checks {
		texts += len(check.Detail) + len(check.Cause) + len(check.Fix)
		if check.ID == report.Failed && !strings.Contains(check.Detail, row.detail) {
			t.Errorf("the detail of %s is %.400q, want %q in it", check.ID, check.Detail, row.detail)
		}
		if at := strings.IndexFunc(check.Detail+check.Cause+check.Fix, func(r rune) bool { return r < ' ' || r == 0x7f }); at >= 0 {
			t.Errorf("%s has a control character, which a terminal would obey", check.ID)
		}
	}
	if texts > mostTexts {
		t.Errorf("the report has texts of %d bytes", texts)
	}
}

// mostTaken is how much memory a run may take at most, in bytes: all that it ever
// set aside, and what the endpoint in this process did. A packet that is announced
// with 256 MiB would be more.
const mostTaken = 64 << 20

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// mostTexts is how long the texts of one report are at most, in bytes.
const mostTexts = 64 << 10

// resets accepts and resets.
func resets(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }

// sealer writes records of any kind in a TLS 1.3 connection of the library, which
// would write none of these (RFC 8446, 5.2 and 7.3).
type sealer struct {
	conn net.Conn
	aead cipher.AEAD
	iv   []byte
	next uint64
}

func newSealer(conn net.Conn, config *tls.Config) (*sealer, error) {
	var log bytes.Buffer
	config = config.Clone()
	config.MinVersion, config.SessionTicketsDisabled, config.KeyLogWriter = tls.VersionTLS13, true, &log
	secure := tls.Server(conn, config)
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	if suite := secure.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		return nil, fmt.Errorf("%s was negotiated", tls.CipherSuiteName(suite))
	}
	_, line, _ := strings.Cut(log.String(), "SERVER_TRAFFIC_SECRET_0 ")
	_, line, _ = strings.Cut(line, " ")
	line, _, _ = strings.Cut(line, "\n")
	secret, err := hex.DecodeString(line)
	if err != nil {
		return nil, err
	}
	derive := func(label string, length int) []byte {
		info := append([]byte{0, byte(length), byte(len("tls13 " + label))}, "tls13 "+label+"\x00"...)
		out, _ := hkdf.Expand(sha256.New, secret, string(info), length)
		return out
	}
	block, err := aes.NewCipher(derive("key", 16))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &sealer{conn: conn, aead: aead, iv: derive("iv", 12)}, err
}

// record is the next record, sealed.
func (s *sealer) record(kind byte, text string) []byte {
	inner := append([]byte(text), kind)
	head := []byte{0x17, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(head[3:], uint16(len(inner)+s.aead.Overhead()))
	nonce := bytes.Clone(s.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^s.next)
	s.next++
	return s.aead.Seal(head, nonce, inner, head)
}

// sealed sends a first text, and then a record of a kind without end.
func sealed(config *tls.Config, first string, kind byte, text string) func(net.Conn) {
	return func(conn net.Conn) {
		s, err := newSealer(conn, config)
		if err != nil {
			return // what the run says is then not what the row wants
		}
		if first != "" {
			_, _ = conn.Write(s.record(0x17, first))
		}
		for {
			var many []byte
			for range 100 {
				many = append(many, s.record(kind, text)...)
			}
			if _, err := conn.Write(many); err != nil {
				return
			}
		}
	}
}

// What is hostile within a verified TLS connection is bounded as well.
func TestHostileWithinTLS(t *testing.T) {
	root := newRoot(t, "Site Root CA")
	config := &tls.Config{Certificates: []tls.Certificate{*root.leaf(t).tls()}, MinVersion: tls.VersionTLS12}
	const ticket = "\x04\x00\x00\x0f\x00\x00\x00\x3c\x00\x00\x00\x00\x01n\x00\x01t\x00\x00" // RFC 8446, 4.6.1
	within := func(serve func(net.Conn)) func(net.Conn) {
		return func(conn net.Conn) { serve(tls.Server(conn, config)) }
	}
	publish := append([]byte{0x30, 0x82, 0x20, 0, 1, 'a'}, bytes.Repeat([]byte("x"), 4095)...)
	for _, row := range []hostileRow{
		{"session tickets without end", sealed(config, "", 22, ticket), true, false, verify.ConnectBroken, "CONNECT failed"},
		{"many session tickets in a record, without end", sealed(config, "", 22, strings.Repeat(ticket, 100)), true, false, verify.ConnectBroken, "too many"},
		{"session tickets without end after the CONNACK", sealed(config, "\x20\x02\x00\x00", 22, ticket), true, false, verify.PublishBroken, "PUBLISH failed"},
		{"empty records without end", sealed(config, "", 23, ""), true, false, verify.ConnectBroken, "too many"},
		{"empty records without end after the CONNACK", sealed(config, "\x20\x02\x00\x00", 23, ""), true, false, verify.PublishBroken, "too many"},
		{"warnings without end", sealed(config, "", 21, "\x01\x5a"), true, false, verify.ConnectBroken, "too many"},
		{"a CONNACK a byte at a time", within(slow("\x20\x02\x00\x00", 2*short)), true, false, verify.ConnectSilent, "no CONNACK"},
		{"messages without end", within(endless("\x20\x02\x00\x00\x40\x02\x00\x01\x90\x03\x00\x02\x01", publish)), true, true, verify.RoundTripSilent, "more messages came than are kept"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.run(t, verify.Target{Host: "127.0.0.1", Port: listener(t, row.serve), TLS: true, Roots: []*x509.Certificate{root.cert}})
		})
	}
	t.Run("openssl with a million session tickets", func(t *testing.T) {
		row := hostileRow{want: verify.ConnectBroken, detail: "too many"}
		row.run(t, verify.Target{Host: "127.0.0.1", Port: openssl(t, root.leaf(t), "-num_tickets", "1000000"), TLS: true, Roots: []*x509.Certificate{root.cert}})
	})
}

// Certificates that are legal, and made to cost time, memory or the reader's
// terminal.
func TestHostileCertificates(t *testing.T) {
	root := newRoot(t, "Site Root CA")
	for _, row := range []struct {
		hostileRow

		leaf *pair
	}{
		{hostileRow{name: "CAs of two names that issued each other, among hundreds of the same names", want: verify.ChainOtherCA, detail: "presented"}, tangled(t)},
		{hostileRow{name: "a CN of 100 KiB", want: verify.ChainMissingIntermediate, detail: "presented"},
			newRoot(t, "Other CA").leaf(t, blindCN(strings.Repeat("x", 100<<10)))},
		{hostileRow{name: "a name of 50 KiB", want: verify.NameIP, detail: "is for"}, root.leaf(t, names(strings.Repeat("long.", 10<<10)+"test"))},
		{hostileRow{name: "ten thousand names", want: verify.NameIP, detail: "more"}, root.leaf(t, names(numbered(10_000)...))},
		{hostileRow{name: "a name that a terminal obeys", want: verify.NameIP, detail: "is for"}, root.leaf(t, names("\x1b[2J.test"))},
		{hostileRow{name: "a CN that a terminal obeys", want: verify.ChainMissingIntermediate, detail: "presented"}, newRoot(t, "Other \x1b[2J CA").leaf(t, blindCN("\x1b[2J"))},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{*row.leaf.tls()}, MinVersion: tls.VersionTLS12}
			port := listener(t, func(conn net.Conn) { script{connack: "\x20\x02\x00\x00"}.serve(tls.Server(conn, config)) })
			row.run(t, verify.Target{Host: "127.0.0.1", Port: port, TLS: true, Roots: []*x509.Certificate{root.cert}})
		})
	}
}

func numbered(count int) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = fmt.Sprintf("host-%d.test", i)
	}
	return all
}

// tangled is a chain in which every step up has hundreds of issuers by name, of
// which the last is the right one, and no end. It fits into a certificate message.
func tangled(t *testing.T) *pair {
	t.Helper()
	right, wrong := slowKey(t), slowKey(t)
	ca := func(name, issuer string, key, signer *ecdsa.PrivateKey) *pair {
		tmpl, parent := template(name), template(issuer)
		for _, c := range []*x509.Certificate{tmpl, parent} {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		}
		return signKey(t, tmpl, signKey(t, parent, nil, signer), key)
	}
	a, b := ca("A", "B", right, right), ca("B", "A", right, right)
	falseA, falseB := ca("A", "C", wrong, right), ca("B", "C", wrong, right)
	leaf := a.leaf(t)
	leaf.with = nil
	for range 240 {
		leaf.with = append(leaf.with, falseA.cert, falseB.cert)
	}
	leaf.with = append(leaf.with, a.cert, b.cert)
	return leaf
}

// slowKey is one whose signatures take the longest to look at.
func slowKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The further looks are bounded as the run is: at the web server's clock, and at
// what MQTT 5 says.
func TestHostileLooks(t *testing.T) {
	root := newRoot(t, "Site Root CA")
	old := &tls.Config{Certificates: []tls.Certificate{*root.leaf(t, lives(-90*day, -3*day)).tls()}, MinVersion: tls.VersionTLS12}
	expired := listener(t, func(conn net.Conn) { _ = tls.Server(conn, old).Handshake() })
	header := []byte("X-Filler: " + strings.Repeat("x", 4000) + "\r\n")
	for name, serve := range map[string]func(net.Conn){
		"a header without end":           endless("HTTP/1.1 200 OK\r\n", header),
		"interim answers without end":    endless("", []byte("HTTP/1.1 103 Early Hints\r\n\r\n")),
		"a header a byte at a time":      slow("HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\n\r\n", short/4),
		"redirects to itself":            says("HTTP/1.1 301 Moved\r\nLocation: /\r\nDate: never\r\n\r\n"),
		"a date that is a line too long": endless("HTTP/1.1 200 OK\r\nDate: ", bytes.Repeat([]byte("9"), 16<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			row := hostileRow{want: verify.DatesExpired, detail: "expired on"}
			row.run(t, verify.Target{Host: "127.0.0.1", Port: expired, TLS: true, Roots: []*x509.Certificate{root.cert}, WebPorts: []int{listener(t, serve)}})
		})
	}
	publish := bytes.Repeat([]byte("\x30\x04\x00\x01a\x00"), 1000)
	for name, flood := range map[string][]byte{"messages": publish, "PUBACKs of others": bytes.Repeat([]byte("\x40\x02\x00\x63"), 1000), "pings": bytes.Repeat([]byte("\xd0\x00"), 1000)} {
		t.Run(name+" without end in MQTT 5", func(t *testing.T) {
			row := hostileRow{want: verify.PublishClosed, detail: "closed the connection after PUBLISH"}
			row.run(t, verify.Target{Host: "127.0.0.1", Port: listener(t, func(conn net.Conn) {
				said := make([]byte, 4096)
				n, _ := conn.Read(said)
				if bytes.Contains(said[:n], []byte("MQTT\x05")) {
					_, _ = conn.Write([]byte("\x20\x03\x00\x00\x00"))
					endless("", flood)(conn)
					return
				}
				_, _ = conn.Write([]byte("\x20\x02\x00\x00"))
				_, _ = conn.Read(said)
			})})
		})
	}
}

// A stalled connection is one whose other end stops reading: from some write on,
// nothing is taken, and only a close or a deadline that has passed ends it.
type stalled struct {
	net.Conn

	from func(record []byte) bool

	mu      sync.Mutex // guards what follows
	since   bool
	late    bool // the deadline has passed
	closed  bool
	changed *sync.Cond
}

func (c *stalled) Write(data []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since = c.since || c.from(data); !c.since {
		return c.Conn.Write(data)
	}
	for !c.late && !c.closed {
		c.changed.Wait()
	}
	return 0, os.ErrDeadlineExceeded
}

// passed notes whether a deadline lies in the past; one to come never does.
func (c *stalled) passed(when time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = !when.IsZero() && when.Before(time.Now())
	c.changed.Broadcast()
}

func (c *stalled) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.changed.Broadcast()
	return c.Conn.Close()
}

func (c *stalled) SetDeadline(when time.Time) error {
	c.passed(when)
	return c.Conn.SetDeadline(when)
}

func (c *stalled) SetWriteDeadline(when time.Time) error {
	c.passed(when)
	return c.Conn.SetWriteDeadline(when)
}

// A server that stops reading does not keep a run at its farewell: TLS would wait
// seconds to send its last alert.
func TestServerStopsReading(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Site Root CA")
	config := &tls.Config{Certificates: []tls.Certificate{*root.leaf(t).tls()}, MinVersion: tls.VersionTLS13}
	port := listener(t, func(conn net.Conn) { script{connack: "\x20\x02\x00\x00"}.serve(tls.Server(conn, config)) })
	for name, c := range map[string]struct {
		from func([]byte) bool
		want verify.DiagnosisID
	}{
		"at the message":  {func(record []byte) bool { return len(record) > 1000 }, verify.PublishNoPUBACK},
		"at the farewell": {func(record []byte) bool { return record[0] == 0x17 && len(record) <= 24 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			verifier := &verify.Verifier{Timeout: short, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				slow := &stalled{Conn: conn, from: c.from}
				slow.changed = sync.NewCond(&slow.mu)
				return slow, err
			}}
			done := make(chan verify.Report, 1)
			payload := `{"text":"` + strings.Repeat("x", 8<<10) + `"}`
			if c.want == "" {
				payload = ""
			}
			go func() {
				done <- verifier.Run(t.Context(), verify.Target{
					Host: "127.0.0.1", Port: port, TLS: true, Roots: []*x509.Certificate{root.cert}, Login: token(), Payload: []byte(payload),
				})
			}()
			select {
			case report := <-done:
				if report.Diagnosis != c.want {
					t.Errorf("the diagnosis is %q, want %q", report.Diagnosis, c.want)
				}
			case <-time.After(patience):
				t.Error("it never ended")
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

// live is how much memory is reached, in bytes, and how many goroutines there are.
func live() (memory, goroutines int64) {
	runtime.GC()
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/sched/goroutines:goroutines"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64()), int64(samples[1].Value.Uint64())
}

// Tens of thousands of devices at a server that lets nobody in come to their end,
// each with a result; most are spared the waiting, and neither memory nor
// goroutines grow with the fleet. It runs beside no other test, for its figures.
func TestHopelessFleet(t *testing.T) {
	const (
		mostMemory     = 32 << 20
		mostGoroutines = 4_000
		mostTried      = 1_000 // those at work when it shows, and those that are tried again
	)
	silent := func(t *testing.T) int {
		t.Helper()
		return listener(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<16)); _, _ = conn.Read(make([]byte, 1)) })
	}
	for _, c := range []struct {
		name    string
		devices int
		port    func(*testing.T) int
		want    verify.DiagnosisID
	}{
		{"silent", 10_000, silent, verify.TLSSilent},
		{"closed", 200_000, func(t *testing.T) int { t.Helper(); return freePort(t) }, verify.TCPRefused},
		{"reset", 10_000, func(t *testing.T) int { t.Helper(); return listener(t, resets) }, verify.TCPReset},
	} {
		t.Run(c.name, func(t *testing.T) {
			var dials atomic.Int64
			fleet := &verify.Fleet{Verifier: &verify.Verifier{Timeout: short / 2, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				dials.Add(1)
				return new(net.Dialer).DialContext(ctx, network, address)
			}}}
			before, _ := live()
			told := make([]uint8, c.devices)
			count, highest, most := 0, int64(0), int64(0)
			err := fleet.Run(t.Context(), silentFleet(c.port(t), c.devices), func(result verify.Result) {
				told[result.Subject.Seq]++
				if count++; count%(c.devices/10) == 1 || count < 300 && count%50 == 0 {
					memory, goroutines := live()
					highest, most = max(highest, goroutines), max(most, memory-before)
				}
				if result.Report.Diagnosis != c.want {
					t.Errorf("%s: %s", result.Subject.Device, result.Report.Diagnosis)
				}
			})
			if err != nil || count != c.devices || bytes.ContainsFunc(told, func(times rune) bool { return times != 1 }) {
				t.Errorf("%d of %d devices have a result: %v", count, c.devices, err)
			}
			if highest > mostGoroutines || most > mostMemory {
				t.Errorf("there were %d goroutines, and %d bytes more than before", highest, most)
			}
			if tries := dials.Load(); tries > 5*mostTried { // a connection and up to four further looks
				t.Errorf("%d connections were tried", tries)
			}
			t.Logf("%d goroutines, %d bytes, %d connections", highest, most, dials.Load())
		})
	}
}

// Two hundred thousand devices that are proved already cost no memory either.
func TestEndlessFleet(t *testing.T) {
	const devices, mostMemory = 200_000, 16 << 20
	fleet := &verify.Fleet{Verifier: &verify.Verifier{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialed")
		return nil, os.ErrClosed
	}}}
	subjects := func(yield func(verify.Subject, error) bool) {
		for i := range devices {
			plan := func(context.Context) (verify.Plan, error) {
				return verify.Plan{Proof: &verify.Report{OK: true, Checks: make([]verify.Check, 10)}, How: verify.HowRecord}, nil
			}
			if !yield(verify.Subject{Seq: int64(i), Plan: plan}, nil) {
				return
			}
		}
	}
	before, _ := live()
	count, most := 0, int64(0)
	err := fleet.Run(t.Context(), subjects, func(verify.Result) {
		if count++; count%(devices/10) == 0 {
			memory, _ := live()
			most = max(most, memory-before)
		}
	})
	if err != nil || count != devices || most > mostMemory {
		t.Errorf("%d results, %d bytes more than before, %v", count, most, err)
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
