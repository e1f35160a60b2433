package device_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/thingsboard/device"
)

func TestPublish(t *testing.T) {
	t.Parallel()
	got := make(chan *packets.PublishPacket, 2)
	session := connected(t, func(s *server) {
		got <- s.acknowledge()
		s.publish("meanwhile", "1", 7) // before the PUBACK that is waited for
		publish := expect[*packets.PublishPacket](s)
		expect[*packets.PubackPacket](s)
		s.answer(0x40, 2, 0, byte(publish.MessageID))
		got <- publish
		expect[*packets.DisconnectPacket](s)
	})
	for _, payload := range []string{`{"a":1}`, ""} {
		if err := session.Publish(patient(t), device.TopicTelemetry, []byte(payload)); err != nil {
			t.Fatal(err)
		}
		publish := <-got
		if publish.TopicName != device.TopicTelemetry || string(publish.Payload) != payload || publish.Qos != 1 || publish.Retain || publish.MessageID == 0 {
			t.Errorf("sent %s", publish)
		}
	}
	message, err := session.Next(patient(t))
	if diff := cmp.Diff(device.Message{Topic: "meanwhile", Payload: []byte("1")}, message); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if err := session.Disconnect(); err != nil {
		t.Error(err)
	}
	if err := session.Publish(patient(t), device.TopicTelemetry, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Disconnect: %v", err)
	}
}

func TestPublishFails(t *testing.T) {
	t.Parallel()
	reads := func(s *server) { expect[*packets.PublishPacket](s) }
	for name, test := range map[string]struct {
		script func(*server)
		want   string
	}{
		"closed":         {reads, "waiting for PUBACK: the server closed the connection"},
		"another's ID":   {func(s *server) { reads(s); s.answer(0x40, 2, 0x77, 0); s.untilClosed() }, "expected PUBACK for packet 1, but a PUBACK for packet 30464 came"},
		"a SUBACK":       {func(s *server) { reads(s); s.answer(0x90, 3, 0, 1, 0); s.untilClosed() }, "but a SUBACK for packet 1 came"},
		"a 2nd CONNACK":  {func(s *server) { reads(s); s.answer(0x20, 2, 0, 0); s.untilClosed() }, "but a CONNACK for packet 0 came"},
		"a short PUBACK": {func(s *server) { reads(s); s.answer(0x40, 1, 0); s.untilClosed() }, "a PUBACK has a body of 1 bytes and not 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session := connected(t, test.script)
			err := session.Publish(patient(t), device.TopicTelemetry, []byte("{}"))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), device.TopicTelemetry) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			var protocol *device.ProtocolError
			if errors.Is(err, device.ErrClosed) == errors.As(err, &protocol) {
				t.Errorf("neither closed nor a protocol error, or both: %v", err)
			}
			if again := session.Publish(patient(t), device.TopicTelemetry, nil); again == nil {
				t.Error("the session goes on")
			}
			if err := session.Disconnect(); err != nil {
				t.Error(err)
			}
		})
	}
	session := connected(t, (*server).untilClosed)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := session.Publish(ctx, device.TopicTelemetry, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no PUBACK: %v", err)
	}
	for _, topic := range []string{"", "a/+", "#", "a\x00", "\xff", strings.Repeat("x", 65_536)} {
		if err := session.Publish(patient(t), topic, nil); err == nil || len(err.Error()) > 300 {
			t.Errorf("topic %.20q: %v", topic, err)
		}
	}
	big := connected(t, (*server).untilClosed)
	if err := big.Publish(patient(t), "t", make([]byte, device.MaxPacket)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("1 MiB: %v", err)
	}
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	filter := device.TopicAttributesResponses
	session := connected(t, func(s *server) {
		subscribe := s.grant()
		if diff := cmp.Diff([]string{filter}, subscribe.Topics); diff != "" || subscribe.Qoss[0] != 1 {
			s.t.Errorf("QoS %v %s", subscribe.Qoss, diff)
		}
		s.message("a", "1", 1)
		s.message("b", "2", 65_535)
		retained := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		retained.TopicName, retained.Retain = "c", true
		s.send(retained)
		refused := expect[*packets.SubscribePacket](s)
		s.answer(0x90, 3, 0, byte(refused.MessageID), 0x80)
	})
	if err := session.Subscribe(patient(t), filter); err != nil {
		t.Fatal(err)
	}
	want := []device.Message{{Topic: "a", Payload: []byte("1")}, {Topic: "b", Payload: []byte("2")}, {Topic: "c", Payload: []byte{}, Retained: true}}
	for _, want := range want {
		got, err := session.Next(patient(t))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	}
	if err := session.Subscribe(patient(t), "x"); !errors.Is(err, device.ErrSubscriptionRefused) {
		t.Error(err)
	}
	if err := session.Subscribe(patient(t), ""); err == nil {
		t.Error("an empty filter was sent")
	}
	if _, err := session.Next(patient(t)); !errors.Is(err, device.ErrClosed) {
		t.Errorf("after the server has gone: %v", err)
	}
}

