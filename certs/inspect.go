package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// Object is one thing that was found in a file. Keys are described, never
// shown.
type Object struct {
	Kind        string       `json:"kind"`           // "certificate", "private key", …
	Line        int          `json:"line,omitempty"` // where its PEM block begins
	Certificate *Certificate `json:"certificate,omitempty"`
	Key         *Key         `json:"key,omitempty"`
}

// Certificate is what people ask of a certificate.
type Certificate struct {
	Subject            string    `json:"subject"`
	Issuer             string    `json:"issuer"`
	Serial             string    `json:"serial"` // hex
	Hosts              []string  `json:"hosts,omitempty"`
	NotBefore          time.Time `json:"not_before"`
	NotAfter           time.Time `json:"not_after"`
	KeyType            KeyType   `json:"key_type"`
	SignatureAlgorithm string    `json:"signature_algorithm"`
	IsCA               bool      `json:"is_ca"`
	PathLen            *int      `json:"path_length,omitempty"`
	KeyUsage           []string  `json:"key_usage,omitempty"`
	ExtKeyUsage        []string  `json:"ext_key_usage,omitempty"`
	SelfSigned         bool      `json:"self_signed"`
	SubjectKeyID       string    `json:"subject_key_id,omitempty"`
	AuthorityKeyID     string    `json:"authority_key_id,omitempty"`
	Fingerprint        string    `json:"fingerprint"`
	PublicKey          string    `json:"public_key_fingerprint"`
}

// Key is what may be told of a private key.
type Key struct {
	KeyType   KeyType `json:"key_type,omitempty"`               // not known while it is encrypted
	PublicKey string  `json:"public_key_fingerprint,omitempty"` // the same as of its certificate
	Encrypted bool    `json:"encrypted"`
}

// Fingerprint names a certificate: "sha256:" and the SHA-256 of its DER, in
// lower-case hex.
func Fingerprint(cert *x509.Certificate) string { return digest(cert.Raw) }

// digest is also the fingerprint of a public key, of its SubjectPublicKeyInfo.
func digest(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Inspect tells what is in a file: PEM blocks, or one DER certificate. What is
// neither is an error.
func Inspect(data []byte) ([]Object, error) {
	blocks, err := readBlocks(data)
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return inspectDER(data)
	}
	var objects []Object
	for _, block := range blocks {
		object, err := inspectBlock(block)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", block.line, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

func inspectDER(data []byte) ([]Object, error) {
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, errors.New("it is neither PEM (no line -----BEGIN …-----) nor a DER certificate")
	}
	described := Describe(cert)
	return []Object{{Kind: "certificate", Certificate: &described}}, nil
}

func inspectBlock(block pemBlock) (Object, error) {
	object := Object{Kind: strings.TrimPrefix(strings.TrimPrefix(kindOf(block.Type), "an "), "a "), Line: block.line}
	switch block.Type {
	case labelCertificate:
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Object{}, fmt.Errorf("this certificate cannot be read: %w", err)
		}
		described := Describe(cert)
		object.Certificate = &described
	case labelEncryptedKey:
		object.Key = &Key{Encrypted: true}
	case labelKey, labelRSAKey, labelECKey:
		key, err := inspectKey(block)
		if err != nil {
			return Object{}, err
		}
		object.Key = key
	}
	return object, nil
}

func inspectKey(block pemBlock) (*Key, error) {
	if block.Headers["DEK-Info"] != "" {
		return &Key{Encrypted: true}, nil
	}
	key, err := ParseKey(pem.EncodeToMemory(block.Block), secret.Text{})
	if err != nil {
		return nil, errors.New("this private key cannot be read")
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, errors.New("the public half of this private key cannot be read")
	}
	return &Key{KeyType: KeyTypeOf(key.Public()), PublicKey: digest(public)}, nil
}

// Describe tells what people ask of a certificate.
func Describe(cert *x509.Certificate) Certificate {
	described := Certificate{
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(),
		Serial: cert.SerialNumber.Text(16), Hosts: Hosts(cert),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(),
		KeyType: KeyTypeOf(cert.PublicKey), SignatureAlgorithm: cert.SignatureAlgorithm.String(),
		IsCA: cert.BasicConstraintsValid && cert.IsCA, SelfSigned: selfSigned(cert),
		KeyUsage: keyUsages(cert.KeyUsage), ExtKeyUsage: extKeyUsages(cert),
		SubjectKeyID: hex.EncodeToString(cert.SubjectKeyId), AuthorityKeyID: hex.EncodeToString(cert.AuthorityKeyId),
		Fingerprint: Fingerprint(cert), PublicKey: digest(cert.RawSubjectPublicKeyInfo),
	}
	if described.IsCA && (cert.MaxPathLen > 0 || cert.MaxPathLenZero) {
		described.PathLen = &cert.MaxPathLen
	}
	return described
}

// Hosts are the names and addresses in a certificate's subjectAltName.
func Hosts(cert *x509.Certificate) []string {
	var hosts []string
	hosts = append(hosts, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}

// keyUsages names the bits (RFC 5280, 4.2.1.3).
func keyUsages(usage x509.KeyUsage) []string {
	var names []string
	for bit, name := range []string{
		"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment",
		"keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
	} {
		if usage&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// extKeyUsages names the purposes (RFC 5280, 4.2.1.12), as OpenSSL's
// configuration does.
func extKeyUsages(cert *x509.Certificate) []string {
	known := map[x509.ExtKeyUsage]string{
		x509.ExtKeyUsageAny: "anyExtendedKeyUsage", x509.ExtKeyUsageServerAuth: "serverAuth",
		x509.ExtKeyUsageClientAuth: "clientAuth", x509.ExtKeyUsageCodeSigning: "codeSigning",
		x509.ExtKeyUsageEmailProtection: "emailProtection", x509.ExtKeyUsageTimeStamping: "timeStamping",
		x509.ExtKeyUsageOCSPSigning: "OCSPSigning",
	}
	var names []string
	for _, usage := range cert.ExtKeyUsage {
		name, ok := known[usage]
		if !ok {
			name = fmt.Sprintf("usage %d", int(usage))
		}
		names = append(names, name)
	}
	for _, oid := range cert.UnknownExtKeyUsage {
		names = append(names, oid.String())
	}
	return names
}
