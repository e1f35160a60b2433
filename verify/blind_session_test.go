package verify_test

import (
	"crypto/x509"
	"strings"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
	"github.com/tbcert/tbcert/thingsboard/device"
)

// blindConnectRows meet something other than ThingsBoard's answer to a login.
func blindConnectRows() []blindRow {
	return []blindRow{
		{"A mosquitto with a password file has the port that ThingsBoard should have", "mosquitto", "connect-other-broker",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.good, "allow_anonymous false", "password_file "+passwordFile(w.t, "someone", thePassword)))
			}},
		{"A broker of another make refuses the token by code 4", "sandbox with connack=4", "connect-other-broker",
			func(w *blindWorld) blindHost {
				return w.host(portOf(w.sandbox("connack=4").MQTTSAddr()))
			}},
		{"The server answers a code that MQTT 3.1.1 does not have", "sandbox with connack=200", "connect-unknown-code",
			func(w *blindWorld) blindHost { return w.thingsboard(w.sandbox("connack=200")) }},
		{"The server refuses the client id", "sandbox with connack=2", "connect-identifier",
			func(w *blindWorld) blindHost { return w.thingsboard(w.sandbox("connack=2")) }},
		{"The server speaks no MQTT 3.1.1", "sandbox with connack=1", "connect-version",
			func(w *blindWorld) blindHost { return w.thingsboard(w.sandbox("connack=1")) }},
		{"ThingsBoard's service for credentials fails", "a Go server with ThingsBoard's codes for 3.1.1 and 5; the sandbox has one for both", "connect-unavailable",
			func(w *blindWorld) blindHost { return w.host(w.transport(3, 0x88)) }},
		{"The tenant's limit on connections is exceeded", "a Go server with ThingsBoard's codes for 3.1.1 and 5; the sandbox has one for both", "connect-rate-limited",
			func(w *blindWorld) blindHost { return w.host(w.transport(3, 0x9f)) }},
		{"TLS ends at a proxy, and the ThingsBoard behind it hangs", "nginx stream before a mosquitto that was stopped by SIGSTOP", "connect-silent",
			func(w *blindWorld) blindHost {
				return w.host(w.nginx("stream", blindPassing("ssl", w.frozen(nil)), w.good), blindPatient(blindShort))
			}},
		{"TLS ends at a proxy, and the ThingsBoard behind it is down", "nginx stream before a closed port", "connect-closed",
			func(w *blindWorld) blindHost {
				return w.host(w.nginx("stream", blindPassing("ssl", 1), w.good))
			}},
		{"The server closes instead of answering CONNECT", "sandbox with close-before-connack", "connect-closed",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox("close-before-connack"))
			}},
		{"Port 8883 leads to the web server's HTTPS, which has the right certificate", "nginx http with TLS", "connect-http",
			func(w *blindWorld) blindHost {
				return w.host(w.nginx("http", "server { listen LISTEN ssl; CERTIFICATE return 200; }", w.good))
			}},
		{"Plain MQTT is sent to the web interface's port", "nginx http", "connect-http",
			func(w *blindWorld) blindHost {
				return w.host(w.nginx("http", blindNothing, nil), blindPlain)
			}},
		{"TLS ends at a proxy that leads to SSH", "stunnel before dropbear", "connect-not-mqtt",
			func(w *blindWorld) blindHost { return w.host(w.stunnel(w.dropbear())) }},
		{"Plain MQTT is sent to the TLS port", "mosquitto with TLS", "connect-tls-port",
			func(w *blindWorld) blindHost { return w.host(w.mosquitto(w.good), blindPlain) }},
		{"The connection ends in the middle of the answer to CONNECT", "nginx stream before toxiproxy (limit_data) before the sandbox", "connect-broken",
			func(w *blindWorld) blindHost {
				half := w.toxic(portOf(w.sandbox("").MQTTAddr()), `{"type":"limit_data","stream":"downstream","attributes":{"bytes":2}}`)
				return w.host(w.nginx("stream", blindPassing("ssl", half), w.good))
			}},
	}
}

// blindLoginRows come with a credential that does not let them in.
func blindLoginRows() []blindRow {
	return append(blindClientRows(), []blindRow{
		{"The token is of no device", "sandbox", "connect-bad-token",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindLogin(login("tokenOfNobody0123456", "")))
			}},
		{"The token was read from a file with the line's end still on it", "sandbox", "connect-bad-token",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindLogin(login(theToken+"\n", "")))
			}},
		{"The password of a device with MQTT basic credentials is wrong", "sandbox", "connect-bad-basic",
			func(w *blindWorld) blindHost {
				basic := sandbox.Basic{Username: secret.New("meter-1"), Password: secret.New(thePassword)}
				return w.thingsboard(w.sandbox("", sandbox.Device{Name: "meter-1", Basic: basic}), blindLogin(login("meter-1", "of-yesterday")))
			}},
		{"A client id was given, and no token", "sandbox", "connect-no-username",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindLogin(device.Login{ClientID: "meter-1"}))
			}},
		{"The user name is provision, which ThingsBoard lets in for provisioning alone", "sandbox", "connect-provision-user",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindLogin(login(device.UserProvision, "")))
			}},
		{"The token is good, and the client id is provision", "sandbox", "connect-provision-user",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindLogin(device.Login{ClientID: device.UserProvision, Username: secret.New(theToken)}))
			}},
	}...)
}

