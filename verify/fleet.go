package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
)

// DefaultJobs is how many devices a Fleet verifies at once at most, when it does
// not say. A broker that answers late (mosquitto without set_tcp_nodelay takes
// 44 ms for each answer) is kept busy by hundreds only.
const DefaultJobs = 256

const (
	// firstJobs is how many are verified at once at first; how long they take
	// says how many after that.
	firstJobs  = 256
	jobsWindow = 250 * time.Millisecond
	fewSamples = 16

	// mostConnecting is how many are dialing or shaking hands at once: a server
	// that accepts one after the other keeps few waiting (mosquitto 100), and who
	// finds no place is a second late.
	mostConnecting = 64

	// mostAsked is how many refusals a fleet asks the exact reason of: ThingsBoard
	// counts each question as a wrong credential.
	mostAsked = 3

	// blockTime is how long ThingsBoard blocks an address
	// (TB_TRANSPORT_IP_BLOCK_TIMEOUT), and a moment.
	blockTime = 61 * time.Second
)

// A Fleet verifies many devices, as many at once as the server takes. It may be
// used by one goroutine at a time.
//
// Devices that have no certificate share TLS sessions: after the first verified
// handshake with a server, further ones may resume its session (RFC 8446, 2.2),
// whose keys only that server has; name and dates of its certificate are judged
// anew each time. A device with a certificate always has a handshake of its own,
// because a resumed one would not prove its certificate.
type Fleet struct {
	Verifier *Verifier

	// Jobs is how many devices are verified at once at most; 0: DefaultJobs.
	Jobs int
	// Wait waits out ThingsBoard's block of an address; nil waits by the clock. It
	// gives ctx's error when ctx ends first.
	Wait func(ctx context.Context, pause time.Duration) error
	// Blocked is told, when it is not nil, that the fleet waits that long.
	Blocked func(pause time.Duration)
}

// A Subject is one device of a fleet.
type Subject struct {
	Seq    int64
	Device string
	// Plan says how the device is to be proved. It is called by many goroutines.
	Plan func(ctx context.Context) (Plan, error)
}

// How a device was proved.
const (
	HowConnected = "connected" // by a connection with its credential
	HowRecord    = "record"    // by what the server has of it
	HowBundle    = "bundle"    // not at all: its bundle is whole
	HowServer    = "server"    // the server alone, with no credential
)

// A Plan is how one device is to be proved.
type Plan struct {
	Target Target
	// Proof is the report of a device that is proved already, so that nobody
	// connects as it; nil: it is to be connected as.
	Proof *Report
	How   string // of Proof; else HowConnected
	// Closes says that the device is at work, and that its session ends when it is
	// connected as.
	Closes bool
}

// Closed reports whether a session of the device was closed by what the report tells.
func (p Plan) Closed(report Report) bool { return p.Closes && report.passed(CheckConnect) }

// A Result is how one device did.
type Result struct {
	Subject Subject
	Report  Report
	Err     error // why it could not be tried at all; the report is then empty
	At      time.Time
	Took    time.Duration // from the first check to the last
	How     string
	Closed  bool // a session of the device was closed by it

	Credential string    // token, basic or x509; "" is not known
	Expires    time.Time // the end of the device's certificate; zero for none
}

// as notes what kind of credential a target has.
func (r *Result) as(target Target) {
	switch {
	case target.ClientCertificate != nil:
		r.Credential = "x509"
		if target.ClientCertificate.Leaf != nil {
			r.Expires = target.ClientCertificate.Leaf.NotAfter
		}
	case !target.Login.Password.IsZero():
		r.Credential = "basic"
	case !target.Login.Username.IsZero():
		r.Credential = "token"
	}
}

// NewResult is the result of a run by itself.
func NewResult(device string, at time.Time, target Target, report Report) Result {
	result := Result{Subject: Subject{Device: device}, At: at, Report: report, Took: report.took(), How: HowConnected}
	result.as(target)
	return result
}

