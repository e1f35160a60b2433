package export

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// defaultPath is where the files for a mosquitto lie on Debian.
const defaultPath = "/etc/mosquitto/certs"

// A page is what templates are filled in with. Its exported fields are known to
// users' own templates: they stay.
type page struct {
	Device    string // the name
	Directory string
	Host      string
	Port      int
	HostPort  string
	Topic     string
	Username  string // or the token; "" is none
	ClientID  string
	Password  string
	RootPEM   string
	ChainPEM  string // "": the device has no certificate
	KeyPEM    string
	Roots     [][]byte // DER
	Leaf      []byte   // DER
	KeyDER    []byte   // PKCS#8
	KeyRSA    bool     // it is an RSA key
	IssuerRSA bool     // the certificate was signed with one
	Path      string
	Files     provision.Files
	Secret    bool   // it has a secret to hold
	ID        string // 15 hexadecimal digits of the device's own

	device  Device
	options Options
	roots   []*x509.Certificate
	issued  *certs.Issued // nil: no certificate; without its key where that is not here
}

func newPage(device Device, options Options) (*page, error) {
	info, credential := device.Info, device.Credential
	p := &page{
		Device: info.Device, Directory: device.Directory, Host: info.Host, Port: info.Ports.MQTTS,
		HostPort: net.JoinHostPort(info.Host, strconv.Itoa(info.Ports.MQTTS)), Topic: info.Topic,
		Username: credential.Username.Reveal(), ClientID: credential.ClientID.Reveal(), Password: credential.Password.Reveal(),
		RootPEM: string(device.Roots), Path: cmp.Or(options.Path, defaultPath), Files: info.Files,
		device: device, options: options,
	}
	if credential.Kind == provision.CredentialToken {
		p.Username = credential.Token.Reveal()
	}
	sum := sha256.Sum256([]byte(info.Device))
	p.ID = hex.EncodeToString(sum[:])[:15]
	var err error
	if p.roots, err = certs.ParseCertificates(device.Roots); err != nil {
		return nil, fmt.Errorf("the roots: %w", err)
	}
	for _, root := range p.roots {
		p.Roots = append(p.Roots, root.Raw)
	}
	p.Secret = p.Username != "" || p.ClientID != "" || p.Password != "" || !credential.Key.IsZero()
	if credential.Kind != provision.CredentialX509 {
		return p, nil
	}
	return p, p.certificate()
}

// certificate takes apart the certificate and its key.
func (p *page) certificate() error {
	chain, err := certs.ParseCertificates(p.device.Credential.Chain)
	if err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	p.issued = &certs.Issued{Chain: chain}
	p.ChainPEM, p.Leaf = string(p.device.Credential.Chain), chain[0].Raw
	p.KeyRSA, p.IssuerRSA = isRSA(chain[0]), issuerIsRSA(chain, p.roots)
	if p.device.Credential.Key.IsZero() {
		return nil
	}
	p.KeyPEM = p.device.Credential.Key.Reveal()
	if p.issued.Key, err = certs.ParseKey([]byte(p.KeyPEM), secret.Text{}); err != nil {
		return fmt.Errorf("the key: %w", err)
	}
	if p.KeyDER, err = x509.MarshalPKCS8PrivateKey(p.issued.Key); err != nil {
		return fmt.Errorf("the key: %w", err)
	}
	return nil
}

// issuerIsRSA reports whether the key that signed the device's certificate is an
// RSA key, which BearSSL has to be told.
func issuerIsRSA(chain, roots []*x509.Certificate) bool {
	for _, ca := range slices.Concat(chain[1:], roots) {
		if bytes.Equal(ca.RawSubject, chain[0].RawIssuer) {
			return isRSA(ca)
		}
	}
	return isRSA(chain[0])
}

func isRSA(cert *x509.Certificate) bool { return cert.PublicKeyAlgorithm == x509.RSA }

// hasEd25519 reports whether one of the certificates has a key that the TLS
// libraries of microcontrollers do not know.
func (p *page) hasEd25519() bool {
	chain := p.roots
	if p.issued != nil {
		chain = slices.Concat(chain, p.issued.Chain)
	}
	return slices.ContainsFunc(chain, func(cert *x509.Certificate) bool { return cert.PublicKeyAlgorithm == x509.Ed25519 })
}

// made is when a keystore's entries say that they were made: when the newest
// certificate in it began. It tells nothing else, and does not change.
func made(chain []*x509.Certificate) time.Time {
	var newest time.Time
	for _, cert := range chain {
		if cert.NotBefore.After(newest) {
			newest = cert.NotBefore
		}
	}
	return newest
}
