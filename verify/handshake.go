package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/tbcert/tbcert/certs"
)

// handshake shakes hands, verifying. It passes when the negotiation worked,
// even if the certificate was refused: what is wrong with that, the checks of
// the certificate say.
func (r *run) handshake(ctx context.Context) finding {
	r.heard = &counted{Conn: r.conn}
	conn := tls.Client(r.heard, r.config())
	err := conn.HandshakeContext(ctx)
	r.connected()
	state := conn.ConnectionState()
	var refused *tls.CertificateVerificationError
	switch {
	case err == nil:
		r.conn, r.secure = conn, conn
		r.chain = r.accepted(state)
	case errors.As(err, &refused) && len(refused.UnverifiedCertificates) > 0:
		r.chain = r.present(refused.UnverifiedCertificates, refused.Err)
		return pass(fmt.Sprintf("%s negotiated, %s presented and refused: see the checks of the certificate",
			versionText(state.Version), plural(len(refused.UnverifiedCertificates), "certificate")))
	default:
		return r.noHandshake(err, state.PeerCertificates)
	}
	shown := "presented"
	if state.DidResume {
		shown = "of a session with this server that another device began"
	}
	found := pass(fmt.Sprintf("%s, %s, %s %s", versionText(state.Version),
		tls.CipherSuiteName(state.CipherSuite), plural(len(state.PeerCertificates), "certificate"), shown))
	if r.target.ClientCertificate != nil && !r.asked {
		found.id, found.status = TLSCertificateNotAsked, StatusWarn
		found.detail += "; the client certificate was not asked for"
		found.cause = "The server did not ask for a client certificate, so this one stayed here and proves nothing. ThingsBoard always asks: something before it ends the TLS connection, or it is another broker."
		found.fix = "Let the load balancer pass TCP through to ThingsBoard's MQTTS port, or use an access token."
	}
	return found
}

// config is what the client side of the handshake goes by.
func (r *run) config() *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: r.target.Host,
		// What devices offer. With the library's own list, which begins with a
		// post-quantum exchange, the first message is larger than a packet, and may
		// fail on its way where a device's does not.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		Time:             r.verifier.now,
		// Shown whatever issuers the server names, as mosquitto_pub does.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			r.asked = true
			if r.target.ClientCertificate == nil {
				return new(tls.Certificate), nil // none
			}
			return r.target.ClientCertificate, nil
		},
	}
	switch fleet := r.verifier.fleet; {
	case fleet != nil:
		shared := fleet.trustFor(r.target)
		config.RootCAs = shared.pool
		if r.target.ClientCertificate == nil {
			config.ClientSessionCache = shared.sessions
		}
	case r.target.Roots != nil:
		config.RootCAs = pool(r.target.Roots)
	}
	return config
}

func pool(certificates []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, cert := range certificates {
		p.AddCert(cert)
	}
	return p
}

func versionText(version uint16) string {
	if version == 0 {
		return "TLS"
	}
	return tls.VersionName(version)
}

func plural(count int, noun string) string {
	if count == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(count) + " " + noun + "s"
}

