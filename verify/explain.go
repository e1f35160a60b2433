package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/thingsboard/device"
)

// lookTime bounds each further look.
const lookTime = 3 * time.Second

// explain has a further look at what a failed check leaves open, each by a
// connection of its own. No look carries a credential but the one that asks for
// the exact reason of a refusal, over a connection verified anew, and once.
func (r *run) explain(ctx context.Context, found finding) finding {
	switch found.id {
	case TLSClosed, TLSSilent, TCPReset:
		return r.otherLanguage(ctx, found)
	case TLSCipher, TLSVersion:
		return r.oldTLS(ctx, found)
	case ChainOtherCA, ChainSelfSigned, ChainMissingIntermediate, NameMismatch, NameIP, NameCNOnly:
		return r.otherCertificate(ctx, found)
	case DatesNotYet, DatesExpired:
		return r.otherClock(ctx, found)
	case ConnectBadToken, ConnectBadBasic, ConnectCertificateUnknown, ConnectUnavailable, ConnectIdentifier:
		return r.exactReason(ctx, found)
	case ConnectClosed, ConnectSilent:
		return r.plainLanguage(ctx, found)
	case PublishClosed:
		return r.exactPublish(ctx, found)
	default:
		return found
	}
}

// look opens a connection to where the run was, for one further look.
func (r *run) look(ctx context.Context) (context.Context, net.Conn, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, min(lookTime, r.verifier.timeout()))
	conn, err := r.verifier.dial(ctx, r.reached.String())
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	end := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return ctx, conn, func() {
		end()
		_ = conn.Close()
		cancel()
	}, nil
}

// shake looks what a handshake comes to; before is sent first.
func (r *run) shake(ctx context.Context, before []byte, change func(*tls.Config)) (tls.ConnectionState, error) {
	ctx, conn, end, err := r.look(ctx)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer end()
	if len(before) > 0 {
		if _, err := conn.Write(before); err != nil {
			return tls.ConnectionState{}, err
		}
	}
	config := r.config()
	config.GetClientCertificate = nil // nothing of the device's
	if change != nil {
		change(config)
	}
	secure := tls.Client(conn, config)
	err = secure.HandshakeContext(ctx)
	return secure.ConnectionState(), err
}

// speaksTLS reports whether what a handshake came to shows a TLS server.
func speaksTLS(err error) bool {
	var refused *tls.CertificateVerificationError
	_, alerted := alertOf(err)
	return err == nil || alerted || errors.As(err, &refused)
}

// otherLanguage finds out what a port speaks that closed at the first TLS
// message, or did not answer it.
func (r *run) otherLanguage(ctx context.Context, found finding) finding {
	if r.heard == nil || r.heard.bytes > 0 {
		return found // reset before anything was said; or it does answer, only slowly
	}
	if found.id != TLSSilent && r.closesAtOnce(ctx) {
		return r.addressBlocked()
	}
	if _, err := r.shake(ctx, proxyHeader(r.reached), nil); speaksTLS(err) {
		return r.proxyProtocol(fmt.Sprintf("%s does not answer TLS, and does when a PROXY protocol header comes first", r.address()))
	}
	if r.answersMQTT(ctx) {
		plain := r.plainListener()
		plain.detail = fmt.Sprintf("%s does not take TLS, and answers MQTT without it", r.address())
		return plain
	}
	if first := r.answersHTTP(ctx); len(first) > 0 {
		return r.notTLS(first)
	}
	if found.id == TCPReset {
		found.detail = fmt.Sprintf("%s takes the connection and resets it at the first TLS message", r.address())
		found.cause = fmt.Sprintf("Something on the way resets connections to port %d once TLS begins: a firewall or a middlebox that filters by what is said, or a program that ends.", r.target.Port)
		found.fix = fmt.Sprintf("On the server, try past everything between: 'openssl s_client -connect 127.0.0.1:%d'. If that works, look at firewalls and proxies on the way; if not, at 'sudo ss -ltnp sport = :%d' and 'journalctl -u thingsboard'.", r.target.Port, r.target.Port)
	}
	return found
}

