// Package remote finds the root that a device has to trust, of a server that runs
// or of a chain that is at hand: in the chain itself, among Mozilla's and the
// system's roots, or where the certificates themselves say that their issuers are
// (authorityInfoAccess, RFC 5280, 4.2.2.1).
//
// Nothing that was not verified is believed: a certificate from the network counts
// only when its key has signed the one below it. No credential is ever sent.
package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// How a root was found.
type How string

// The places where a root can be.
const (
	HowPresented How = "presented" // in the chain
	HowMozilla   How = "mozilla"   // among the roots that Mozilla trusts
	HowSystem    How = "system"    // among the roots that this machine trusts
	HowIssuerURL How = "aia"       // where a certificate says that its issuer is
)

// DefaultTimeout bounds everything that is asked for one root.
const DefaultTimeout = 20 * time.Second

// maxDepth is how many certificates are between a server's and its root at most.
const maxDepth = 8

// Errors of Find that say what kind of problem it is.
var (
	ErrNoRoot = errors.New("no root was found")
	ErrEmpty  = errors.New("there is no certificate")
)

// A Found is a root and how it was found.
type Found struct {
	Root *x509.Certificate
	How  How
	// Public says that Mozilla or this machine trusts the root, so that nobody
	// has to be asked about it.
	Public bool
	// Path leads from the first certificate to the root.
	Path []*x509.Certificate
	// Missing are the certificates of Path that the server does not send and
	// devices do not have: they would refuse it.
	Missing []*x509.Certificate
	// SelfSigned says that the root is the server's own certificate.
	SelfSigned bool
}

// A Finder finds roots. The zero Finder is ready to use.
type Finder struct {
	Dial    func(ctx context.Context, network, address string) (net.Conn, error) // nil: the network
	Now     func() time.Time                                                     // nil: time.Now
	Timeout time.Duration                                                        // 0 is DefaultTimeout
	// System are the roots of this machine; nil: x509.SystemCertPool.
	System *x509.CertPool
	// Mozilla are the roots that Mozilla trusts, in DER; nil: those that tbcert
	// was built with.
	Mozilla [][]byte
	// NoNetwork forbids to ask for issuers.
	NoNetwork bool
}

func (f *Finder) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

func (f *Finder) timeout() time.Duration {
	if f.Timeout > 0 {
		return f.Timeout
	}
	return DefaultTimeout
}

func (f *Finder) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if f.Dial != nil {
		return f.Dial(ctx, network, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// Present asks the TLS server at address, host:port, for its certificates, leaf
// first. They are as they came: that they are not trusted, or for another name, is
// no error. It sends nothing but a ClientHello and what a handshake needs.
func (f *Finder) Present(ctx context.Context, address string) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout())
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%s is no host:port: %w", address, err)
	}
	conn, err := f.dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	defer func() { _ = conn.Close() }()
	var chain []*x509.Certificate
	// The handshake is verified like any other, and may fail for that: its error
	// then has the certificates.
	client := tls.Client(conn, &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: f.System, Time: f.Now,
		VerifyConnection: func(state tls.ConnectionState) error {
			chain = state.PeerCertificates
			return nil
		},
	})
	err = client.HandshakeContext(ctx)
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		return refused.UnverifiedCertificates, nil
	}
	if len(chain) > 0 {
		return chain, nil
	}
	if err == nil {
		err = ErrEmpty
	}
	return nil, fmt.Errorf("TLS with %s: %w", address, err)
}

// Find finds the root of a chain, whose first certificate is the server's; the
// others may be in any order. Dates are not judged. The error is ErrNoRoot where
// there is none, with what was tried.
func (f *Finder) Find(ctx context.Context, chain []*x509.Certificate) (Found, error) {
	if len(chain) == 0 {
		return Found{}, ErrEmpty
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout())
	defer cancel()
	s := &search{finder: f, presented: chain, path: chain[:1:1]}
	for len(s.path) <= maxDepth {
		found, err := s.step(ctx)
		if err != nil {
			return Found{}, err
		}
		if found != nil {
			found.Path, found.Missing = append(s.path, s.above(found.Root)...), s.missing
			return *found, nil
		}
	}
	return Found{}, fmt.Errorf("%w: the chain is longer than %d certificates", ErrNoRoot, maxDepth)
}

