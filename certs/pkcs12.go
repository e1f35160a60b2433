package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/tbcert/tbcert/certs/secret"
)

// A KeyStore says how a keystore file is written: PKCS#12 (RFC 7292), or Java's
// own JKS.
type KeyStore struct {
	// Password protects the file. The two forms of Java take ASCII, and keytool
	// at least six characters of it; see CheckKeyStorePassword.
	Password secret.Text
	// Legacy writes PKCS#12 as older software reads it, such as Windows Server
	// 2016 and Java before 8u301. Its encryption (3DES with
	// a key from SHA-1) is only as good as the password.
	Legacy bool
	// Random is where salts come from; nil is crypto/rand.
	Random io.Reader
}

// EncodePKCS12 writes a key and its chain as PKCS#12, with AES-256 and
// HMAC-SHA256 as OpenSSL 1.1, Java 8u301 and Windows Server 2019 and later read
// it.
func EncodePKCS12(issued *Issued, password secret.Text) ([]byte, error) {
	return KeyStore{Password: password}.PKCS12(issued)
}

// PKCS12 writes a key and its chain.
func (k KeyStore) PKCS12(issued *Issued) ([]byte, error) {
	data, err := k.encoder().Encode(issued.Key, issued.Chain[0], issued.Chain[1:], k.Password.Reveal())
	if err != nil {
		return nil, fmt.Errorf("write PKCS#12: %w", err)
	}
	return data, nil
}

// PKCS12Trust writes certificates that are to be trusted, each with the
// attribute by which Java takes it for that (JDK, PKCS12KeyStore: OID
// 2.16.840.1.113894.746875.1.1). Java passes over those without it.
func (k KeyStore) PKCS12Trust(roots []*x509.Certificate) ([]byte, error) {
	entries := make([]pkcs12.TrustStoreEntry, len(roots))
	for i, root := range roots {
		entries[i] = pkcs12.TrustStoreEntry{Cert: root, FriendlyName: trustAlias(i)}
	}
	data, err := k.encoder().EncodeTrustStoreEntries(entries, k.Password.Reveal())
	if err != nil {
		return nil, fmt.Errorf("write PKCS#12: %w", err)
	}
	return data, nil
}

func (k KeyStore) encoder() *pkcs12.Encoder {
	if k.Legacy {
		return pkcs12.LegacyDES.WithRand(k.random())
	}
	return pkcs12.Modern2023.WithRand(k.random())
}

func (k KeyStore) random() io.Reader {
	if k.Random == nil {
		return rand.Reader
	}
	return k.Random
}

// trustAlias names a root in a keystore, where each needs a name of its own.
func trustAlias(i int) string {
	if i == 0 {
		return "ca-root"
	}
	return fmt.Sprintf("ca-root-%d", i+1)
}

// minStorePassword is keytool's own limit.
const minStorePassword = 6

// CheckKeyStorePassword refuses a password that one of the forms cannot hold, or
// that keytool would not take. Its error does not hold the password.
func CheckKeyStorePassword(password secret.Text) error {
	text := password.Reveal()
	if len(text) < minStorePassword {
		return fmt.Errorf("the password has %d characters, and Java takes %d at least", len(text), minStorePassword)
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return fmt.Errorf("the password has a character at position %d that is not printable ASCII, which not all software reads alike", i+1)
		}
	}
	return nil
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
