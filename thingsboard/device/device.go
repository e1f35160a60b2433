// Package device speaks to ThingsBoard's MQTT transport as a device does: it
// logs in with a device's credential, publishes telemetry, reads attributes
// back, and says what each answer means in ThingsBoard's terms. It also parses
// payloads as ThingsBoard does, for whoever stands in for it.
//
// A [Session] opens no connection: it gets one, so that whoever verifies a
// connection judges every step of it apart. MQTT is 3.1.1 (OASIS Standard, 29
// October 2014); the clauses named in comments are of that text. The CONNACK is
// read here and not by a client library, because the code in it is what the
// user wants to know: paho's client asks again with MQTT 3.1 after a refusal,
// and takes a code that it does not know for success.
package device

import (
	"github.com/tbcert/tbcert/certs/secret"
)

const (
	// MaxPacket is the largest MQTT packet in bytes, without its fixed header,
	// that a session reads or writes; a larger one is refused before memory is
	// set aside for it. ThingsBoard's own limit on a payload, [MaxPayload], is
	// far below.
	MaxPacket = 1 << 20

	// MaxPayload is the largest payload in bytes that ThingsBoard takes unless
	// NETTY_MAX_PAYLOAD_SIZE says otherwise; it closes the connection on a
	// larger one.
	MaxPayload = 65_536
)

// A Login is what a device proves itself with in CONNECT. Its zero value is a
// CONNECT with neither client id, user name nor password: right when a TLS
// client certificate says who the device is.
//
// An access token is the Username of a Login without a password. MQTT basic
// credentials take what the device's credentials in ThingsBoard name of the
// three.
type Login struct {
	ClientID           string
	Username, Password secret.Text
}

// A Message is a PUBLISH that came from the server.
type Message struct {
	Topic    string
	Payload  []byte
	Retained bool
}
