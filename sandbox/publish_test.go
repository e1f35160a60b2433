package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	mochi "github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/sandbox"
)

func fixed() time.Time { return time.UnixMilli(1_700_000_000_000) }

func at(config *sandbox.Config) { config.Now = fixed }

func TestPublish(t *testing.T) {
	t.Parallel()
	now := fixed().UnixMilli()
	for _, row := range []struct {
		name, topic, payload string
		want                 []sandbox.Sample // nil: nothing is stored
		closes               bool
	}{
		{name: "object", topic: "v1/devices/me/telemetry", payload: `{"a":1,"b":"x","c":true,"d":2.5}`,
			want: []sandbox.Sample{{now, "a", int64(1)}, {now, "b", "x"}, {now, "c", true}, {now, "d", 2.5}}},
		{name: "lenient", topic: "v1/devices/me/telemetry", payload: `{temperature:25}`, want: []sandbox.Sample{{now, "temperature", int64(25)}}},
		{name: "with a time", topic: "v1/devices/me/telemetry", payload: `{"ts":5,"values":{"a":{"b":[1]}}}`,
			want: []sandbox.Sample{{5, "a", json.RawMessage(`{"b":[1]}`)}}},
		{name: "array", topic: "v1/devices/me/telemetry", payload: `[{"a":1},{"a":2}]`, want: []sandbox.Sample{{now, "a", int64(1)}, {now, "a", int64(2)}}},
		{name: "short topic", topic: "v2/t", payload: `{"a":1}`, want: []sandbox.Sample{{now, "a", int64(1)}}},
		{name: "short topic for JSON", topic: "v2/t/j", payload: `{"a":1}`, want: []sandbox.Sample{{now, "a", int64(1)}}},
		{name: "largest", topic: "v2/t", payload: `{"a":1}` + strings.Repeat(" ", 65536-7), want: []sandbox.Sample{{now, "a", int64(1)}}},
		{name: "too large", topic: "v2/t", payload: `{"a":1}` + strings.Repeat(" ", 65537-7), closes: true},
		{name: "far too large", topic: "v2/t", payload: `{"a":1}` + strings.Repeat(" ", 1<<20), closes: true},
		{name: "unknown topic", topic: "v1/devices/me/telemetri", payload: `{"a":1}`},
		{name: "unknown topic, no JSON", topic: "sensors", payload: `{`},
		{name: "unknown topic, $SYS", topic: "$SYS/broker/x", payload: `{"a":1}`},
		{name: "provisioning by a device", topic: "/provision/request", payload: `{}`},
		{name: "claim", topic: "v1/devices/me/claim", payload: `{}`},
		{name: "RPC answer", topic: "v1/devices/me/rpc/response/3", payload: `{}`},
		{name: "RPC, short", topic: "v2/r/req/3", payload: `{}`},
		{name: "broken", topic: "v1/devices/me/telemetry", payload: `{"a":`, closes: true},
		{name: "null", topic: "v1/devices/me/telemetry", payload: `null`, closes: true},
		{name: "a number", topic: "v1/devices/me/telemetry", payload: `5`, closes: true},
		{name: "empty", topic: "v1/devices/me/telemetry", payload: ``, closes: true},
		{name: "broken attributes", topic: "v1/devices/me/attributes", payload: `[1]`, closes: true},
		{name: "broken request", topic: "v1/devices/me/attributes/request/1", payload: `x`, closes: true},
		{name: "request without a number", topic: "v1/devices/me/attributes/request/x", payload: `{}`, closes: true},
		{name: "request with a list", topic: "v1/devices/me/attributes/request/1", payload: `{"clientKeys":["a"]}`, closes: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, at)
			p := w.dial(t).logIn(token)
			if row.closes {
				_ = publication(row.topic, row.payload).Write(p) // may be closed before the end of it
				if got, err := paho.ReadPacket(p); err == nil {
					t.Fatalf("got %s", got)
				}
			} else {
				p.published(row.topic, row.payload)
				p.wantOpen()
			}
			if diff := cmp.Diff(row.want, w.Telemetry("meter-1"), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if other := w.Telemetry("meter-2"); len(other) > 0 {
				t.Errorf("the other device has %v", other)
			}
		})
	}
}

