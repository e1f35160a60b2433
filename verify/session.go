package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// provisionUser is let in by ThingsBoard always (DataConstants.PROVISION).
const provisionUser = "provision"

// connect sends CONNECT and reads the answer.
func (r *run) connect(ctx context.Context) finding {
	if r.target.Login.Username.Reveal() == provisionUser || r.target.Login.ClientID == provisionUser {
		return finding{
			id:     ConnectProvisionUser,
			status: StatusFail,
			detail: fmt.Sprintf("the user name or client id is %q, and CONNECT was not sent", provisionUser),
			cause:  "ThingsBoard lets everybody in with this name, to provision devices only (MqttTransportHandler.processConnect): it proves nothing, and no telemetry is taken.",
			fix:    "Give a device's own credential: --token-file devices/NAME/token, or its name: 'tbcert verify NAME'.",
		}
	}
	session, err := device.Connect(ctx, r.conn, r.target.Login)
	if err != nil {
		return r.noSession(err)
	}
	r.session = session
	found := pass("CONNACK 0: " + device.Meaning(device.Accepted))
	if !r.target.TLS {
		found.detail += "; without TLS, so the credential crossed the network in clear"
	}
	if r.target.ClientCertificate != nil && r.asked && !r.target.Login.Username.IsZero() {
		found.id, found.status = ConnectTokenIgnored, StatusWarn
		found.detail += "; the client certificate let it in, and the user name was not looked at"
		found.cause = "ThingsBoard does not look at a token when a certificate is presented (MqttTransportHandler.processConnect), so this proves the certificate and not the token."
		found.fix = "Leave --token away to prove the certificate, or --cert and --key to prove the token. A device's bundle holds one of the two only."
	}
	return found
}

// noSession tells why there is no MQTT session.
func (r *run) noSession(err error) finding {
	var refused *device.RefusedError
	var protocol *device.ProtocolError
	alert, alerted := alertOf(err)
	switch {
	case errors.As(err, &refused):
		return r.refused(refused.Code)
	case alerted && alert == alertCertificateExpired && r.target.ClientCertificate != nil:
		found := r.clientRefused("the server ended the TLS connection after the handshake: " + alertText(alert))
		found.id = ConnectCertificateExpired
		return found
	case alerted:
		return r.clientRefused("the server ended the TLS connection after the handshake: " + alertText(alert))
	case errors.As(err, &protocol):
		return r.notMQTT(protocol)
	case timedOut(err):
		return finding{
			id: ConnectSilent, status: StatusFail,
			detail: fmt.Sprintf("no CONNACK in %s", r.verifier.timeout()),
			cause:  "The server took CONNECT and does not answer: ThingsBoard is overloaded or its queue or database is not there, or the port speaks something other than MQTT." + r.plainHint(),
			fix:    "Look at the server's load and log: 'journalctl -u thingsboard', /var/log/thingsboard/thingsboard.log. A slow server wants a longer --timeout.",
		}
	case errors.Is(err, device.ErrCut):
		return r.brokenConnect("the connection ended in the middle of the answer to CONNECT")
	case errors.Is(err, device.ErrClosed):
		return r.closedConnect()
	default:
		return r.brokenConnect("CONNECT failed: " + err.Error())
	}
}

func (r *run) brokenConnect(detail string) finding {
	return finding{
		id:     ConnectBroken,
		status: StatusFail,
		detail: detail,
		cause:  "The login could not be sent, or its answer not be read.",
		fix:    "Try again; if it stays so, look at what stands between here and the server (load balancer, NAT, firewall) and at 'journalctl -u thingsboard'.",
	}
}

// plainHint tells of the port's other language.
func (r *run) plainHint() string {
	if r.target.TLS {
		return ""
	}
	return " A TLS port stays silent like this as well."
}

