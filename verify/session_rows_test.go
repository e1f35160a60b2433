package verify_test

import (
	"bytes"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
	"github.com/tbcert/tbcert/verify"
)

func login(user, password string) device.Login {
	return device.Login{Username: secret.New(user), Password: secret.New(password)}
}

// scripted is the endpoint that follows a script, with changes to the target.
func scripted(what string, edits ...func(*world, *verify.Target)) func(*world) verify.Target {
	return func(w *world) verify.Target {
		target := w.at(w.scripts[what])
		for _, edit := range edits {
			edit(w, &target)
		}
		return target
	}
}

func nobody(_ *world, target *verify.Target) { target.Login = device.Login{ClientID: "meter-1"} }

func withClient(w *world, target *verify.Target) {
	target.ClientCertificate, target.Login = w.client.tls(), device.Login{}
}

func withBoth(w *world, target *verify.Target) { target.ClientCertificate = w.client.tls() }

func roundTrip(_ *world, target *verify.Target) { target.RoundTrip = true }

func payload(text []byte) func(*world, *verify.Target) {
	return func(_ *world, target *verify.Target) { target.Payload = text }
}

// connectRows get no session.
func connectRows() []row {
	refused := "pppppppFss"
	return []row{
		{name: "mosquitto refuses the token", want: refused, target: func(w *world) verify.Target { return w.at(w.guarded) },
			diagnosis: verify.ConnectOtherBroker, detail: "CONNACK 5", cause: "it is not ThingsBoard", fix: "lead to ThingsBoard's MQTT transport"},
		{name: "mosquitto refuses user name and password", want: refused, target: func(w *world) verify.Target {
			target := w.at(w.guarded)
			target.Login = login("somebody", thePassword)
			return target
		}, diagnosis: verify.ConnectOtherBroker, detail: "CONNACK 5", cause: "it is not ThingsBoard", fix: "lead to ThingsBoard's MQTT transport"},
		{name: "mosquitto refuses nobody", want: refused, target: func(w *world) verify.Target {
			target := w.at(w.guarded)
			target.Login = device.Login{}
			return target
		}, diagnosis: verify.ConnectNoUsername, detail: "CONNACK 5", cause: "No credential was sent", fix: "--token-file"},
		{name: "refused over plain MQTT", want: "ppsssssFss", target: func(w *world) verify.Target { return w.plainAt(w.says["CONNACK 5"]) },
			diagnosis: verify.ConnectBadToken, detail: "CONNACK 5", cause: "access token", fix: "Manage credentials"},
		{name: "a client certificate without a device", want: refused, target: scripted("CONNACK 5", withClient),
			diagnosis: verify.ConnectCertificateUnknown, detail: "CONNACK 5", cause: "knows no device for the client certificate", fix: "X.509"},
		{name: "a client certificate without a device, and a token", want: refused, target: scripted("CONNACK 5", withBoth),
			diagnosis: verify.ConnectTokenIgnored, detail: "CONNACK 5", cause: "does not look at it", fix: "leave --cert and --key away … X.509"},
		{name: "another protocol version", want: refused, target: scripted("CONNACK 1"),
			diagnosis: verify.ConnectVersion, detail: "CONNACK 1", cause: "does not speak MQTT 3.1.1", fix: "--host"},
		{name: "no user name", want: refused, target: scripted("CONNACK 2", nobody),
			diagnosis: verify.ConnectNoUsername, detail: "CONNACK 2", cause: "No user name was sent", fix: "--token-file"},
		{name: "client id refused", want: refused, target: scripted("CONNACK 2"),
			diagnosis: verify.ConnectIdentifier, detail: "CONNACK 2", cause: "client id", fix: "--client-id"},
		{name: "server fault", want: refused, target: scripted("CONNACK 3"),
			diagnosis: verify.ConnectUnavailable, detail: "CONNACK 3", cause: "fault in the server", fix: "postgresql"},
		{name: "a code that ThingsBoard never sends", want: refused, target: scripted("CONNACK 4"),
			diagnosis: verify.ConnectOtherBroker, detail: "CONNACK 4", cause: "ThingsBoard never answers this", fix: "--username"},
		{name: "an unknown CONNACK byte", want: refused, target: scripted("CONNACK 200"),
			diagnosis: verify.ConnectUnknownCode, detail: "CONNACK 200 (0xc8)", cause: "codes 0 to 5", fix: "proxy"},
		{name: "close before CONNACK", want: refused, target: scripted("close"),
			diagnosis: verify.ConnectClosed, detail: "closed the connection without a CONNACK", cause: "60 s after 10 wrong credentials", fix: "journalctl -u thingsboard"},
		{name: "no CONNACK", want: refused, patient: short, target: scripted("no CONNACK"),
			diagnosis: verify.ConnectSilent, detail: "no CONNACK in 400ms", cause: "does not answer", fix: "--timeout"},
		{name: "TLS 1.2, and no MQTT in it", want: refused, patient: short, target: func(w *world) verify.Target { return w.at(w.s["TLS 1.2"]) },
			diagnosis: verify.ConnectSilent, detail: "no CONNACK in 400ms", cause: "something other than MQTT", fix: "--timeout"},
		{name: "HTTP over TLS", want: refused, target: scripted("HTTP"),
			diagnosis: verify.ConnectHTTP, detail: "not MQTT: first bytes 48 54 54 50", cause: "web server", fix: "MQTT_SSL_BIND_PORT"},
		{name: "TLS on the plain port of mosquitto", want: "ppsssssFss", target: func(w *world) verify.Target { return w.plainAt(w.good) },
			diagnosis: verify.ConnectTLSPort, detail: "answers TLS", cause: "is a TLS port", fix: "Leave --plain away"},
		{name: "TLS on the plain port, telling", want: "ppsssssFss", target: func(w *world) verify.Target { return w.plainAt(w.says["alert"]) },
			diagnosis: verify.ConnectTLSPort, detail: "TLS: first bytes 15 03", cause: "is a TLS port", fix: "Leave --plain away"},
		{name: "a plain port that closes", want: "ppsssssFss", target: func(w *world) verify.Target { return w.plainAt(w.says["close"]) },
			diagnosis: verify.ConnectClosed, detail: "without a CONNACK", cause: "may be a TLS port", fix: "Leave --plain away"},
		{name: "silent plain port", want: "ppsssssFss", patient: short, target: func(w *world) verify.Target { return w.plainAt(w.silent) },
			diagnosis: verify.ConnectSilent, detail: "no CONNACK in 400ms", cause: "A TLS port stays silent", fix: "--timeout"},
		{name: "a client certificate is demanded", want: refused, target: func(w *world) verify.Target { return w.at(w.demanding) },
			diagnosis: verify.ConnectCertificateRequired, detail: "alert 116", cause: "demands one and got none", fix: "tbcert inspect cert.pem"},
		{name: "an expired client certificate", want: refused, target: func(w *world) verify.Target {
			target := w.at(w.demanding)
			target.ClientCertificate = w.expiredClient.tls()
			return target
		}, diagnosis: verify.ConnectCertificateExpired, detail: "alert 45", cause: "the client certificate is expired", fix: "tbcert inspect cert.pem"},
	}
}

