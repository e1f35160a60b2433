package verify

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// run is one run under way: what the checks so far have found and opened.
type run struct {
	verifier *Verifier
	target   Target
	now      time.Time // the moment that dates are judged at

	checks      []Check
	blocked     map[CheckID][]CheckID // the failures that keep a check from being a need
	interrupted bool

	addresses []netip.Addr
	reached   netip.AddrPort // where conn leads
	conn      net.Conn
	heard     *counted // what came over conn
	secure    *tls.Conn
	asked     bool // the server asked for a client certificate
	chain     *presented
	session   *device.Session
	leave     func() // the place among those that are connecting; nil: none is held
}

// step is a check that has not run yet.
type step struct {
	id    CheckID
	needs []CheckID
	skip  string // why it is not wanted; "" when it is
	check func(context.Context) finding
}

// finding is what a check found.
type finding struct {
	id                 DiagnosisID // of a failure or a warning
	status             Status
	detail, cause, fix string
}

func pass(detail string) finding { return finding{status: StatusPass, detail: detail} }

// steps are the checks in order, and what each needs.
func (r *run) steps() []step {
	plain := ""
	entry := []CheckID{CheckChain, CheckName, CheckDates, CheckUsage}
	if !r.target.TLS {
		plain = "not asked for: this is plain MQTT, without TLS"
		entry = []CheckID{CheckTCP}
	}
	once := ""
	if !r.target.RoundTrip {
		once = "not asked for (--round-trip)"
	}
	certificate := []CheckID{CheckTLS}
	steps := []step{
		{CheckResolve, nil, "", r.resolve},
		{CheckTCP, []CheckID{CheckResolve}, "", r.tcp},
		{CheckTLS, []CheckID{CheckTCP}, plain, r.handshake},
		{CheckChain, certificate, plain, r.judgeChain},
		{CheckName, certificate, plain, r.judgeName},
		{CheckDates, certificate, plain, r.judgeDates},
		{CheckUsage, certificate, plain, r.judgeUsage},
		{CheckConnect, entry, "", r.connect},
	}
	if r.target.LoginOnly {
		return steps
	}
	steps = append(steps, step{CheckPublish, []CheckID{CheckConnect}, "", r.publish})
	if r.target.Stored != nil {
		steps = append(steps, step{CheckStored, []CheckID{CheckPublish}, "", r.stored})
	}
	if r.target.KeepAlive > 0 {
		steps = append(steps, step{CheckKeepAlive, []CheckID{CheckPublish}, "", r.keepAlive})
	}
	return append(steps, step{CheckRoundTrip, []CheckID{CheckPublish}, once, r.roundTrip})
}

// do runs a step, or tells why it does not.
func (r *run) do(ctx context.Context, s step) {
	check := Check{ID: s.id, Status: StatusSkip}
	failures := r.failuresOf(s.needs)
	switch {
	case s.skip != "":
		check.Detail = s.skip
	case len(failures) > 0:
		check.Detail = skipDetail(s.id, failures)
		r.block(s.id, failures)
	case r.interrupted || ctx.Err() != nil:
		r.interrupted = true
		check.Detail = "not tried: interrupted"
	default:
		check = r.try(ctx, s)
	}
	for _, text := range []*string{&check.Detail, &check.Cause, &check.Fix} {
		*text = shown(*text)
	}
	r.checks = append(r.checks, check)
}

// mostText is the longest text of a check in bytes. A server's certificate may
// have names of hundreds of kilobytes.
const mostText = 4 << 10

// shown is a text without what a terminal would obey, and no longer than a reader
// can use: a server chooses a part of it.
func shown(text string) string {
	if len(text) > mostText {
		text = strings.ToValidUTF8(text[:mostText], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// connected gives up the place among those of a fleet that are connecting.
func (r *run) connected() {
	if r.leave != nil {
		r.leave()
	}
}

// try runs the check of a step under the timeout.
func (r *run) try(ctx context.Context, s step) Check {
	begin := r.verifier.now()
	patience := r.verifier.timeout()
	if s.id == CheckKeepAlive {
		patience += r.target.KeepAlive
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	found := s.check(limited)
	cancel()
	check := Check{
		ID: s.id, Status: found.status, Diagnosis: found.id, Detail: found.detail, Cause: found.cause, Fix: found.fix,
		Milliseconds: milliseconds(r.verifier.now().Sub(begin)),
	}
	if found.status != StatusFail {
		return check
	}
	if ctx.Err() != nil { // the user's doing, not the server's
		r.interrupted = true
		return Check{ID: s.id, Status: StatusSkip, Detail: "interrupted", Milliseconds: check.Milliseconds}
	}
	if found.id != "" {
		found = r.explain(ctx, found)
		check.Diagnosis, check.Detail, check.Cause, check.Fix = found.id, found.detail, found.cause, found.fix
	}
	r.block(s.id, []CheckID{s.id})
	return check
}

// milliseconds rounds to microseconds: more digits are noise.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

func (r *run) block(id CheckID, failures []CheckID) {
	if r.blocked == nil {
		r.blocked = map[CheckID][]CheckID{}
	}
	r.blocked[id] = failures
}

// failuresOf gives the checks that failed and so keep needs from being met.
func (r *run) failuresOf(needs []CheckID) []CheckID {
	var failures []CheckID
	for _, need := range needs {
		for _, failure := range r.blocked[need] {
			if !slices.Contains(failures, failure) {
				failures = append(failures, failure)
			}
		}
	}
	return failures
}

// skipDetail tells which failures keep a check from being tried.
func skipDetail(id CheckID, failures []CheckID) string {
	var names []string
	certificate := false
	for _, failure := range failures {
		names = append(names, string(failure))
		certificate = certificate || slices.Contains([]CheckID{CheckChain, CheckName, CheckDates, CheckUsage}, failure)
	}
	detail := "not tried: " + strings.Join(names, ", ") + " failed"
	if id == CheckConnect && certificate {
		detail += ", and no credential crosses a connection that is not verified"
	}
	return detail
}

// report sums the checks up.
func (r *run) report() Report {
	report := Report{
		Target: TargetInfo{Host: r.target.Host, Port: r.target.Port, TLS: r.target.TLS},
		Checks: r.checks,
	}
	if r.chain != nil {
		report.ServerEnds = r.chain.leaf().NotAfter
	}
	for _, check := range r.checks {
		if check.Status == StatusFail {
			report.Failed, report.Diagnosis = check.ID, check.Diagnosis
			break
		}
	}
	if report.Failed == "" {
		report.Diagnosis = firstWarning(r.checks)
	}
	report.ExitCode = report.Failed.ExitCode()
	if r.interrupted {
		report.ExitCode = ExitInterrupted
	}
	report.OK = report.ExitCode == 0
	return report
}

// firstWarning is the diagnosis of the first check that warns.
func firstWarning(checks []Check) DiagnosisID {
	for _, check := range checks {
		if check.Status == StatusWarn {
			return check.Diagnosis
		}
	}
	return ""
}

// close ends the session and the connection. What comes back no longer
// matters: every check has had its answer.
func (r *run) close() {
	r.connected()
	if r.session != nil {
		_ = r.session.Disconnect()
	}
	if r.conn != nil {
		_ = r.conn.Close()
	}
}
