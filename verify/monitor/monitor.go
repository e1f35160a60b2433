// Package monitor writes what machines read of a verification: metrics for
// Prometheus, in a file or over HTTP, a JUnit report for CI, and the line and
// exit status of a plugin for Nagios and its kin.
//
// It knows no type of the verification itself: the caller hands it a
// [Snapshot]. Names, details and causes may be any text; each format escapes or
// replaces what it cannot carry. A snapshot holds no secret, and a caller must
// put none into it: everything in it may be written.
package monitor

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"time"
)

// DefaultDevices is how many devices get series of their own, unless
// [Limits.Devices] says otherwise.
const DefaultDevices = 100

// How a row came about.
const (
	HowConnected = "connected" // with the device's own credential
	HowRecord    = "record"    // from the server's record alone
	HowBundle    = "bundle"    // nobody connected; its files are whole
	HowServer    = "server"    // the server alone
)

// How a check ended.
const (
	statusPass = "pass"
	statusWarn = "warn"
	statusFail = "fail"
	statusSkip = "skip"
)

// Row is how one device did or, with Device "", the server alone. A row that is
// not OK and has no Failed was interrupted.
type Row struct {
	Device string
	OK     bool
	How    string // HowConnected, HowRecord, HowBundle or HowServer

	Failed       string // the id of the first check that failed
	Diagnosis    string // what is wrong, of a small set of ids
	Cause, Fix   string
	Milliseconds float64 // from the dial to the PUBACK
	Checks       []Check // may be nil, where a fleet is too large to keep them
	At           time.Time
}

// Check is one check of a row. Its Status is pass, warn, fail or skip.
type Check struct {
	ID, Status, Detail, Cause, Fix string
	Milliseconds                   float64
}

// Snapshot is the result of one round of verification.
type Snapshot struct {
	Site    string // tells several sites on one machine apart
	Version string // of tbcert; "": no tbcert_build_info
	Host    string
	Port    int
	TLS     bool
	At      time.Time // when the round ended
	Took    time.Duration

	Rows   []Row  // of all, or only of those that failed
	Counts Counts // of all; zero: Rows are all, and are counted
	// Durations are the times from dial to PUBACK of those that got through;
	// nil: they are in Rows.
	Durations []time.Duration

	ServerNotAfter, RootNotAfter time.Time // zero: not known

	Limits Limits
}

// Counts says how many ended how. No device is counted twice, so the four
// numbers add up to all of them.
type Counts struct {
	OK          int // connected and acknowledged
	Failed      int
	Recorded    int // fine by the record or the bundle, without a connection
	Interrupted int
	ByDiagnosis map[string]int // of the failed
}

// Limits bounds what is said of single devices, and says when a plugin warns.
type Limits struct {
	// Devices is how many devices get series of their own; 0 is DefaultDevices,
	// and less than 0 is none.
	Devices int
	// WarnDays and CriticalDays are the days that a certificate must have left;
	// 0 is 30 and 7.
	WarnDays, CriticalDays int
}

// Tally counts rows. One that nobody connected for counts as Recorded, not as OK.
func Tally(rows []Row) Counts {
	counts := Counts{ByDiagnosis: map[string]int{}}
	for _, row := range rows {
		switch {
		case row.OK && (row.How == HowRecord || row.How == HowBundle):
			counts.Recorded++
		case row.OK:
			counts.OK++
		case row.interrupted():
			counts.Interrupted++
		default:
			counts.Failed++
			counts.ByDiagnosis[row.Diagnosis]++
		}
	}
	return counts
}

func (c Counts) total() int { return c.OK + c.Failed + c.Recorded + c.Interrupted }

// good reports whether something was verified and all of it is well.
func (c Counts) good() bool { return c.total() > 0 && c.Failed == 0 && c.Interrupted == 0 }

func (s Snapshot) counts() Counts {
	if s.Counts.total() == 0 {
		return Tally(s.Rows)
	}
	return s.Counts
}

// target is the address, which tells rounds of one site apart.
func (s Snapshot) target() string {
	scheme := "mqtt"
	if s.TLS {
		scheme = "mqtts"
	}
	return scheme + "://" + net.JoinHostPort(visible(s.Host), strconv.Itoa(s.Port))
}

// durations are sorted, the shortest first.
func (s Snapshot) durations() []time.Duration {
	times := slices.Clone(s.Durations)
	if times == nil {
		for _, row := range s.Rows {
			if row.connected() {
				times = append(times, duration(row.Milliseconds))
			}
		}
	}
	slices.Sort(times)
	return times
}

// connected reports whether the row's time is one from dial to PUBACK.
func (r Row) connected() bool {
	return r.OK && r.How != HowRecord && r.How != HowBundle && r.Milliseconds > 0
}

// interrupted reports whether the run ended before the row was known.
func (r Row) interrupted() bool { return !r.OK && r.Failed == "" }

// listed is the rows of devices that get series of their own, and how many
// devices get none. Those that failed come first, since they are what a reader
// looks for; of those that were not verified, nothing is known.
func (s Snapshot) listed() (rows []Row, left int) {
	left = max(s.counts().total()-len(s.Rows), 0) // counted, without a row
	for _, row := range s.Rows {
		if row.Device == "" {
			continue
		}
		left++
		if !row.interrupted() {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(order(a)-order(b), cmp.Compare(a.Device, b.Device))
	})
	n := min(s.Limits.devices(), len(rows))
	return rows[:n], left - n
}

func order(r Row) int {
	if r.OK {
		return 1
	}
	return 0
}

func (l Limits) devices() int  { return max(cmp.Or(l.Devices, DefaultDevices), 0) }
func (l Limits) warn() int     { return cmp.Or(l.WarnDays, 30) }
func (l Limits) critical() int { return cmp.Or(l.CriticalDays, 7) }

// quantile is the smallest of the sorted times that a share q of them is not
// above (nearest rank).
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}

func duration(milliseconds float64) time.Duration {
	return time.Duration(milliseconds * float64(time.Millisecond))
}

// many is "1 device" or "N devices".
func many(n int) string {
	if n == 1 {
		return "1 device"
	}
	return fmt.Sprintf("%d devices", n)
}
