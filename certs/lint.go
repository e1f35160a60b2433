package certs

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// Severity says what a finding comes to.
type Severity string

// With an Error ThingsBoard does not start, or devices do not get in.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// A LintRule is something that Lint looks for.
type LintRule struct {
	ID       string
	Severity Severity
	Why      string // why it matters
}

// A LintFinding is a rule that a file breaks.
type LintFinding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	File     string   `json:"file,omitempty"` // none of a host
	Line     int      `json:"line,omitempty"`
	Why      string   `json:"why"`
	Fix      string   `json:"fix"`
}

// LintRules are all rules. What ThingsBoard does was read in its
// PemSslCredentials and seen with BouncyCastle's PEMParser (1.78.1) and the
// keystore of Java 17, which it hands the files to.
func LintRules() []LintRule {
	return []LintRule{
		{"bom", Error, "the first line begins with a byte order mark, so ThingsBoard passes over the first block, and says nothing of it"},
		{"indented", Error, "ThingsBoard passes over a block whose BEGIN line does not begin with -----BEGIN, and says nothing of it"},
		{"block-unknown", Error, "ThingsBoard's parser ends at a block of a kind that it does not know, and ThingsBoard does not start"},
		{"certificate-trusted", Error, "ThingsBoard passes over a certificate in OpenSSL's own form TRUSTED CERTIFICATE"},
		{"key-encrypted", Error, "ThingsBoard cannot read encrypted PKCS#8 (\"Unable to load private key\"), with or without MQTT_SSL_PEM_KEY_PASSWORD"},
		{"key-password", Warning, "ThingsBoard reads a key that is encrypted in OpenSSL's old way (RFC 1423) only with MQTT_SSL_PEM_KEY_PASSWORD"},
		{"key-missing", Error, "without a private key ThingsBoard does not start"},
		{"key-several", Warning, "of several keys in one file ThingsBoard takes one, and does not look which fits"},
		{"key-mismatch", Error, "ThingsBoard loads it without an error, and every handshake fails"},
		{"chain-order", Error, "each certificate must be followed by its issuer, or ThingsBoard does not start (\"Certificate chain is not valid\")"},
		{"chain-duplicate", Error, "a certificate that stands there twice keeps ThingsBoard from starting (\"Certificate chain is not valid\")"},
		{"chain-incomplete", Error, "devices that have the root cannot get from it to this certificate"},
		{"chain-alone", Warning, "when its CA is not the devices' root itself, they refuse it"},
		{"leaf-as-root", Error, "a device that trusts only this certificate refuses the server as soon as it has another, and most refuse it at once"},
		{"intermediate-as-root", Warning, "OpenSSL and much else want a root that signed itself"},
		{"names-cn-only", Error, "devices look for the name in subjectAltName only (RFC 9525, 6.3)"},
		{"name-ip", Error, "an address must stand in subjectAltName as an address, not as a name (RFC 5280, 4.2.1.6)"},
		{"usage-not-server", Error, "its extended key usage does not have serverAuth, and devices refuse it"},
		{"usage-unsaid", Warning, "Apple's devices refuse a server certificate without the extended key usage serverAuth"},
		{"usage-key", Error, "its key usage does not have digitalSignature, which every handshake of TLS 1.3 needs"},
		{"usage-ca", Warning, "it is a CA certificate: whoever has the server's key can issue certificates that devices trust"},
		{"too-long", Warning, "Apple's devices refuse a server certificate that is good for more than 825 days (398 from a public CA)"},
		{"weak-key", Error, "many devices refuse a key this weak"},
		{"weak-signature", Error, "devices refuse signatures with MD5 and SHA-1"},
		{"expired", Error, "devices refuse it; ThingsBoard does not look"},
		{"not-yet", Error, "devices refuse it before its time; ThingsBoard does not look"},
		{"expiring", Warning, "devices refuse it from then on; ThingsBoard does not look"},
		{"unreadable", Error, "ThingsBoard does not start when it cannot read its key"},
		{"open-to-others", Warning, "whoever can read the key can pass for the server"},
	}
}

