package certs

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/tbcert/tbcert/certs/secret"
)

// EncodePKCS12 writes a key and its chain as PKCS#12 (RFC 7292), with AES-256
// and HMAC-SHA256 as OpenSSL 1.1, Java 8u301 and Windows Server 2019 and later
// read it.
func EncodePKCS12(issued *Issued, password secret.Text) ([]byte, error) {
	data, err := pkcs12.Modern2023.Encode(issued.Key, issued.Chain[0], issued.Chain[1:], password.Reveal())
	if err != nil {
		return nil, fmt.Errorf("write PKCS#12: %w", err)
	}
	return data, nil
}

// DecodePKCS12 reads a key and its chain. A wrong password gives
// ErrWrongPassphrase.
func DecodePKCS12(data []byte, password secret.Text) (*Issued, error) {
	key, leaf, above, err := pkcs12.DecodeChain(data, password.Reveal())
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, ErrWrongPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("read PKCS#12: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("read PKCS#12: its key cannot sign")
	}
	return &Issued{Key: signer, Chain: append([]*x509.Certificate{leaf}, above...)}, nil
}