// TestPublishV5 sends what MQTT 5 answers with a reason, packet by packet: the
// fixed header, the topic, the packet id, no properties, the payload.
func TestPublishV5(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, packet, want string }{
		{"good", "\x32\x0b\x00\x04v2/t\x00\x09\x00{}", "\x40\x02\x00\x09"},
		{"broken", "\x32\x0a\x00\x04v2/t\x00\x09\x00{", "\x40\x03\x00\x09\x99"},
		{"unknown topic", "\x32\x0b\x00\x04v2/x\x00\x09\x00{}", "\x40\x03\x00\x09\x90"},
		{"QoS 2 is taken as 1", "\x34\x0b\x00\x04v2/t\x00\x09\x00{}", "\x40\x02\x00\x09"},
		{"broken, QoS 0", "\x30\x08\x00\x04v2/t\x00{", "\xe0\x02\x99\x00"},
		{"unknown filter", "\x82\x0a\x00\x09\x00\x00\x04v2/x\x01", "\x90\x04\x00\x09\x00\x8f"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := start(t).dial(t)
			p.logInV5(connect(token))
			if _, err := p.Write([]byte(row.packet)); err != nil {
				t.Fatal(err)
			}
			if got := p.bytes(len(row.want)); string(got) != row.want {
				t.Errorf("got % x, want % x", got, row.want)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, write, ask, answer, filter string }{
		{"version 1", "v1/devices/me/attributes", "v1/devices/me/attributes/request/12", "v1/devices/me/attributes/response/12", "v1/devices/me/attributes/response/+"},
		{"short", "v2/a", "v2/a/req/12", "v2/a/res/12", "v2/a/res/+"},
		{"short for JSON", "v2/a/j", "v2/a/req/j/12", "v2/a/res/j/12", "v2/a/res/j/+"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			p := w.dial(t).logIn(token)
			if code := p.subscribed(row.filter); code != 1 {
				t.Fatalf("SUBACK %d", code)
			}
			p.published(row.write, `{nonce:'<x>',n:20.0,other:1}`)
			for keys, want := range map[string]string{
				`{"clientKeys":"nonce,n,missing"}`:              `{"client":{"n":20.0,"nonce":"<x>"}}`,
				`{"clientKeys":"missing","sharedKeys":"nonce"}`: `{}`,
				`{"sharedKeys":"nonce"}`:                        `{}`,
				`{}`:                                            `{"client":{"n":20.0,"nonce":"<x>","other":1}}`,
			} {
				p.published(row.ask, keys)
				got := receive[*paho.PublishPacket](p)
				if got.TopicName != row.answer || string(got.Payload) != want || got.Qos != 1 || got.MessageID == 0 {
					t.Errorf("%s: got %s %s, want %s", keys, got, got.Payload, want)
				}
				ack := paho.NewControlPacket(paho.Puback).(*paho.PubackPacket)
				ack.MessageID = got.MessageID
				p.send(ack)
			}
		})
	}
}

// TestNoMessageCrosses has a device subscribe to all it can while another
// publishes and asks.
func TestNoMessageCrosses(t *testing.T) {
	t.Parallel()
	w := start(t)
	spy, other := w.dial(t).logIn(token), w.dial(t).logIn(token2)
	for filter, want := range map[string]byte{
		"#": 0x80, "+/devices/me/telemetry": 0x80, "v1/devices/me/telemetry": 0x80, "$SYS/#": 0x80, "$share/g/v1/devices/me/attributes": 0x80,
		"v1/devices/me/attributes": 1, "v1/devices/me/attributes/response/+": 1, "v1/devices/me/rpc/request/+": 1,
	} {
		if code := spy.subscribed(filter); code != want {
			t.Errorf("%s: SUBACK 0x%02x, want 0x%02x", filter, code, want)
		}
	}
	other.published("v1/devices/me/attributes", `{"nonce":"x"}`)
	other.published("v1/devices/me/attributes/request/1", `{"clientKeys":"nonce"}`) // not subscribed: no answer
	other.published("v1/devices/me/attributes/response/1", `{"client":{}}`)
	other.published("v1/devices/me/rpc/request/1", `{}`)
	other.wantOpen()
	spy.published("v1/devices/me/attributes/request/1", `{"clientKeys":"nonce"}`)
	if got := receive[*paho.PublishPacket](spy); string(got.Payload) != `{}` {
		t.Errorf("got %s, want its own, which are none", got.Payload)
	}
	spy.wantOpen()
}

