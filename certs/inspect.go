package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
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
	Kind        string       `json:"kind"`            // "certificate", "private key", …
	Line        int          `json:"line,omitempty"`  // where its PEM block begins
	Alias       string       `json:"alias,omitempty"` // in a keystore
	Certificate *Certificate `json:"certificate,omitempty"`
	Details     *Details     `json:"details,omitempty"` // see AddDetails
	Key         *Key         `json:"key,omitempty"`
	Request     *Request     `json:"request,omitempty"`
	CRL         *CRL         `json:"crl,omitempty"`

	parsed *x509.Certificate // of Certificate
}

// ObjectOf describes a certificate.
func ObjectOf(cert *x509.Certificate) Object {
	described := Describe(cert)
	return Object{Kind: "certificate", Certificate: &described, parsed: cert}
}

// Key is what may be told of a private key.
type Key struct {
	KeyType   KeyType `json:"key_type,omitempty"`               // not known while it is encrypted
	PublicKey string  `json:"public_key_fingerprint,omitempty"` // the same as of its certificate
	Encrypted bool    `json:"encrypted"`
}

// Request is what people ask of a certificate request.
type Request struct {
	Subject            string   `json:"subject"`
	Hosts              []string `json:"hosts,omitempty"` // asked for; a device's certificate gets none
	KeyType            KeyType  `json:"key_type"`
	SignatureAlgorithm string   `json:"signature_algorithm"`
	AsksForCA          bool     `json:"asks_for_ca"`
	PublicKey          string   `json:"public_key_fingerprint"`
	Problem            string   `json:"problem,omitempty"` // why SignDevice would refuse it
}

// CRL is what people ask of a certificate revocation list. Whose signature it
// has is not told: that takes the CA's certificate.
type CRL struct {
	Issuer             string     `json:"issuer"`
	Number             string     `json:"number,omitempty"` // decimal; none in a CRL of version 1
	ThisUpdate         time.Time  `json:"this_update"`
	NextUpdate         *time.Time `json:"next_update,omitempty"` // none where it does not say
	Entries            int        `json:"entries"`
	SignatureAlgorithm string     `json:"signature_algorithm"`
	AuthorityKeyID     string     `json:"authority_key_id,omitempty"`
	Fingerprint        string     `json:"fingerprint"`
}

// Inspect tells what is in a file: PEM blocks, or certificates, a certificate
// request, a revocation list or a key in DER. What is neither is an error. Nothing is
// refused for being weak, forged or out of date.
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
	if key := parseDERKey(data); key != nil {
		described, err := describeKey(key)
		return []Object{{Kind: "private key", Key: described}}, err
	}
	if isEncryptedKey(data) {
		return []Object{{Kind: "private key", Key: &Key{Encrypted: true}}}, nil
	}
	if chain, err := x509.ParseCertificates(data); err == nil && len(chain) > 1 {
		var objects []Object
		for _, cert := range chain {
			objects = append(objects, ObjectOf(cert))
		}
		return objects, nil
	}
	for _, label := range []string{labelCertificate, labelRequest, labelCRL} {
		object, err := inspectBlock(pemBlock{Block: &pem.Block{Type: label, Bytes: data}})
		if err == nil {
			return []Object{object}, nil
		}
	}
	return nil, errors.New("it is neither PEM (no line -----BEGIN …-----) nor DER of a certificate, certificate request, revocation list or key, nor a keystore")
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
		object.Certificate, object.parsed = &described, cert
	case labelRequest, "NEW " + labelRequest:
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return Object{}, fmt.Errorf("this certificate request cannot be read: %w", err)
		}
		object.Request = describeRequest(request)
	case labelCRL:
		crl, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return Object{}, fmt.Errorf("this revocation list cannot be read: %w", err)
		}
		object.CRL = describeCRL(crl)
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
	return describeKey(key)
}

// isEncryptedKey looks for an EncryptedPrivateKeyInfo (RFC 5958, 3).
func isEncryptedKey(data []byte) bool {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	rest, err := asn1.Unmarshal(data, &info)
	return err == nil && len(rest) == 0 && len(info.Data) > 0
}

// describeKey tells what may be told of a key.
func describeKey(key crypto.Signer) (*Key, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, errors.New("the public half of this private key cannot be read")
	}
	return &Key{KeyType: KeyTypeOf(key.Public()), PublicKey: digest(public)}, nil
}

func describeRequest(request *x509.CertificateRequest) *Request {
	described := &Request{
		Subject: request.Subject.String(), Hosts: hostsOf(request.DNSNames, request.IPAddresses),
		KeyType: KeyTypeOf(request.PublicKey), SignatureAlgorithm: request.SignatureAlgorithm.String(),
		AsksForCA: asksForCA(request), PublicKey: digest(request.RawSubjectPublicKeyInfo),
	}
	if err := checkRequest(request); err != nil {
		described.Problem = err.Error()
	}
	return described
}

func describeCRL(crl *x509.RevocationList) *CRL {
	described := &CRL{
		Issuer: crl.Issuer.String(), ThisUpdate: crl.ThisUpdate.UTC(), Entries: len(crl.RevokedCertificateEntries),
		SignatureAlgorithm: crl.SignatureAlgorithm.String(), AuthorityKeyID: hex.EncodeToString(crl.AuthorityKeyId), Fingerprint: digest(crl.Raw),
	}
	if crl.Number != nil {
		described.Number = crl.Number.String()
	}
	if !crl.NextUpdate.IsZero() {
		next := crl.NextUpdate.UTC()
		described.NextUpdate = &next
	}
	return described
}

// ReadCertificates gives the certificates of a file in PEM or DER. A file with none
// is an error.
func ReadCertificates(data []byte) ([]*x509.Certificate, error) {
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		return ParseCertificates(data)
	}
	certificates, err := x509.ParseCertificates(data)
	if err != nil || len(certificates) == 0 {
		return nil, errors.New("it holds no certificate, neither in PEM nor in DER")
	}
	return certificates, nil
}