// Finding makes a finding of a rule.
func Finding(id, file, fix, what string) LintFinding {
	at := slices.IndexFunc(LintRules(), func(r LintRule) bool { return r.ID == id })
	rule := LintRules()[max(at, 0)]
	return LintFinding{ID: id, Severity: rule.Severity, What: what, File: file, Why: rule.Why, Fix: fix}
}

// A LintFile is a file as ThingsBoard would read it.
type LintFile struct {
	Name string
	Data []byte
}

// LintOptions say what is known besides the files.
type LintOptions struct {
	Roots []*x509.Certificate // that devices have; nil when that is not known
	Now   time.Time
}

// ErrNoBlocks is for a file with neither a certificate nor a key in PEM.
var ErrNoBlocks = errors.New("it holds neither a certificate nor a private key in PEM")

// Apple's rule for server certificates of any CA (support.apple.com/103769, which
// also wants the extended key usage serverAuth).
const appleDays = 825

// blocks of ThingsBoard's parser (org.bouncycastle.openssl.PEMParser).
func knownToThingsBoard(label string) bool {
	return slices.Contains([]string{
		"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST", "CERTIFICATE", "TRUSTED CERTIFICATE", "X509 CERTIFICATE", "X509 CRL", "PKCS7", "CMS",
		"ATTRIBUTE CERTIFICATE", "EC PARAMETERS", "PUBLIC KEY", "RSA PUBLIC KEY", "RSA PRIVATE KEY", "DSA PRIVATE KEY", "EC PRIVATE KEY",
		"ENCRYPTED PRIVATE KEY", "PRIVATE KEY",
	}, label)
}

// placed is a certificate or a key and where it stands.
type placed struct {
	file string
	line int
	cert *x509.Certificate
	key  crypto.Signer // nil: it needs a password
	old  bool          // the key is in an older form than PKCS#8
}

// linter collects findings.
type linter struct {
	options   LintOptions
	chain     []placed
	keys      []placed
	encrypted []placed // PKCS#8
	findings  []LintFinding
}

func (l *linter) found(id string, at placed, fix, what string) {
	finding := Finding(id, at.file, fix, what)
	finding.Line = at.line
	l.findings = append(l.findings, finding)
}

// Lint looks for what ThingsBoard cannot load or what devices would refuse: in
// the file of MQTT_SSL_PEM_CERT and, when the key is not in it, that of
// MQTT_SSL_PEM_KEY. Certificates without any key are taken for what devices are to
// trust, when none can be a server's chain. A file that is damaged is an error.
func Lint(files []LintFile, options LintOptions) ([]LintFinding, error) {
	l := &linter{options: options}
	for _, file := range files {
		if err := l.read(file); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name, err)
		}
	}
	if len(l.keys)+len(l.encrypted) == 0 && len(l.chain) > 0 && l.roots() {
		return l.findings, nil
	}
	l.lintKeys()
	l.lintChain()
	return l.findings, nil
}

// LintChain looks at what a server presents.
func LintChain(chain []*x509.Certificate, options LintOptions) []LintFinding {
	l := &linter{options: options}
	for _, cert := range chain {
		l.chain = append(l.chain, placed{cert: cert})
	}
	l.lintChain()
	return l.findings
}

// read takes a file apart as ThingsBoard's parser does, and notes what that would
// miss.
func (l *linter) read(file LintFile) error {
	lines := strings.Split(string(file.Data), "\n")
	bare := make([]string, len(lines))
	for i, line := range lines {
		bare[i] = strings.TrimLeft(line, " \t\ufeff")
	}
	blocks, err := readBlocks([]byte(strings.Join(bare, "\n")))
	if err != nil {
		return err
	}
	before := len(l.chain) + len(l.keys) + len(l.encrypted)
	for _, block := range blocks {
		at := placed{file: file.Name, line: block.line}
		l.lintBegin(at, lines[block.line-1])
		if err := l.block(at, block); err != nil {
			return err
		}
	}
	if len(l.chain)+len(l.keys)+len(l.encrypted) == before && len(l.findings) == 0 {
		return ErrNoBlocks
	}
	return nil
}

