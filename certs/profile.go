package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
	"unicode/utf8"
)

// Common to all profiles.
const (
	// backdate is how far notBefore lies in the past: devices have poor clocks,
	// some with the time zone in them.
	backdate = 24 * time.Hour
	// issuingYears is the life of an issuing CA.
	issuingYears = 10
	// maxCommonName is the longest CN in characters (RFC 5280, appendix A,
	// ub-common-name).
	maxCommonName = 64
	// noDomain is a domain that nobody has (RFC 6761, 6.4). A CA that is limited
	// to addresses may vouch for names in it: Java fails on constraints that
	// exclude all names.
	noDomain = "invalid"
)

// Purpose is what an issuing CA issues for.
type Purpose string

// The purposes. A certificate for one is refused for the other.
const (
	PurposeServer Purpose = "server"
	PurposeDevice Purpose = "device"
)

// RootProfile describes a self-signed root.
type RootProfile struct {
	CommonName, Organization string
	KeyType                  KeyType
	Years                    int
	PathLen                  int      // CAs below it on a path: 1 with issuing CAs, 0 when it signs leaves
	PermittedHosts           []string // see IssuingProfile
}

// IssuingProfile describes a CA under another, which signs leaves only.
type IssuingProfile struct {
	CommonName, Organization string
	KeyType                  KeyType
	Purpose                  Purpose
	Years                    int // 0: 10; never longer than its issuer
	// PermittedHosts are the only names (with what is below them) and addresses
	// that it can vouch for: critical name constraints (RFC 5280, 4.2.1.10),
	// which not every device knows. None: no constraints.
	PermittedHosts []string
}

// ServerProfile describes a server's certificate.
type ServerProfile struct {
	Hosts        []string // names and addresses, see ParseHost; the first is the CN as well
	Organization string
	KeyType      KeyType
	Days         int // from now; never longer than its issuer
}

// NewRoot makes a self-signed CA.
func (m Maker) NewRoot(p RootProfile) (*Authority, error) {
	if p.Years < 1 {
		return nil, fmt.Errorf("a root of %d years", p.Years)
	}
	key, err := m.key(p.KeyType)
	if err != nil {
		return nil, err
	}
	now := m.now()
	template := caTemplate(p.CommonName, p.Organization, p.PathLen)
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.AddDate(p.Years, 0, 0)
	if err := constrain(template, p.PermittedHosts); err != nil {
		return nil, err
	}
	cert, err := m.sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{Certificate: cert, Key: key, Maker: m}, nil
}

// NewIssuing makes a CA below this one, for one purpose, that signs leaves
// only. The purpose stands in its extKeyUsage too, which Windows, OpenSSL and
// Go hold against what it signs.
func (a *Authority) NewIssuing(p IssuingProfile) (*Authority, error) {
	if err := a.AllowsIssuing(); err != nil {
		return nil, err
	}
	key, err := a.Maker.key(p.KeyType)
	if err != nil {
		return nil, err
	}
	years := p.Years
	if years == 0 {
		years = issuingYears
	}
	now := a.Maker.now()
	template := caTemplate(p.CommonName, p.Organization, 0)
	template.NotBefore, template.NotAfter = a.period(now, now.AddDate(years, 0, 0))
	if err := constrain(template, p.PermittedHosts); err != nil {
		return nil, err
	}
	switch p.Purpose {
	case PurposeServer:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case PurposeDevice:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	default:
		return nil, fmt.Errorf("there is no purpose %q for a CA", p.Purpose)
	}
	cert, err := a.Maker.sign(template, a.Certificate, key.Public(), a.Key)
	if err != nil {
		return nil, err
	}
	issuers := append([]*x509.Certificate{a.Certificate}, a.Issuers...)
	return &Authority{Certificate: cert, Key: key, Issuers: issuers, Maker: a.Maker}, nil
}

