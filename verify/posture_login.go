package verify

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
)

// tokenLength is that of the tokens that ThingsBoard makes.
const tokenLength = 20

// wrongToken logs in once with a token that no device has.
func (p *posture) wrongToken(ctx context.Context) finding {
	const question = "a random token"
	reason, err := p.refuses(ctx, device.Login{Username: secret.New(rand.Text()[:tokenLength])})
	switch {
	case reason != "":
		return pass(question + " is refused: " + reason)
	case err != nil:
		return p.unknown("whether "+question+" is refused", err)
	}
	return finding{
		status: StatusFail,
		detail: fmt.Sprintf("%s of %d characters was accepted: CONNACK 0", question, tokenLength),
		cause:  "The server lets anybody in, whatever the user name, so a device's token proves nothing. ThingsBoard never does so: another broker, or a proxy that answers CONNECT itself, is behind this port.",
		fix:    p.anybodyFix(),
	}
}

// noUser logs in without saying who it is.
func (p *posture) noUser(ctx context.Context) finding {
	const question = "a CONNECT without a user name"
	reason, err := p.refuses(ctx, anonymous())
	switch {
	case reason != "":
		return pass(question + " is refused: " + reason)
	case err != nil:
		return p.unknown("whether "+question+" is refused", err)
	}
	return finding{
		status: StatusFail,
		detail: question + " was accepted: CONNACK 0",
		cause:  "The server gives anonymous access. ThingsBoard never does so (it answers 2): another broker, or a proxy that answers CONNECT itself, is behind this port.",
		fix:    p.anybodyFix(),
	}
}

// anonymous is a login with a client id alone, for which ThingsBoard has an
// answer of its own: 2.
func anonymous() device.Login { return device.Login{ClientID: "tbcert-" + rand.Text()[:8]} }

func (p *posture) anybodyFix() string {
	return fmt.Sprintf("See who listens: 'sudo ss -ltnp sport = :%d' on the server. If it is to be ThingsBoard, give it the port (MQTT_SSL_BIND_PORT) or let the load balancer pass TCP through to it; "+
		"for mosquitto, set allow_anonymous false and a password_file. Then run 'tbcert verify --strict' again.", p.target.Port)
}

// refuses logs in over a verified connection and gives the reason for which the
// server refused, "" when it did not; an error when that cannot be told.
func (p *posture) refuses(ctx context.Context, login device.Login) (reason string, err error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	asked := false
	secure := tls.Client(conn, p.bare(&asked))
	if err = secure.HandshakeContext(ctx); err == nil {
		err = enter(ctx, secure, login)
	}
	if err == nil {
		return "", nil
	}
	// The server was verified a moment ago with the same offer, so an alert
	// after its request for a certificate is about there being none.
	if alert, alerted := alertOf(err); alerted && asked {
		return "the server demands a client certificate (" + alertText(alert) + ")", nil
	}
	var refused *device.RefusedError
	if errors.As(err, &refused) && refused.Code != device.BadProtocolVersion && refused.Code != device.ServerUnavailable {
		return fmt.Sprintf("CONNACK %d: %s", refused.Code, device.Meaning(refused.Code)), nil
	}
	return "", err
}

// enter logs in and out.
func enter(ctx context.Context, conn net.Conn, login device.Login) error {
	session, err := device.Connect(ctx, conn, login)
	if err == nil {
		_ = session.Disconnect()
	}
	return err
}

// plainPort looks whether MQTT is offered without TLS. It sends a CONNECT
// without a user name, and never anything of the target's login.
func (p *posture) plainPort(ctx context.Context) finding {
	port := p.options.PlainPort
	if port == 0 {
		port = DefaultPlainPort
	}
	switch {
	case port < 1 || port > math.MaxUint16:
		return p.unknown("whether plain MQTT is offered", fmt.Errorf("%d, which is not a TCP port", port))
	case port == p.target.Port:
		return pass(fmt.Sprintf("port %d is the one that speaks TLS", port))
	}
	var closed []string
	for _, ip := range p.addresses {
		address := netip.AddrPortFrom(ip, uint16(port))
		conn, err := p.verifier.dial(ctx, address.String())
		if err != nil {
			closed = append(closed, fmt.Sprintf("%s: %s", address, p.dialText(err)))
			continue
		}
		found := p.openPlain(ctx, conn, address)
		_ = conn.Close()
		return found
	}
	return pass(fmt.Sprintf("port %d is closed (%s)", port, strings.Join(closed, "; ")))
}

// openPlain tells what an open port speaks.
func (p *posture) openPlain(ctx context.Context, conn net.Conn, address netip.AddrPort) finding {
	err := enter(ctx, conn, anonymous())
	var refused *device.RefusedError
	var protocol *device.ProtocolError
	found := finding{
		status: StatusWarn,
		cause:  fmt.Sprintf("Whoever sets a device up with port %d sends its token in clear, and anybody on the way can read and use it.", address.Port()),
		fix:    plainFix(int(address.Port())),
	}
	switch {
	case err == nil:
		found.status = StatusFail
		found.detail = fmt.Sprintf("%s speaks plain MQTT and lets anybody in without a user name", address)
		found.cause = "The port gives anonymous access without TLS. ThingsBoard never gives it: another broker listens there. " + found.cause
	case errors.As(err, &refused):
		found.detail = fmt.Sprintf("%s speaks plain MQTT (CONNACK %d), so tokens can cross the network in clear", address, refused.Code)
	case errors.As(err, &protocol):
		return pass(fmt.Sprintf("%s is open and does not speak plain MQTT: %s", address, protocol.Problem))
	default:
		found.detail = fmt.Sprintf("%s is open and answered a plain CONNECT with no CONNACK (%s), so it may take tokens in clear", address, p.errText(err))
	}
	return found
}

// plainFix closes the plain port. MQTT_ENABLED=false would stop MQTT over TLS as
// well: ThingsBoard starts both in one service (MqttTransportService).
func plainFix(port int) string {
	return "Let ThingsBoard bind its plain MQTT to this machine alone: export MQTT_BIND_ADDRESS=127.0.0.1 in /etc/thingsboard/conf/thingsboard.conf, then 'sudo systemctl restart thingsboard' " +
		"(MQTT_SSL_BIND_ADDRESS stays 0.0.0.0; MQTT_ENABLED=false would switch MQTT over TLS off too). In Docker, do not publish the port (no -p " + strconv.Itoa(port) + ":1883). " +
		"Or close it in the firewall: 'sudo ufw deny " + strconv.Itoa(port) + "/tcp'. Move devices that still use it to MQTTS first, and give those a new token: 'tbcert rotate NAME'."
}
