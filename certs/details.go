package certs

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
)

// Details are what few people ask of a certificate.
type Details struct {
	Version          int         `json:"version"`
	Extensions       []Extension `json:"extensions"`
	Emails           []string    `json:"emails,omitempty"`
	URIs             []string    `json:"uris,omitempty"`
	OCSP             []string    `json:"ocsp,omitempty"`                          // where to ask whether it is revoked
	IssuerURLs       []string    `json:"issuer_urls,omitempty"`                   // where its issuer's certificate is
	CRLs             []string    `json:"crl_urls,omitempty"`                      // where the list of revoked ones is
	Policies         []string    `json:"policies,omitempty"`                      // object identifiers
	Permitted        []string    `json:"permitted,omitempty"`                     // names that a CA may vouch for
	Excluded         []string    `json:"excluded,omitempty"`                      // and may not
	SignedTimestamps int         `json:"signed_certificate_timestamps,omitempty"` // RFC 6962
	Signature        string      `json:"signature"`                               // hex
	MustStaple       bool        `json:"must_staple,omitempty"`                   // RFC 7633
}

// An Extension is one of a certificate's.
type Extension struct {
	OID      string `json:"oid"`
	Name     string `json:"name,omitempty"` // as RFC 5280 has it
	Critical bool   `json:"critical"`
	Bytes    int    `json:"bytes"`
}

// Object identifiers of extensions that are looked into.
const (
	oidTimestamps = "1.3.6.1.4.1.11129.2.4.2"
	oidTLSFeature = "1.3.6.1.5.5.7.1.24"
)

// extensionNames are those of RFC 5280, 4.2, RFC 6962 and RFC 7633.
func extensionNames() map[string]string {
	return map[string]string{
		"2.5.29.14": "subjectKeyIdentifier", "2.5.29.15": "keyUsage", "2.5.29.17": "subjectAltName", "2.5.29.18": "issuerAltName",
		"2.5.29.19": "basicConstraints", "2.5.29.30": "nameConstraints", "2.5.29.31": "cRLDistributionPoints", "2.5.29.32": "certificatePolicies",
		"2.5.29.33": "policyMappings", "2.5.29.35": "authorityKeyIdentifier", "2.5.29.36": "policyConstraints", "2.5.29.37": "extKeyUsage",
		"2.5.29.46": "freshestCRL", "2.5.29.54": "inhibitAnyPolicy", "1.3.6.1.5.5.7.1.1": "authorityInfoAccess", "1.3.6.1.5.5.7.1.11": "subjectInfoAccess",
		oidTimestamps: "signedCertificateTimestampList", "1.3.6.1.4.1.11129.2.4.3": "precertificatePoison", oidTLSFeature: "tlsFeature",
	}
}

// Detail tells the rest of a certificate.
func Detail(cert *x509.Certificate) Details {
	details := Details{
		Version: cert.Version, Emails: cert.EmailAddresses, OCSP: cert.OCSPServer, IssuerURLs: cert.IssuingCertificateURL,
		CRLs: cert.CRLDistributionPoints, Signature: hex.EncodeToString(cert.Signature),
	}
	for _, uri := range cert.URIs {
		details.URIs = append(details.URIs, uri.String())
	}
	for _, policy := range cert.Policies {
		details.Policies = append(details.Policies, policy.String())
	}
	details.Permitted = append(append([]string{}, cert.PermittedDNSDomains...), networks(cert.PermittedIPRanges)...)
	details.Excluded = append(append([]string{}, cert.ExcludedDNSDomains...), networks(cert.ExcludedIPRanges)...)
	names := extensionNames()
	for _, extension := range cert.Extensions {
		oid := extension.Id.String()
		details.Extensions = append(details.Extensions, Extension{OID: oid, Name: names[oid], Critical: extension.Critical, Bytes: len(extension.Value)})
		switch oid {
		case oidTimestamps:
			details.SignedTimestamps = countTimestamps(extension.Value)
		case oidTLSFeature:
			details.MustStaple = true
		}
	}
	return details
}

func networks[T fmt.Stringer](ranges []T) (texts []string) {
	for _, network := range ranges {
		texts = append(texts, network.String())
	}
	return texts
}

// countTimestamps counts a SignedCertificateTimestampList (RFC 6962, 3.3): lengths of
// two bytes.
func countTimestamps(value []byte) (n int) {
	var list []byte
	if _, err := asn1.Unmarshal(value, &list); err != nil || len(list) < 2 {
		return 0
	}
	for list = list[2:]; len(list) >= 2; n++ {
		length := 2 + int(list[0])<<8 + int(list[1])
		if length > len(list) {
			break
		}
		list = list[length:]
	}
	return n
}

// AddDetails puts the details into the certificates among objects.
func AddDetails(objects []Object) {
	for i := range objects {
		if objects[i].parsed != nil {
			details := Detail(objects[i].parsed)
			objects[i].Details = &details
		}
	}
}
