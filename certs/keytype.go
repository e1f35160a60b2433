// Package certs makes and reads keys and certificates: authorities and what
// they issue, PEM and PKCS#12, and descriptions for people.
//
// It works in memory: no disk, no network, no environment, no clock of its own.
// Time, keys and serial numbers come from a [Maker]. The profiles follow RFC
// 5280, and the choices that RFC leaves open are made for small devices: no
// critical extension that mbedTLS or BearSSL does not know (unless it is asked
// for: name constraints), names in the
// subjectAltName, one purpose a leaf.
package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"
)

// KeyType is a kind of key pair, by the name that users write.
type KeyType string

// The kinds of keys that tbcert makes.
const (
	P256    KeyType = "p256" // what every TLS stack for devices knows, and the fastest to sign with
	P384    KeyType = "p384"
	RSA2048 KeyType = "rsa2048"
	RSA3072 KeyType = "rsa3072"
	RSA4096 KeyType = "rsa4096"
	Ed25519 KeyType = "ed25519" // not known to BearSSL, nor to mbedTLS before 4
)

// KeyTypes lists the kinds of keys, the default first.
func KeyTypes() []KeyType {
	return []KeyType{P256, P384, RSA2048, RSA3072, RSA4096, Ed25519}
}

// ParseKeyType takes the name of a kind of key. The error lists the choices.
func ParseKeyType(name string) (KeyType, error) {
	var names []string
	for _, kind := range KeyTypes() {
		if string(kind) == name {
			return kind, nil
		}
		names = append(names, string(kind))
	}
	return "", fmt.Errorf("there is no key type %q; the types are %s", name, strings.Join(names, ", "))
}

// KeyTypeOf tells the kind of a public key; for one that tbcert does not make,
// a description such as "rsa1024".
func KeyTypeOf(public crypto.PublicKey) KeyType {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return KeyType("p" + strings.TrimPrefix(key.Curve.Params().Name, "P-"))
	case *rsa.PublicKey:
		return KeyType(fmt.Sprintf("rsa%d", key.N.BitLen()))
	case ed25519.PublicKey:
		return Ed25519
	default:
		return "unknown"
	}
}

// KeyFits reports whether a private key belongs to a certificate.
func KeyFits(key crypto.Signer, cert *x509.Certificate) bool {
	if key == nil || cert == nil {
		return false
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	return err == nil && bytes.Equal(public, cert.RawSubjectPublicKeyInfo)
}

// newKey makes a key pair from the system's randomness. (Since Go 1.26 the
// standard library takes no other source, so that a Maker injects whole keys.)
func newKey(kind KeyType) (crypto.Signer, error) {
	switch kind {
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		_, err := ParseKeyType(string(kind))
		return nil, err
	}
}

// keyID is the identifier of a key: the SHA-256 of its bit string, cut to 160
// bits (RFC 7093, 2, method 1), as Go gives it to CAs.
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20], nil
}

// identifyKeys sets what RFC 5280, 4.2.1.1 and 4.2.1.2 want in every
// certificate: the identifiers of its key and, where its issuer has none that
// would be taken, of the issuer's.
func identifyKeys(template, parent *x509.Certificate, public crypto.PublicKey) (err error) {
	if template.SubjectKeyId, err = keyID(public); err != nil {
		return err
	}
	if template != parent && len(parent.SubjectKeyId) == 0 {
		template.AuthorityKeyId, err = keyID(parent.PublicKey)
	}
	return err
}
