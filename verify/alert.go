package verify

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
)

// Alert descriptions that have a meaning of their own here (RFC 8446, section
// 6.2).
const (
	alertHandshakeFailure    = 40
	alertBadCertificate      = 42
	alertCertificateExpired  = 45
	alertCertificateUnknown  = 46
	alertUnknownCA           = 48
	alertProtocolVersion     = 70
	alertInternalError       = 80
	alertUnrecognizedName    = 112
	alertCertificateRequired = 116
)

// alertOf finds the alert that the server sent in an error. The library keeps
// the number to itself on TCP; its text is the same as that of the type it
// shows for QUIC.
func alertOf(err error) (tls.AlertError, bool) {
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		return 0, false
	}
	for code := range math.MaxUint8 + 1 {
		if alert := tls.AlertError(code); alert.Error() == remote.Err.Error() {
			return alert, true
		}
	}
	return 0, false
}

// alertText is an alert for people.
func alertText(alert tls.AlertError) string {
	return fmt.Sprintf("alert %d, %s", uint8(alert), strings.TrimPrefix(alert.Error(), "tls: "))
}

// aboutClient reports whether an alert judges the client's certificate. With
// TLS 1.2 it ends the handshake, and a server that demands a certificate and
// got none may say no more than that the handshake failed (RFC 5246, 7.4.6).
func (r *run) aboutClient(alert tls.AlertError) bool {
	switch {
	case alert >= alertBadCertificate && alert <= alertCertificateUnknown, alert == alertUnknownCA, alert == alertCertificateRequired:
		return true
	default:
		return alert == alertHandshakeFailure && r.asked && r.target.ClientCertificate == nil
	}
}

// alerted is a server that refused the handshake and said why.
func (r *run) alerted(alert tls.AlertError) finding {
	detail := "the server refused the handshake: " + alertText(alert)
	if r.aboutClient(alert) {
		return r.clientRefused(detail)
	}
	switch alert {
	case alertProtocolVersion:
		return r.noSharedVersion(detail)
	case alertUnrecognizedName:
		return finding{
			id:     TLSUnrecognizedName,
			status: StatusFail,
			detail: detail,
			cause:  fmt.Sprintf("A proxy stands before ThingsBoard and chooses by the name that a client asks for (SNI); it has no certificate for %q.", r.target.Host),
			fix:    fmt.Sprintf("Give the proxy a certificate for %s ('tbcert init --host %s' makes one; nginx: server_name, haproxy: crt without strict-sni), or connect by a name that it knows.", r.target.Host, r.target.Host),
		}
	case alertInternalError:
		return r.unusableKey(detail, TLSKeyMismatch)
	case alertHandshakeFailure:
		return r.unusableKey(detail, TLSCipher)
	default:
		return finding{
			id: TLSBroken, status: StatusFail,
			detail: detail,
			cause:  "The server understood the start of the handshake and refused to go on.",
			fix:    fmt.Sprintf("Look for SSL errors in the server's log ('journalctl -u thingsboard') and compare with 'openssl s_client -connect %s -servername %s'.", r.address(), r.target.Host),
		}
	}
}

func (r *run) noSharedVersion(detail string) finding {
	return finding{
		id: TLSVersion, status: StatusFail,
		detail: detail,
		cause:  "The server and tbcert share no TLS version: tbcert speaks TLS 1.2 and 1.3, and the server only older ones, which are broken (RFC 8996).",
		fix: "Let the server speak TLS 1.2 or 1.3: ThingsBoard does with its own settings (MQTT_SSL_PROTOCOL=TLSv1.2) unless Java's jdk.tls.disabledAlgorithms or a proxy before it takes them away. " +
			fmt.Sprintf("'openssl s_client -connect %s -tls1_2' proves it.", r.address()),
	}
}

// unusableKey is a server that breaks off where it would use its key, or choose a
// cipher.
func (r *run) unusableKey(detail string, id DiagnosisID) finding {
	return finding{
		id: id, status: StatusFail,
		detail: detail,
		cause: "The server cannot use its own certificate, or shares no cipher with TLS 1.2 and 1.3. " +
			"ThingsBoard loads a key that does not belong to its certificate without a word, and then every handshake breaks like this.",
		fix: serverKeyFix,
	}
}