func (r *run) closedConnect() finding {
	found := finding{
		id: ConnectClosed, status: StatusFail,
		detail: "the server closed the connection without a CONNACK",
		cause: "ThingsBoard answers every CONNECT it can read. It closes without an answer when the address is blocked (60 s after 10 wrong credentials, with TB_TRANSPORT_IP_RATE_LIMITS_ENABLED=true), " +
			"when its transport fails inside, or when a load balancer with no ThingsBoard behind it, or a proxy that demands a client certificate, took the connection.",
		fix: "Wait a minute and try again; then look at 'journalctl -u thingsboard' for the moment of the try, and at the load balancer's targets.",
	}
	if !r.target.TLS {
		found.cause = fmt.Sprintf("Port %d may be a TLS port, which closes on plain MQTT. Or: %s", r.target.Port, found.cause)
		found.fix = fmt.Sprintf("Leave --plain away if this is the MQTTS port: 'tbcert verify --host %s --port %d'. %s", r.target.Host, r.target.Port, found.fix)
	}
	return found
}

// mostBytes is how many bytes of an answer a text shows.
const mostBytes = 8

// notMQTT names what answered in place of MQTT by its first bytes.
func (r *run) notMQTT(problem *device.ProtocolError) finding {
	found := finding{
		id: ConnectNotMQTT, status: StatusFail,
		detail: fmt.Sprintf("%s answered CONNECT with something else than CONNACK: %s", r.address(), problem.Problem),
		cause:  "The port belongs to another service than ThingsBoard's MQTT transport.",
		fix:    "ThingsBoard's ports are 1883 (MQTT) and 8883 (MQTTS) unless MQTT_BIND_PORT or MQTT_SSL_BIND_PORT say otherwise: give the right one with --port.",
	}
	if len(problem.First) > 0 {
		found.detail = fmt.Sprintf("%s answered CONNECT with something that is not MQTT: first bytes % x", r.address(), problem.First[:min(len(problem.First), mostBytes)])
	}
	switch problem.LooksLike() {
	case "TLS":
		return r.tlsPort(fmt.Sprintf("%s answered with TLS: first bytes % x", r.address(), problem.First[:min(len(problem.First), mostBytes)]))
	case "HTTP":
		found.id = ConnectHTTP
		found.cause = fmt.Sprintf("A web server listens on port %d: this is ThingsBoard's web interface or a proxy before it, not its MQTT transport.", r.target.Port)
	}
	return found
}

// tlsPort is a TLS port that was asked without TLS.
func (r *run) tlsPort(detail string) finding {
	return finding{
		id:     ConnectTLSPort,
		status: StatusFail,
		detail: detail,
		cause:  fmt.Sprintf("Port %d is a TLS port, and plain MQTT was sent to it.", r.target.Port),
		fix:    fmt.Sprintf("Leave --plain away: 'tbcert verify --host %s --port %d'. Or give the plain port: --plain --port 1883.", r.target.Host, r.target.Port),
	}
}

// clientRefused is a server that refused the client certificate. With TLS 1.3
// it shows at the first read, after a handshake that looked good.
func (r *run) clientRefused(detail string) finding {
	return finding{
		id:     r.refusedID(),
		status: StatusFail,
		detail: detail,
		cause: "The server did not accept the client's side of TLS: the client certificate is expired, its chain does not fit, or the server demands one and got none. " +
			"ThingsBoard itself never demands one: then something before it, or another broker, does.",
		fix: "Look at the device's certificate: 'tbcert inspect cert.pem' (dates, issuer); cert.pem must hold the leaf and then its device CA. With an access token, leave --cert and --key away.",
	}
}

// refusedID tells a certificate that was refused from one that was not given,
// before and after the end of the handshake.
func (r *run) refusedID() DiagnosisID {
	given := r.target.ClientCertificate != nil
	switch {
	case r.secure == nil && given:
		return TLSCertificateRefused
	case r.secure == nil:
		return TLSCertificateRequired
	case given:
		return ConnectCertificateRefused
	default:
		return ConnectCertificateRequired
	}
}

