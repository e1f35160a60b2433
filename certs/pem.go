package certs

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/youmark/pkcs8"

	"github.com/tbcert/tbcert/certs/secret"
)

// The PEM labels (RFC 7468, and OpenSSL's older forms of a key).
const (
	labelCertificate  = "CERTIFICATE"
	labelKey          = "PRIVATE KEY"
	labelEncryptedKey = "ENCRYPTED PRIVATE KEY"
	labelRSAKey       = "RSA PRIVATE KEY"
	labelECKey        = "EC PRIVATE KEY"
	labelRequest      = "CERTIFICATE REQUEST"
	labelCRL          = "X509 CRL"
)

// How a key is encrypted: PBES2 (RFC 8018, 6.2) with PBKDF2-HMAC-SHA256 and
// AES-256-CBC, which OpenSSL 1.1 and later, Java 8u301 and later and GnuTLS
// read. The rounds are OWASP's minimum for it.
const (
	pbkdf2Rounds = 600_000
	pbkdf2Salt   = aes.BlockSize // bytes
)

// Errors of ParseKey that call for another passphrase.
var (
	ErrPassphraseNeeded = errors.New("the key has a passphrase, and none was given")
	ErrWrongPassphrase  = errors.New("the passphrase is not the key's (or the key is damaged)")
)

// EncodeCertificates writes certificates as PEM, in their order.
func EncodeCertificates(chain ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range chain {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: labelCertificate, Bytes: cert.Raw}))
	}
	return out.Bytes()
}

// ParseCertificates reads the certificates of a PEM file, passing over keys
// beside them and text between them. No certificate at all, a damaged one, and
// a block that was cut off are errors that name the line.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := readBlocks(data)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for _, block := range blocks {
		if block.Type != labelCertificate {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("line %d: this certificate cannot be read: %w", block.line, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("there is no certificate in it: %s", contents(blocks))
	}
	return chain, nil
}

// EncodeKey writes a private key as PEM: PKCS#8 (RFC 5958), not encrypted.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: labelKey, Bytes: der}), nil
}

