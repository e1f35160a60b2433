package certs

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// blockCRL is the PEM type of a CRL (RFC 7468, 7).
const blockCRL = "X509 CRL"

// A RevokedCertificate is an entry of a CRL.
type RevokedCertificate struct {
	Serial *big.Int
	Time   time.Time
	Reason int // RFC 5280, 5.3.1; 0, unspecified, is left out
}

// CRLProfile describes a CRL.
type CRLProfile struct {
	Number  *big.Int // higher than that of every CRL of this CA before (RFC 5280, 5.2.3)
	Days    int      // until the next one; never longer than the CA
	Revoked []RevokedCertificate
}

// NewCRL signs a CRL with the certificates that this CA has revoked.
func (a *Authority) NewCRL(p CRLProfile) (*x509.RevocationList, error) {
	if p.Days < 1 {
		return nil, fmt.Errorf("a CRL of %d days", p.Days)
	}
	now := a.Maker.now().UTC().Truncate(time.Second)
	_, next := a.period(now, now.AddDate(0, 0, p.Days))
	template := &x509.RevocationList{Number: p.Number, ThisUpdate: now, NextUpdate: next}
	for _, revoked := range p.Revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: revoked.Serial, RevocationTime: revoked.Time.UTC().Truncate(time.Second), ReasonCode: revoked.Reason,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.Key)
	if err != nil {
		return nil, fmt.Errorf("sign the CRL of %q: %w", a.Certificate.Subject, err)
	}
	return x509.ParseRevocationList(der)
}

// EncodeCRL gives a CRL in PEM.
func EncodeCRL(crl *x509.RevocationList) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCRL, Bytes: crl.Raw})
}

// ParseCRL reads a CRL, PEM or DER. Whose it is is not checked.
func ParseCRL(data []byte) (*x509.RevocationList, error) {
	der := data
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != blockCRL {
			return nil, fmt.Errorf("this is a PEM %q and not a CRL", block.Type)
		}
		der = block.Bytes
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, errors.New("this is not a certificate revocation list")
	}
	return crl, nil
}

// reasons are those of RFC 5280, 5.3.1 that a device's certificate can be revoked
// for, by their names there.
func reasons() []struct {
	name string
	code int
} {
	return []struct {
		name string
		code int
	}{
		{"unspecified", 0}, {"keyCompromise", 1}, {"affiliationChanged", 3}, {"superseded", 4}, {"cessationOfOperation", 5}, {"privilegeWithdrawn", 9},
	}
}

// ReasonNames are the reasons that ParseReason takes.
func ReasonNames() []string {
	var names []string
	for _, reason := range reasons() {
		names = append(names, reason.name)
	}
	return names
}

// ParseReason gives the code of a reason; the error lists the names.
func ParseReason(name string) (int, error) {
	all := reasons()
	at := slices.IndexFunc(ReasonNames(), func(known string) bool { return strings.EqualFold(known, name) })
	if at < 0 {
		return 0, fmt.Errorf("there is no reason %q: the reasons are %s", name, strings.Join(ReasonNames(), ", "))
	}
	return all[at].code, nil
}

// ReasonName is the name of a reason's code; its number where it has none here.
func ReasonName(code int) string {
	for _, reason := range reasons() {
		if reason.code == code {
			return reason.name
		}
	}
	return fmt.Sprintf("reason %d", code)
}