// closesAtOnce reports whether a connection is closed before anything is said,
// twice: once may have been chance. A reset is another thing: ThingsBoard closes,
// and a fleet that took it for a block would wait for nothing.
func (r *run) closesAtOnce(ctx context.Context) bool {
	for range 2 {
		_, conn, end, err := r.look(ctx)
		if err != nil {
			return false
		}
		_ = conn.SetReadDeadline(time.Now().Add(atOnce))
		_, err = conn.Read(make([]byte, 1))
		end()
		if err == nil || timedOut(err) || errors.Is(err, syscall.ECONNRESET) {
			return false
		}
	}
	return true
}

// atOnce is how soon a server that blocks an address closes its connections: it
// does so as soon as it accepted them.
const atOnce = 500 * time.Millisecond

func (r *run) addressBlocked() finding {
	return finding{
		id:     TLSAddressBlocked,
		status: StatusFail,
		detail: fmt.Sprintf("%s closes every connection from here as soon as it is open, before a word of TLS", r.address()),
		cause: "ThingsBoard blocks an address for 60 s after 10 wrong credentials (TB_TRANSPORT_IP_RATE_LIMITS_ENABLED=true, TB_TRANSPORT_MAX_WRONG_CREDENTIALS_PER_IP, TB_TRANSPORT_IP_BLOCK_TIMEOUT), all devices behind one NAT together. " +
			"A load balancer with no ThingsBoard behind it closes in the same way.",
		fix: "Wait a minute without any try, then run this again once. If it was the block, find the device with the wrong credential (ThingsBoard's log names it) before it causes the next one. If it stays so, look at the load balancer's targets and at 'journalctl -u thingsboard'.",
	}
}

// proxyHeader is that of the PROXY protocol, version 1, for a connection within
// the address (haproxy.org, proxy-protocol.txt, 2.1).
func proxyHeader(address netip.AddrPort) []byte {
	family := "TCP4"
	if address.Addr().Is6() {
		family = "TCP6"
	}
	return fmt.Appendf(nil, "PROXY %s %s %s %d %d\r\n", family, address.Addr().WithZone(""), address.Addr().WithZone(""), 40000, address.Port())
}

// answersMQTT reports whether the port answers a CONNECT without TLS. It names
// nobody, so that nothing of the device crosses the network.
func (r *run) answersMQTT(ctx context.Context) bool {
	ctx, conn, end, err := r.look(ctx)
	if err != nil {
		return false
	}
	defer end()
	err = enter(ctx, conn, device.Login{ClientID: "tbcert"})
	var refused *device.RefusedError
	return err == nil || errors.As(err, &refused)
}

// answersHTTP gives the first bytes of the port's answer to a web browser.
func (r *run) answersHTTP(ctx context.Context) []byte {
	_, conn, end, err := r.look(ctx)
	if err != nil {
		return nil
	}
	defer end()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return nil
	}
	first := make([]byte, 5)
	n, _ := io.ReadFull(conn, first)
	answer := device.ProtocolError{First: first}
	if n < len(first) || answer.LooksLike() == "TLS" {
		return nil
	}
	return first
}

// plainLanguage finds out whether a port that does not answer plain MQTT is a TLS
// port, or closed because the address is blocked.
func (r *run) plainLanguage(ctx context.Context, found finding) finding {
	if r.target.TLS {
		return found
	}
	if found.id == ConnectClosed && r.closesAtOnce(ctx) {
		return r.addressBlocked()
	}
	if _, err := r.shake(ctx, nil, nil); speaksTLS(err) {
		return r.tlsPort(fmt.Sprintf("%s does not take plain MQTT, and answers TLS", r.address()))
	}
	return found
}

