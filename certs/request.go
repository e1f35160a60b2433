package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

// The sizes of RSA keys that are taken, in bits: less is too weak (NIST SP
// 800-57, part 1, 5.6.1), and more than this is refused by Go's TLS.
const (
	minRSA = 2048
	maxRSA = 8192
)

// ParseRequest reads a PKCS#10 request (RFC 2986), PEM or DER, and refuses one
// that is not signed with its own key, whose key is too weak or of a kind that
// TLS does not take, that has two CNs, or that asks to be a CA. In a PEM file
// other blocks, such as the key, are passed over.
func ParseRequest(data []byte) (*x509.CertificateRequest, error) {
	der, err := requestDER(data)
	if err != nil {
		return nil, err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("this certificate request (PKCS#10) cannot be read; `openssl req -new` makes one: %w", err)
	}
	if err := checkRequest(request); err != nil {
		return nil, err
	}
	return request, nil
}

// requestDER finds the one request of a file.
func requestDER(data []byte) ([]byte, error) {
	blocks, err := readBlocks(data)
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return data, nil
	}
	requests := slices.Clone(blocks)
	requests = slices.DeleteFunc(requests, func(block pemBlock) bool { return !isRequest(block.Type) })
	switch len(requests) {
	case 0:
		return nil, fmt.Errorf("there is no certificate request in it: %s", contents(blocks))
	case 1:
		return requests[0].Bytes, nil
	default:
		return nil, fmt.Errorf("it holds %d certificate requests: give each device a file of its own", len(requests))
	}
}

// isRequest reports whether a PEM label is that of a request, the second being
// an older one that keytool and Microsoft's tools write (RFC 7468, 7).
func isRequest(label string) bool {
	return label == labelRequest || label == "NEW "+labelRequest
}

// checkRequest looks at the key first: Go cannot check a signature with a kind
// of key that it does not know.
func checkRequest(request *x509.CertificateRequest) error {
	if err := checkDeviceKey(request.PublicKey); err != nil {
		return err
	}
	if err := request.CheckSignature(); err != nil {
		return fmt.Errorf("the certificate request is not signed with its own key, so that it was damaged or put together of two: %w", err)
	}
	if asksForCA(request) {
		return errors.New("the certificate request asks for a CA certificate (CA:TRUE or keyCertSign): make one for a device")
	}
	commonNames := 0
	for _, attribute := range request.Subject.Names {
		if attribute.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			commonNames++
		}
	}
	if commonNames > 1 {
		return fmt.Errorf("the certificate request has %d CNs: make one with the device's name alone", commonNames)
	}
	return nil
}

// asksForCA reports whether a request's extensions say CA:TRUE or keyCertSign,
// or nothing that can be read (RFC 5280, 4.2.1.3 and 4.2.1.9).
func asksForCA(request *x509.CertificateRequest) bool {
	return slices.ContainsFunc(request.Extensions, func(extension pkix.Extension) bool {
		switch {
		case extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}):
			var constraints struct {
				IsCA       bool `asn1:"optional"`
				MaxPathLen int  `asn1:"optional,default:-1"`
			}
			rest, err := asn1.Unmarshal(extension.Value, &constraints)
			return err != nil || len(rest) > 0 || constraints.IsCA
		case extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 15}):
			var usage asn1.BitString
			rest, err := asn1.Unmarshal(extension.Value, &usage)
			return err != nil || len(rest) > 0 || usage.At(5) == 1
		default:
			return false
		}
	})
}

// checkDeviceKey refuses a public key that is too weak or that devices' and
// servers' TLS does not take.
func checkDeviceKey(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits < minRSA:
			return fmt.Errorf("the key is too weak: RSA of %d bits, where %d are needed at least", bits, minRSA)
		case bits > maxRSA:
			return fmt.Errorf("the key is too large for TLS servers: RSA of %d bits, where %d are taken at most", bits, maxRSA)
		}
	case *ecdsa.PublicKey:
		if curve := key.Curve; curve != elliptic.P256() && curve != elliptic.P384() && curve != elliptic.P521() {
			return fmt.Errorf("the key is of the curve %s: use P-256 or P-384", curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return errors.New("the key is of a kind that is not known here: use EC P-256, RSA or Ed25519")
	}
	return nil
}