// blindClientRows come with a client certificate, or should.
func blindClientRows() []blindRow {
	clientAuth := usage(x509.ExtKeyUsageClientAuth)
	demanding := func(w *blindWorld) int {
		fleet, _ := w.fleet.files(w.t)
		return w.mosquitto(w.good, "allow_anonymous true", "require_certificate true", "cafile "+fleet)
	}
	return []blindRow{
		{"The certificate is of no device", "sandbox", "connect-certificate-unknown",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindLogin(device.Login{}), blindClient(w.fleet.leaf(w.t, clientAuth)))
			}},
		{"The device's certificate has expired, and ThingsBoard looks at dates", "sandbox", "connect-certificate-expired",
			func(w *blindWorld) blindHost {
				old := w.fleet.leaf(w.t, clientAuth, lives(-400*day, -3*day))
				return w.thingsboard(w.sandbox("", sandbox.Device{Name: "meter-1", Certificate: blindPEM(old)}), blindLogin(device.Login{}), blindClient(old))
			}},
		{"A broker demands certificates, and the device's has expired", "mosquitto (require_certificate)", "connect-certificate-expired",
			func(w *blindWorld) blindHost {
				return w.host(demanding(w), blindClient(w.fleet.leaf(w.t, clientAuth, lives(-400*day, -3*day))))
			}},
		{"A broker demands certificates of one CA, and the device's is of another", "mosquitto (require_certificate)", "connect-certificate-refused",
			func(w *blindWorld) blindHost {
				return w.host(demanding(w), blindClient(w.other.leaf(w.t, clientAuth)))
			}},
		{"The device's certificate is followed by a CA that did not sign it", "sandbox", "connect-certificate-refused",
			func(w *blindWorld) blindHost {
				leaf := w.fleet.leaf(w.t, clientAuth)
				leaf.with = []*x509.Certificate{w.other.cert}
				return w.thingsboard(w.sandbox("", sandbox.Device{Name: "meter-1", Certificate: blindPEM(leaf)}), blindLogin(device.Login{}), blindClient(leaf))
			}},
		{"A broker demands certificates, and the device has a token alone", "mosquitto (require_certificate)", "connect-certificate-required",
			func(w *blindWorld) blindHost { return w.host(demanding(w)) }},
		{"A proxy demands certificates, and closes after the handshake when none came", "nginx stream (ssl_verify_client on)", "connect-certificate-required",
			func(w *blindWorld) blindHost {
				fleet, _ := w.fleet.files(w.t)
				block := blindPassing("ssl", w.mosquitto(nil))
				block = strings.Replace(block, "CERTIFICATE", "CERTIFICATE ssl_verify_client on; ssl_client_certificate "+fleet+";", 1)
				return w.host(w.nginx("stream", block, w.good))
			}},
		{"A good token and a certificate of no device are both sent", "sandbox", "connect-token-ignored",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindClient(w.fleet.leaf(w.t, clientAuth)))
			}},
	}
}

// blindPublishRows are let in, and get no further.
func blindPublishRows() []blindRow {
	return []blindRow{
		{"The shell took the quotes and half of the payload away", "sandbox", "publish-payload",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindPayload(`{temperature:`))
			}},
		{"The payload is a bare number", "sandbox", "publish-payload",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindPayload(`25`))
			}},
		{"The payload is telemetry of more than 64 KiB", "sandbox", "publish-too-large",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindPayload(`{"picture":"`+strings.Repeat("x", 70_000)+`"}`))
			}},
		{"ThingsBoard's queue takes nothing, and no PUBACK comes", "sandbox with no-puback", "publish-no-puback",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox("no-puback"), blindPatient(blindShort))
			}},
		{"The device is at work with the same token, and takes its session back at once", "sandbox with a second client; toxiproxy (latency) makes the link slow", "publish-session-taken",
			func(w *blindWorld) blindHost {
				server := w.sandbox("")
				blindDevice(w.t, portOf(server.MQTTAddr()))
				return w.host(w.toxic(portOf(server.MQTTSAddr()), `{"type":"latency","stream":"upstream","attributes":{"latency":250}}`))
			}},
		{"ThingsBoard closes the connection when it cannot queue the message", "sandbox with close-after-publish", "publish-closed",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox("close-after-publish"))
			}},
		{"Requests for attributes stay without an answer", "sandbox with no-attributes", "round-trip-silent",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox("no-attributes"), blindRoundTrip, blindPatient(blindShort))
			}},
		{"The server closes when the device asks for an attribute", "a Go server; the sandbox has no such fault", "round-trip-closed",
			func(w *blindWorld) blindHost {
				return w.host(w.scripted(script{connack: "\x20\x02\x01\x00", closes: packets.Subscribe}), blindRoundTrip)
			}},
	}
}
