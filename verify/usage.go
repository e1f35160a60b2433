package verify

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/tbcert/tbcert/certs"
)

// judgeUsage tells whether the certificate may be a server's: the extended key
// usage of the leaf, and of the CAs above it, which bind it (RFC 5280, section
// 4.2.1.12, as TLS libraries apply it).
func (r *run) judgeUsage(context.Context) finding {
	leaf := r.chain.leaf()
	if !serves(leaf) {
		return finding{
			id: UsageNotServer, status: StatusFail,
			detail: fmt.Sprintf("the certificate is for %s, not for a TLS server (serverAuth)", usageText(leaf)),
			cause:  "The server presents a certificate that was made for something else, most likely a device's client certificate.",
			fix:    r.usageFix(),
		}
	}
	if r.chain.path != nil && !r.chain.usable {
		for _, issuer := range r.chain.path[1:] {
			if !serves(issuer) {
				return finding{
					id: UsageCA, status: StatusFail,
					detail: fmt.Sprintf("the certificate was signed by %s, which is for %s, not for TLS servers (serverAuth)", subject(issuer), usageText(issuer)),
					cause:  "The server's certificate was issued by a CA for devices; a CA binds what it signs to its own usage.",
					fix:    r.usageFix(),
				}
			}
		}
	}
	return pass("is for " + usageText(leaf))
}

func (r *run) usageFix() string {
	return fmt.Sprintf("Issue a server's certificate: 'tbcert init --host %s' (or with openssl: extendedKeyUsage=serverAuth), install it as MQTT_SSL_PEM_CERT, then 'sudo systemctl restart thingsboard'.", r.target.Host)
}

// usageText names what a certificate is for.
func usageText(cert *x509.Certificate) string {
	if usages := certs.ExtKeyUsages(cert); len(usages) > 0 {
		return strings.Join(usages, ", ")
	}
	return "any use (it has no extended key usage)"
}