// noHandshake tells why there was no TLS at all. The certificates are those that
// came before it broke off.
func (r *run) noHandshake(err error, certificates []*x509.Certificate) finding {
	var header tls.RecordHeaderError
	alert, alerted := alertOf(err)
	switch {
	case timedOut(err):
		return r.silentHandshake()
	case errors.As(err, &header):
		return r.notTLS(header.RecordHeader[:])
	case alerted:
		return r.alerted(alert)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		if r.heard.bytes > 0 {
			return r.brokenHandshake()
		}
		found := r.closedHandshake()
		if errors.Is(err, syscall.ECONNRESET) {
			found.id = TCPReset // unless a further look tells more
		}
		return found
	case len(certificates) > 0 && strings.Contains(err.Error(), "invalid signature by the server certificate"):
		return r.otherServerKey(certificates[0])
	case tooMuch(err):
		return finding{
			id:     TLSTooMuch,
			status: StatusFail,
			detail: fmt.Sprintf("%s sends more than a handshake has: %s", r.address(), strings.TrimPrefix(err.Error(), "tls: ")),
			cause:  "What listens there is broken or hostile: it sends a certificate chain, or records, without end. No more than a part of it was read.",
			fix:    fmt.Sprintf("Look who listens: 'sudo ss -ltnp sport = :%d' on the server. A chain holds the server's certificate and its issuing CAs, a few kilobytes: look into the file of MQTT_SSL_PEM_CERT for a whole list of CAs.", r.target.Port),
		}
	case strings.Contains(err.Error(), "protocol version"):
		return r.noSharedVersion(strings.TrimPrefix(err.Error(), "tls: "))
	default:
		return finding{
			id: TLSBroken, status: StatusFail,
			detail: "the handshake broke off: " + strings.TrimPrefix(err.Error(), "tls: "),
			cause:  "The server's side of the handshake is not what TLS 1.2 and 1.3 ask for; devices will refuse it too.",
			fix:    fmt.Sprintf("Compare with 'openssl s_client -connect %s', and look for SSL errors in the server's log: 'journalctl -u thingsboard', /var/log/thingsboard/thingsboard.log.", r.address()),
		}
	}
}

// tooMuch reports whether the library stopped reading at one of its limits, which
// it tells by text alone.
func tooMuch(err error) bool {
	return strings.Contains(err.Error(), "exceeds maximum of") || strings.Contains(err.Error(), "too many ignored records") ||
		strings.Contains(err.Error(), "too many warn")
}

// counted counts what is read from a connection.
type counted struct {
	net.Conn

	bytes int
}

func (c *counted) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	c.bytes += n
	return n, err
}

// brokenHandshake is a connection that ended in the middle of the server's
// answer.
func (r *run) brokenHandshake() finding {
	return finding{
		id:     TLSBroken,
		status: StatusFail,
		detail: fmt.Sprintf("the connection ended in the middle of the handshake, %s into the server's answer", plural(r.heard.bytes, "byte")),
		cause:  "Something on the way cuts the connection once TLS has begun: a middlebox that looks into the handshake, a load balancer's timeout or limit, a link whose largest packets do not get through (MTU); or the server's process died.",
		fix: fmt.Sprintf("On the server, try past everything between: 'openssl s_client -connect 127.0.0.1:%d'. If that works, look at what stands between, and at the MTU: 'ping -M do -s 1400 %s'. If not, at 'journalctl -u thingsboard'.",
			r.target.Port, r.target.Host),
	}
}

// otherServerKey is a server whose key does not belong to its certificate.
func (r *run) otherServerKey(leaf *x509.Certificate) finding {
	return finding{
		id: TLSKeyMismatch, status: StatusFail,
		detail: fmt.Sprintf("the server presented %s (%s), and signed the handshake with another key", subject(leaf), certs.Fingerprint(leaf)),
		cause: "The server's key does not belong to its certificate. ThingsBoard loads such a pair without a word, and then every handshake breaks: " +
			"certificate and key are from different days, or MQTT_SSL_PEM_KEY points at an older file.",
		fix: serverKeyFix,
	}
}

// serverKeyFix brings key and certificate together again.
const serverKeyFix = "Install server/mqttserver.pem of the workspace again (key, certificate and issuing CA in one file: MQTT_SSL_PEM_CERT), see that MQTT_SSL_PEM_KEY points at nothing older, then 'sudo systemctl restart thingsboard'. " +
	"'tbcert status' tells whether the files in the workspace belong together."

