package verify

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tbcert/tbcert/certs"
)

// ocspRequest asks for one certificate, by SHA-1 as every responder knows it
// (RFC 5019, section 2.1.1): it names the issuer there, and proves nothing.
func ocspRequest(cert, issuer *x509.Certificate) ([]byte, error) {
	return ocsp.CreateRequest(cert, issuer, nil)
}

// judgeOCSP reads an OCSP response (RFC 6960, section 3.2).
func (p *posture) judgeOCSP(from source, answer []byte) (revoked string, err error) {
	// Without the issuer: with it the library refuses an issuer that sends its own
	// certificate along, as OpenSSL's responder does.
	response, err := ocsp.ParseResponseForCert(answer, from.cert, nil)
	if err != nil {
		return "", err
	}
	if err := p.signedBy(response, from.issuer); err != nil {
		return "", err
	}
	switch response.Status {
	case ocsp.Revoked:
		return revokedText(response.RevokedAt, response.RevocationReason), nil
	case ocsp.Unknown:
		return "", errors.New("the responder does not know the certificate")
	default:
		return "", fresh(p.now, response.ThisUpdate, response.NextUpdate)
	}
}

// signedBy holds the signature of a response to RFC 6960, section 4.2.2.2: the
// issuer's own, or that of somebody whom the issuer itself made a responder.
func (p *posture) signedBy(response *ocsp.Response, issuer *x509.Certificate) error {
	signer := response.Certificate
	if signer == nil || bytes.Equal(signer.RawSubjectPublicKeyInfo, issuer.RawSubjectPublicKeyInfo) {
		signer = issuer
	}
	switch {
	case response.CheckSignatureFrom(signer) != nil:
		return fmt.Errorf("not signed by %s", subject(signer))
	case signer == issuer:
		return nil
	case !signed(issuer, signer) || !slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return fmt.Errorf("signed by %s, which is no OCSP responder of %s", subject(signer), subject(issuer))
	case p.now.Before(signer.NotBefore) || p.now.After(signer.NotAfter):
		return fmt.Errorf("signed by %s, which is out of date", subject(signer))
	}
	return nil
}

func revokedText(when time.Time, reason int) string {
	text := "on " + when.UTC().Format(dateTime)
	if reason != 0 {
		text += " (" + certs.ReasonName(reason) + ")"
	}
	return text
}

// judgeCRL reads a CRL (RFC 5280, section 6.3.3). An entry counts in one that is
// out of date, too.
func (p *posture) judgeCRL(from source, answer []byte) (revoked string, err error) {
	crl, err := certs.ParseCRL(answer)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(crl.RawIssuer, from.issuer.RawSubject) {
		return "", fmt.Errorf("the list is of %q, another CA", crl.Issuer.String())
	}
	if err := crl.CheckSignatureFrom(from.issuer); err != nil {
		return "", fmt.Errorf("the list is not signed by %s: %w", subject(from.issuer), err)
	}
	scope, err := scopeOf(crl)
	if err != nil {
		return "", err
	}
	for _, entry := range crl.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(from.cert.SerialNumber) == 0 {
			return revokedText(entry.RevocationTime, entry.ReasonCode), nil
		}
	}
	if !scope.covers(from.cert) {
		return "", errors.New("the list is of other certificates of the CA")
	}
	return "", fresh(p.now, crl.ThisUpdate, crl.NextUpdate)
}

// crlScope is the extension issuingDistributionPoint (RFC 5280, section 5.2.5).
type crlScope struct {
	Point          scopePoint     `asn1:"optional,tag:0"`
	OnlyUsers      bool           `asn1:"optional,tag:1"`
	OnlyCAs        bool           `asn1:"optional,tag:2"`
	OnlySome       asn1.BitString `asn1:"optional,tag:3"`
	Indirect       bool           `asn1:"optional,tag:4"`
	OnlyAttributes bool           `asn1:"optional,tag:5"`
}

// scopePoint is a DistributionPointName.
type scopePoint struct {
	FullName     []asn1.RawValue  `asn1:"optional,tag:0"`
	RelativeName pkix.RDNSequence `asn1:"optional,tag:1"`
}

// scopeOf says for which certificates a CRL speaks. A list with a critical
// extension that is not understood proves nothing (RFC 5280, section 5.2).
func scopeOf(crl *x509.RevocationList) (crlScope, error) {
	var scope crlScope
	for _, extension := range crl.Extensions {
		if !extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}) {
			if extension.Critical {
				return scope, fmt.Errorf("the list has the critical extension %s, which is not known here", extension.Id)
			}
			continue
		}
		if rest, err := asn1.Unmarshal(extension.Value, &scope); err != nil || len(rest) > 0 {
			return scope, errors.New("the list has a damaged issuingDistributionPoint")
		}
	}
	if scope.Indirect {
		return scope, errors.New("the list is an indirect one, of several CAs")
	}
	return scope, nil
}

// covers reports whether a certificate would stand in the list if it were
// revoked, for whatever reason.
func (s crlScope) covers(cert *x509.Certificate) bool {
	if s.OnlyAttributes || s.OnlySome.BitLength > 0 || s.OnlyUsers && cert.IsCA || s.OnlyCAs && !cert.IsCA || len(s.Point.RelativeName) > 0 {
		return false
	}
	return len(s.Point.FullName) == 0 || slices.ContainsFunc(s.Point.FullName, func(name asn1.RawValue) bool {
		return slices.Contains(cert.CRLDistributionPoints, string(name.Bytes))
	})
}
