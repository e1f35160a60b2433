package sandbox_test

import (
	"bytes"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang/packets"
	mochi "github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/sandbox"
)

// v5 is a CONNECT of MQTT 5 with the same login as one of 3.1.1.
func v5(t *testing.T, packet *paho.ConnectPacket) []byte {
	t.Helper()
	it := mochi.Packet{
		FixedHeader: mochi.FixedHeader{Type: mochi.Connect}, ProtocolVersion: 5,
		Connect: mochi.ConnectParams{
			ProtocolName: []byte("MQTT"), Clean: packet.CleanSession, Keepalive: 60, ClientIdentifier: packet.ClientIdentifier,
			UsernameFlag: packet.UsernameFlag, Username: []byte(packet.Username), PasswordFlag: packet.PasswordFlag, Password: packet.Password,
		},
	}
	var out bytes.Buffer
	if err := it.ConnectEncode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// logInV5 connects with MQTT 5, and gives the flags and the code of CONNACK.
func (p peer) logInV5(packet *paho.ConnectPacket) (flags, code byte) {
	p.t.Helper()
	if _, err := p.Write(v5(p.t, packet)); err != nil {
		p.t.Fatal(err)
	}
	answer := p.bytes(5)
	if want := []byte{0x20, 3, answer[2], answer[3], 0}; !bytes.Equal(answer, want) {
		p.t.Fatalf("got % x, want a CONNACK without properties", answer)
	}
	return answer[2], answer[3]
}

// bytes reads n bytes.
func (p peer) bytes(n int) []byte {
	p.t.Helper()
	got := make([]byte, n)
	for read := 0; read < n; {
		more, err := p.Read(got[read:])
		if err != nil {
			p.t.Fatalf("%v after % x", err, got[:read])
		}
		read += more
	}
	return got
}

type connectRow struct {
	name   string
	edit   func(*paho.ConnectPacket)
	faults []string
	v3, v5 byte
}

func connectRows() []connectRow {
	return []connectRow{
		{name: "good", edit: func(p *paho.ConnectPacket) {}},
		{name: "good, with a client id and a password", edit: func(p *paho.ConnectPacket) {
			p.ClientIdentifier, p.Password, p.PasswordFlag = "anything", []byte("any"), true
		}},
		{name: "wrong token", edit: func(p *paho.ConnectPacket) { p.Username = "canary0nobody" }, v3: 5, v5: 0x86},
		{name: "wrong token, with a client id", edit: func(p *paho.ConnectPacket) {
			p.Username, p.ClientIdentifier = "canary0nobody", "c"
		}, v3: 5, v5: 0x86},
		{name: "wrong token and a password", edit: func(p *paho.ConnectPacket) {
			p.Username, p.Password, p.PasswordFlag = "canary0nobody", []byte("canary0"), true
		}, v3: 5, v5: 0x86},
		{name: "empty user name", edit: func(p *paho.ConnectPacket) { p.Username = "" }, v3: 5, v5: 0x86},
		{name: "no user name, but a client id", edit: func(p *paho.ConnectPacket) {
			p.Username, p.UsernameFlag, p.ClientIdentifier = "", false, "canary0id"
		}, v3: 2, v5: 0x85},
		{name: "nothing", edit: func(p *paho.ConnectPacket) { p.Username, p.UsernameFlag = "", false }, v3: 5, v5: 0x87},
		{name: "provision as user name", edit: func(p *paho.ConnectPacket) { p.Username = "provision" }},
		{name: "provision as client id", edit: func(p *paho.ConnectPacket) {
			p.Username, p.UsernameFlag, p.ClientIdentifier = "", false, "provision"
		}},
		{name: "fault 3", edit: func(p *paho.ConnectPacket) {}, faults: []string{"connack=3"}, v3: 3, v5: 3},
		{name: "fault 0x9f", edit: func(p *paho.ConnectPacket) {}, faults: []string{"connack=159"}, v3: 159, v5: 159},
		{name: "fault 200", edit: func(p *paho.ConnectPacket) {}, faults: []string{"connack=3", "connack=200"}, v3: 200, v5: 200},
	}
}

func TestConnack(t *testing.T) {
	t.Parallel()
	for _, row := range connectRows() {
		for _, isClean := range []bool{true, false} {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				w := start(t, faulty(t, row.faults...))
				packet := connect(token)
				packet.CleanSession = isClean
				row.edit(packet)

				p := w.dial(t)
				p.send(packet)
				ack := receive[*paho.ConnackPacket](p)
				if ack.ReturnCode != row.v3 || ack.SessionPresent == isClean {
					t.Errorf("3.1.1: got %d, session present %t; want %d and %t", ack.ReturnCode, ack.SessionPresent, row.v3, !isClean)
				}
				if row.v3 != 0 {
					p.wantClosed()
				}

				five := w.dial(t)
				flags, code := five.logInV5(packet)
				if code != row.v5 || (flags == 1) == isClean {
					t.Errorf("5: got 0x%02x, flags %d; want 0x%02x", code, flags, row.v5)
				}
				if row.v5 != 0 {
					five.wantClosed()
				}
			})
		}
	}
}