func (r *run) silentHandshake() finding {
	said := "nothing"
	if r.heard.bytes > 0 {
		said = "no more than " + plural(r.heard.bytes, "byte")
	}
	return finding{
		id: TLSSilent, status: StatusFail,
		detail: fmt.Sprintf("%s took the connection and sent %s in %s", r.address(), said, r.verifier.timeout()),
		cause: "The port is open, and nobody on it answers to TLS: a load balancer or a container's port mapping with no ThingsBoard behind it, a ThingsBoard that hangs or is still starting, " +
			"a firewall that swallows what follows the connect, or a service that waits for the client to speak another language.",
		fix: fmt.Sprintf("On the server, try past everything between: 'openssl s_client -connect 127.0.0.1:%d'. If that answers, look at the load balancer's target; if not, at 'journalctl -u thingsboard' and restart it. "+
			"A slow link wants a longer --timeout.", r.target.Port),
	}
}

// notTLS names what answered in place of TLS by its first bytes.
func (r *run) notTLS(first []byte) finding {
	found := r.plainListener()
	what := "something that is not TLS"
	found.id = TLSOtherProtocol
	switch {
	case strings.HasPrefix(string(first), "HTTP"), first[0] == '<':
		what, found.id = "plain HTTP", TLSHTTP
	case first[0]&0xf0 == 0x20:
		what, found.id = "plain MQTT", TLSPlainMQTT
	case strings.HasPrefix(string(first), "PROXY"), string(first) == "\r\n\r\n\x00":
		return r.proxyProtocol(fmt.Sprintf("%s answered with a PROXY protocol header: first bytes % x", r.address(), first))
	case strings.HasPrefix(string(first), "SSH"):
		what = "SSH"
	}
	found.detail = fmt.Sprintf("%s answered with %s: first bytes % x", r.address(), what, first)
	if found.id == TLSHTTP {
		found.cause = fmt.Sprintf("A web server listens on port %d: this is ThingsBoard's web interface or a proxy before it, not its MQTTS port.", r.target.Port)
		found.fix = "Give the MQTTS port: --port 8883 is ThingsBoard's default (MQTT_SSL_BIND_PORT)."
	}
	if found.id == TLSOtherProtocol {
		found.cause = fmt.Sprintf("Another service listens on port %d, which is not ThingsBoard's MQTTS port.", r.target.Port)
		found.fix = "Give the MQTTS port: --port 8883 is ThingsBoard's default (MQTT_SSL_BIND_PORT). On the server, 'sudo ss -ltnp' shows who listens where."
	}
	return found
}

// plainListener is what it means when the port talks without TLS.
func (r *run) plainListener() finding {
	return finding{
		id: TLSPlainMQTT, status: StatusFail,
		cause: fmt.Sprintf("Port %d is a listener without TLS: MQTT over TLS is switched off in ThingsBoard (MQTT_SSL_ENABLED is false by default), or this is its plain MQTT port.",
			r.target.Port),
		fix: fmt.Sprintf("Put the lines of server/thingsboard.conf into /etc/thingsboard/conf/thingsboard.conf (MQTT_SSL_ENABLED=true), 'sudo systemctl restart thingsboard', and use its MQTT_SSL_BIND_PORT (8883). "+
			"To prove that this port is plain: 'tbcert verify --plain --host %s --port %d' (the token then crosses the network in clear).", r.target.Host, r.target.Port),
	}
}

// closedHandshake is a server that hung up at the first message, and no further
// look told why.
func (r *run) closedHandshake() finding {
	return finding{
		id:     TLSClosed,
		status: StatusFail,
		detail: fmt.Sprintf("%s closed the connection at the first TLS message, without an answer", r.address()),
		cause: fmt.Sprintf("Who listens on port %d takes connections and does not speak TLS: another service, a load balancer with no ThingsBoard behind it, or MQTT without TLS (MQTT_SSL_ENABLED is false by default).",
			r.target.Port),
		fix: fmt.Sprintf("On the server, 'sudo ss -ltnp sport = :%d' shows who listens, and 'openssl s_client -connect 127.0.0.1:%d' goes past everything between. "+
			"For ThingsBoard, put the lines of server/thingsboard.conf into /etc/thingsboard/conf/thingsboard.conf (MQTT_SSL_ENABLED=true), then 'sudo systemctl restart thingsboard'.", r.target.Port, r.target.Port),
	}
}