// TestFilters has what ThingsBoard takes of a device and for provisioning.
func TestFilters(t *testing.T) {
	t.Parallel()
	w := start(t)
	owner, guest := w.dial(t).logIn(token), w.dial(t).logIn("provision")
	for filter, want := range map[string][2]byte{
		"v1/devices/me/attributes/response/+": {1, 0x80}, "v1/devices/me/rpc/response/+": {1, 0x80}, "v2/r/req/+": {1, 0x80}, "v2/r/res/j/+": {1, 0x80},
		"v2/fw/response/+/chunk/+": {1, 0x80}, "v2/sw/error": {1, 0x80}, "v1/gateway/rpc": {1, 0x80}, "v1/gateway/attributes/response": {1, 0x80},
		"/provision/response": {0x80, 1}, "v1/gateway/telemetry": {0x80, 0x80}, "v2/t": {0x80, 0x80}, "+": {0x80, 0x80},
	} {
		if got := [2]byte{owner.subscribed(filter), guest.subscribed(filter)}; got != want {
			t.Errorf("%s: got % x, want % x", filter, got, want)
		}
	}
}

// TestGatewayTopics of a device that is no gateway: ThingsBoard says nothing.
func TestGatewayTopics(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.dial(t).logIn(token)
	p.publish("v1/gateway/telemetry", `{"x":[{"a":1}]}`)
	p.wantOpen() // the PINGRESP is the first that comes
	if stored := w.Telemetry("meter-1"); len(stored) > 0 {
		t.Errorf("stored %v", stored)
	}
}

func TestProvisionSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.dial(t).logIn("provision")
	w.dial(t).logIn("provision").wantOpen() // two at once
	p.subscribed("/provision/response")
	p.published("/provision/request", `{"deviceName":"x","provisionDeviceKey":"canary0k","provisionDeviceSecret":"canary0s"}`)
	got := receive[*paho.PublishPacket](p)
	if want := `{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}`; string(got.Payload) != want {
		t.Errorf("got %s", got.Payload)
	}
}

// TestBadProvisionRequests acknowledges what it then closes for, but not what it
// cannot parse.
func TestBadProvisionRequests(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, row := range []struct {
		name, topic, payload string
		isAcknowledged       bool
		v5                   string // what comes after CONNACK
	}{
		{"no secret", "/provision/request", `{"provisionDeviceKey":"k"}`, true, "\x40\x03\x00\x07\x83\xe0\x02\x83\x00"},
		{"null as key", "/provision/request", `{"provisionDeviceKey":null,"provisionDeviceSecret":"s"}`, true, "\x40\x03\x00\x07\x83\xe0\x02\x83\x00"},
		{"other topic", "v1/devices/me/telemetry", `{"a":1}`, true, "\x40\x03\x00\x07\x90\xe0\x02\x90\x00"},
		{"gateway's topic", "v1/gateway/telemetry", `{}`, true, "\x40\x03\x00\x07\x90\xe0\x02\x90\x00"},
		{"broken", "/provision/request", `{`, false, "\x40\x03\x00\x07\x99"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := w.dial(t).logIn("provision")
			p.publish(row.topic, row.payload)
			if row.isAcknowledged {
				receive[*paho.PubackPacket](p)
			}
			p.wantClosed()

			p = w.dial(t)
			p.logInV5(connect("provision"))
			var packet bytes.Buffer
			five := mochi.Packet{
				FixedHeader: mochi.FixedHeader{Type: mochi.Publish, Qos: 1}, ProtocolVersion: 5,
				TopicName: row.topic, PacketID: 7, Payload: []byte(row.payload),
			}
			if err := five.PublishEncode(&packet); err != nil {
				t.Fatal(err)
			}
			p.Write(packet.Bytes())
			if got := p.bytes(len(row.v5)); string(got) != row.v5 {
				t.Errorf("got % x, want % x", got, row.v5)
			}
			if row.isAcknowledged {
				p.wantClosed()
			} else {
				p.wantOpen()
			}
		})
	}
}