// TestNextAgain: a passed deadline leaves the session whole.
func TestNextAgain(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	session := connected(t, func(s *server) {
		<-goOn
		s.message("a", "1", 1)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := session.Next(ctx); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	close(goOn)
	if _, err := session.Next(patient(t)); err != nil {
		t.Error(err)
	}
	unexpected := connected(t, func(s *server) { s.answer(0x40, 2, 0, 9); s.untilClosed() })
	var protocol *device.ProtocolError
	if _, err := unexpected.Next(patient(t)); !errors.As(err, &protocol) {
		t.Errorf("a PUBACK for nothing: %v", err)
	}
}

// TestFlood: what comes while nobody asks for it is bounded.
func TestFlood(t *testing.T) {
	t.Parallel()
	session := connected(t, func(s *server) {
		expect[*packets.PublishPacket](s)
		packet := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		packet.TopicName, packet.Payload = "t", make([]byte, 1<<19)
		for err := error(nil); err == nil; { // until the client hangs up
			err = packet.Write(s.conn)
		}
	})
	err := session.Publish(patient(t), device.TopicTelemetry, nil)
	if err == nil || !strings.Contains(err.Error(), "more messages came than are kept") {
		t.Error(err)
	}
	_ = session.Disconnect()
}

// TestKeepAlive: a session that waits sends PINGREQs, and notices when they are
// not answered.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, far := net.Pipe()
		start := time.Now()
		play(t, client, &server{t: t, conn: far}, func(s *server) {
			s.accept()
			for range 2 {
				expect[*packets.PingreqPacket](s)
				s.answer(0xd0, 0)
			}
			if since := time.Since(start); since > 2*time.Minute {
				s.t.Errorf("two PINGREQs took %s, and the server would wait 90 s for one", since)
			}
			s.message("a", "1", 1)
			expect[*packets.PingreqPacket](s)
			s.untilClosed()
		})
		session, err := device.Connect(t.Context(), client, tokenLogin())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := session.Next(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "PINGREQ") {
			t.Error(err)
		}
		_ = session.Disconnect()
	})
}

// TestPingWhileIdle: a PINGREQ that fell due while nobody waited is sent first.
func TestPingWhileIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, far := net.Pipe()
		play(t, client, &server{t: t, conn: far}, func(s *server) {
			s.accept()
			expect[*packets.PingreqPacket](s)
			s.answer(0xd0, 0)
			s.message("a", "1", 1)
		})
		session, err := device.Connect(t.Context(), client, tokenLogin())
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(50 * time.Second)
		if _, err := session.Next(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestDisconnectIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, far := net.Pipe()
		reads := make(chan struct{})
		play(t, client, &server{t: t, conn: far}, func(s *server) {
			s.accept()
			<-reads // and does not take DISCONNECT
		})
		session, err := device.Connect(t.Context(), client, tokenLogin())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := session.Disconnect(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		close(reads)
	})
}

