package verify

import "time"

// CheckID names a check, in reports and in scripts that read them.
type CheckID string

// The checks, in the order in which they run.
const (
	CheckResolve   CheckID = "resolve"
	CheckTCP       CheckID = "tcp"
	CheckTLS       CheckID = "tls"
	CheckChain     CheckID = "chain"
	CheckName      CheckID = "name"
	CheckDates     CheckID = "dates"
	CheckUsage     CheckID = "usage"
	CheckConnect   CheckID = "connect"
	CheckPublish   CheckID = "publish"
	CheckRoundTrip CheckID = "round-trip"

	// Two more stand before the round trip when they are asked for.
	CheckKeepAlive CheckID = "keep-alive" // the session stays open without a word
	CheckStored    CheckID = "stored"     // the telemetry is in ThingsBoard

	// These stand alone in the report of a device that nobody connected as.
	CheckRecord CheckID = "record" // the server's own record of the device
	CheckBundle CheckID = "bundle" // the device's files
)

// CheckIDs gives every check, in the order in which they run.
func CheckIDs() []CheckID {
	return []CheckID{
		CheckResolve, CheckTCP, CheckTLS, CheckChain, CheckName,
		CheckDates, CheckUsage, CheckConnect, CheckPublish, CheckRoundTrip,
	}
}

// ExitInterrupted is the exit code of a run that its user ended.
const ExitInterrupted = 130

// ExitCode is the exit code of a run whose first failed check this is; 0 for
// no check.
func (id CheckID) ExitCode() int {
	switch id {
	case "":
		return 0
	case CheckResolve:
		return 10
	case CheckTCP:
		return 11
	case CheckTLS:
		return 12
	case CheckChain, CheckUsage:
		return 13
	case CheckName:
		return 14
	case CheckDates:
		return 15
	case CheckConnect:
		return 16
	case CheckPublish, CheckKeepAlive:
		return 17
	case CheckRoundTrip, CheckStored:
		return 18
	default:
		return 1
	}
}

// Status is how a check ended.
type Status string

// How a check can end.
const (
	StatusPass Status = "pass"
	StatusWarn Status = "warn" // passed, and needs attention soon
	StatusFail Status = "fail"
	StatusSkip Status = "skip" // not tried: its need failed, or nobody asked for it
)

// Check is the result of one check. A failure tells what happened in Detail,
// why in Cause, and what to do in Fix; a warning does too.
type Check struct {
	ID           CheckID     `json:"id"`
	Status       Status      `json:"status"`
	Diagnosis    DiagnosisID `json:"diagnosis,omitempty"` // of a failure or a warning
	Detail       string      `json:"detail"`
	Cause        string      `json:"cause,omitempty"`
	Fix          string      `json:"fix,omitempty"`
	Milliseconds float64     `json:"ms"`
}

// TargetInfo is where a run went.
type TargetInfo struct {
	Host string `json:"host"`
	Port int    `json:"port"`
	TLS  bool   `json:"tls"`
}

// Report is the result of a run. It holds no secret.
type Report struct {
	OK       bool       `json:"ok"`
	ExitCode int        `json:"exit_code"` // 0, the code of Failed, or ExitInterrupted
	Target   TargetInfo `json:"target"`
	Failed   CheckID    `json:"failed,omitempty"` // the first check that failed
	// Diagnosis is that of the first check that failed; when none did, of the
	// first warning.
	Diagnosis DiagnosisID `json:"diagnosis,omitempty"`
	Checks    []Check     `json:"checks"` // every check, in order
	// ServerEnds is the end of the certificate that the server presented; zero
	// when it presented none.
	ServerEnds time.Time `json:"-"`
}

// passed reports whether a check passed, with or without a warning.
func (r Report) passed(id CheckID) bool {
	for _, check := range r.Checks {
		if check.ID == id {
			return check.Status == StatusPass || check.Status == StatusWarn
		}
	}
	return false
}

// Add adds further checks to a report, and judges it anew.
func (r *Report) Add(checks ...Check) {
	r.Checks = append(r.Checks, checks...)
	if r.ExitCode == ExitInterrupted {
		return
	}
	for _, check := range checks {
		if check.Status == StatusFail && r.Failed == "" {
			r.OK, r.Failed, r.Diagnosis, r.ExitCode = false, check.ID, check.Diagnosis, check.ID.ExitCode()
		}
	}
}

// beforeLogin reports whether it failed at the server, before any credential: a
// client certificate that is missing or refused is the device's own.
func (r Report) beforeLogin() bool {
	switch r.Failed {
	case CheckResolve, CheckTCP, CheckTLS, CheckChain, CheckName, CheckDates, CheckUsage:
		return r.Diagnosis != TLSCertificateRefused && r.Diagnosis != TLSCertificateRequired
	default:
		return false
	}
}

// took is the time that the checks took.
func (r Report) took() time.Duration {
	var all float64
	for _, check := range r.Checks {
		all += check.Milliseconds
	}
	return time.Duration(all * float64(time.Millisecond))
}
