package rest

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	// DefaultTimeout bounds a whole request when a Config names no other.
	DefaultTimeout = 30 * time.Second

	// dialTimeout bounds the connecting in it.
	dialTimeout = 10 * time.Second

	// idleConnections are kept open for the next request, so that a bulk job
	// does not shake hands for each device.
	idleConnections = 32

	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 64 << 10
)

// transportOf is that of the configured client, or one of our own.
func transportOf(config Config) http.RoundTripper { //nolint:ireturn // one of two
	switch {
	case config.HTTP == nil:
		return transport(config)
	case config.HTTP.Transport == nil:
		return http.DefaultTransport
	default:
		return config.HTTP.Transport
	}
}

func transport(config Config) *http.Transport {
	idle := cmp.Or(config.Concurrency, idleConnections)
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool(config.Roots)},
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        DefaultTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// pool is the system's roots and more; nil, which means the system's, when
// there are no more.
func pool(roots []*x509.Certificate) *x509.CertPool {
	if len(roots) == 0 {
		return nil
	}
	all, err := x509.SystemCertPool()
	if err != nil {
		all = x509.NewCertPool() // a machine without roots of its own
	}
	for _, root := range roots {
		all.AddCert(root)
	}
	return all
}

// A reachError is that of a request that got no answer. The chain goes on, but
// the text is its own: net/http puts the whole URL and what a server sent into
// its errors.
type reachError struct {
	text   string
	cause  error
	passes bool // it may be otherwise in a moment
}

func (e *reachError) Error() string { return e.text }
func (e *reachError) Unwrap() error { return e.cause }

// A slowError is that of a request that took longer than it may.
type slowError struct{ patience time.Duration }

func (e *slowError) Error() string { return fmt.Sprintf("it takes longer than %s", e.patience) }

// Timeout and Temporary make it a net.Error.
func (*slowError) Timeout() bool   { return true }
func (*slowError) Temporary() bool { return true }

// timedOut is err, or the reason for it when a request's own time was up and its
// caller's is not.
func timedOut(caller, request context.Context, err error) error {
	if caller.Err() == nil && request.Err() != nil {
		return context.Cause(request)
	}
	return err
}

// unreachable is the error of a request to place that got no answer.
func unreachable(place string, err error, secrets []string) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	text := fmt.Sprintf("cannot talk to %s: %s", place, clean(err.Error(), secrets))
	if next := reachStep(err); next != "" {
		text += ": " + next
	}
	return &reachError{text: text, cause: err, passes: mayPass(err)}
}

// mayPass reports whether a failure to talk is one that comes and goes. Names
// and certificates that are wrong stay so.
func mayPass(err error) bool {
	var name *net.DNSError
	var timeout net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &name):
		return !name.IsNotFound
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &timeout) && timeout.Timeout():
		return true
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "read" || op.Op == "write"): // refused, reset, no route: each system has its own numbers
		return true
	default: // those of net/http have no names
		return strings.Contains(err.Error(), "server closed idle connection") || strings.HasPrefix(err.Error(), "http2:") || strings.HasPrefix(err.Error(), "stream error:")
	}
}

// reachStep says what a user can do about a request that got no answer.
func reachStep(err error) string {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var hostname x509.HostnameError
	var plain tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case errors.As(err, &name):
		return "see that the name in the URL is right"
	case errors.As(err, &hostname):
		return "use a name that is in the web server's certificate"
	case errors.As(err, &certificate):
		return "the web server's certificate is not of a CA that is trusted here: add that CA to the system's, or use the site's own"
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the port speaks plain HTTP: see that scheme and port of the URL are right"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: see that ThingsBoard runs, and that the port is right (8080 without a proxy)"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time: see that host and port are right, that no firewall is between, and that ThingsBoard is well"
	default:
		return ""
	}
}