// oldTLS finds out what a server takes that shares no version or cipher.
func (r *run) oldTLS(ctx context.Context, found finding) finding {
	state, err := r.shake(ctx, nil, func(config *tls.Config) {
		config.MinVersion = tls.VersionTLS10 // to see what the server takes; nothing is sent
		config.CipherSuites = suites(tls.VersionTLS12, func(string) bool { return true })
	})
	var refused *tls.CertificateVerificationError
	if err != nil && !errors.As(err, &refused) || state.Version == 0 {
		return found
	}
	if state.Version < tls.VersionTLS12 {
		return r.noSharedVersion(fmt.Sprintf("%s; the server speaks %s", found.detail, tls.VersionName(state.Version)))
	}
	found.id = TLSCipher
	found.detail += fmt.Sprintf("; the server takes %s with %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	found.cause = "The server takes ciphers only that are broken or have no forward secrecy (RFC 9325, section 4.2), and that tbcert and many devices do not offer."
	found.fix = fmt.Sprintf("Let the server take ECDHE with AES-GCM or ChaCha20: Java does unless jdk.tls.disabledAlgorithms takes them away; in a proxy, its ssl_ciphers or ssl-default-bind-ciphers. 'openssl s_client -connect %s -cipher ECDHE+AESGCM' proves it.", r.address())
	return found
}

// otherCertificate finds out whether the server has a certificate that fits, and
// shows another because of the name that it is asked for (SNI, RFC 6066,
// section 3).
func (r *run) otherCertificate(ctx context.Context, found finding) finding {
	if r.chain == nil || r.chain.leaf().VerifyHostname(r.target.Host) == nil {
		return found
	}
	// Without a name: the library sends none for an address.
	names := append([]string{r.reached.Addr().String()}, r.target.Names...)
	for _, name := range names {
		if name == r.target.Host {
			continue
		}
		shown := r.shownFor(ctx, name)
		if len(shown) == 0 || shown[0].Equal(r.chain.leaf()) {
			continue
		}
		fits := r.target.Host
		if shown[0].VerifyHostname(fits) != nil {
			fits = name
		}
		if shown[0].VerifyHostname(fits) == nil && r.present(shown, nil).path != nil {
			return r.sni(fits, shown[0])
		}
	}
	return found
}

// shownFor gives what the server presents to somebody who asks for a name.
func (r *run) shownFor(ctx context.Context, name string) []*x509.Certificate {
	state, err := r.shake(ctx, nil, func(config *tls.Config) { config.ServerName = name })
	var refused *tls.CertificateVerificationError
	switch {
	case err == nil:
		return state.PeerCertificates
	case errors.As(err, &refused):
		return refused.UnverifiedCertificates
	default:
		return nil
	}
}

func (r *run) sni(fits string, leaf *x509.Certificate) finding {
	found := finding{
		id:     NameSNI,
		status: StatusFail,
		detail: fmt.Sprintf("the server presents %s (%s) to who asks for %s, and %s (%s), which fits, to others",
			subject(r.chain.leaf()), certs.Fingerprint(r.chain.leaf()), r.target.Host, subject(leaf), certs.Fingerprint(leaf)),
		cause: "A proxy stands before ThingsBoard and chooses the certificate by the name that a client asks for (SNI). For this name it chooses one that was not made for it.",
		fix: fmt.Sprintf("In the proxy, give the name %s the certificate that fits (nginx: ssl_certificate in the server block of that server_name; haproxy: crt-list), and reload it.",
			r.target.Host),
	}
	if fits != r.target.Host {
		found.fix += fmt.Sprintf(" Or connect by the name that it knows: 'tbcert verify --host %s'.", fits)
	}
	return found
}

// otherClock finds out whether this machine's clock is wrong, by the server's.
func (r *run) otherClock(ctx context.Context, found finding) finding {
	limited, cancel := context.WithTimeout(ctx, min(lookTime, r.verifier.timeout()))
	defer cancel()
	theirs, where := r.verifier.serverTime(limited, r.target, r.reached.Addr())
	if theirs.IsZero() {
		return found
	}
	for _, cert := range r.chain.dates() {
		if theirs.Before(cert.NotBefore) || theirs.After(cert.NotAfter) {
			found.detail += fmt.Sprintf("; the server's own clock says %s (%s)", theirs.UTC().Format(dateTime), where)
			return found
		}
	}
	return finding{
		id:     DatesClock,
		status: StatusFail,
		detail: fmt.Sprintf("%s; by the server's clock, which says %s (%s), every certificate is valid", found.detail, theirs.UTC().Format(dateTime), where),
		cause:  fmt.Sprintf("This machine's clock is wrong: it says %s.", r.now.UTC().Format(dateTime)),
		fix:    "Set this clock: 'timedatectl' shows it, 'sudo timedatectl set-ntp true' sets it by NTP. Devices need a right clock as well, before they connect.",
	}
}