// Run verifies the subjects and gives each result to tell, in the order in which
// they come, from this goroutine. When ctx ends, nothing further is begun, what
// is under way is given up and not told, and Run returns ctx's error; else the
// error is that of the subjects.
func (f *Fleet) Run(ctx context.Context, subjects iter.Seq2[Subject, error], tell func(Result)) error {
	jobs := f.Jobs
	if jobs < 1 {
		jobs = DefaultJobs
	}
	r := &fleetRun{
		Fleet: f, results: make(chan Result, jobs), door: make(chan struct{}, mostConnecting),
		trusts: make(map[trustKey]*trust), addresses: make(map[string][]netip.Addr),
		limit: adaptivelimiter.NewBuilder[any]().
			WithLimits(1, uint(jobs), uint(min(jobs, firstJobs))).
			WithRecentWindow(jobsWindow, 4*jobsWindow, fewSamples).
			Build(),
	}
	r.verifier = *f.Verifier
	r.verifier.fleet = r
	var failed error
	go func() {
		defer close(r.results)
		failed = r.begin(ctx, subjects)
		r.open.Wait()
	}()
	for result := range r.results {
		tell(result)
	}
	if failed == nil {
		failed = context.Cause(ctx)
	}
	return failed
}

// A fleetRun is one call of Run, and what its devices share.
type fleetRun struct {
	*Fleet
	verifier Verifier
	limit    adaptivelimiter.AdaptiveLimiter[any]
	open     sync.WaitGroup
	results  chan Result
	asked    atomic.Int64
	gate     blockGate
	servers  servers
	door     chan struct{} // of those that are dialing or shaking hands

	mu        sync.Mutex // guards what follows
	trusts    map[trustKey]*trust
	addresses map[string][]netip.Addr
}

// begin begins with each subject when there is a permit for it.
func (r *fleetRun) begin(ctx context.Context, subjects iter.Seq2[Subject, error]) error {
	for subject, err := range subjects {
		if err != nil {
			return err
		}
		if r.gate.wait(ctx) != nil {
			return nil
		}
		permit, err := r.limit.AcquirePermit(ctx)
		if err != nil {
			return nil
		}
		r.open.Go(func() {
			result := r.verify(ctx, subject)
			if result.Report.ExitCode != ExitInterrupted && ctx.Err() == nil {
				r.results <- result // and if nobody takes it yet, nothing further is begun
			}
			if result.Report.OK {
				permit.Record()
			} else {
				permit.Drop() // how long a failure takes says nothing
			}
		})
	}
	return nil
}

// verify runs one subject; once more, when ThingsBoard blocked the address.
func (r *fleetRun) verify(ctx context.Context, subject Subject) Result {
	result := Result{Subject: subject, At: r.verifier.now()}
	plan, err := subject.Plan(ctx)
	result.as(plan.Target)
	switch {
	case err != nil:
		result.Err = err
		return result
	case plan.Proof != nil:
		result.Report, result.How, result.Took = *plan.Proof, plan.How, r.verifier.now().Sub(result.At)
		return result
	}
	target := plan.Target
	result.How = HowConnected
	if report, ok := r.servers.hopeless(target); ok {
		result.Report = report
		return result
	}
	for range 2 {
		result.At = r.verifier.now()
		result.Report = r.verifier.Run(ctx, target)
		result.Took = result.Report.took()
		if result.Report.Diagnosis != TLSAddressBlocked || !r.gate.block(ctx, r.Fleet) {
			break
		}
	}
	r.servers.saw(target, result.Report)
	result.Closed = plan.Closed(result.Report)
	return result
}

// mostHopeless is how many devices in a row are tried at a server that lets
// nobody come as far as a login, before the rest is spared the waiting. After as
// many that were spared one is tried again, then after twice as many, and so on:
// a server that was only restarted has the others back.
const mostHopeless = 2 * mostConnecting

// servers remembers which servers let nobody in.
type servers struct {
	mu   sync.Mutex
	seen map[serverKey]*serverSeen
}

// A serverKey is a server, and for a certificate that was refused what the devices
// trust: a fleet may hold two roots, and one of them be right.
type serverKey struct {
	host  string
	port  int
	tls   bool
	trust trustKey // zero: whatever they trust
}

func keysOf(target Target) (server, trusting serverKey) {
	server = serverKey{host: target.Host, port: target.Port, tls: target.TLS}
	trusting = server
	trusting.trust = keyOf(target)
	return server, trusting
}

type serverSeen struct {
	inARow int // devices that failed before a login, all for one cause, since one did not
	last   Report
	spared int // since one was tried
	rest   int // how many are spared before the next is tried
}

