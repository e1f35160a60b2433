package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// again opens the target's connection once more, verified as the first one was.
func (r *run) again(ctx context.Context) (net.Conn, error) {
	conn, err := r.verifier.dial(ctx, r.reached.String())
	if err != nil || !r.target.TLS {
		return conn, err
	}
	secure := tls.Client(conn, r.config())
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// mayAsk reports whether the credential may be sent once more.
func (r *run) mayAsk() bool {
	return !r.target.AskOnce && (r.verifier.fleet == nil || r.verifier.fleet.mayAsk())
}

// exactReason asks once more, in MQTT 5, which tells apart what 3.1.1 has one
// code for. It asks no third time: ThingsBoard blocks an address after 10 wrong
// credentials.
func (r *run) exactReason(ctx context.Context, found finding) finding {
	if !r.mayAsk() {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, r.verifier.timeout())
	defer cancel()
	conn, err := r.again(ctx)
	if err != nil {
		return found
	}
	answer, err := device.Ask(ctx, conn, r.target.Login, device.Question{})
	if err != nil || answer.Connack == device.ReasonSuccess || answer.Connack == device.ReasonUnsupportedVersion {
		return found
	}
	exact := r.exact(found, answer.Connack)
	exact.detail = fmt.Sprintf("%s; in MQTT 5 the reason is 0x%02x, %s", found.detail, answer.Connack, device.Reason(answer.Connack))
	return exact
}

// exact corrects a finding by a reason code of MQTT 5 (ReturnCodeResolver).
func (r *run) exact(found finding, code device.ReasonCode) finding {
	switch code {
	case device.ReasonNotAuthorized:
		switch {
		case r.target.ClientCertificate != nil:
			found.id, found.cause, found.fix = r.certificateRefused()
		case !r.target.Login.Username.IsZero():
			found.id = ConnectOtherBroker
			found.cause = "The broker refused the credential, and it is not ThingsBoard, which has another reason for a wrong one (0x86, bad user name or password): another broker listens here, or a gateway before ThingsBoard."
			found.fix = "See that host and port lead to ThingsBoard's MQTT transport ('sudo ss -ltnp' on the server shows who listens); if the broker is the right one, register the credential there."
		}
	case device.ReasonBadClientID:
		if r.target.Login.Username.IsZero() {
			found.id, found.cause, found.fix = r.identifierRefused()
		}
	case device.ReasonUnavailable:
		found.id = ConnectUnavailable
		found.cause = "A fault in the server, not in the credential: ThingsBoard's credentials service failed (database, cache or tb-core not reachable)."
		found.fix = "Look for the moment of the try in 'journalctl -u thingsboard' or /var/log/thingsboard/thingsboard.log; see that the database runs ('systemctl status postgresql'). Then try again."
	case device.ReasonConnectionRate, device.ReasonRateTooHigh, device.ReasonQuotaExceeded:
		found.id = ConnectRateLimited
		found.cause = "The tenant's devices connect more often than its profile allows (transport rate limits of the tenant's profile): the credential may be right."
		found.fix = "Wait a minute and try again. In ThingsBoard, as system administrator: Tenant profiles, the profile, Transport rate limits; or let the devices wait longer, and not all the same time, before they connect again."
	}
	return found
}

// takeoverTime is how long a session of MQTT 5 listens whether another client
// takes it: one that was just closed comes back within moments.
const takeoverTime = 2 * time.Second

// firstFailure is the first reason code of MQTT 5 that is a failure (2.4): mosquitto
// tells by 0x10 that it took a message that nobody has subscribed to.
const firstFailure = 0x80

// exactPublish asks once more in MQTT 5 why the server ended the session at a
// message that is good telemetry.
func (r *run) exactPublish(ctx context.Context, found finding) finding {
	if !r.mayAsk() {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, r.verifier.timeout()+takeoverTime)
	defer cancel()
	conn, err := r.again(ctx)
	if err != nil {
		return found
	}
	message := &device.Message{Topic: device.TopicTelemetry, Payload: r.target.payload(r.now)}
	answer, err := device.Ask(ctx, conn, r.target.Login, device.Question{Message: message, Stay: takeoverTime})
	if err != nil || answer.Connack != device.ReasonSuccess {
		return found
	}
	code := answer.Puback
	if answer.Left {
		code = answer.Disconnect
	}
	if code < firstFailure {
		return found
	}
	found.detail += fmt.Sprintf("; in MQTT 5 the reason is 0x%02x, %s", code, device.Reason(code))
	switch code {
	case device.ReasonTakenOver:
		found.id = PublishSessionTaken
		found.cause = "Another client is at work with the same credential: ThingsBoard closes a device's older session when a newer one comes, so the two put each other out again and again. It is the device itself, or a second device or a test that was given the same token."
		found.fix = "Stop the other client while you verify, or prove the device by the server's own record (give --url, so that its activity is read). If two devices have one token, give one of them its own: 'tbcert rotate NAME'."
	case device.ReasonBadPayload:
		found.id = PublishPayload
		found.cause = "ThingsBoard cannot take this payload for the device's profile: the profile expects another form than JSON (Protobuf, or topics of its own)."
		found.fix = "Look at the device's profile (Transport configuration: MQTT payload type JSON, topic v1/devices/me/telemetry), or give a payload of its form with --payload."
	case device.ReasonTooLarge:
		found.id = PublishTooLarge
		found.cause = fmt.Sprintf("The message, with %d bytes of payload, is larger than the server takes: ThingsBoard takes 65536 (NETTY_MAX_PAYLOAD_SIZE), another broker or a gateway before it may take less.", len(message.Payload))
		found.fix = "Send less at a time with --payload, or raise the server's limit (NETTY_MAX_PAYLOAD_SIZE in thingsboard.conf; mosquitto: max_packet_size) and restart it."
	case device.ReasonRateTooHigh, device.ReasonQuotaExceeded:
		found.id = PublishRateLimited
		found.cause = "The device or its tenant sends more messages than the tenant's profile allows, so this one was not taken."
		found.fix = "Send less often, or in ThingsBoard, as system administrator: Tenant profiles, the profile, Transport rate limits (device messages, telemetry data points). Then try again."
	case device.ReasonAdministrative:
		found.cause = "The device was changed or deleted in ThingsBoard while it was connected: a change of its credential ends its sessions."
		found.fix = "Run it again; if it is refused then, the bundle's credential is no longer the device's: 'tbcert provision --repair NAME' writes it again."
	}
	return found
}
