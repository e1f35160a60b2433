package certs

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// A RevokedCertificate is an entry of a CRL.
type RevokedCertificate struct {
	Serial *big.Int
	Time   time.Time // to the second
	Reason int       // RFC 5280, 5.3.1; 0, unspecified, is left out
}

// CRLProfile describes a CRL.
type CRLProfile struct {
	Number  *big.Int // higher than that of every CRL of this CA before (RFC 5280, 5.2.3); 20 octets at most
	Days    int      // until the next one; never longer than the CA
	Revoked []RevokedCertificate
}

// NewCRL signs a CRL (RFC 5280, 5) with the certificates that this CA has
// revoked, in the order of their serial numbers. One that is given twice stands
// in it once, as revoked at the earlier time. A number or an entry that is
// none, and a CA that has expired or may not sign CRLs, are errors.
func (a *Authority) NewCRL(p CRLProfile) (*x509.RevocationList, error) {
	issuer, err := a.crlIssuer()
	if err != nil {
		return nil, err
	}
	if p.Days < 1 {
		return nil, fmt.Errorf("a CRL of %d days", p.Days)
	}
	if p.Number == nil || p.Number.Sign() < 0 {
		return nil, fmt.Errorf("a CRL needs a number, and %v is none", p.Number)
	}
	entries, err := revokedEntries(p.Revoked)
	if err != nil {
		return nil, err
	}
	now := a.Maker.now().UTC().Truncate(time.Second)
	_, next := a.period(now, now.AddDate(0, 0, p.Days))
	if !next.After(now) {
		return nil, fmt.Errorf("the CA certificate %q has expired", issuer.Subject)
	}
	template := &x509.RevocationList{Number: p.Number, ThisUpdate: now, NextUpdate: next, RevokedCertificateEntries: entries}
	der, err := x509.CreateRevocationList(rand.Reader, template, issuer, a.Key)
	if err != nil {
		return nil, fmt.Errorf("sign the CRL of %q: %w", issuer.Subject, err)
	}
	return x509.ParseRevocationList(der)
}

// crlIssuer is the CA's certificate as Go's CRLs want it: a CA that was brought
// along may have no keyUsage, which allows all (RFC 5280, 4.2.1.3), and no key
// identifier.
func (a *Authority) crlIssuer() (*x509.Certificate, error) {
	issuer := *a.Certificate
	switch {
	case issuer.KeyUsage == 0:
		issuer.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	case issuer.KeyUsage&x509.KeyUsageCRLSign == 0:
		return nil, fmt.Errorf("the CA %q may not sign CRLs (keyUsage without cRLSign): what it has signed can be revoked in ThingsBoard only", issuer.Subject)
	}
	if len(issuer.SubjectKeyId) == 0 {
		id, err := keyID(issuer.PublicKey)
		if err != nil {
			return nil, err
		}
		issuer.SubjectKeyId = id
	}
	return &issuer, nil
}

// revokedEntries checks the entries, and sorts and merges them.
func revokedEntries(revoked []RevokedCertificate) ([]x509.RevocationListEntry, error) {
	entries := make([]x509.RevocationListEntry, 0, len(revoked))
	for _, one := range revoked {
		switch {
		case one.Serial == nil || one.Serial.Sign() <= 0:
			return nil, fmt.Errorf("a revoked certificate has the serial number %v, which is none", one.Serial)
		case one.Time.IsZero():
			return nil, fmt.Errorf("the certificate %x is revoked at no time", one.Serial)
		case !standsInCRL(one.Reason):
			return nil, fmt.Errorf("the certificate %x is revoked for the reason %d, which a CRL does not have", one.Serial, one.Reason)
		}
		entries = append(entries, x509.RevocationListEntry{
			SerialNumber: one.Serial, RevocationTime: one.Time.UTC().Truncate(time.Second), ReasonCode: one.Reason,
		})
	}
	slices.SortStableFunc(entries, func(a, b x509.RevocationListEntry) int {
		if order := a.SerialNumber.Cmp(b.SerialNumber); order != 0 {
			return order
		}
		return a.RevocationTime.Compare(b.RevocationTime)
	})
	return slices.CompactFunc(entries, func(a, b x509.RevocationListEntry) bool {
		return a.SerialNumber.Cmp(b.SerialNumber) == 0
	}), nil
}

// EncodeCRLs gives CRLs in PEM, in this order. Brokers that check certificates want
// those of all CAs in one file.
func EncodeCRLs(crls ...*x509.RevocationList) []byte {
	var data []byte
	for _, crl := range crls {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: labelCRL, Bytes: crl.Raw})...)
	}
	return data
}

// ParseCRLs reads all CRLs of a PEM file, or one in DER. Only their form is
// looked at: not whose they are, nor their signatures, nor their dates.
func ParseCRLs(data []byte) ([]*x509.RevocationList, error) {
	blocks, err := readBlocks(data)
	if err != nil {
		return nil, err
	}
	encoded := [][]byte{data}
	if len(blocks) > 0 {
		encoded = nil
		for _, block := range blocks {
			if block.Type == labelCRL {
				encoded = append(encoded, block.Bytes)
			}
		}
		if len(encoded) == 0 {
			return nil, fmt.Errorf("there is no revocation list in it: %s", contents(blocks))
		}
	}
	crls := make([]*x509.RevocationList, len(encoded))
	for n, der := range encoded {
		if crls[n], err = x509.ParseRevocationList(der); err != nil {
			return nil, errors.New("this is not a certificate revocation list (CRL), or it is damaged")
		}
	}
	return crls, nil
}

// ParseCRL is the first of ParseCRLs.
func ParseCRL(data []byte) (*x509.RevocationList, error) {
	crls, err := ParseCRLs(data)
	if err != nil {
		return nil, err
	}
	return crls[0], nil
}
