package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"golang.org/x/crypto/cryptobyte"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/tbcert/tbcert/certs/secret"
)

// A StoreEntry is one thing in a keystore.
type StoreEntry struct {
	Alias  string              // "" where the store has none
	Chain  []*x509.Certificate // the entry's, leaf first; of a trusted certificate that alone
	HasKey bool
	Key    crypto.Signer // nil where it has a password of its own
}

// magicJKS begins a Java keystore (JDK, JavaKeyStore.java).
var magicJKS = []byte{0xfe, 0xed, 0xfe, 0xed} //nolint:gochecknoglobals // a constant

// IsKeyStore reports whether data is PKCS#12 or JKS, and not how good it is.
func IsKeyStore(data []byte) bool { return bytes.HasPrefix(data, magicJKS) || isPKCS12(data) }

// isPKCS12 looks for a PFX of version 3 (RFC 7292, 4).
func isPKCS12(data []byte) bool {
	var pfx struct {
		Version  int
		AuthSafe asn1.RawValue
		MACData  asn1.RawValue `asn1:"optional"`
	}
	_, err := asn1.Unmarshal(data, &pfx)
	return err == nil && pfx.Version == 3
}

// ReadKeyStore reads all that is in a PKCS#12 file or a JKS. A password that does not
// open it gives ErrWrongPassphrase.
func ReadKeyStore(data []byte, password secret.Text) ([]StoreEntry, error) {
	if bytes.HasPrefix(data, magicJKS) {
		return readJKS(data, password)
	}
	if issued, err := DecodePKCS12(data, password); err == nil {
		return []StoreEntry{{Chain: issued.Chain, HasKey: true, Key: issued.Key}}, nil
	} else if errors.Is(err, ErrWrongPassphrase) {
		return nil, err
	}
	if trusted, err := pkcs12.DecodeTrustStore(data, password.Reveal()); err == nil {
		var entries []StoreEntry
		for _, cert := range trusted {
			entries = append(entries, StoreEntry{Chain: []*x509.Certificate{cert}})
		}
		return entries, nil
	}
	return readBags(data, password)
}

// readBags reads a PKCS#12 file of another shape: certificates without a key,
// several keys.
func readBags(data []byte, password secret.Text) ([]StoreEntry, error) {
	blocks, err := pkcs12.ToPEM(data, password.Reveal()) //nolint:staticcheck // its keys are only described
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, ErrWrongPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("read PKCS#12: %w; `openssl pkcs12 -nokeys -in FILE` writes its certificates as PEM, which can be read", err)
	}
	var entries []StoreEntry
	for _, block := range blocks {
		entry := StoreEntry{Alias: block.Headers["friendlyName"]}
		if block.Type == labelCertificate {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("read PKCS#12: a certificate cannot be read: %w", err)
			}
			entry.Chain = []*x509.Certificate{cert}
		} else {
			entry.HasKey, entry.Key = true, parseDERKey(block.Bytes)
		}
		entries = append(entries, entry)
	}
	if len(entries) == 0 {
		return nil, errors.New("read PKCS#12: there is nothing in it")
	}
	return entries, nil
}

// soundJKS reports whether every length in a JKS is within it: the library makes
// room for what a length says, before it looks whether there is as much.
func soundJKS(data []byte) bool {
	const digest = 20 // of SHA-1, at the end
	s := scanJKS{left: data}
	if !s.left.Skip(len(magicJKS)) || !s.left.ReadUint32(&s.version) {
		return false
	}
	return s.times(s.entry) && len(s.left) == digest
}

// scanJKS goes over a JKS (JDK, JavaKeyStore.java).
type scanJKS struct {
	left    cryptobyte.String
	version uint32
}

// times goes over as many things as there are said to be.
func (s *scanJKS) times(one func() bool) bool {
	var n uint32
	if !s.left.ReadUint32(&n) {
		return false
	}
	for range n {
		if !one() {
			return false
		}
	}
	return true
}

func (s *scanJKS) entry() bool {
	const isKey, date = 1, 8
	var tag uint32
	if !s.left.ReadUint32(&tag) || !s.text() || !s.left.Skip(date) {
		return false
	}
	if tag == isKey {
		return s.bytes() && s.times(s.certificate)
	}
	return s.certificate()
}

func (s *scanJKS) certificate() bool { return (s.version < 2 || s.text()) && s.bytes() }

func (s *scanJKS) text() bool {
	var length uint16
	return s.left.ReadUint16(&length) && s.left.Skip(int(length))
}

func (s *scanJKS) bytes() bool {
	var length uint32
	return s.left.ReadUint32(&length) && int64(length) <= int64(len(s.left)) && s.left.Skip(int(length))
}

func readJKS(data []byte, password secret.Text) ([]StoreEntry, error) {
	if !soundJKS(data) {
		return nil, errors.New("read JKS: it is damaged or cut off")
	}
	text := []byte(password.Reveal())
	defer clear(text)
	store := keystore.New(keystore.WithOrderedAliases())
	if err := store.Load(bytes.NewReader(data), text); err != nil {
		if strings.Contains(err.Error(), "digest") { // it has no name for it
			return nil, ErrWrongPassphrase
		}
		return nil, fmt.Errorf("read JKS: %w", err)
	}
	var entries []StoreEntry
	for _, alias := range store.Aliases() {
		entry, err := jksEntry(store, alias, text)
		if err != nil {
			return nil, fmt.Errorf("read JKS: %s: %w", alias, err)
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func jksEntry(store keystore.KeyStore, alias string, password []byte) (StoreEntry, error) {
	entry := StoreEntry{Alias: alias, HasKey: store.IsPrivateKeyEntry(alias)}
	var held []keystore.Certificate
	if entry.HasKey {
		chain, err := store.GetPrivateKeyEntryCertificateChain(alias)
		if err != nil {
			return entry, err
		}
		held = chain
		if key, err := store.GetPrivateKeyEntry(alias, bytes.Clone(password)); err == nil {
			entry.Key = parseDERKey(key.PrivateKey)
		}
	} else {
		trusted, err := store.GetTrustedCertificateEntry(alias)
		if err != nil {
			return entry, err
		}
		held = []keystore.Certificate{trusted.Certificate}
	}
	for _, one := range held {
		cert, err := x509.ParseCertificate(one.Content)
		if err != nil {
			return entry, fmt.Errorf("a certificate cannot be read: %w", err)
		}
		entry.Chain = append(entry.Chain, cert)
	}
	return entry, nil
}

// parseDERKey reads a private key in DER: PKCS#8, PKCS#1 or SEC 1; nil is none.
func parseDERKey(der []byte) crypto.Signer {
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
		func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
	} {
		if key, err := parse(der); err == nil {
			signer, _ := key.(crypto.Signer)
			return signer
		}
	}
	return nil
}

// InspectKeyStore tells what is in a keystore.
func InspectKeyStore(entries []StoreEntry) ([]Object, error) {
	var objects []Object
	for _, entry := range entries {
		if entry.HasKey {
			key := &Key{Encrypted: entry.Key == nil}
			if entry.Key != nil {
				described, err := describeKey(entry.Key)
				if err != nil {
					return nil, err
				}
				key = described
			}
			objects = append(objects, Object{Kind: "private key", Alias: entry.Alias, Key: key})
		}
		for _, cert := range entry.Chain {
			described := Describe(cert)
			objects = append(objects, Object{Kind: "certificate", Alias: entry.Alias, Certificate: &described, parsed: cert})
		}
	}
	return objects, nil
}
