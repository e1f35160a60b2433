package sandbox_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang/packets"
	mochi "github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/sandbox"
)

// cutOff is a SUBSCRIBE of MQTT 5 that ends before its options, on which
// mochi-mqtt 2.7.9 panics (https://github.com/mochi-mqtt/server/issues/501).
const cutOff = "\x82\x09\x00\x09\x00\x00\x04v2/a"

// wantNoLeftovers waits until the MQTT server has forgotten all clients.
func (w *world) wantNoLeftovers(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); w.Leftovers() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d clients and subscriptions are left", w.Leftovers())
		}
	}
}

// TestBrokenPacketEndsItsConnectionAlone comes in as anyone can: by the user
// name for provisioning.
func TestBrokenPacketEndsItsConnectionAlone(t *testing.T) {
	t.Parallel()
	w := start(t)
	bystander := w.dial(t).logIn(token)
	p := w.dial(t)
	p.logInV5(connect("provision"))
	p.Write([]byte("\x82\x19\x00\x08\x00\x00\x13/provision/response\x00" + cutOff))
	if _, err := io.ReadAll(p); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still open")
	}
	bystander.wantOpen()
	w.dial(t).logIn(token2).wantOpen()
	for deadline := time.Now().Add(patience); !strings.Contains(w.log.String(), "cannot be handled"); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not tell of it:\n%s", w.log)
		}
	}
}

// TestNothingIsLeftOfClients ends connections in the ways that mochi-mqtt does
// not clean up after.
func TestNothingIsLeftOfClients(t *testing.T) {
	t.Parallel()
	w := start(t)
	subscribed := w.dial(t)
	subscribed.logInV5(connect(token))
	subscribed.Write([]byte("\x82\x0a\x00\x09\x00\x00\x04v2/a\x01" + cutOff))
	io.ReadAll(subscribed)

	unacknowledged := mochi.Packet{ // no CONNACK fits into its largest packet
		FixedHeader: mochi.FixedHeader{Type: mochi.Connect}, ProtocolVersion: 5,
		Connect:    mochi.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, UsernameFlag: true, Username: []byte(token2)},
		Properties: mochi.Properties{MaximumPacketSize: 1},
	}
	var packet bytes.Buffer
	if err := unacknowledged.ConnectEncode(&packet); err != nil {
		t.Fatal(err)
	}
	p := w.dial(t)
	p.Write(packet.Bytes())
	p.wantClosed()
	w.wantNoLeftovers(t)
}

// TestLongKeepAlive has intervals of which one and a half do not fit into 16
// bits, which is how mochi-mqtt counts.
func TestLongKeepAlive(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, seconds := range []uint16{0, 43690, 43691, 43692, math.MaxUint16} {
		packet := connect(token)
		packet.Keepalive = seconds
		p := w.dial(t)
		p.send(packet)
		receive[*paho.ConnackPacket](p)
		p.wantOpen()
	}
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	w := start(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.identity.pem)
	for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: version}
		conn, err := tls.Dial("tcp", w.MQTTSAddr().String(), config)
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// FuzzConnection sends anything to a sandbox, which has to go on for others.
func FuzzConnection(f *testing.F) {
	server, err := sandbox.Start(f.Context(), sandbox.Config{MQTTAddr: "127.0.0.1:0", Devices: []sandbox.Device{{Name: "bystander"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { server.Close() })
	for _, connect := range []string{
		"\x10\x17\x00\x04MQTT\x04\x82\x00\x3c\x00\x00\x00\x09provision", "\x10\x18\x00\x04MQTT\x05\x82\x00\x3c\x00\x00\x00\x00\x09provision",
	} {
		for _, packet := range []string{
			"", cutOff, "\x32\x0b\x00\x04v2/t\x00\x09\x00{}", "\x34\x0b\x00\x04v2/t\x00\x09\x00{}", "\x82\x0a\x00\x09\x00\x00\x04v2/a\x01",
			"\x31\x13\x00\x04v2/t\x0a\x01\x01\x02\x00\x00\x00\x05\x23\x00\x01{}", "\xa2\x08\x00\x09\x00\x00\x04v2/a", "\xe0\x02\x00\x00",
			"\xf0\x02\x18\x00", "\x62\x02\x00\x09", "\x40\x02\x00\x01", "\x50\x02\x00\x01", "\x70\x02\x00\x01", "\xc0\x00", connect,
		} {
			f.Add([]byte(connect + packet))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		conn, err := net.Dial("tcp", server.MQTTAddr().String())
		p := newPeer(t, conn, err)
		p.Write(data)
		conn.(*net.TCPConn).CloseWrite()
		if _, err := io.ReadAll(p); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection is still open")
		}
		bystander, err := net.Dial("tcp", server.MQTTAddr().String())
		q := newPeer(t, bystander, err)
		q.send(connect(server.Devices()[0].Token.Reveal()))
		if ack := receive[*paho.ConnackPacket](q); ack.ReturnCode != 0 {
			t.Fatalf("CONNACK %d", ack.ReturnCode)
		}
	})
}