// publish sends the telemetry message and waits for its PUBACK.
func (r *run) publish(ctx context.Context) finding {
	payload := r.target.payload(r.now)
	err := r.session.Publish(ctx, device.TopicTelemetry, payload)
	if err == nil {
		return pass(fmt.Sprintf("PUBACK for %s to %s", plural(len(payload), "byte"), device.TopicTelemetry))
	}
	found := finding{status: StatusFail}
	switch {
	case timedOut(err):
		found.id = PublishNoPUBACK
		found.detail = fmt.Sprintf("no PUBACK for %s to %s in %s", plural(len(payload), "byte"), device.TopicTelemetry, r.verifier.timeout())
		found.cause = "The session is open, and ThingsBoard did not acknowledge the message: it does so once its queue has taken it, so the queue (Kafka, RabbitMQ) or the rule engine behind it is stuck or overloaded."
		found.fix = "Look at the queue's health and at 'journalctl -u thingsboard'; a slow server wants a longer --timeout. The message may still arrive: look at the device's latest telemetry."
	case errors.Is(err, device.ErrClosed):
		found.detail = fmt.Sprintf("the server closed the connection after PUBLISH to %s, with no PUBACK", device.TopicTelemetry)
		found.id, found.cause, found.fix = closedPublish(payload)
	default:
		found.id = PublishBroken
		found.detail = "PUBLISH failed: " + err.Error()
		found.cause = "The connection broke, or the server answered something other than PUBACK."
		found.fix = "Try again; if it stays so, look at 'journalctl -u thingsboard' for the moment of the try."
	}
	return found
}

// largestPayload is NETTY_MAX_PAYLOAD_SIZE as ThingsBoard sets it, in bytes.
const largestPayload = 65536

// closedPublish tells why ThingsBoard closes after a PUBLISH: it disconnects
// without PUBACK when it cannot parse the payload
// (MqttTransportHandler.processPublish).
func closedPublish(payload []byte) (id DiagnosisID, cause, fix string) {
	if len(payload) > largestPayload {
		return PublishTooLarge, fmt.Sprintf("The payload of %d bytes is larger than ThingsBoard takes (NETTY_MAX_PAYLOAD_SIZE, 65536).", len(payload)),
			"Send less at a time with --payload, or raise NETTY_MAX_PAYLOAD_SIZE in thingsboard.conf and restart ThingsBoard."
	}
	if _, err := device.ParseTelemetry(payload); err != nil {
		return PublishPayload, fmt.Sprintf("ThingsBoard disconnects without PUBACK when it cannot parse the payload, and this one is not telemetry: %v.", err),
			`Give an object of keys and values: --payload '{"temperature":25}'. A value may be text, a number, true or false, an object or an array.`
	}
	return PublishClosed, "ThingsBoard disconnects without PUBACK when it cannot parse the payload: this one is good JSON telemetry, so the device's profile may expect another form (Protobuf, or other topics). " +
			"Or the device itself is at work with the same credential and took the session back, the device's rate limit is used up, or the queue refused the message.",
		"Look at the device's profile (Transport configuration: MQTT payload type JSON, topic v1/devices/me/telemetry), stop the device while you verify, and look at 'journalctl -u thingsboard' for the moment of the try."
}

// roundTrip writes a client attribute and reads it back: PUBACK proves access,
// a read-back proves storage.
func (r *run) roundTrip(ctx context.Context) finding {
	err := r.session.RoundTrip(ctx, rand.Text())
	if err == nil {
		return pass("a client attribute was written and read back")
	}
	found := finding{
		id: RoundTripSilent, status: StatusFail,
		detail: "reading the attribute back failed: " + err.Error(),
		cause:  "The message was accepted, and what it wrote did not come back: the rule chain does not save attributes (node 'save attributes' missing or failing), or the database is behind or down.",
		fix: "Look at the device's client attributes in ThingsBoard (key tbcert_nonce), at the root rule chain's 'save attributes' node and its errors, and at 'journalctl -u thingsboard'. " +
			"A broker that is not ThingsBoard never answers: leave --round-trip away there.",
	}
	switch {
	case timedOut(err):
		found.detail = fmt.Sprintf("the client attribute tbcert_nonce did not come back in %s", r.verifier.timeout())
	case errors.Is(err, device.ErrClosed):
		found.id = RoundTripClosed
		found.detail = "the server closed the connection while the client attribute was read back"
		found.cause = "The device itself may be at work with the same credential and have taken the session back; or ThingsBoard could not take the attribute or the request for it."
		found.fix = "Stop the device while you verify, and look at 'journalctl -u thingsboard' for the moment of the try."
	}
	return found
}