// lintBegin looks at a BEGIN line.
func (l *linter) lintBegin(at placed, line string) {
	switch {
	case strings.HasPrefix(line, "\ufeff"):
		l.found("bom", at, fmt.Sprintf(`sed -i '1s/^\xef\xbb\xbf//' %s`, ShellWord(at.file)), "a byte order mark stands before this block")
	case !strings.HasPrefix(line, "-----BEGIN "):
		l.found("indented", at, fmt.Sprintf(`sed -i 's/^[[:space:]]*//' %s`, ShellWord(at.file)), "spaces stand before this BEGIN line")
	}
}

// ShellWord makes one word of a file's name for a shell.
func ShellWord(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

func (l *linter) block(at placed, block pemBlock) error {
	switch block.Type {
	case labelCertificate, "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		if block.Type == "TRUSTED CERTIFICATE" {
			l.found("certificate-trusted", at, "openssl x509 -in "+ShellWord(at.file)+" -out cert.pem", "this certificate is in OpenSSL's own form")
			return nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("line %d: this certificate cannot be read: %w", block.line, err)
		}
		at.cert = cert
		l.chain = append(l.chain, at)
	case labelEncryptedKey:
		l.encrypted = append(l.encrypted, at)
	case labelKey, labelRSAKey, labelECKey:
		at.old = block.Type != labelKey
		if block.Headers["DEK-Info"] == "" {
			key, err := ParseKey(pem.EncodeToMemory(block.Block), secret.Text{})
			if err != nil {
				return fmt.Errorf("line %d: this private key cannot be read", block.line)
			}
			at.key = key
		}
		l.keys = append(l.keys, at)
	default:
		if !knownToThingsBoard(block.Type) {
			l.found("block-unknown", at, "take this block out of the file", fmt.Sprintf("this is a block of type %q", block.Type))
		}
	}
	return nil
}

// lintKeys finds the key that ThingsBoard would take: the last one in the file of
// the certificate, else the first of an older form in the key's file, else the
// last one in PKCS#8 there.
func (l *linter) lintKeys() {
	if len(l.chain) == 0 {
		return
	}
	own := slices.DeleteFunc(slices.Clone(l.keys), func(k placed) bool { return k.file != l.chain[0].file })
	others := slices.DeleteFunc(slices.Clone(l.keys), func(k placed) bool { return k.file == l.chain[0].file })
	var taken placed
	switch {
	case len(own) > 0:
		taken = own[len(own)-1]
	case len(others) > 0:
		taken = others[len(others)-1]
		if at := slices.IndexFunc(others, func(k placed) bool { return k.old }); at >= 0 {
			taken = others[at]
		}
	case len(l.encrypted) > 0:
		at := l.encrypted[0]
		l.found("key-encrypted", at, "(umask 077; openssl pkey -in "+ShellWord(at.file)+" -out key-plain.pem)", "this private key is encrypted PKCS#8")
		return
	default:
		l.found("key-missing", l.chain[0], "give the file of the key, too", "there is no private key")
		return
	}
	if len(own) > 1 || (len(own) == 0 && len(others) > 1) {
		l.found("key-several", taken, "leave only the key of the certificate in the file", "there are several private keys; ThingsBoard takes this one")
	}
	switch {
	case taken.key == nil:
		l.found("key-password", taken, "set MQTT_SSL_PEM_KEY_PASSWORD, or (umask 077; openssl pkey -in "+ShellWord(taken.file)+" -out key-plain.pem)", "this private key has a password")
	case !KeyFits(taken.key, l.chain[0].cert):
		l.found("key-mismatch", taken, "give the key that the certificate was made with, or issue the certificate again", fmt.Sprintf("this private key is not that of %s", nameOf(l.chain[0].cert)))
	}
}

func nameOf(cert *x509.Certificate) string { return fmt.Sprintf("%q", cert.Subject.String()) }