// attributes plays ThingsBoard's side of a round trip: the value that was
// written shows after stale answers.
func attributes(s *server, answers ...string) {
	s.grant()
	written := s.acknowledge()
	if written.TopicName != device.TopicAttributes {
		s.t.Errorf("the attribute went to %s", written.TopicName)
	}
	var nonce map[string]json.RawMessage
	if err := json.Unmarshal(written.Payload, &nonce); err != nil {
		s.t.Error(err)
	}
	for i, answer := range answers {
		request := s.acknowledge()
		id := strings.TrimPrefix(request.TopicName, device.TopicAttributesRequestPrefix)
		if string(request.Payload) != `{"clientKeys":"tbcert_nonce"}` {
			s.t.Errorf("asked %s", request.Payload)
		}
		s.message("v1/devices/me/rpc/request/1", "{}", 100)
		s.message(device.TopicAttributesResponsePrefix+id, strings.ReplaceAll(answer, "NONCE", string(nonce["tbcert_nonce"])), uint16(i+1))
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		nonce   string
		answers []string
	}{
		"at once":          {"abc", []string{`{"client":{"tbcert_nonce":NONCE}}`}},
		"after stale ones": {`a"b`, []string{`{}`, `{"client":{"tbcert_nonce":"old"}}`, `{"client":{}}`, `{"client":{"tbcert_nonce":NONCE},"shared":{}}`}},
		"a number made":    {"0012", []string{`{"client":{"tbcert_nonce":12}}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session := connected(t, func(s *server) {
				attributes(s, test.answers...)
				s.untilClosed()
			})
			if err := session.RoundTrip(patient(t), test.nonce); err != nil {
				t.Fatal(err)
			}
			message, err := session.Next(patient(t)) // other messages are kept
			if err != nil || message.Topic != "v1/devices/me/rpc/request/1" {
				t.Errorf("%v %v", message, err)
			}
		})
	}
}

func TestRoundTripFails(t *testing.T) {
	t.Parallel()
	t.Run("never the new value", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		session := connected(t, func(s *server) {
			attributes(s, `{}`, `{"client":{"tbcert_nonce":"old"}}`)
			expect[*packets.PublishPacket](s)
			cancel()
			s.untilClosed()
		})
		err := session.RoundTrip(ctx, "new")
		if !errors.Is(err, device.ErrNotStored) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "in 2 answers") {
			t.Error(err)
		}
	})
	t.Run("no answer", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client, far := net.Pipe()
			asked := 0
			play(t, client, &server{t: t, conn: far}, func(s *server) {
				s.accept()
				s.grant()
				for s.acknowledge(); asked < 3; asked++ { // asked again, though nothing came
					s.acknowledge()
				}
				s.untilClosed()
			})
			session, err := device.Connect(t.Context(), client, tokenLogin())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
			defer cancel()
			err = session.RoundTrip(ctx, "new")
			if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, device.ErrNotStored) {
				t.Error(err)
			}
			_ = session.Disconnect()
			synctest.Wait()
			if asked != 3 {
				t.Errorf("asked %d times", asked)
			}
		})
	})
	for name, test := range map[string]struct {
		script func(*server)
		want   string
	}{
		"not JSON":                 {func(s *server) { attributes(s, "error!"); s.untilClosed() }, `what came is not one: a text stands where an object is due (it begins with "error!")`},
		"closed after the value":   {func(s *server) { s.grant(); s.acknowledge() }, "the server closed the connection"},
		"closed after the request": {func(s *server) { attributes(s); s.acknowledge() }, "the server closed the connection"},
		"no subscription":          {func(s *server) { expect[*packets.SubscribePacket](s); s.answer(0x90, 3, 0, 1, 0x80) }, "refused the subscription"},
		"no PUBACK":                {func(s *server) { s.grant(); expect[*packets.PublishPacket](s) }, "publishing to v1/devices/me/attributes: waiting for PUBACK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := connected(t, test.script).RoundTrip(patient(t), "new")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestMosquitto: what is written here, a broker in the field reads.
func TestMosquitto(t *testing.T) {
	t.Parallel()
	address := mosquitto(t)
	reader, err := device.Connect(patient(t), dial(t, address), device.Login{ClientID: "reader"})
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Subscribe(patient(t), device.TopicTelemetry); err != nil {
		t.Fatal(err)
	}
	writer, err := device.Connect(patient(t), dial(t, address), tokenLogin())
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{`{"temperature":25}`, strings.Repeat("x", device.MaxPayload)} {
		if err := writer.Publish(patient(t), device.TopicTelemetry, []byte(payload)); err != nil {
			t.Fatal(err)
		}
		got, err := reader.Next(patient(t))
		if diff := cmp.Diff(device.Message{Topic: device.TopicTelemetry, Payload: []byte(payload)}, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	for _, session := range []*device.Session{writer, reader} {
		if err := session.Disconnect(); err != nil {
			t.Error(err)
		}
	}
}
