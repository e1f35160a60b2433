package remote

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/smallstep/pkcs7"
)

// Bounds of what is asked for: the bytes of one answer, and the addresses that one
// certificate may name.
const (
	maxAnswer    = 1 << 20
	maxAddresses = 4
)

var (
	errNoAddress = errors.New("it does not say where that is")
	errNoNetwork = errors.New("the network was not to be asked")
)

// ask fetches the issuer of a certificate from where the certificate says that it
// is. Plain http is what most say, and safe: the issuer proves itself by its
// signature.
func (s *search) ask(ctx context.Context, cert *x509.Certificate) (*x509.Certificate, error) {
	if s.finder.NoNetwork {
		return nil, errNoNetwork
	}
	if len(cert.IssuingCertificateURL) == 0 {
		return nil, errNoAddress
	}
	var problems []string
	for _, address := range cert.IssuingCertificateURL[:min(maxAddresses, len(cert.IssuingCertificateURL))] {
		issuer, err := s.finder.issuerAt(ctx, address, cert, s.path)
		if err == nil {
			return issuer, nil
		}
		problems = append(problems, err.Error())
	}
	return nil, errors.New(strings.Join(problems, "; "))
}

// issuerAt fetches certificates, and gives the one that has signed cert.
func (f *Finder) issuerAt(ctx context.Context, address string, cert *x509.Certificate, path []*x509.Certificate) (*x509.Certificate, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return nil, fmt.Errorf("%.200q is no address of the web", address)
	}
	data, err := f.get(ctx, parsed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", parsed.Redacted(), err)
	}
	certificates, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", parsed.Redacted(), err)
	}
	if issuer := issuerOf(cert, certificates, path); issuer != nil {
		return issuer, nil
	}
	return nil, fmt.Errorf("%s has a certificate that did not sign it", parsed.Redacted())
}

// get asks one address, and follows no redirect.
func (f *Finder) get(ctx context.Context, address *url.URL) ([]byte, error) {
	transport := &http.Transport{DialContext: f.dial, DisableKeepAlives: true, MaxResponseHeaderBytes: maxAnswer}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("it answers with more than %d bytes", maxAnswer)
	}
	return data, nil
}

// parse reads certificates in the forms that CAs publish: DER, PEM, and PKCS#7
// without content (RFC 5280, 4.2.2.1: application/pkix-cert, application/pkcs7-mime).
func parse(data []byte) ([]*x509.Certificate, error) {
	if block, _ := pem.Decode(data); block != nil {
		data = block.Bytes
	}
	if certificates, err := x509.ParseCertificates(data); err == nil && len(certificates) > 0 {
		return certificates, nil
	}
	if bag, err := pkcs7.Parse(data); err == nil && len(bag.Certificates) > 0 {
		return bag.Certificates, nil
	}
	return nil, errors.New("it holds no certificate")
}