// EncryptKey writes a private key as PEM: PKCS#8, encrypted with a passphrase.
// It is slow on purpose (a few tenths of a second).
func EncryptKey(key crypto.Signer, passphrase secret.Text) ([]byte, error) {
	if passphrase.IsZero() {
		return nil, ErrPassphraseNeeded
	}
	der, err := pkcs8.MarshalPrivateKey(key, []byte(passphrase.Reveal()), &pkcs8.Opts{
		Cipher:  pkcs8.AES256CBC,
		KDFOpts: pkcs8.PBKDF2Opts{SaltSize: pbkdf2Salt, IterationCount: pbkdf2Rounds, HMACHash: crypto.SHA256},
	})
	if err != nil {
		return nil, fmt.Errorf("encrypt the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: labelEncryptedKey, Bytes: der}), nil
}

// KeyIsEncrypted reports whether the first private key in a PEM file needs a
// passphrase.
func KeyIsEncrypted(data []byte) bool {
	block, err := findKey(data)
	return err == nil && block.Type == labelEncryptedKey
}

// ParseKey reads the first private key of a PEM file: PKCS#8, encrypted PKCS#8
// (PBES2 with PBKDF2 or scrypt), PKCS#1, or SEC 1. A key that needs a
// passphrase and gets none gives ErrPassphraseNeeded, the wrong one
// ErrWrongPassphrase.
func ParseKey(data []byte, passphrase secret.Text) (crypto.Signer, error) {
	block, err := findKey(data)
	if err != nil {
		return nil, err
	}
	parsed, err := parseKeyBlock(block, passphrase)
	if err != nil {
		return nil, err
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("line %d: this kind of key cannot sign", block.line)
	}
	if KeyTypeOf(signer.Public()) == "unknown" {
		return nil, fmt.Errorf("line %d: this kind of key is not one that tbcert works with: EC, RSA or Ed25519", block.line)
	}
	return signer, nil
}

func parseKeyBlock(block pemBlock, passphrase secret.Text) (key any, err error) {
	switch block.Type {
	case labelKey:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case labelRSAKey:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case labelECKey:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		if passphrase.IsZero() {
			return nil, ErrPassphraseNeeded
		}
		key, _, err = pkcs8.ParsePrivateKey(block.Bytes, []byte(passphrase.Reveal()))
		if err != nil {
			// The library's own words differ with what the wrong key made of
			// the padding.
			return nil, ErrWrongPassphrase
		}
		return key, nil
	}
	if err != nil {
		// Not %w: the parser's text could quote the key.
		return nil, fmt.Errorf("line %d: this private key cannot be read", block.line)
	}
	return key, nil
}

// findKey finds the first private key.
func findKey(data []byte) (pemBlock, error) {
	blocks, err := readBlocks(data)
	if err != nil {
		return pemBlock{}, err
	}
	for _, block := range blocks {
		switch block.Type {
		case labelKey, labelEncryptedKey, labelRSAKey, labelECKey:
			if block.Headers["DEK-Info"] != "" {
				return pemBlock{}, fmt.Errorf("line %d: this key is encrypted in OpenSSL's old way (RFC 1423), which protects little: convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`", block.line)
			}
			return block, nil
		}
	}
	return pemBlock{}, fmt.Errorf("there is no private key in it: %s", contents(blocks))
}

// pemBlock is a block and the line that it begins on, from 1.
type pemBlock struct {
	*pem.Block
	line int
}

// readBlocks reads all PEM blocks. A begin line without a block that can be
// read is an error: a file that was cut off must not pass for a shorter one.
func readBlocks(data []byte) ([]pemBlock, error) {
	var blocks []pemBlock
	rest := data
	for {
		start := bytes.Index(rest, []byte("-----BEGIN "))
		if start < 0 {
			return blocks, nil
		}
		line := bytes.Count(data[:len(data)-len(rest)+start], []byte("\n")) + 1
		block, after := pem.Decode(rest[start:])
		if block == nil || skipsBegin(rest[start:], after) {
			return nil, fmt.Errorf("line %d: the PEM block that begins here is damaged or cut off", line)
		}
		blocks = append(blocks, pemBlock{Block: block, line: line})
		rest = after
	}
}

// skipsBegin reports whether pem.Decode passed over a block it could not read
// and gave a later one: what it consumed then begins more than one block.
func skipsBegin(from, after []byte) bool {
	consumed := from[:len(from)-len(after)]
	return bytes.Count(consumed, []byte("-----BEGIN ")) > 1
}

// contents tells what is in a file in place of what was wanted.
func contents(blocks []pemBlock) string {
	if len(blocks) == 0 {
		return "it is not a PEM file (no line -----BEGIN …-----)"
	}
	var kinds []string
	for _, block := range blocks {
		if kind := kindOf(block.Type); len(kinds) == 0 || kinds[len(kinds)-1] != kind {
			kinds = append(kinds, kind)
		}
	}
	return fmt.Sprintf("it holds %s", joinAnd(kinds))
}

// kindOf names what a PEM label stands for.
func kindOf(label string) string {
	switch label {
	case labelCertificate:
		return "a certificate"
	case labelKey, labelRSAKey, labelECKey:
		return "a private key"
	case labelEncryptedKey:
		return "an encrypted private key"
	case labelRequest, "NEW " + labelRequest:
		return "a certificate request"
	case labelCRL:
		return "a revocation list"
	default:
		return fmt.Sprintf("a block of type %q", label)
	}
}

func joinAnd(parts []string) string {
	switch len(parts) {
	case 1:
		return parts[0]
	default:
		var out bytes.Buffer
		for i, part := range parts {
			switch i {
			case 0:
			case len(parts) - 1:
				out.WriteString(" and ")
			default:
				out.WriteString(", ")
			}
			out.WriteString(part)
		}
		return out.String()
	}
}
