package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// RequestCA makes a PKCS#10 request (RFC 2986) in PEM, by which whoever keeps a root
// makes an issuing CA: CA:TRUE with no CA below it, and the usages that it needs.
func RequestCA(p IssuingProfile, key crypto.Signer) ([]byte, error) {
	constraints, err := asn1.Marshal(struct {
		IsCA    bool
		PathLen int
	}{true, 0})
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	usage, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0x06}, BitLength: 7}) // keyCertSign and cRLSign (RFC 5280, 4.2.1.3)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	template := &x509.CertificateRequest{Subject: subject(p.CommonName, p.Organization), ExtraExtensions: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
	}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: labelRequest, Bytes: der}), nil
}

// AnswerCA finds, among certificates that came back, the chain for a request of
// RequestCA: the CA, its issuers, and the root. The error says what is missing, or why
// the CA is not fit for its purpose.
func AnswerCA(request []byte, came []*x509.Certificate, purpose Purpose) ([]*x509.Certificate, error) {
	der, err := requestDER(request)
	if err != nil {
		return nil, err
	}
	asked, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("the request cannot be read: %w", err)
	}
	var chain []*x509.Certificate
	for _, cert := range came {
		if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(asked.PublicKey) {
			chain = []*x509.Certificate{cert}
		}
	}
	if chain == nil {
		return nil, fmt.Errorf("none of the certificates is for the key of %q", asked.Subject)
	}
	for !selfSigned(chain[len(chain)-1]) {
		issuer := signerOf(chain[len(chain)-1], came)
		if issuer == nil || len(chain) > maxAnswer {
			return nil, fmt.Errorf("the certificate of %q, which signed %q, is not among them", chain[len(chain)-1].Issuer, chain[len(chain)-1].Subject)
		}
		chain = append(chain, issuer)
	}
	return chain, fitFor(chain, purpose)
}

// maxAnswer is how many CAs may stand one above the other.
const maxAnswer = 8

func signerOf(cert *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, candidate := range among {
		if !candidate.Equal(cert) && cert.CheckSignatureFrom(candidate) == nil {
			return candidate
		}
	}
	return nil
}

// fitFor refuses a CA that could not sign what it is for.
func fitFor(chain []*x509.Certificate, purpose Purpose) error {
	if len(chain) == 1 {
		return errors.New("it is signed with its own key, and not by a root")
	}
	for depth, cert := range chain {
		if err := mayIssue(cert, depth); err != nil {
			return err
		}
	}
	wanted := map[Purpose]x509.ExtKeyUsage{PurposeServer: x509.ExtKeyUsageServerAuth, PurposeDevice: x509.ExtKeyUsageClientAuth}[purpose]
	if ca := chain[0]; len(ca.ExtKeyUsage) > 0 && !allows(ca, wanted) {
		return fmt.Errorf("%q is limited to other usages (%v)", ca.Subject, ExtKeyUsages(ca))
	}
	return nil
}

// mayIssue refuses a certificate that may not sign others with so many CAs below it.
func mayIssue(cert *x509.Certificate, below int) error {
	limited := cert.MaxPathLen > 0 || (cert.MaxPathLen == 0 && cert.MaxPathLenZero)
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return fmt.Errorf("%q is no CA: sign the request with its basicConstraints (openssl: -copy_extensions copy)", cert.Subject)
	case limited && cert.MaxPathLen < below:
		return fmt.Errorf("%q has a path length of %d, and there would be %d below it", cert.Subject, cert.MaxPathLen, below)
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%q may not sign certificates (keyUsage without keyCertSign)", cert.Subject)
	default:
		return nil
	}
}

func allows(cert *x509.Certificate, usage x509.ExtKeyUsage) bool {
	for _, has := range cert.ExtKeyUsage {
		if has == usage || has == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}
