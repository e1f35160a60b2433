package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	leastRSA      = 2048 // bits (NIST SP 800-131A; RFC 9325, section 4.5)
	leastEC       = 256  // bits
	leastSerial   = 48   // bits; 64 random ones (CA/Browser Forum BR 7.1) are fewer once in 65,536 times
	longestServer = 825  // days; Apple's systems take no longer-lived server certificate, of a private CA either (HT210176)
	leastDays     = 7
	oneDay        = 24 * time.Hour
)

// strength looks at the key and the signature of every certificate that was
// presented, and of the trusted root.
func (p *posture) strength(context.Context) finding {
	var broken, weak []string
	everything := p.everything()
	for _, cert := range everything {
		for _, fault := range faults(cert) {
			broken = append(broken, p.named(cert)+" "+fault)
		}
		if bits := cert.SerialNumber.BitLen(); bits < leastSerial && !selfIssued(cert) {
			weak = append(weak, fmt.Sprintf("%s has a serial number of %d bits, which is not random", p.named(cert), bits))
		}
	}
	leaf := p.chain.leaf()
	if days := int(leaf.NotAfter.Sub(leaf.NotBefore) / oneDay); days > longestServer {
		weak = append(weak, fmt.Sprintf("%s is made for %d days, more than %d", p.named(leaf), days, longestServer))
	}
	switch {
	case len(broken) > 0:
		return finding{
			status: StatusFail,
			detail: strings.Join(slices.Concat(broken, weak), "; "),
			cause:  "A key or a signature this weak can be broken, and then anybody can stand in for the server. Many devices and TLS libraries refuse it already.",
			fix: "Issue what is named here again with a strong key: a server's certificate by 'tbcert init --host " + p.target.Host + "' (P-256, SHA-256), installed as MQTT_SSL_PEM_CERT, then 'sudo systemctl restart thingsboard'; " +
				"for a weak CA, in a new directory, with its ca-root.pem shipped to the devices beside the old root first.",
		}
	case len(weak) > 0:
		return finding{
			status: StatusWarn,
			detail: strings.Join(weak, "; "),
			cause: "A counted serial number makes it easier to forge a certificate, and tells how many were made (RFC 5280 wants them unique, the CA/Browser Forum 64 random bits). " +
				"A certificate that lives for years is refused by Apple's systems, and a stolen key is good as long.",
			fix: "Issue it again: 'tbcert init' makes random serial numbers of 128 bits and a server's certificate for 397 days; install server/mqttserver.pem as MQTT_SSL_PEM_CERT, and run 'tbcert init' again from a timer: it makes a new one near the end.",
		}
	}
	return pass(fmt.Sprintf("%s: keys and signatures are strong%s", list(p.keys(everything)), p.rootText()))
}

// everything is what was presented, and the path's certificates that were not.
func (p *posture) everything() []*x509.Certificate {
	all := slices.Clone(p.chain.certs)
	for _, cert := range p.chain.path {
		if !slices.ContainsFunc(all, cert.Equal) {
			all = append(all, cert)
		}
	}
	return all
}

// faults tells what is too weak in one certificate. What a self-signed one says
// of itself nobody verifies.
func faults(cert *x509.Certificate) []string {
	var found []string
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < leastRSA {
			found = append(found, fmt.Sprintf("has an RSA key of %d bits, fewer than %d", key.N.BitLen(), leastRSA))
		}
	case *ecdsa.PublicKey:
		if bits := key.Params().BitSize; bits < leastEC {
			found = append(found, fmt.Sprintf("has an EC key of %d bits, fewer than %d", bits, leastEC))
		}
	case ed25519.PublicKey:
	default:
		found = append(found, "has a key of an algorithm that TLS does not use: "+cert.PublicKeyAlgorithm.String())
	}
	if slices.Contains(brokenSignatures(), cert.SignatureAlgorithm) && !selfIssued(cert) {
		found = append(found, "is signed with "+cert.SignatureAlgorithm.String())
	}
	return found
}

func brokenSignatures() []x509.SignatureAlgorithm {
	return []x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}
}

// keys names the keys of certificates, each kind once.
func (p *posture) keys(all []*x509.Certificate) []string {
	var kinds []string
	for _, cert := range all {
		kind := cert.PublicKeyAlgorithm.String()
		switch key := cert.PublicKey.(type) {
		case *rsa.PublicKey:
			kind = fmt.Sprintf("RSA %d", key.N.BitLen())
		case *ecdsa.PublicKey:
			kind = key.Params().Name
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// rootText tells of a root that was sent along: a device has it already, or does
// not trust it (RFC 8446, section 4.4.2, lets the server leave it out).
func (p *posture) rootText() string {
	for _, cert := range p.chain.certs[1:] {
		if selfIssued(cert) {
			return fmt.Sprintf("; the root %s is sent along, which no device needs", subject(cert))
		}
	}
	return ""
}

// named is a certificate with what it is.
func (p *posture) named(cert *x509.Certificate) string {
	switch {
	case cert.Equal(p.chain.leaf()):
		return "the server's certificate " + subject(cert)
	case selfIssued(cert):
		return "the root " + subject(cert)
	default:
		return "the issuing CA " + subject(cert)
	}
}

// lifetime counts the days that are left of each certificate of the path.
func (p *posture) lifetime(context.Context) finding {
	path := p.chain.path
	found := finding{status: StatusPass}
	var texts []string
	for _, cert := range path {
		left := cert.NotAfter.Sub(p.now)
		text := fmt.Sprintf("%s: %s left", p.named(cert), plural(int((left+time.Minute)/oneDay), "day"))
		texts = append(texts, text)
		status := StatusPass
		switch {
		case left < leastLeft(cert):
			status = StatusFail
		case left < p.wantedLeft(cert):
			status = StatusWarn
		}
		if status == StatusPass || found.status == StatusFail || found.status == status {
			continue
		}
		found = finding{
			status: status,
			detail: fmt.Sprintf("%s expires on %s", p.named(cert), p.when(cert.NotAfter)),
			cause:  "After that moment every device refuses the server, and whatever was to renew the certificate has not done so.",
			fix:    p.renewFix(cert),
		}
	}
	if found.status == StatusPass {
		found.detail = strings.Join(texts, "; ")
	}
	return found
}

// leastLeft is the time under which a certificate fails.
func leastLeft(cert *x509.Certificate) time.Duration {
	return min(leastDays*oneDay, cert.NotAfter.Sub(cert.NotBefore)/3)
}

// wantedLeft is the time under which a certificate warns.
func (p *posture) wantedLeft(cert *x509.Certificate) time.Duration {
	if p.options.MinDays > 0 {
		return time.Duration(p.options.MinDays) * oneDay
	}
	return warning(cert)
}
