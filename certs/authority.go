package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Maker is where time, keys and serial numbers come from. The zero Maker uses
// the system's. It is safe for concurrent use when its functions are.
type Maker struct {
	NewKey    func(KeyType) (crypto.Signer, error) // nil: from crypto/rand
	NewSerial func() (*big.Int, error)             // nil: 128 random bits
	Now       func() time.Time                     // nil: time.Now
}

// NewKeyOf makes a key of a kind.
func (m Maker) NewKeyOf(kind KeyType) (crypto.Signer, error) { return m.key(kind) }

func (m Maker) key(kind KeyType) (crypto.Signer, error) {
	generate := m.NewKey
	if generate == nil {
		generate = newKey
	}
	key, err := generate(kind)
	if err != nil {
		return nil, fmt.Errorf("make a %s key: %w", kind, err)
	}
	return key, nil
}

// serial gives a positive number that no other certificate of the authority
// has: 128 random bits, within the 20 octets of RFC 5280, 4.1.2.2.
func (m Maker) serial() (*big.Int, error) {
	if m.NewSerial != nil {
		return m.NewSerial()
	}
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	for {
		serial, err := rand.Int(rand.Reader, limit)
		if err != nil {
			return nil, fmt.Errorf("make a serial number: %w", err)
		}
		if serial.Sign() > 0 {
			return serial, nil
		}
	}
}

func (m Maker) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

// Authority is a CA that can issue: its certificate and key, and the
// certificates above it.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	// Issuers are the certificates above this one up to the self-signed root;
	// none for a root.
	Issuers []*x509.Certificate
	Maker   Maker
}

// Issued is a certificate with its key.
type Issued struct {
	Key crypto.Signer
	// Chain begins with the certificate and goes up; a self-signed root is not
	// in it, because whoever needs the root has it (RFC 8446, 4.4.2).
	Chain []*x509.Certificate
}

// ErrKeyMismatch says that a key and a certificate do not belong together.
var ErrKeyMismatch = errors.New("the private key does not belong to the certificate")

// Root is the self-signed certificate at the top.
func (a *Authority) Root() *x509.Certificate {
	if len(a.Issuers) == 0 {
		return a.Certificate
	}
	return a.Issuers[len(a.Issuers)-1]
}

// ImportAuthority makes an authority of a CA certificate that exists. The first
// certificate is the CA; the others are its issuers, in order, up to a
// self-signed root, unless it is one itself. The error says what makes it
// unfit: not a CA, not allowed to sign certificates, expired, a key of another
// certificate (ErrKeyMismatch), a chain with a gap.
func ImportAuthority(chain []*x509.Certificate, key crypto.Signer, maker Maker) (*Authority, error) {
	if len(chain) == 0 {
		return nil, errors.New("there is no CA certificate")
	}
	ca := chain[0]
	if err := checkCA(ca, maker.now()); err != nil {
		return nil, err
	}
	if !KeyFits(key, ca) {
		return nil, ErrKeyMismatch
	}
	issuers, err := issuersOf(chain)
	if err != nil {
		return nil, err
	}
	for _, issuer := range issuers {
		if err := checkCA(issuer, maker.now()); err != nil {
			return nil, err
		}
	}
	return &Authority{Certificate: ca, Key: key, Issuers: issuers, Maker: maker}, nil
}

// checkCA refuses a certificate that must not sign others (RFC 5280, 4.2.1.3
// and 4.2.1.9).
func checkCA(cert *x509.Certificate, now time.Time) error {
	name := cert.Subject.String()
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return fmt.Errorf("the certificate %q is not a CA certificate (no basicConstraints CA:TRUE); devices would refuse what it signs", name)
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("the CA certificate %q may not sign certificates (keyUsage without keyCertSign)", name)
	case now.After(cert.NotAfter):
		return fmt.Errorf("the CA certificate %q expired on %s", name, cert.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the CA certificate %q is valid only from %s", name, cert.NotBefore.UTC().Format(time.DateOnly))
	default:
		return nil
	}
}

// issuersOf checks that each certificate is signed by the next, up to a
// self-signed one, and gives those above the first.
func issuersOf(chain []*x509.Certificate) ([]*x509.Certificate, error) {
	for i, cert := range chain {
		if selfSigned(cert) {
			return chain[1:max(i+1, 1)], nil
		}
		if i+1 == len(chain) {
			return nil, fmt.Errorf("the chain ends with %q, which is no root: add the certificate of its issuer %q below it", cert.Subject, cert.Issuer)
		}
		if err := cert.CheckSignatureFrom(chain[i+1]); err != nil {
			return nil, fmt.Errorf("%q is not signed by %q, the next certificate in the file: put the certificates in order, each followed by its issuer", cert.Subject, chain[i+1].Subject)
		}
	}
	return nil, errors.New("there is no certificate")
}

// selfSigned reports whether a certificate is signed with its own key.
func selfSigned(cert *x509.Certificate) bool {
	return cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// AllowsIssuing says why the path lengths above leave no room for an issuing
// CA below this one (RFC 5280, 4.2.1.9); nil when they do.
func (a *Authority) AllowsIssuing() error {
	chain := append([]*x509.Certificate{a.Certificate}, a.Issuers...)
	for depth, cert := range chain {
		limited := cert.MaxPathLen > 0 || (cert.MaxPathLen == 0 && cert.MaxPathLenZero)
		if limited && cert.MaxPathLen < depth+1 {
			return fmt.Errorf("the CA certificate %q has a path length of %d, which leaves no room for an issuing CA below %q",
				cert.Subject, cert.MaxPathLen, a.Certificate.Subject)
		}
	}
	return nil
}
