package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// The checks of [Verifier.Posture], in the order in which they run.
const (
	CheckWrongToken CheckID = "wrong-token"
	CheckNoUser     CheckID = "no-user"
	CheckOldTLS     CheckID = "old-tls"
	CheckCiphers    CheckID = "ciphers"
	CheckPlainPort  CheckID = "plain-port"
	CheckStrength   CheckID = "strength"
	CheckLifetime   CheckID = "lifetime"
	CheckRevocation CheckID = "revocation"
)

// PostureIDs gives every check of [Verifier.Posture], in the order in which
// they run.
func PostureIDs() []CheckID {
	return []CheckID{
		CheckWrongToken, CheckNoUser, CheckOldTLS, CheckCiphers,
		CheckPlainPort, CheckStrength, CheckLifetime, CheckRevocation,
	}
}

// DefaultPlainPort is ThingsBoard's port for MQTT without TLS.
const DefaultPlainPort = 1883

// PostureOptions says how strict a server should be. Its zero value is for
// ThingsBoard as it comes.
type PostureOptions struct {
	// PlainPort is where MQTT without TLS would be; 0: DefaultPlainPort.
	PlainPort int
	// MinDays is how many days every certificate should have left; 0: 30, or a
	// third of its life when that is shorter. Fewer than 7 days fail in any case,
	// or a third of the life of a certificate that lives less than 21.
	MinDays int
	// HTTP asks OCSP responders and fetches CRLs; nil: a client that goes through
	// Verifier.Dial, uses no proxy, and follows no redirect from https to http.
	HTTP *http.Client
}

// Posture asks whether a server that passes [Verifier.Run] is also as strict as
// it should be: what it lets in, what it speaks, and how long its certificates
// hold. The checks come in the order of [PostureIDs]; a check whose question got
// no answer warns, and all that need a verified server are skipped when it is
// none. When ctx ends, the checks that are left are skipped.
//
// It never weakens the verification, and sends no credential of target: the
// logins that it tries are one with a random token, and others without a user
// name. It makes exactly one wrong try, because ThingsBoard blocks an address
// after 10 wrong credentials (TB_TRANSPORT_MAX_WRONG_CREDENTIALS_PER_IP). No
// client certificate is shown to a weak protocol. What crypto/tls cannot speak is
// not asked for: SSL 3.0, and cipher suites of TLS 1.2 with DHE, static ECDH,
// NULL, EXPORT or no authentication.
func (v *Verifier) Posture(ctx context.Context, target Target, options PostureOptions) []Check {
	p := &posture{run: v.begin(target), options: options}
	defer p.close()
	if target.TLS {
		p.inspect(ctx)
	}
	seen := len(p.checks)
	for _, s := range p.questions() {
		p.do(ctx, s)
		p.interrupt(ctx)
	}
	return p.checks[seen:]
}

// posture is a run with other questions. Its session, connection and chain are
// those of the verified look at the server.
type posture struct {
	*run
	options PostureOptions
	stapled []byte // the OCSP response that came in the handshake
}

// inspect verifies the server as Run does, up to its certificate.
func (p *posture) inspect(ctx context.Context) {
	for _, s := range p.steps() {
		if s.id == CheckConnect {
			break
		}
		p.do(ctx, s)
	}
	if p.secure != nil {
		p.stapled = p.secure.ConnectionState().OCSPResponse
	}
	p.close() // a server may take one connection at a time
	p.conn, p.secure = nil, nil
}

// questions are the checks in order.
func (p *posture) questions() []step {
	plain := ""
	if !p.target.TLS {
		plain = "not asked: this is plain MQTT, without TLS, which nothing makes strict"
	}
	verified := []CheckID{CheckChain, CheckName, CheckDates, CheckUsage}
	steps := []step{
		{id: CheckWrongToken, check: p.wrongToken},
		{id: CheckNoUser, check: p.noUser},
		{id: CheckOldTLS, check: p.oldVersions},
		{id: CheckCiphers, check: p.ciphers},
		{id: CheckPlainPort, check: p.plainPort},
		{id: CheckStrength, check: p.strength},
		{id: CheckLifetime, check: p.lifetime},
		{id: CheckRevocation, check: p.revocation},
	}
	for i := range steps {
		steps[i].skip, steps[i].needs = plain, verified
		if steps[i].id == CheckPlainPort {
			steps[i].needs = []CheckID{CheckResolve}
		}
	}
	return steps
}

// interrupt takes back what a check says that the user ended.
func (p *posture) interrupt(ctx context.Context) {
	last := &p.checks[len(p.checks)-1]
	if ctx.Err() == nil || last.Status == StatusSkip {
		return
	}
	p.interrupted = true
	*last = Check{ID: last.ID, Status: StatusSkip, Detail: "interrupted", Milliseconds: last.Milliseconds}
}

// dial connects to the target again.
func (p *posture) dial(ctx context.Context) (net.Conn, error) {
	won, failed := p.race(ctx)
	if won.conn != nil {
		return won.conn, nil
	}
	errs := make([]error, len(failed))
	for i, f := range failed {
		errs[i] = fmt.Errorf("%s: %w", f.address, f.err)
	}
	return nil, errors.Join(errs...)
}

// bare is the verifying config without a client certificate; asked becomes true
// when the server wants one.
func (p *posture) bare(asked *bool) *tls.Config {
	config := p.config()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		*asked = true
		return new(tls.Certificate), nil
	}
	return config
}

// unknown is a question that got no answer; a check that could not be made does
// not pass.
func (p *posture) unknown(question string, err error) finding {
	return finding{
		status: StatusWarn,
		detail: question + ": not known, because of " + p.errText(err),
		cause: "The question got no answer that tells. The server, or something before it, ended or ignored the connection; " +
			"ThingsBoard closes those of an address for 60 s after 10 wrong credentials, with TB_TRANSPORT_IP_RATE_LIMITS_ENABLED=true.",
		fix: "Wait a minute and try again, with a longer --timeout for a slow server; then look at 'journalctl -u thingsboard' for the moment of the try, and at the load balancer.",
	}
}

// errText is an error in a line.
func (p *posture) errText(err error) string {
	if timedOut(err) {
		return "no answer in " + p.verifier.timeout().String()
	}
	return strings.ReplaceAll(strings.TrimPrefix(err.Error(), "tls: "), "\n", "; ")
}

// list joins texts as people do.
func list(texts []string) string {
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:len(texts)-1], ", ") + " and " + texts[len(texts)-1]
}
