package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"time"
)

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
	CredentialsID      string    `json:"credentials_id,omitempty"` // ThingsBoard's, of what may be a device's
}

// Fingerprint names a certificate: "sha256:" and the SHA-256 of its DER, in
// lower-case hex.
func Fingerprint(cert *x509.Certificate) string { return digest(cert.Raw) }

// digest is also the fingerprint of a public key, of its SubjectPublicKeyInfo.
func digest(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Describe tells what people ask of a certificate.
func Describe(cert *x509.Certificate) Certificate {
	described := Certificate{
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(),
		Serial: cert.SerialNumber.Text(16), Hosts: Hosts(cert),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(),
		KeyType: KeyTypeOf(cert.PublicKey), SignatureAlgorithm: cert.SignatureAlgorithm.String(),
		IsCA: cert.BasicConstraintsValid && cert.IsCA, SelfSigned: selfSigned(cert),
		KeyUsage: keyUsages(cert.KeyUsage), ExtKeyUsage: ExtKeyUsages(cert),
		SubjectKeyID: hex.EncodeToString(cert.SubjectKeyId), AuthorityKeyID: hex.EncodeToString(cert.AuthorityKeyId),
		Fingerprint: Fingerprint(cert), PublicKey: digest(cert.RawSubjectPublicKeyInfo),
	}
	if cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		// Not by CA:TRUE: `openssl req -x509`, with which people make a device's
		// certificate, says so, and sets no keyUsage.
		described.CredentialsID = CredentialsID(cert)
	}
	if described.IsCA && (cert.MaxPathLen > 0 || cert.MaxPathLenZero) {
		described.PathLen = &cert.MaxPathLen
	}
	return described
}

// Hosts are the names and addresses in a certificate's subjectAltName.
func Hosts(cert *x509.Certificate) []string { return hostsOf(cert.DNSNames, cert.IPAddresses) }

func hostsOf(names []string, addresses []net.IP) []string {
	var hosts []string
	hosts = append(hosts, names...)
	for _, ip := range addresses {
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

// ExtKeyUsages names the purposes of a certificate (RFC 5280, 4.2.1.12), as
// OpenSSL's configuration does; with none it is for everything.
func ExtKeyUsages(cert *x509.Certificate) []string {
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