func TestConnectOfOtherProtocols(t *testing.T) {
	t.Parallel()
	w := start(t)
	t.Run("MQTT 3.1", func(t *testing.T) {
		t.Parallel()
		packet := connect(token)
		packet.ProtocolName, packet.ProtocolVersion, packet.ClientIdentifier = "MQIsdp", 3, "c"
		p := w.dial(t)
		p.send(packet)
		if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != 0 {
			t.Errorf("got %d", ack.ReturnCode)
		}
	})
	t.Run("unknown level", func(t *testing.T) {
		t.Parallel()
		packet := connect(token2)
		packet.ProtocolVersion = 9
		p := w.dial(t)
		p.send(packet)
		if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != 1 {
			t.Errorf("got %d, want 1", ack.ReturnCode)
		}
		p.wantClosed()
	})
	for name, data := range map[string]string{
		"other name": "\x10\x0f\x00\x04MQXX\x04\x02\x00\x3c\x00\x03abc", "no CONNECT": "\xc0\x00", "HTTP": "GET / HTTP/1.1\r\n\r\n",
		"too large": "\x10\xff\xff\xff\x7f",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := w.dial(t)
			if _, err := p.Write([]byte(data)); err != nil {
				t.Fatal(err)
			}
			p.wantClosed()
		})
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	w := start(t)
	stranger := newIdentity(t)
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		w.dialTLS(t, nil).logIn(token)
	})
	t.Run("of no device, with a good token", func(t *testing.T) {
		t.Parallel()
		p := w.dialTLS(t, stranger.tls)
		p.send(connect(token2))
		if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != 5 {
			t.Errorf("got %d, want 5", ack.ReturnCode)
		}
		p.wantClosed()
		if _, code := w.dialTLS(t, stranger.tls).logInV5(connect(token2)); code != 0x87 {
			t.Errorf("got 0x%02x, want 0x87", code)
		}
	})
	t.Run("provision", func(t *testing.T) {
		t.Parallel()
		w.dialTLS(t, stranger.tls).logIn("provision")
	})
	t.Run("a chain that does not fit", func(t *testing.T) {
		t.Parallel()
		broken := *stranger.tls
		broken.Certificate = append(broken.Certificate[:1:1], w.identity.tls.Certificate[0])
		p := w.dialTLS(t, &broken) // TLS 1.3: the client is done before the server looks
		packet := connect(token2)
		_ = packet.Write(p)
		if got, err := paho.ReadPacket(p); err == nil {
			t.Errorf("got %s", got)
		}
	})
}

func TestOneSessionPerDevice(t *testing.T) {
	t.Parallel()
	w := start(t)
	t.Run("3.1.1", func(t *testing.T) {
		t.Parallel()
		first := w.dial(t).logIn(token)
		second := w.dial(t).logIn(token)
		first.wantClosed()
		second.wantOpen()
	})
	t.Run("5", func(t *testing.T) {
		t.Parallel()
		first := w.dial(t)
		first.logInV5(connect(token2))
		second := w.dial(t).logIn(token2)
		if got := first.bytes(2 + 2); !bytes.Equal(got, []byte{0xe0, 2, 0x8e, 0}) {
			t.Errorf("got % x, want DISCONNECT 8e", got)
		}
		first.wantClosed()
		second.wantOpen()
	})
}

// TestSameClientID has two devices with one client id: ThingsBoard takes any.
func TestSameClientID(t *testing.T) {
	t.Parallel()
	w := start(t)
	var peers []peer
	for _, user := range []string{token, token2} {
		packet := connect(user)
		packet.ClientIdentifier = "same"
		p := w.dial(t)
		p.send(packet)
		receive[*paho.ConnackPacket](p)
		peers = append(peers, p)
	}
	for _, p := range peers {
		p.wantOpen()
	}
}

func TestFaultsAtRunTime(t *testing.T) {
	t.Parallel()
	w := start(t, faulty(t, "close-before-connack"))
	p := w.dial(t)
	p.send(connect(token))
	p.wantClosed()

	w.SetFaults(sandbox.Faults{})
	p = w.dial(t).logIn(token)
	p.published("v1/devices/me/telemetry", `{"a":1}`)

	if err := setFaults(w, "close-after-publish"); err != nil {
		t.Fatal(err)
	}
	p.wantOpen()
	p.publish("v1/devices/me/telemetry", `{"a":2}`)
	p.wantClosed()

	if err := setFaults(w, "no-puback"); err != nil {
		t.Fatal(err)
	}
	p = w.dial(t).logIn(token)
	p.publish("v1/devices/me/telemetry", `{"a":3}`)
	p.wantOpen() // the PINGRESP is the first that comes

	if err := setFaults(w, "no-attributes"); err != nil {
		t.Fatal(err)
	}
	p.subscribed("v1/devices/me/attributes/response/+")
	p.published("v1/devices/me/attributes", `{"nonce":"x"}`)
	p.published("v1/devices/me/attributes/request/1", `{"clientKeys":"nonce"}`)
	p.wantOpen()
	if samples := w.Telemetry("meter-1"); len(samples) != 1 {
		t.Errorf("stored %v, want the first alone", samples)
	}
}

func setFaults(w *world, texts ...string) error {
	faults, err := sandbox.ParseFaults(texts...)
	w.SetFaults(faults)
	return err
}
