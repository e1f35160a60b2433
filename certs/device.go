package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha3"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// DeviceProfile describes a device's client certificate.
type DeviceProfile struct {
	CommonName   string // the device's name: 1 to 64 characters
	Organization string
	KeyType      KeyType // of the new key
	Days         int     // from now; never longer than its issuer
}

// IssueDevice makes a key and a certificate for a device: clientAuth and nothing
// else, the device's name as CN, by which ThingsBoard's X.509 chain strategy
// knows it.
func (a *Authority) IssueDevice(p DeviceProfile) (*Issued, error) {
	key, err := a.Maker.key(p.KeyType)
	if err != nil {
		return nil, err
	}
	leaf, err := a.signDevice(key.Public(), p)
	if err != nil {
		return nil, err
	}
	return &Issued{Key: key, Chain: a.chain(leaf)}, nil
}

// SignDevice makes a certificate for the key of a request, and gives it with its
// issuers, the root left out. Nothing else of the request is taken; a CN that it
// has must be the profile's.
func (a *Authority) SignDevice(request *x509.CertificateRequest, p DeviceProfile) ([]*x509.Certificate, error) {
	if err := checkRequest(request); err != nil {
		return nil, err
	}
	if cn := request.Subject.CommonName; cn != "" && cn != p.CommonName {
		return nil, fmt.Errorf("the request is for the CN %q, and the device is %q: make the request with the device's name as CN, or with none", cn, p.CommonName)
	}
	leaf, err := a.signDevice(request.PublicKey, p)
	if err != nil {
		return nil, err
	}
	return a.chain(leaf), nil
}

func (a *Authority) signDevice(public crypto.PublicKey, p DeviceProfile) (*x509.Certificate, error) {
	switch n := utf8.RuneCountInString(p.CommonName); {
	case n < 1 || n > maxCommonName:
		return nil, fmt.Errorf("the device name %q has %d characters: a certificate takes 1 to %d", p.CommonName, n, maxCommonName)
	case p.Days < 1:
		return nil, fmt.Errorf("a device certificate of %d days", p.Days)
	case len(a.Certificate.ExtKeyUsage) > 0 && !slices.Contains(a.Certificate.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return nil, fmt.Errorf("the CA %q is not for device certificates", a.Certificate.Subject)
	}
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

// ParseRequest reads a PKCS#10 request (RFC 2986), PEM or DER, and refuses one
// that is not signed with its own key, whose key is too weak, or that asks to be
// a CA.
func ParseRequest(data []byte) (*x509.CertificateRequest, error) {
	der := data
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, fmt.Errorf("this is a PEM %q and not a certificate request", block.Type)
		}
		der = block.Bytes
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("this is not a certificate request (PKCS#10): openssl req -new makes one")
	}
	return request, checkRequest(request)
}

func checkRequest(request *x509.CertificateRequest) error {
	if err := request.CheckSignature(); err != nil {
		return errors.New("the certificate request is not signed with its own key: it was damaged or put together of two")
	}
	if err := checkDeviceKey(request.PublicKey); err != nil {
		return err
	}
	for _, extension := range request.Extensions {
		if extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) && asksForCA(extension) {
			return errors.New("the certificate request asks for a CA certificate (CA:TRUE): make one for a device")
		}
	}
	return nil
}

// asksForCA reports whether a basicConstraints extension says CA:TRUE, or
// nothing that can be read.
func asksForCA(extension pkix.Extension) bool {
	var constraints struct {
		IsCA       bool `asn1:"optional"`
		MaxPathLen int  `asn1:"optional,default:-1"`
	}
	rest, err := asn1.Unmarshal(extension.Value, &constraints)
	return err != nil || len(rest) > 0 || constraints.IsCA
}

// checkDeviceKey refuses a public key that is too weak or that devices' and
// servers' TLS does not take.
func checkDeviceKey(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 {
			return fmt.Errorf("the key has %d bits: RSA needs 2048 at least", bits)
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P224() {
			return errors.New("the key is of the curve P-224: use P-256 or P-384")
		}
	case ed25519.PublicKey:
	default:
		return errors.New("the key is of a kind that is not known here: use EC P-256, RSA or Ed25519")
	}
	return nil
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