// roots looks at certificates without a key: what devices are to trust. It is false
// when they can be a server's chain.
func (l *linter) roots() bool {
	leaf := func(p placed) bool { return (!p.cert.BasicConstraintsValid || !p.cert.IsCA) && !selfIssued(p.cert) }
	if len(l.chain) > 1 && leaf(l.chain[0]) && !slices.ContainsFunc(l.chain[1:], leaf) {
		return false
	}
	for _, at := range l.chain {
		switch {
		case leaf(at):
			l.found("leaf-as-root", at, "take the certificate of the CA that issued it, "+fmt.Sprintf("%q", at.cert.Issuer.String())+" (`tbcert fetch` finds it); if this is the server's certificate, give the file of its key, too", fmt.Sprintf("%s is no CA certificate", nameOf(at.cert)))
		case !selfIssued(at.cert):
			l.found("intermediate-as-root", at, "add the certificate of its issuer, "+fmt.Sprintf("%q", at.cert.Issuer.String()), fmt.Sprintf("%s did not sign itself", nameOf(at.cert)))
		}
		l.lintDates(at)
		l.lintStrength(at)
	}
	return true
}

func (l *linter) lintChain() {
	if len(l.chain) == 0 {
		return
	}
	l.lintOrder()
	l.lintEnd()
	leaf := l.chain[0]
	l.lintNames(leaf)
	l.lintUsage(leaf)
	if days := int(leaf.cert.NotAfter.Sub(leaf.cert.NotBefore).Hours()+0.5) / 24; days > appleDays {
		l.found("too-long", leaf, "issue it for a year: tbcert init --server-days 397", fmt.Sprintf("it is good for %d days", days))
	}
	for _, at := range l.chain {
		l.lintDates(at)
		l.lintStrength(at)
	}
}

// lintOrder follows Java's PKCS12KeyStore.validateChain.
func (l *linter) lintOrder() {
	for i, at := range l.chain {
		if slices.ContainsFunc(l.chain[:i], func(p placed) bool { return p.cert.Equal(at.cert) }) {
			l.found("chain-duplicate", at, "take this block out of the file", fmt.Sprintf("%s stands here a second time", nameOf(at.cert)))
			return
		}
	}
	for i, at := range l.chain[1:] {
		before := l.chain[i].cert
		if !bytes.Equal(before.RawIssuer, at.cert.RawSubject) {
			l.found("chain-order", at, l.rightOrder(), fmt.Sprintf("%s stands here; the certificate before it was issued by %q", nameOf(at.cert), before.Issuer.String()))
			return
		}
	}
}

// rightOrder tells in which order the certificates belong, and which do not.
func (l *linter) rightOrder() string {
	rest := slices.Clone(l.chain)
	at := max(slices.IndexFunc(rest, func(p placed) bool { return !p.cert.IsCA }), 0)
	var names []string
	for at >= 0 {
		current := rest[at].cert
		names = append(names, nameOf(current))
		rest = slices.Delete(rest, at, at+1)
		at = slices.IndexFunc(rest, func(p placed) bool { return bytes.Equal(p.cert.RawSubject, current.RawIssuer) })
	}
	fix := "leave in the file, in this order: " + strings.Join(names, ", ")
	if len(rest) > 0 {
		fix += "; nothing else belongs there"
	}
	return fix
}

// lintEnd looks whether the chain leads to a root.
func (l *linter) lintEnd() {
	last := l.chain[len(l.chain)-1]
	for _, at := range l.chain {
		for _, root := range l.options.Roots {
			if at.cert.Equal(root) || at.cert.CheckSignatureFrom(root) == nil {
				return
			}
		}
	}
	fix := fmt.Sprintf("add the certificate of %q behind it (tbcert fetch --file %s looks for it)", last.cert.Issuer.String(), ShellWord(cmp.Or(last.file, "FILE")))
	switch {
	case len(l.options.Roots) > 0:
		l.found("chain-incomplete", last, fix, "no root of the devices issued it, nor anything before it")
	case len(l.chain) == 1 && !selfIssued(last.cert):
		l.found("chain-alone", last, fix, "there is only the server's certificate")
	}
}

