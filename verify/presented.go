package verify

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// presented is the chain that the server presented, and what the library says
// of it with the question of dates left out.
type presented struct {
	certs   []*x509.Certificate // leaf first, as they came
	path    []*x509.Certificate // leaf to root as trusted; nil when there is no path
	usable  bool                // path may serve as a server's (ExtKeyUsage of every certificate)
	err     error               // why there is no path
	refusal error               // what the handshake said; nil when it accepted
	dated   *x509.Certificate   // a root of the system that is out of date, when that is the error

	signatures int // that were looked at
}

func (p *presented) leaf() *x509.Certificate { return p.certs[0] }

// accepted is a chain that the handshake verified, so that nothing is left to
// verify: its paths are good for a server's certificate (crypto/tls asks for
// that usage), and within their dates.
func (r *run) accepted(state tls.ConnectionState) *presented {
	return &presented{certs: state.PeerCertificates, path: best(state.VerifiedChains, r.now), usable: true}
}

// present judges a chain that was refused, in everything but the name and the
// dates.
func (r *run) present(certificates []*x509.Certificate, refusal error) *presented {
	p := &presented{certs: certificates, refusal: refusal}
	timeless := &timeless{now: r.now}
	options := x509.VerifyOptions{CurrentTime: r.now, Intermediates: x509.NewCertPool()}
	for _, cert := range certificates[1:] {
		options.Intermediates.AddCert(timeless.copy(cert))
	}
	if r.target.Roots == nil {
		if options.Roots, p.err = systemRoots(); p.err != nil {
			return p
		}
	} else {
		options.Roots = x509.NewCertPool()
		for _, root := range r.target.Roots {
			options.Roots.AddCert(timeless.copy(root))
		}
	}
	leaf := timeless.copy(p.leaf())
	options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	anyChains, err := leaf.Verify(options)
	if err != nil {
		p.fail(err, timeless)
		return p
	}
	options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serverChains, err := leaf.Verify(options)
	p.usable = err == nil
	if p.usable {
		anyChains = serverChains
	}
	p.path = best(timeless.originals(anyChains), r.now)
	return p
}

// errEmpty: a slim container has no roots, and the library finds nothing wrong
// with that.
var errEmpty = errors.New("its list is empty")

// systemRoots gives the roots that this machine trusts, and an
// x509.SystemRootsError when it has none.
func systemRoots() (*x509.CertPool, error) {
	system, err := x509.SystemCertPool()
	if err == nil && system.Equal(x509.NewCertPool()) {
		err = errEmpty
	}
	if err != nil {
		return nil, x509.SystemRootsError{Err: err}
	}
	return system, nil
}

// fail keeps the error. Certificates that were presented have no dates here, so
// an expired one is a root of the system: a matter of dates, not of the chain.
func (p *presented) fail(err error, timeless *timeless) {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		p.dated = timeless.original(invalid.Cert)
		p.usable = serves(p.leaf())
		return
	}
	p.err = err
}

// serves reports whether a certificate by itself may be a server's: RFC 5280,
// section 4.2.1.12; no extension allows every use.
func serves(cert *x509.Certificate) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 ||
		slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// dates gives the certificates whose dates count: the path's, or without one
// all that were presented.
func (p *presented) dates() []*x509.Certificate {
	if p.path != nil {
		return p.path
	}
	if p.dated != nil {
		return append(slices.Clone(p.certs), p.dated)
	}
	return p.certs
}

// timeless makes copies of certificates that are valid at now, whatever their
// dates. The library reads the dates from the fields and the signatures from
// the raw bytes, so a chain of copies is judged in everything but its dates,
// even one whose certificates were never valid at the same moment.
type timeless struct {
	now  time.Time
	seen []*x509.Certificate
}

func (t *timeless) copy(cert *x509.Certificate) *x509.Certificate {
	t.seen = append(t.seen, cert)
	copied := *cert
	copied.NotBefore, copied.NotAfter = t.now.Add(-time.Hour), t.now.Add(time.Hour)
	return &copied
}

// original gives the certificate with its own dates.
func (t *timeless) original(copied *x509.Certificate) *x509.Certificate {
	for _, cert := range t.seen {
		if cert.Equal(copied) {
			return cert
		}
	}
	return copied // one of the system's roots
}

func (t *timeless) originals(chains [][]*x509.Certificate) [][]*x509.Certificate {
	for _, chain := range chains {
		for i, cert := range chain {
			chain[i] = t.original(cert)
		}
	}
	return chains
}

// best gives the first chain that is valid now, or the first: a device needs
// one good path only.
func best(chains [][]*x509.Certificate, now time.Time) []*x509.Certificate {
	for _, chain := range chains {
		if !slices.ContainsFunc(chain, func(cert *x509.Certificate) bool {
			return now.Before(cert.NotBefore) || now.After(cert.NotAfter)
		}) {
			return chain
		}
	}
	return chains[0]
}
