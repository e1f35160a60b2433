package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
)

// oldVersions offers TLS 1.0 and 1.1, which must not be negotiated (RFC 8996).
func (p *posture) oldVersions(ctx context.Context) finding {
	const question = "whether TLS 1.0 and TLS 1.1 are refused"
	var taken []string
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		_, ok, err := p.offer(ctx, version, suites(version, func(string) bool { return true }))
		if err != nil && len(taken) == 0 {
			return p.unknown(question, err)
		}
		if ok {
			taken = append(taken, tls.VersionName(version))
		}
	}
	if len(taken) == 0 {
		return pass("TLS 1.0 and TLS 1.1 are refused")
	}
	return finding{
		status: StatusFail,
		detail: "the server takes " + list(taken),
		cause: "These versions are broken and must not be used (RFC 8996). ThingsBoard enables every version that its JDK supports, whatever MQTT_SSL_PROTOCOL says: " +
			"what is off stands in jdk.tls.disabledAlgorithms, which an old JDK or a changed java.security does not have them in. Or a proxy before ThingsBoard ends the TLS.",
		fix: javaFix([]string{"TLSv1", "TLSv1.1"}) + " A JDK from April 2021 on (8u291, 11.0.11) has both off by itself. For a proxy, set its lowest version: nginx ssl_protocols TLSv1.2 TLSv1.3, haproxy ssl-min-ver TLSv1.2, mosquitto tls_version tlsv1.2.",
	}
}

// javaFix adds names to those that the JDK has switched off.
func javaFix(names []string) string {
	return "Add " + strings.Join(names, ", ") + " to jdk.tls.disabledAlgorithms in the JDK's conf/security/java.security (Debian: /etc/java-*-openjdk/security/java.security), then 'sudo systemctl restart thingsboard'."
}

// ciphers offers the weak cipher suites of TLS 1.2, then those that the server
// did not choose, until it refuses: one handshake for a strict server.
func (p *posture) ciphers(ctx context.Context) finding {
	const question = "whether weak cipher suites of TLS 1.2 are refused"
	left := suites(tls.VersionTLS12, func(name string) bool { return weakness(name) != StatusPass })
	offered := len(left)
	taken := map[Status][]string{}
	for len(left) > 0 {
		state, ok, err := p.offer(ctx, tls.VersionTLS12, left)
		if err != nil && len(taken) == 0 {
			return p.unknown(question, err)
		}
		at := slices.Index(left, state.CipherSuite)
		if !ok || at < 0 {
			break
		}
		left = slices.Delete(left, at, at+1)
		name := tls.CipherSuiteName(state.CipherSuite)
		taken[weakness(name)] = append(taken[weakness(name)], name)
	}
	broken, weak := taken[StatusFail], taken[StatusWarn]
	if len(taken) == 0 {
		return pass(fmt.Sprintf("all %d weak cipher suites of TLS 1.2 that were offered are refused", offered))
	}
	names := slices.Concat(broken, weak)
	found := finding{
		status: StatusWarn,
		detail: "the server takes " + list(names),
		cause: "Suites of TLS 1.2 with RSA key exchange (TLS_RSA_...) have no forward secrecy and should not be negotiated (RFC 9325, section 4.1); those with CBC had padding attacks time and again (RFC 7457) and are not among the recommended ones (section 4.2). " +
			"ThingsBoard enables every suite that its JDK supports; its clients choose better ones when they can.",
		fix: javaFix(names) + " For a proxy, narrow its cipher list to ECDHE with AES-GCM or ChaCha20-Poly1305. First see that no device needs one of them.",
	}
	if len(broken) > 0 {
		found.status = StatusFail
		found.cause = list(broken) + ": RC4 and 3DES are broken (RFC 7465; RFC 9325, section 4.1; CVE-2016-2183). A JDK has them off, so java.security was changed, or a proxy ends the TLS before ThingsBoard."
	}
	return found
}

// weakness judges a suite by its name (RFC 9325, section 4.1).
func weakness(name string) Status {
	has := func(part string) bool { return strings.Contains(name, part) }
	switch {
	case has("_RC4_"), has("_3DES_"), has("_NULL_"), has("_EXPORT_"):
		return StatusFail
	case strings.HasPrefix(name, "TLS_RSA_"), has("_CBC_"):
		return StatusWarn
	default:
		return StatusPass
	}
}

// suites are the suites of a version that crypto/tls knows, as far as wanted.
func suites(version uint16, wanted func(name string) bool) []uint16 {
	var ids []uint16
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if slices.Contains(suite.SupportedVersions, version) && wanted(suite.Name) {
			ids = append(ids, suite.ID)
		}
	}
	return ids
}

// offer shakes hands in one version with these suites, and reports whether the
// server took the offer; an error when that cannot be told. The handshake
// verifies as ever. The offer counts as taken when only the certificates of one
// of the two sides broke it off.
func (p *posture) offer(ctx context.Context, version uint16, suites []uint16) (tls.ConnectionState, bool, error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return tls.ConnectionState{}, false, err
	}
	defer func() { _ = conn.Close() }()
	asked := false
	config := p.bare(&asked)
	config.MinVersion, config.MaxVersion, config.CipherSuites = version, version, suites
	secure := tls.Client(conn, config)
	err = secure.HandshakeContext(ctx)
	state := secure.ConnectionState()
	var refused *tls.CertificateVerificationError
	switch {
	case err == nil, asked, errors.As(err, &refused):
		return state, true, nil
	case declined(err):
		return state, false, nil
	default:
		return state, false, err
	}
}

// declined reports whether a handshake broke off as it does when the server
// wants no part of the offer: with an alert, with the connection closed, or with
// another version than the one that was offered.
func declined(err error) bool {
	_, alerted := alertOf(err)
	return alerted || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "protocol version")
}