// publishRows get a session and no more.
func publishRows() []row {
	refused, lost := "ppppppppFs", "pppppppppF"
	return []row{
		{name: "close after PUBLISH", want: refused, target: scripted("close after"),
			diagnosis: verify.PublishClosed, detail: "closed the connection after PUBLISH", cause: "disconnects without PUBACK when it cannot parse the payload … took the session back", fix: "stop the device"},
		{name: "close after a payload that is no telemetry", want: refused, target: scripted("close after", payload([]byte(`{"temperature":`))),
			diagnosis: verify.PublishPayload, detail: "with no PUBACK", cause: "disconnects without PUBACK … this one is not telemetry", fix: `--payload '{"temperature":25}'`},
		{name: "close after a payload that is too large", want: refused, target: scripted("close after", payload(bytes.Repeat([]byte(" "), 65537))),
			diagnosis: verify.PublishTooLarge, detail: "with no PUBACK", cause: "65537 bytes", fix: "NETTY_MAX_PAYLOAD_SIZE"},
		{name: "no PUBACK", want: refused, patient: short, target: scripted("no PUBACK"),
			diagnosis: verify.PublishNoPUBACK, detail: "no PUBACK for … in 400ms", cause: "queue", fix: "--timeout"},
		{name: "no MQTT where the PUBACK was due", want: refused, target: scripted("no MQTT"),
			diagnosis: verify.PublishBroken, detail: "expected PUBACK … HTTP/1.1", cause: "something other than PUBACK", fix: "journalctl -u thingsboard"},
		{name: "no PUBACK, and a round trip asked for", want: refused, patient: short, target: scripted("no PUBACK", roundTrip),
			diagnosis: verify.PublishNoPUBACK, detail: "no PUBACK", cause: "queue", fix: "latest telemetry"},
		{name: "mosquitto loses the round trip", want: lost, patient: short, target: func(w *world) verify.Target {
			target := w.at(w.good)
			target.RoundTrip = true
			return target
		}, diagnosis: verify.RoundTripSilent, detail: "did not come back in 400ms", cause: "save attributes", fix: "not ThingsBoard"},
		{name: "closed on the round trip", want: lost, target: scripted("close later", roundTrip),
			diagnosis: verify.RoundTripClosed, detail: "closed the connection", cause: "taken the session back", fix: "Stop the device"},
	}
}
