package verify_test

import (
	"bytes"
	"testing"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
	"github.com/tbcert/tbcert/verify"
)

// startSandbox starts a sandbox for each of the rows that use one: a device
// holds one session, so rows that run at once must not share it.
func (w *world) startSandbox(t *testing.T) {
	t.Helper()
	certificate := w.root.issuing(t, "Site Server CA").leaf(t).tls()
	w.sandbox = map[string]*sandbox.Server{}
	for name, faults := range map[string][]string{
		"good": nil, "plain": nil, "refuses": nil, "TLS on plain": nil, "plain on TLS": nil, "payload": nil, "large": nil,
		"connack=2": {"connack=2"}, "connack=3": {"connack=3"}, "connack=200": {"connack=200"},
		"close-before-connack": {"close-before-connack"}, "close-after-publish": {"close-after-publish"},
		"no-puback": {"no-puback"}, "no-attributes": {"no-attributes"},
	} {
		parsed, err := sandbox.ParseFaults(faults...)
		if err != nil {
			t.Fatal(err)
		}
		server, err := sandbox.Start(t.Context(), sandbox.Config{
			MQTTAddr: "127.0.0.1:0", MQTTSAddr: "127.0.0.1:0", Certificate: certificate, Faults: parsed,
			Devices: []sandbox.Device{{Name: "meter-1", Token: secret.New(theToken)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		w.sandbox[name] = server
	}
}

// inSandbox is a sandbox over TLS, with changes to the target.
func inSandbox(name string, edits ...func(*world, *verify.Target)) func(*world) verify.Target {
	return func(w *world) verify.Target {
		target := w.at(portOf(w.sandbox[name].MQTTSAddr()))
		for _, edit := range edits {
			edit(w, &target)
		}
		return target
	}
}

func stranger(_ *world, target *verify.Target) { target.Login = login("tokenOfNobody0123456", "") }

// sandboxRows run against tbcert's own ThingsBoard-compatible endpoint.
func sandboxRows() []row {
	refused, unacknowledged := "pppppppFss", "ppppppppFs"
	return []row{
		{name: "sandbox", want: "pppppppppp", target: inSandbox("good", roundTrip)},
		{name: "sandbox, plain", want: "ppssssspps", target: func(w *world) verify.Target {
			return w.plainAt(portOf(w.sandbox["plain"].MQTTAddr()))
		}},
		{name: "sandbox refuses the token", want: refused, target: inSandbox("refuses", stranger),
			diagnosis: verify.ConnectBadToken, detail: "CONNACK 5", cause: "not the access token of any device", fix: "Manage credentials"},
		{name: "sandbox, no user name", want: refused, target: inSandbox("refuses", nobody), // ThingsBoard says 2 to a client id alone, and 5 to nothing at all
			diagnosis: verify.ConnectNoUsername, detail: "CONNACK 2", cause: "No user name was sent", fix: "--token-file"},
		{name: "sandbox, TLS on the plain port", want: "ppsssssFss", target: func(w *world) verify.Target {
			return w.plainAt(portOf(w.sandbox["TLS on plain"].MQTTSAddr()))
		}, diagnosis: verify.ConnectTLSPort, detail: "does not take plain MQTT, and answers TLS", cause: "TLS port", fix: "Leave --plain away"},
		{name: "sandbox, plain on the TLS port", want: "ppFsssssss", target: func(w *world) verify.Target {
			return w.at(portOf(w.sandbox["plain on TLS"].MQTTAddr()))
		}, diagnosis: verify.TLSPlainMQTT, detail: "does not take TLS, and answers MQTT without it", cause: "without TLS", fix: "MQTT_SSL_ENABLED=true"},
		{name: "sandbox fault connack=2", want: refused, target: inSandbox("connack=2"),
			diagnosis: verify.ConnectIdentifier, detail: "CONNACK 2", cause: "client id", fix: "--client-id"},
		{name: "sandbox fault connack=3", want: refused, target: inSandbox("connack=3"),
			diagnosis: verify.ConnectUnavailable, detail: "CONNACK 3", cause: "fault in the server", fix: "postgresql"},
		{name: "sandbox fault connack=200", want: refused, target: inSandbox("connack=200"),
			diagnosis: verify.ConnectUnknownCode, detail: "CONNACK 200 (0xc8)", cause: "codes 0 to 5", fix: "proxy"},
		{name: "sandbox fault close-before-connack", want: refused, target: inSandbox("close-before-connack"),
			diagnosis: verify.ConnectClosed, detail: "without a CONNACK", cause: "60 s after 10 wrong credentials", fix: "journalctl -u thingsboard"},
		{name: "sandbox fault close-after-publish", want: unacknowledged, target: inSandbox("close-after-publish"),
			diagnosis: verify.PublishClosed, detail: "closed the connection after PUBLISH", cause: "disconnects without PUBACK", fix: "stop the device"},
		{name: "sandbox closes on a payload that is no telemetry", want: unacknowledged, target: inSandbox("payload", payload([]byte(`{"temperature":`))),
			diagnosis: verify.PublishPayload, detail: "closed the connection after PUBLISH", cause: "this one is not telemetry", fix: `--payload '{"temperature":25}'`},
		{name: "sandbox closes on a payload that is too large", want: unacknowledged, target: inSandbox("large", payload(bytes.Repeat([]byte(" "), 65537))),
			diagnosis: verify.PublishTooLarge, detail: "closed the connection after PUBLISH", cause: "65537 bytes", fix: "NETTY_MAX_PAYLOAD_SIZE"},
		{name: "sandbox fault no-puback", want: unacknowledged, patient: short, target: inSandbox("no-puback"),
			diagnosis: verify.PublishNoPUBACK, detail: "no PUBACK for … in 400ms", cause: "queue", fix: "--timeout"},
		{name: "sandbox fault no-attributes", want: "pppppppppF", patient: short, target: inSandbox("no-attributes", roundTrip),
			diagnosis: verify.RoundTripSilent, detail: "did not come back in 400ms", cause: "save attributes", fix: "not ThingsBoard"},
	}
}

// TestTelemetryIsStored looks at what the sandbox has of a run: the default
// payload with the moment in it.
func TestTelemetryIsStored(t *testing.T) {
	t.Parallel()
	server, err := sandbox.Start(t.Context(), sandbox.Config{
		MQTTAddr: "127.0.0.1:0", Devices: []sandbox.Device{{Name: "meter-1", Token: secret.New(theToken)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	verifier := &verify.Verifier{Now: fixed, Timeout: patience}
	report := verifier.Run(t.Context(), verify.Target{Host: "127.0.0.1", Port: portOf(server.MQTTAddr()), Login: token(), RoundTrip: true})
	samples := server.Telemetry("meter-1")
	if !report.OK || len(samples) != 1 || samples[0].Key != "tbcert_verify" || samples[0].Value != fixed().UnixMilli() {
		t.Errorf("ok %t, stored %+v, want tbcert_verify %d", report.OK, samples, fixed().UnixMilli())
	}
}
