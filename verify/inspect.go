package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
)

// Presented is what a server showed in a TLS handshake.
type Presented struct {
	Chain   []*x509.Certificate // as it came, leaf first; empty when there was no handshake
	Version string              // such as "TLS 1.3"; "" when the handshake was not completed
}

// Inspect goes through the checks of a server up to its certificate and logs
// in to nothing. The report has the checks from resolve to usage.
func (v *Verifier) Inspect(ctx context.Context, target Target) (Presented, Report) {
	target.TLS = true
	r := v.begin(target)
	defer r.close()
	for _, step := range r.steps() {
		if step.id == CheckConnect {
			break
		}
		r.do(ctx, step)
	}
	var shown Presented
	if r.chain != nil {
		shown.Chain = r.chain.certs
	}
	if r.secure != nil {
		shown.Version = tls.VersionName(r.secure.ConnectionState().Version)
	}
	return shown, r.report()
}

// Problem is what the first failed check found; "" when none failed.
func (r Report) Problem() string {
	for _, check := range r.Checks {
		if check.Status == StatusFail {
			return check.Detail
		}
	}
	return ""
}
