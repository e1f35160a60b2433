package acme

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
)

const (
	maxAnswer    = 1 << 20 // of a CA: a chain has some kilobytes
	maxRedirects = 5
)

// webClient asks a CA's server, and believes nothing that TLS does not protect.
func webClient(roots *x509.CertPool) *http.Client {
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: callTimeout}).DialContext,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: callTimeout,
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxAnswer,
	}
	return &http.Client{Transport: bounded{transport}, Timeout: callTimeout, CheckRedirect: secureRedirect}
}

func secureRedirect(request *http.Request, via []*http.Request) error {
	if request.URL.Scheme != "https" {
		return fmt.Errorf("it leads on to %s, which is not https", request.URL.Redacted())
	}
	if len(via) >= maxRedirects {
		return errors.New("it leads on too often")
	}
	return nil
}

// bounded reads no more than maxAnswer of an answer.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(request)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	}
	return answer, err
}