// IssueServer makes a key and a certificate for a TLS server: serverAuth and
// nothing else, its names in the subjectAltName (RFC 9525, 2).
func (a *Authority) IssueServer(p ServerProfile) (*Issued, error) {
	if p.Days < 1 {
		return nil, fmt.Errorf("a server certificate of %d days", p.Days)
	}
	template := &x509.Certificate{
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if err := setHosts(template, p.Hosts); err != nil {
		return nil, err
	}
	name := commonName(p.Hosts[0])
	if slices.Contains(a.Certificate.PermittedDNSDomains, noDomain) {
		name = "server." + noDomain // GnuTLS and OpenSSL hold a CN against the constraints on names
	}
	template.Subject = subject(name, p.Organization)
	key, err := a.Maker.key(p.KeyType)
	if err != nil {
		return nil, err
	}
	if _, isRSA := key.Public().(*rsa.PublicKey); isRSA {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // RSA key exchange of TLS 1.2
	}
	now := a.Maker.now()
	// Both ends belong to the period (RFC 5280, 4.1.2.5), so that 397 days and
	// the day before now are 398 days, the most that browsers and Apple take.
	template.NotBefore, template.NotAfter = a.period(now, now.AddDate(0, 0, p.Days).Add(-time.Second))
	cert, err := a.Maker.sign(template, a.Certificate, key.Public(), a.Key)
	if err != nil {
		return nil, err
	}
	return &Issued{Key: key, Chain: a.chain(cert)}, nil
}

// chain is what is presented with a leaf: everything but the root.
func (a *Authority) chain(leaf *x509.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	if len(a.Issuers) == 0 {
		return chain
	}
	chain = append(chain, a.Certificate)
	return append(chain, a.Issuers[:len(a.Issuers)-1]...)
}

// period is the life of what this authority signs: from a day ago, and never
// outside its own life.
func (a *Authority) period(now, until time.Time) (notBefore, notAfter time.Time) {
	notBefore = now.Add(-backdate)
	if notBefore.Before(a.Certificate.NotBefore) {
		notBefore = a.Certificate.NotBefore
	}
	if until.After(a.Certificate.NotAfter) {
		until = a.Certificate.NotAfter
	}
	return notBefore, until
}

// sign makes a certificate and reads it back.
func (m Maker) sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := m.serial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = template.NotBefore.UTC().Truncate(time.Second)
	template.NotAfter = template.NotAfter.UTC().Truncate(time.Second)
	if !template.NotAfter.After(m.now()) {
		return nil, fmt.Errorf("the CA certificate %q has expired", parent.Subject)
	}
	if err := identifyKeys(template, parent, public); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate %q: %w", template.Subject, err)
	}
	return x509.ParseCertificate(der)
}

func caTemplate(commonName, organization string, pathLen int) *x509.Certificate {
	return &x509.Certificate{
		Subject:               subject(commonName, organization),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
	}
}

// constrain limits a CA to some hosts. A kind of name that no host has is
// excluded as a whole: constraints bind only the kinds that they mention.
func constrain(template *x509.Certificate, hosts []string) error {
	if len(hosts) == 0 {
		return nil
	}
	var names x509.Certificate
	if err := setHosts(&names, hosts); err != nil {
		return err
	}
	template.PermittedDNSDomainsCritical = true
	template.PermittedDNSDomains = names.DNSNames
	for _, ip := range names.IPAddresses {
		template.PermittedIPRanges = append(template.PermittedIPRanges, singleAddress(ip))
	}
	if len(names.DNSNames) == 0 {
		template.PermittedDNSDomains = []string{noDomain}
	}
	if len(names.IPAddresses) == 0 {
		template.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
	}
	return nil
}

func singleAddress(ip net.IP) *net.IPNet {
	if short := ip.To4(); short != nil {
		ip = short
	}
	bits := 8 * len(ip)
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)}
}

// PermittedHosts lists the names and addresses that a CA is limited to, as in
// IssuingProfile; none when it is not limited.
func PermittedHosts(ca *x509.Certificate) []string {
	var hosts []string
	for _, name := range ca.PermittedDNSDomains {
		if name != noDomain {
			hosts = append(hosts, name)
		}
	}
	for _, addresses := range ca.PermittedIPRanges {
		if ones, bits := addresses.Mask.Size(); ones == bits {
			hosts = append(hosts, addresses.IP.String())
		} else {
			hosts = append(hosts, addresses.String())
		}
	}
	return hosts
}

func subject(commonName, organization string) pkix.Name {
	name := pkix.Name{CommonName: commonName}
	if organization != "" {
		name.Organization = []string{organization}
	}
	return name
}

// commonName is the host where it fits: clients go by the subjectAltName, and
// people by the CN.
func commonName(host string) string {
	if name, err := ParseHost(host); err == nil && utf8.RuneCountInString(name) <= maxCommonName {
		return name
	}
	return "server"
}

// setHosts puts names and addresses into the subjectAltName, each once.
func setHosts(template *x509.Certificate, hosts []string) error {
	if len(hosts) == 0 {
		return errors.New("a server certificate needs at least one name or address")
	}
	seen := map[string]bool{}
	for _, host := range hosts {
		name, err := ParseHost(host)
		if err != nil {
			return err
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return nil
}
