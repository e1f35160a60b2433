package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
)

// keyAlias is the name of the one key in a JKS.
const keyAlias = "device"

// JKS writes a key and its chain as a JKS whose store and key have one password,
// as keytool makes it. made is when its entry was made, for those who list it.
//
// JKS hides the key with a keystream of SHA-1 (JDK, KeyProtector): it is only as
// good as the password, and PKCS#12 is to be preferred wherever it is read.
func (k KeyStore) JKS(issued *Issued, made time.Time) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(issued.Key)
	if err != nil {
		return nil, fmt.Errorf("write JKS: %w", err)
	}
	defer clear(der)
	entry := keystore.PrivateKeyEntry{CreationTime: made, PrivateKey: der}
	for _, cert := range issued.Chain {
		entry.CertificateChain = append(entry.CertificateChain, jksCertificate(cert))
	}
	store := k.newJKS()
	password := []byte(k.Password.Reveal())
	defer clear(password)
	if err := store.SetPrivateKeyEntry(keyAlias, entry, slices.Clone(password)); err != nil {
		return nil, fmt.Errorf("write JKS: %w", err)
	}
	return storeJKS(store, password)
}

// JKSTrust writes certificates that are to be trusted as a JKS.
func (k KeyStore) JKSTrust(roots []*x509.Certificate, made time.Time) ([]byte, error) {
	store := k.newJKS()
	for i, root := range roots {
		entry := keystore.TrustedCertificateEntry{CreationTime: made, Certificate: jksCertificate(root)}
		if err := store.SetTrustedCertificateEntry(trustAlias(i), entry); err != nil {
			return nil, fmt.Errorf("write JKS: %w", err)
		}
	}
	password := []byte(k.Password.Reveal())
	defer clear(password)
	return storeJKS(store, password)
}

func (k KeyStore) newJKS() keystore.KeyStore {
	return keystore.New(keystore.WithOrderedAliases(), keystore.WithCustomRandomNumberGenerator(k.random()))
}

func jksCertificate(cert *x509.Certificate) keystore.Certificate {
	return keystore.Certificate{Type: "X.509", Content: cert.Raw}
}

func storeJKS(store keystore.KeyStore, password []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := store.Store(&out, password); err != nil {
		return nil, fmt.Errorf("write JKS: %w", err)
	}
	return out.Bytes(), nil
}