// A search goes up a chain.
type search struct {
	finder    *Finder
	presented []*x509.Certificate
	path      []*x509.Certificate // so far, the server's first
	missing   []*x509.Certificate
}

func (s *search) top() *x509.Certificate { return s.path[len(s.path)-1] }

// above is the root, unless the path ends with it.
func (s *search) above(root *x509.Certificate) []*x509.Certificate {
	if s.top().Equal(root) {
		return nil
	}
	return []*x509.Certificate{root}
}

// step finds the root above the path, or makes the path longer by one. Public
// roots come first: a chain may go on to an older one by a cross-signed
// certificate, which devices need not have.
func (s *search) step(ctx context.Context) (*Found, error) {
	top := s.top()
	if root, how := s.finder.public(top); root != nil {
		return &Found{Root: root, How: how, Public: true, SelfSigned: len(s.path) == 1 && root.Equal(top)}, nil
	}
	if selfSigned(top) {
		how := HowPresented
		if len(s.missing) > 0 && s.missing[len(s.missing)-1].Equal(top) {
			s.missing, how = s.missing[:len(s.missing)-1], HowIssuerURL // a root need not be sent
		}
		return &Found{Root: top, How: how, SelfSigned: len(s.path) == 1}, nil
	}
	if issuer := issuerOf(top, s.presented, s.path); issuer != nil {
		s.path = append(s.path, issuer)
		return nil, nil
	}
	issuer, err := s.ask(ctx, top)
	if err != nil {
		return nil, fmt.Errorf("%w above %q: its issuer %q is not in the chain, not among Mozilla's and this machine's roots, and %w", ErrNoRoot, top.Subject, top.Issuer, err)
	}
	s.path, s.missing = append(s.path, issuer), append(s.missing, issuer)
	return nil, nil
}

// issuerOf gives the one of some certificates that has signed cert and is not in
// the path.
func issuerOf(cert *x509.Certificate, among, path []*x509.Certificate) *x509.Certificate {
	for _, candidate := range among {
		if signs(candidate, cert) && !slices.ContainsFunc(path, candidate.Equal) {
			return candidate
		}
	}
	return nil
}

// signs reports whether a CA has signed a certificate.
func signs(ca, cert *x509.Certificate) bool {
	return bytes.Equal(ca.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(ca) == nil
}

func selfSigned(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawSubject, cert.RawIssuer) && cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// public gives the public root that is cert, or has signed it.
func (f *Finder) public(cert *x509.Certificate) (*x509.Certificate, How) {
	for _, root := range f.mozilla(cert) {
		if root.Equal(cert) || signs(root, cert) {
			return root, HowMozilla
		}
	}
	system := f.System
	if system == nil {
		var err error
		if system, err = x509.SystemCertPool(); err != nil {
			return nil, ""
		}
	}
	// The pool shows its roots only in the chains that it makes. The dates are not
	// the question.
	undated := *cert
	undated.NotBefore, undated.NotAfter = f.now().Add(-time.Hour), f.now().Add(time.Hour)
	chains, err := undated.Verify(x509.VerifyOptions{Roots: system, CurrentTime: f.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return nil, ""
	}
	return chains[0][len(chains[0])-1], HowSystem
}

// mozilla gives the roots of Mozilla's that have the name of a certificate or of
// its issuer. Those that are to be distrusted from some day on are none.
func (f *Finder) mozilla(cert *x509.Certificate) (roots []*x509.Certificate) {
	take := func(der []byte) {
		// The name stands in the DER as it is; most need not be parsed.
		if !bytes.Contains(der, cert.RawIssuer) && !bytes.Equal(der, cert.Raw) {
			return
		}
		if root, err := x509.ParseCertificate(der); err == nil {
			roots = append(roots, root)
		}
	}
	if f.Mozilla != nil {
		for _, der := range f.Mozilla {
			take(der)
		}
		return roots
	}
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			take(root.Certificate)
		}
	}
	return roots
}
