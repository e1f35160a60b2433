package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	mostAnswer    = 1 << 20         // bytes of an OCSP response or a CRL
	clockSkew     = 5 * time.Minute // that an answer may be ahead
	mostUndated   = oneDay          // age of an answer that does not say when the next comes
	mostRedirects = 3
)

// A source is one place that says whether a certificate was revoked.
type source struct {
	kind         string // "OCSP" or "CRL"
	cert, issuer *x509.Certificate
	urls         []string // alternatives
	stapled      []byte
}

// A verdict is what a source said.
type verdict struct {
	source  source
	from    string // the URL, or "stapled"
	revoked string // when and why; "" when it is not
	err     error  // why there is no verdict
}

// revocation asks OCSP responders and CRLs, where a certificate of the path
// names them, whether it was revoked. Every answer's signature is verified.
func (p *posture) revocation(ctx context.Context) finding {
	verdicts := p.ask(ctx, p.sources())
	if len(verdicts) == 0 {
		return pass("no certificate names an OCSP responder or a CRL, so nothing can tell of a revocation: a stolen key is good until the certificate expires, or the devices get another root")
	}
	var good, revoked, open []string
	for _, v := range verdicts {
		text := fmt.Sprintf("%s, %s %s", p.named(v.source.cert), v.source.kind, v.from)
		switch {
		case v.err != nil:
			open = append(open, text+": "+p.errText(v.err))
		case v.revoked != "":
			revoked = append(revoked, text+": revoked "+v.revoked)
		default:
			good = append(good, text+": not revoked")
		}
	}
	switch {
	case len(revoked) > 0:
		return finding{
			status: StatusFail,
			detail: strings.Join(revoked, "; "),
			cause:  "The CA took the certificate back: its key may be known to others, or it was replaced, and the server still presents it. Clients that ask for revocation refuse it; most devices do not ask, and trust whoever has the key.",
			fix: "Have a new certificate issued for a new key, install it as MQTT_SSL_PEM_CERT (whole chain and key in one file), then 'sudo systemctl restart thingsboard'. " +
				"If the key was stolen, devices that check no revocation trust it until the certificate expires: give them another root.",
		}
	case len(open) > 0:
		return finding{
			status: StatusWarn,
			detail: strings.Join(append(open, good...), "; "),
			cause:  "The certificate names where its revocation can be asked, and from here there was no answer that proves anything: the address is not reachable, or what it gives is out of date, not signed by the CA, or about other certificates.",
			fix: "Try the address from here: 'curl -sSo /dev/null -w \"%{http_code}\\n\" URL'. A responder or CRL of your own must be running and be signed anew before its next update; behind a firewall, let this machine reach it. " +
				"If it is gone for good, issue certificates that do not name it.",
		}
	}
	return pass(strings.Join(good, "; "))
}

// sources are all that the path's certificates name. The root's own revocation
// is its removal from the devices.
func (p *posture) sources() []source {
	var all []source
	for i, cert := range p.chain.path[:len(p.chain.path)-1] {
		issuer := p.chain.path[i+1]
		responder := source{kind: "OCSP", cert: cert, issuer: issuer, urls: cert.OCSPServer}
		if i == 0 {
			responder.stapled = p.stapled
		}
		if len(responder.urls)+len(responder.stapled) > 0 {
			all = append(all, responder)
		}
		if len(cert.CRLDistributionPoints) > 0 {
			all = append(all, source{kind: "CRL", cert: cert, issuer: issuer, urls: cert.CRLDistributionPoints})
		}
	}
	return all
}

// ask asks all sources at once.
func (p *posture) ask(ctx context.Context, sources []source) []verdict {
	client := p.client()
	verdicts := make([]verdict, len(sources))
	var group sync.WaitGroup
	for i, from := range sources {
		group.Go(func() {
			judge := p.judgeCRL
			if from.kind == "OCSP" {
				judge = p.judgeOCSP
			}
			verdicts[i] = from.ask(ctx, client, judge)
		})
	}
	group.Wait()
	return verdicts
}

// A judge reads an answer: when and why the certificate was revoked, "" when it
// was not, and an error when the answer proves nothing.
type judge func(from source, answer []byte) (revoked string, err error)

// ask takes what was stapled, and else the first address that gives a verdict.
func (s source) ask(ctx context.Context, client *http.Client, judge judge) verdict {
	said := verdict{source: s}
	if len(s.stapled) > 0 {
		said.from = "stapled"
		if said.revoked, said.err = judge(s, s.stapled); said.err == nil || len(s.urls) == 0 {
			return said
		}
	}
	var errs []error
	for _, from := range s.urls {
		said.from = from
		answer, err := s.fetch(ctx, client, from)
		if err == nil {
			said.revoked, err = judge(s, answer)
		}
		if err == nil {
			said.err = nil
			return said
		}
		errs = append(errs, err)
	}
	said.err = errors.Join(errs...)
	return said
}

// fetch gets a CRL, or the answer to an OCSP request.
func (s source) fetch(ctx context.Context, client *http.Client, from string) ([]byte, error) {
	request, err := s.request(ctx, from)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the address is told already
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %d", response.StatusCode)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer+1))
	if err == nil && len(answer) > mostAnswer {
		err = fmt.Errorf("an answer of more than %d bytes", mostAnswer)
	}
	return answer, err
}

// request asks for a CRL by GET, and a responder by POST (RFC 6960, appendix
// A.1).
func (s source) request(ctx context.Context, to string) (*http.Request, error) {
	parsed, err := url.Parse(to)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, errors.New("not an http address")
	}
	if s.kind != "OCSP" {
		return http.NewRequestWithContext(ctx, http.MethodGet, to, http.NoBody)
	}
	body, err := ocspRequest(s.cert, s.issuer)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err == nil {
		request.Header.Set("Content-Type", "application/ocsp-request")
	}
	return request, err
}

// client is what fetches.
func (p *posture) client() *http.Client {
	if p.options.HTTP != nil {
		return p.options.HTTP
	}
	return &http.Client{
		Transport: &http.Transport{DialContext: p.verifier.Dial, DisableKeepAlives: true},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case len(via) > mostRedirects:
				return errors.New("too many redirects")
			case via[0].URL.Scheme == "https" && next.URL.Scheme != "https":
				return errors.New("a redirect from https to http")
			}
			return nil
		},
	}
}

// fresh tells whether an answer is of now; next may be zero.
func fresh(now, this, next time.Time) error {
	switch {
	case this.After(now.Add(clockSkew)):
		return fmt.Errorf("an answer of the future, %s", this.UTC().Format(dateTime))
	case next.IsZero() && now.Sub(this) > mostUndated:
		return fmt.Errorf("an old answer, of %s", this.UTC().Format(dateTime))
	case !next.IsZero() && now.After(next):
		return fmt.Errorf("an answer that was good until %s", next.UTC().Format(dateTime))
	}
	return nil
}