func (l *linter) lintNames(leaf placed) {
	name := leaf.cert.Subject.CommonName
	const again = "issue it again with its names: tbcert init --host NAME"
	if len(leaf.cert.DNSNames)+len(leaf.cert.IPAddresses) == 0 {
		l.found("names-cn-only", leaf, again, fmt.Sprintf("it has no subjectAltName; its CN is %q", name))
		return
	}
	for _, text := range append(slices.Clone(leaf.cert.DNSNames), name) {
		ip := net.ParseIP(text)
		if ip != nil && !slices.ContainsFunc(leaf.cert.IPAddresses, ip.Equal) {
			l.found("name-ip", leaf, again, fmt.Sprintf("the address %s is in it as a name only", text))
			return
		}
	}
}

func (l *linter) lintUsage(leaf placed) {
	cert := leaf.cert
	const again = "issue it again for a server, or let tbcert init issue one"
	usages := ExtKeyUsages(cert)
	if len(usages) == 0 {
		l.found("usage-unsaid", leaf, again, "it has no extended key usage")
	} else if !slices.Contains(usages, "serverAuth") && !slices.Contains(usages, "anyExtendedKeyUsage") {
		l.found("usage-not-server", leaf, again, fmt.Sprintf("it is for %s only", strings.Join(usages, ", ")))
	}
	if cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		l.found("usage-key", leaf, again, fmt.Sprintf("its key is for %s only", strings.Join(keyUsages(cert.KeyUsage), ", ")))
	}
	if cert.BasicConstraintsValid && cert.IsCA {
		l.found("usage-ca", leaf, again, "the server presents a CA certificate as its own")
	}
}

// soon is when a certificate should have been replaced.
const soon = 30 * 24 * time.Hour

func (l *linter) lintDates(at placed) {
	const again = "tbcert renew, or get a new one from its CA"
	switch now, cert := l.options.Now, at.cert; {
	case now.After(cert.NotAfter):
		l.found("expired", at, again, fmt.Sprintf("%s expired on %s", nameOf(cert), cert.NotAfter.UTC().Format(time.DateOnly)))
	case now.Before(cert.NotBefore):
		l.found("not-yet", at, "wait, or set the clock of the machine that issued it", fmt.Sprintf("%s is good from %s", nameOf(cert), cert.NotBefore.UTC().Format(time.DateTime)))
	case now.After(cert.NotAfter.Add(-min(soon, cert.NotAfter.Sub(cert.NotBefore)/3))):
		l.found("expiring", at, again, fmt.Sprintf("%s expires on %s", nameOf(cert), cert.NotAfter.UTC().Format(time.DateOnly)))
	}
}

func (l *linter) lintStrength(at placed) {
	const again = "issue it again with a key of P-256 or RSA 2048 and SHA-256"
	weak := ""
	switch key := at.cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 {
			weak = fmt.Sprintf("RSA of %d bits", bits)
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P224() {
			weak = "P-224"
		}
	case ed25519.PublicKey:
	default:
		weak = at.cert.PublicKeyAlgorithm.String()
	}
	if weak != "" {
		l.found("weak-key", at, again, fmt.Sprintf("the key of %s is %s", nameOf(at.cert), weak))
	}
	broken := []x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}
	if slices.Contains(broken, at.cert.SignatureAlgorithm) && (!selfIssued(at.cert) || at == l.chain[0]) { // nobody looks at a root's own
		l.found("weak-signature", at, again, fmt.Sprintf("%s is signed with %s", nameOf(at.cert), at.cert.SignatureAlgorithm))
	}
}

// selfIssued reports whether a certificate is its own issuer's. Go verifies no
// signature with SHA-1, so whether it signed itself is not asked.
func selfIssued(cert *x509.Certificate) bool { return bytes.Equal(cert.RawSubject, cert.RawIssuer) }

// HoldsKey reports whether there is a private key in a PEM file.
func HoldsKey(data []byte) bool { return bytes.Contains(data, []byte("PRIVATE KEY-----")) }