func TestTelemetryIsBounded(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.dial(t).logIn(token)
	for i := range 3 {
		var batch []string
		for j := range 500 {
			batch = append(batch, fmt.Sprintf(`{"n":%d}`, 500*i+j))
		}
		p.published("v2/t", "["+strings.Join(batch, ",")+"]")
	}
	samples := w.Telemetry("meter-1")
	if len(samples) != 1000 || samples[999].Value != int64(1499) {
		t.Errorf("got %d samples", len(samples))
	}
	for range 40 {
		p.published("v2/t", `{"long":"`+strings.Repeat("x", 60_000)+`"}`)
	}
	if n := len(w.Telemetry("meter-1")); n > 17 {
		t.Errorf("got %d samples of 60,000 bytes", n)
	}
	for i := range 20 {
		p.published("v2/a", fmt.Sprintf(`{"k%d":"%s"}`, i, strings.Repeat("x", 65_000)))
	}
	if n := len(w.attributes(t)); n == 0 || n > 16 {
		t.Errorf("got %d attributes of 65,000 bytes", n)
	}
}

func TestMosquitto(t *testing.T) {
	t.Parallel()
	w := start(t, at)
	cafile := file(t, "root.pem", w.identity.pem)
	plain := []string{"-h", "127.0.0.1", "-p", portOf(w.MQTTAddr())}
	over := []string{"-h", "localhost", "-p", portOf(w.MQTTSAddr()), "--cafile", cafile}
	topic := []string{"-t", "v1/devices/me/telemetry", "-q", "1"}
	for _, row := range []struct {
		name string
		args [][]string
		fail string
	}{
		{name: "plain, as a shell leaves the quotes", args: [][]string{plain, topic, {"-u", token, "-m", "{temperature:25}"}}},
		{name: "TLS", args: [][]string{over, topic, {"-u", token, "-m", `{"temperature":25}`}}},
		{name: "MQTT 5", args: [][]string{over, topic, {"-u", token, "-m", `{"temperature":25}`, "-V", "5"}}},
		{name: "MQTT 3.1", args: [][]string{plain, topic, {"-u", token, "-m", `{"temperature":25}`, "-V", "mqttv31"}}},
		{name: "wrong token", args: [][]string{plain, topic, {"-u", "canary0wrong", "-m", "{}"}}, fail: "not authori"},
		{name: "wrong token, MQTT 5", args: [][]string{plain, topic, {"-u", "canary0wrong", "-m", "{}", "-V", "5"}}, fail: "Bad User Name or Password"},
		{name: "no token", args: [][]string{plain, topic, {"-i", "me", "-m", "{}"}}, fail: "identifier rejected"},
	} {
		t.Run(row.name, func(t *testing.T) { // one after the other: they share a device
			var args []string
			for _, more := range row.args {
				args = append(args, more...)
			}
			before := len(w.Telemetry("meter-1"))
			out, err := tool(t, "mosquitto_pub", args...).CombinedOutput()
			stored := w.Telemetry("meter-1")[before:]
			if row.fail != "" {
				if err == nil || !strings.Contains(string(out), row.fail) || len(stored) > 0 {
					t.Errorf("got %v, %s, stored %v; want %q", err, out, stored, row.fail)
				}
				return
			}
			want := []sandbox.Sample{{fixed().UnixMilli(), "temperature", int64(25)}}
			if diff := cmp.Diff(want, stored); err != nil || diff != "" {
				t.Errorf("%v %s\n%s", err, out, diff)
			}
		})
	}
}

// TestMosquittoSub subscribes to what ThingsBoard has and does not have.
func TestMosquittoSub(t *testing.T) {
	t.Parallel()
	w := start(t)
	for filter, want := range map[string]int{"#": 0, "v1/devices/me/attributes": 27} { // 27: subscribed, and nothing came in time
		command := tool(t, "mosquitto_sub", "-h", "127.0.0.1", "-p", portOf(w.MQTTAddr()), "-u", token, "-t", filter, "-q", "1", "-W", "1")
		out, err := command.CombinedOutput()
		if code := command.ProcessState.ExitCode(); code != want {
			t.Errorf("%s: got %d (%v), %s; want %d", filter, code, err, out, want)
		}
		if isDenied := bytes.Contains(out, []byte("denied")); isDenied != (filter == "#") {
			t.Errorf("%s: %s", filter, out)
		}
	}
}
