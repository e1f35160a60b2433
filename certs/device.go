package certs

import (
	"crypto"
	"crypto/sha3"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// DeviceProfile describes a device's client certificate.
type DeviceProfile struct {
	CommonName   string // the device's name: 1 to 64 characters
	Organization string
	KeyType      KeyType       // of a new key
	Days         int           // from now; never longer than its issuer
	Key          crypto.Signer // nil: a new one of KeyType
}

// IssueDevice makes a certificate for a device, and a key unless the profile
// has one: clientAuth and nothing else, the device's name as CN, by which
// ThingsBoard's X.509 chain strategy knows it. It has no subjectAltName: a
// device is no host, and RFC 5280, 4.2.1.6 wants one only where the subject is
// empty. A CA for servers, a name that is none and a key that is too weak are
// errors. Many goroutines may issue at once.
func (a *Authority) IssueDevice(p DeviceProfile) (*Issued, error) {
	if err := a.checkDevice(p); err != nil {
		return nil, err
	}
	key := p.Key
	if key == nil {
		made, err := a.Maker.key(p.KeyType)
		if err != nil {
			return nil, err
		}
		key = made
	} else if err := checkDeviceKey(key.Public()); err != nil {
		return nil, err
	}
	leaf, err := a.signDevice(key.Public(), p)
	if err != nil {
		return nil, err
	}
	return &Issued{Key: key, Chain: a.chain(leaf)}, nil
}

// SignDevice makes a certificate for the key of a request, and gives it with its
// issuers, the root left out. Of the request the key and the CN are taken, and
// nothing else: its extensions are passed over, and one that asks for a CA is
// refused, see ParseRequest. The CN must be the profile's where both have one.
// The profile's key and kind of key are not looked at.
func (a *Authority) SignDevice(request *x509.CertificateRequest, p DeviceProfile) ([]*x509.Certificate, error) {
	if err := checkRequest(request); err != nil {
		return nil, err
	}
	cn := request.Subject.CommonName
	switch {
	case p.CommonName == "":
		p.CommonName = cn
	case cn != "" && cn != p.CommonName:
		return nil, fmt.Errorf("the request is for the CN %q, and the device is %q: make the request with the device's name as CN, or with none", cn, p.CommonName)
	}
	if err := a.checkDevice(p); err != nil {
		return nil, err
	}
	leaf, err := a.signDevice(request.PublicKey, p)
	if err != nil {
		return nil, err
	}
	return a.chain(leaf), nil
}

// checkDevice refuses what cannot become a certificate of this authority.
func (a *Authority) checkDevice(p DeviceProfile) error {
	if problem := notACommonName(p.CommonName); problem != "" {
		return fmt.Errorf("the device name %.80q cannot stand in a certificate: %s", p.CommonName, problem)
	}
	issuer := a.Certificate
	switch {
	case p.Days < 1:
		return fmt.Errorf("a device certificate of %d days", p.Days)
	case !allowsClients(issuer):
		return fmt.Errorf("the CA %q is not for device certificates (its extKeyUsage has no clientAuth): what it signs would be refused", issuer.Subject)
	case p.CommonName == issuer.Subject.CommonName && subject(p.CommonName, p.Organization).String() == issuer.Subject.String():
		// Path building takes such a leaf for a self-issued CA (RFC 5280, 6.1).
		return fmt.Errorf("the device name %q is the name of the CA itself; a certificate needs another than its issuer", p.CommonName)
	default:
		return nil
	}
}

// allowsClients reports whether a CA's extKeyUsage, which Windows, OpenSSL and
// Go hold against what it signs, leaves room for clientAuth.
func allowsClients(ca *x509.Certificate) bool {
	return len(ca.ExtKeyUsage)+len(ca.UnknownExtKeyUsage) == 0 ||
		slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// notACommonName says why a text cannot be a CN (RFC 5280, appendix A,
// ub-common-name, and X.520's DirectoryString).
func notACommonName(name string) string {
	switch n := utf8.RuneCountInString(name); {
	case !utf8.ValidString(name):
		return "it is not UTF-8 text"
	case strings.TrimSpace(name) == "":
		return "it is empty"
	case n > maxCommonName:
		return fmt.Sprintf("it has %d characters, at most %d are allowed", n, maxCommonName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "it holds a control character"
	default:
		return ""
	}
}

func (a *Authority) signDevice(public crypto.PublicKey, p DeviceProfile) (*x509.Certificate, error) {
	now := a.Maker.now()
	template := &x509.Certificate{
		Subject:               subject(p.CommonName, p.Organization),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	template.NotBefore, template.NotAfter = a.period(now, now.AddDate(0, 0, p.Days).Add(-time.Second))
	return a.Maker.sign(template, a.Certificate, public, a.Key)
}

// CredentialsID is how ThingsBoard finds the device of a certificate: SHA3-256,
// in hex, of the base64 of its DER (EncryptionUtil.getSha3Hash).
func CredentialsID(cert *x509.Certificate) string {
	sum := sha3.Sum256([]byte(base64.StdEncoding.EncodeToString(cert.Raw)))
	return hex.EncodeToString(sum[:])
}

// ParseBase64 reads a certificate as ThingsBoard keeps it: the base64 of its DER,
// without header, footer and line breaks.
func ParseBase64(text string) ([]*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("this is not the base64 of a certificate")
	}
	chain, err := x509.ParseCertificates(der)
	if err != nil || len(chain) == 0 {
		return nil, errors.New("this is not the base64 of a certificate")
	}
	return chain, nil
}
