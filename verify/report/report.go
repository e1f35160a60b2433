// Package report writes how a fleet's verification went as one HTML page that
// an operator can hand over: it needs no network and no other file, and says
// the main things without JavaScript too.
package report

import (
	"time"
)

// How a device was found to be well, as Row.How names it.
const (
	HowConnected = "connected" // it connected and published
	HowRecord    = "record"    // what is on record says so
	HowServer    = "server"    // the server says so
	HowBundle    = "bundle"    // it did not connect, and its files are whole
)

// Row is how one device did.
type Row struct {
	Device                string // any text
	OK                    bool
	How                   string  // HowConnected, HowRecord, HowServer or HowBundle
	Failed                string  // id of the first check that failed; "" when OK
	Diagnosis, Cause, Fix string  // why it failed; rows of one diagnosis are shown together
	Milliseconds          float64 // from dialing to PUBACK; 0 is unknown
	At                    time.Time
	Credential            string    // token, basic or x509
	Expires               time.Time // of the device's certificate; zero for none
}

// Certificate is one of the server's chain.
type Certificate struct {
	Role                              string // root, issuing CA, server
	Subject, Issuer, Fingerprint, Key string
	Names                             []string
	NotBefore, NotAfter               time.Time
}

// Page is what the report says beside its rows.
type Page struct {
	Site, Version string
	Host          string
	Port          int
	Generated     time.Time
	Took          time.Duration
	Chain         []Certificate // leaf first
	Notes         []string
}

// Report gathers rows and writes the page. It keeps a row as the page will hold
// it, some 50 bytes, and the words that rows share once. One goroutine at a
// time may use it.
type Report struct {
	page        Page
	rows        rows
	tally       tally
	causes      causes
	hows        words
	credentials words
	latencies   []float32
	expiries    map[int64]int // devices by the day their certificate ends, counted from 1970
}

// New starts a report.
func New(page Page) *Report {
	return &Report{page: page, expiries: map[int64]int{}}
}

// End says how long the verification took.
func (r *Report) End(took time.Duration) { r.page.Took = took }

// Add takes one more device into the report.
func (r *Report) Add(row Row) {
	row.Milliseconds = known(row.Milliseconds)
	cause := none
	if !row.OK {
		cause = r.causes.add(row)
	}
	r.tally.add(row)
	if row.OK && row.Milliseconds > 0 {
		r.latencies = append(r.latencies, float32(row.Milliseconds))
	}
	if !row.Expires.IsZero() {
		r.expiries[day(row.Expires)]++
	}
	r.rows.add(record{
		device: row.Device, ok: row.OK, cause: cause, milliseconds: row.Milliseconds,
		how: r.hows.index(row.How), credential: r.credentials.index(row.Credential),
		at: row.At, expires: row.Expires,
	})
}

// tally counts how the devices did.
type tally struct {
	connected, record, server, bundle, other int // passed, by how it is known
	failed                                   int
}

func (t *tally) add(row Row) {
	switch {
	case !row.OK:
		t.failed++
	case row.How == HowConnected:
		t.connected++
	case row.How == HowRecord:
		t.record++
	case row.How == HowServer:
		t.server++
	case row.How == HowBundle:
		t.bundle++
	default:
		t.other++
	}
}

func (t *tally) passed() int { return t.connected + t.record + t.server + t.bundle + t.other }

func (t *tally) total() int { return t.passed() + t.failed }
