package export

import (
	"crypto/sha3"
	"crypto/x509"
	"encoding/binary"
	"io"
	"slices"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/provision"
)

// p12 writes the device's certificate and key as PKCS#12.
func (p *page) p12() ([]provision.File, error) {
	data, err := p.store(P12).PKCS12(p.issued)
	return []provision.File{{Name: "keystore.p12", Data: data, Secret: true}}, err
}

// p12Legacy writes it for older software.
func (p *page) p12Legacy() ([]provision.File, error) {
	store := p.store(P12Legacy)
	store.Legacy = true
	data, err := store.PKCS12(p.issued)
	return []provision.File{{Name: "keystore-legacy.p12", Data: data, Secret: true}}, err
}

// truststore writes the roots as PKCS#12.
func (p *page) truststore() ([]provision.File, error) {
	data, err := p.store(Truststore).PKCS12Trust(p.roots)
	return []provision.File{{Name: "truststore.p12", Data: data}}, err
}

// jks writes the roots, and what the device has of certificate and key.
func (p *page) jks() ([]provision.File, error) {
	store := p.store(JKS)
	trust, err := store.JKSTrust(p.roots, made(p.roots))
	files := []provision.File{{Name: "truststore.jks", Data: trust}}
	if err != nil || p.issued == nil {
		return files, err
	}
	key, err := store.JKS(p.issued, made(p.issued.Chain))
	return append(files, provision.File{Name: "keystore.jks", Data: key, Secret: true}), err
}

// store is how a format's keystore is written.
func (p *page) store(format Format) certs.KeyStore {
	return certs.KeyStore{Password: p.options.Password, Random: p.salts(format)}
}

// salts is where a keystore's salts and initialization vectors come from: the
// password and all that the keystore holds, hashed. So the same keystore is
// written again byte for byte, and no two that differ share a salt. Nobody who
// does not know the password can tell the salts from random ones.
func (p *page) salts(format Format) io.Reader {
	hash := sha3.NewSHAKE256()
	for _, part := range [][]byte{
		[]byte("tbcert keystore"), []byte(format), []byte(p.options.Password.Reveal()), p.KeyDER,
		certs.EncodeCertificates(p.chain()...), certs.EncodeCertificates(p.roots...),
	} {
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // a hash does not fail
		_, _ = hash.Write(part)
	}
	return hash
}

func (p *page) chain() []*x509.Certificate {
	if p.issued == nil {
		return nil
	}
	return slices.Clone(p.issued.Chain)
}