// saw takes a device's report in.
func (s *servers) saw(target Target, report Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[serverKey]*serverSeen)
	}
	key, trusting := keysOf(target)
	if slices.Contains([]CheckID{CheckChain, CheckDates, CheckUsage}, report.Failed) { // the server is there
		delete(s.seen, key)
		key = trusting
	}
	if !report.beforeLogin() {
		delete(s.seen, key)
		delete(s.seen, trusting)
		return
	}
	server := s.seen[key]
	if server == nil || report.Diagnosis != server.last.Diagnosis {
		server = &serverSeen{}
		s.seen[key] = server
	}
	server.inARow++
	server.last = report
}

// hopeless gives the report of a device that is not tried, because so many
// before it failed for one cause that is the server's.
func (s *servers) hopeless(target Target) (Report, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, trusting := keysOf(target)
	server := s.seen[key]
	if server == nil || server.inARow < mostHopeless {
		server = s.seen[trusting]
	}
	if server == nil || server.inARow < mostHopeless {
		return Report{}, false
	}
	if server.rest = max(server.rest, mostHopeless); server.spared == server.rest {
		server.spared, server.rest = 0, 2*server.rest
		return Report{}, false
	}
	server.spared++
	report := server.last
	report.Checks = slices.Clone(report.Checks)
	for i := range report.Checks {
		check := &report.Checks[i]
		check.Milliseconds = 0
		if check.ID == report.Failed {
			check.Detail = fmt.Sprintf("not tried, because %d devices in a row failed here: %s", mostHopeless, check.Detail)
		}
	}
	return report, true
}

// A blockGate keeps a fleet waiting while its address is blocked, once: where the
// connections are closed after that as well, it is no block.
type blockGate struct {
	mu    sync.Mutex
	until chan struct{} // closed when the waiting is over; nil: there was none
}

// wait waits while the address is blocked.
func (g *blockGate) wait(ctx context.Context) error {
	g.mu.Lock()
	until := g.until
	g.mu.Unlock()
	if until == nil {
		return context.Cause(ctx)
	}
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// block waits until the block is over, and reports whether another try makes
// sense.
func (g *blockGate) block(ctx context.Context, f *Fleet) bool {
	g.mu.Lock()
	first := g.until == nil
	if first {
		g.until = make(chan struct{})
	}
	until := g.until
	g.mu.Unlock()
	if !first {
		select {
		case <-until: // it is over, or was before this one began
			return true
		case <-ctx.Done():
			return false
		}
	}
	defer close(until)
	if f.Blocked != nil {
		f.Blocked(blockTime)
	}
	pause := f.Wait
	if pause == nil {
		pause = waitByClock
	}
	return pause(ctx, blockTime) == nil
}

func waitByClock(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A trust is what the handshakes with one server by one set of roots share.
type trust struct {
	pool     *x509.CertPool
	sessions tls.ClientSessionCache
}

// A trustKey tells sets of roots apart by their first certificate and their
// number: who verifies a fleet reads equal files once.
type trustKey struct {
	host  string
	port  int
	first *x509.Certificate
	count int
}

func keyOf(t Target) trustKey {
	key := trustKey{host: t.Host, port: t.Port, count: len(t.Roots)}
	if len(t.Roots) > 0 {
		key.first = t.Roots[0]
	}
	return key
}

// trustFor gives what a target's handshake shares with others of the fleet.
func (r *fleetRun) trustFor(t Target) *trust {
	key := keyOf(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.trusts[key]; known != nil {
		return known
	}
	made := &trust{sessions: tls.NewLRUClientSessionCache(1)}
	if t.Roots != nil {
		made.pool = pool(t.Roots)
	}
	r.trusts[key] = made
	return made
}

// mayAsk reports whether one more question in MQTT 5 may be asked, and counts it.
func (r *fleetRun) mayAsk() bool { return r.asked.Add(1) <= mostAsked }

// enter waits for a place among those that are connecting; leave gives it up.
func (r *fleetRun) enter(ctx context.Context) (leave func()) {
	select {
	case r.door <- struct{}{}:
		return sync.OnceFunc(func() { <-r.door })
	case <-ctx.Done():
		return func() {}
	}
}

// resolve asks for a host's addresses once.
func (r *fleetRun) resolve(ctx context.Context, host string, ask func(context.Context, string) ([]netip.Addr, error)) ([]netip.Addr, error) {
	r.mu.Lock()
	known := r.addresses[host]
	r.mu.Unlock()
	if known != nil {
		return known, nil
	}
	found, err := ask(ctx, host)
	if err == nil && len(found) > 0 {
		r.mu.Lock()
		r.addresses[host] = found
		r.mu.Unlock()
	}
	return found, err
}
