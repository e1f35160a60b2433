package verify_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
	"github.com/tbcert/tbcert/verify"
)

// A fleetBroker takes every credential but those that begin with "bad", and notes
// what it saw. It blocks like ThingsBoard: what it accepts is closed at once.
type fleetBroker struct {
	root   *pair
	port   int
	config *tls.Config

	mu         sync.Mutex // guards what follows
	blockAfter int        // refusals; 0: never
	refused    int        // since the last block
	blocked    bool
	asked      int             // logins in MQTT 5
	logins     map[string]int  // by credential
	resumed    map[string]bool // by credential: its handshake resumed a session
}

func newFleetBroker(t *testing.T) *fleetBroker {
	t.Helper()
	b := &fleetBroker{root: newRoot(t, "Site Root CA"), logins: map[string]int{}, resumed: map[string]bool{}}
	b.config = &tls.Config{Certificates: []tls.Certificate{*b.root.leaf(t).tls()}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	b.port = listener(t, b.serve)
	return b
}

func (b *fleetBroker) isBlocked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.blocked
}

func (b *fleetBroker) unblock() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocked, b.refused = false, 0
}

func (b *fleetBroker) serve(conn net.Conn) {
	if b.isBlocked() {
		return
	}
	secure := tls.Server(conn, b.config)
	reader := bufio.NewReader(secure)
	const version = 8 // where it stands in a CONNECT of less than 128 bytes
	head, err := reader.Peek(version + 1)
	if err != nil {
		return
	}
	if head[version] == 5 {
		b.note("", nil, true)
		_, _ = secure.Write([]byte{0x20, 3, 0, 0x86, 0})
		return
	}
	for {
		packet, err := packets.ReadPacket(reader)
		if err != nil {
			return
		}
		switch p := packet.(type) {
		case *packets.ConnectPacket:
			state := secure.ConnectionState()
			if b.note(p.Username, &state, strings.HasPrefix(p.Username, "bad")) {
				_, _ = secure.Write([]byte{0x20, 2, 0, 5})
				return
			}
			_, _ = secure.Write([]byte{0x20, 2, 0, 0})
		case *packets.PublishPacket:
			_, _ = secure.Write([]byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
		}
	}
}

// note notes a login; a state of nil is one in MQTT 5.
func (b *fleetBroker) note(name string, state *tls.ConnectionState, refused bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if refused {
		b.refused++
		b.blocked = b.blocked || b.refused == b.blockAfter
	}
	if state == nil {
		b.asked++
		return refused
	}
	if len(state.PeerCertificates) > 0 {
		name = state.PeerCertificates[0].Subject.CommonName
	}
	b.logins[name]++
	b.resumed[name] = state.DidResume
	return refused
}

func (b *fleetBroker) target(token string) verify.Target {
	return verify.Target{
		Host: "127.0.0.1", Port: b.port, TLS: true, Roots: []*x509.Certificate{b.root.cert}, RootsName: "ca-root.pem",
		Login: device.Login{Username: secret.New(token)},
	}
}

// fleetOf are subjects with these names; each is made a target when its turn comes.
func fleetOf(target func(name string) verify.Target, all ...string) iter.Seq2[verify.Subject, error] {
	return func(yield func(verify.Subject, error) bool) {
		for i, name := range all {
			subject := verify.Subject{Seq: int64(i), Device: name, Plan: func(context.Context) (verify.Plan, error) {
				return verify.Plan{Target: target(name)}, nil
			}}
			if !yield(subject, nil) {
				return
			}
		}
	}
}

// numberedNames are names that begin alike.
func numberedNames(prefix string, count int) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return all
}

// toldOnce runs a fleet and gives the results by device, which come once each.
func toldOnce(t *testing.T, fleet *verify.Fleet, subjects iter.Seq2[verify.Subject, error]) (map[string]verify.Result, error) {
	t.Helper()
	results := map[string]verify.Result{}
	ended := false
	err := fleet.Run(t.Context(), subjects, func(result verify.Result) {
		if _, twice := results[result.Subject.Device]; twice || ended {
			t.Errorf("%s was told twice, or after the end", result.Subject.Device)
		}
		results[result.Subject.Device] = result
	})
	ended = true
	return results, err
}

// Every subject has its result once, however it ends: let in, refused, proved
// already, or without a plan.
func TestFleetTellsEachOnce(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	noPlan := errors.New("its bundle cannot be read")
	kinds := map[string]func() (verify.Plan, error){
		"good": func() (verify.Plan, error) { return verify.Plan{Target: b.target("good"), Closes: true}, nil },
		"bad":  func() (verify.Plan, error) { return verify.Plan{Target: b.target("bad")}, nil },
		"proof": func() (verify.Plan, error) {
			return verify.Plan{Proof: &verify.Report{OK: true, Diagnosis: "of-the-proof"}, How: verify.HowRecord, Target: b.target("x")}, nil
		},
		"none": func() (verify.Plan, error) { return verify.Plan{}, noPlan },
	}
	const each = 150
	var total int
	subjects := func(yield func(verify.Subject, error) bool) {
		for i := range each {
			for kind, plan := range kinds {
				total++
				if !yield(verify.Subject{Device: fmt.Sprintf("%s-%d", kind, i), Plan: func(context.Context) (verify.Plan, error) { return plan() }}, nil) {
					return
				}
			}
		}
	}
	results, err := toldOnce(t, &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience}}, subjects)
	if err != nil || len(results) != total {
		t.Errorf("%d of %d were told: %v", len(results), total, err)
	}
	for name, result := range results {
		kind, _, _ := strings.Cut(name, "-")
		report := result.Report
		right := map[string]bool{
			"good":  report.OK && result.Closed && result.How == verify.HowConnected && result.Credential == "token",
			"bad":   report.Diagnosis == verify.ConnectBadToken && !result.Closed,
			"proof": report.OK && report.Diagnosis == "of-the-proof" && result.How == verify.HowRecord,
			"none":  errors.Is(result.Err, noPlan) && len(report.Checks) == 0,
		}
		if !right[kind] {
			t.Errorf("%s: %+v", name, result)
		}
	}
}

// What is proved already is told without a connection, or a question for a name.
func TestFleetProofConnectsNobody(t *testing.T) {
	t.Parallel()
	verifier := &verify.Verifier{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialed")
		return nil, os.ErrClosed
	}, Resolve: nil}
	proof := &verify.Report{ExitCode: 17, Failed: verify.CheckRecord, Diagnosis: verify.RecordUnknown}
	results, err := toldOnce(t, &verify.Fleet{Verifier: verifier}, func(yield func(verify.Subject, error) bool) {
		for _, name := range numberedNames("meter", 500) {
			if !yield(verify.Subject{Device: name, Plan: func(context.Context) (verify.Plan, error) {
				return verify.Plan{Proof: proof, How: verify.HowRecord, Target: verify.Target{Host: "nowhere.test", Port: 8883, TLS: true}}, nil
			}}, nil) {
				return
			}
		}
	})
	if err != nil || len(results) != 500 {
		t.Errorf("%d were told: %v", len(results), err)
	}
	for name, result := range results {
		if result.Report.Diagnosis != proof.Diagnosis || result.How != verify.HowRecord {
			t.Errorf("%s: %+v", name, result)
		}
	}
}

// An error of the subjects ends the run, once what was begun has been told.
func TestFleetSubjectsFail(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	broken := errors.New("the list breaks off")
	results, err := toldOnce(t, &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience}}, func(yield func(verify.Subject, error) bool) {
		for subject := range fleetOf(b.target, numberedNames("good", 40)...) {
			if !yield(subject, nil) {
				return
			}
		}
		yield(verify.Subject{}, broken)
	})
	if !errors.Is(err, broken) || len(results) != 40 {
		t.Errorf("%d were told, and %v", len(results), err)
	}
}

// A fleet whose context ends, ends: nothing is told twice or after it, nothing as
// interrupted, and the server sees no more devices than were under way.
func TestFleetCancelled(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	const all, enough, jobs = 2_000, 50, 20
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user has seen enough")
	fleet := &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience}, Jobs: jobs}
	told := map[string]bool{}
	err := fleet.Run(ctx, fleetOf(b.target, numberedNames("good", all)...), func(result verify.Result) {
		if told[result.Subject.Device] || result.Report.ExitCode == verify.ExitInterrupted {
			t.Errorf("%s was told twice, or as interrupted", result.Subject.Device)
		}
		if told[result.Subject.Device] = true; len(told) == enough {
			cancel(why)
		}
	})
	if !errors.Is(err, why) {
		t.Errorf("it gave %v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if most := enough + 3*jobs; len(told) > most || len(b.logins) > most {
		t.Errorf("%d were told and %d connected after the end at %d", len(told), len(b.logins), enough)
	}
}

// A device without a certificate resumes a session of the fleet; one with a
// certificate never does, and leaves none behind, because a resumed handshake
// proves no certificate.
func TestFleetResumes(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			b := newFleetBroker(t)
			b.config.MaxVersion = version
			fleetCA := newRoot(t, "Fleet CA")
			target := func(name string) verify.Target {
				target := b.target(name)
				if strings.HasPrefix(name, "cert") {
					leaf := fleetCA.leaf(t, usage(x509.ExtKeyUsageClientAuth), blindCN(name))
					target.Login, target.ClientCertificate = device.Login{}, leaf.tls()
				}
				return target
			}
			all := append([]string{"cert-first", "token-first"}, numberedNames("token", 10)...)
			for i := range 10 {
				all = append(all, fmt.Sprintf("cert-%d", i), fmt.Sprintf("token-after-%d", i))
			}
			// One after the other, so that the session of the first is there for the next.
			results, err := toldOnce(t, &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience}, Jobs: 1}, fleetOf(target, all...))
			if err != nil || len(results) != len(all) {
				t.Fatalf("%d of %d were told: %v", len(results), len(all), err)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			for name, result := range results {
				if want := strings.HasPrefix(name, "token") && name != "token-first"; !result.Report.OK || b.logins[name] != 1 || b.resumed[name] != want {
					t.Errorf("%s: ok %t, %d logins, resumed %t, want %t", name, result.Report.OK, b.logins[name], b.resumed[name], want)
				}
			}
		})
	}
}

// A session is of one name, one port and one set of roots: who trusts another
// root, or asks for another name, gets no verdict by another's handshake.
func TestFleetResumesNoOther(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	other := newRoot(t, "Other CA")
	want := map[string]verify.DiagnosisID{"good-1": "", "other-root": verify.ChainOtherCA, "other-name": verify.NameMismatch, "no-root": verify.ChainOtherCA, "good-2": ""}
	target := func(name string) verify.Target {
		target := b.target(name)
		switch name {
		case "other-root":
			target.Roots = []*x509.Certificate{other.cert}
		case "other-name":
			target.Host = "other.test"
		case "no-root":
			target.Roots = []*x509.Certificate{}
		}
		return target
	}
	fleet := &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience, Resolve: everywhere}, Jobs: 1}
	results, err := toldOnce(t, fleet, fleetOf(target, "good-1", "other-root", "other-name", "no-root", "good-2"))
	if err != nil {
		t.Error(err)
	}
	for name, diagnosis := range want {
		if got := results[name].Report; got.Diagnosis != diagnosis || got.OK != (diagnosis == "") {
			t.Errorf("%s: %q, want %q", name, got.Diagnosis, diagnosis)
		}
	}
}

// idleDialer knows when no connection is open.
type idleDialer struct {
	mu   sync.Mutex
	cond *sync.Cond
	open int
}

type idleConn struct {
	net.Conn

	closed func()
}

func (c idleConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

func (d *idleDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.open++
	d.mu.Unlock()
	closed := sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open--
		d.cond.Broadcast()
	})
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		closed()
		return nil, err
	}
	return idleConn{conn, closed}, nil
}

// ThingsBoard blocks the address after ten wrong tokens: the fleet waits, once,
// and then every device gets its own verdict.
func TestFleetWaitsOutABlock(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	b.blockAfter = 10
	dialer := &idleDialer{}
	dialer.cond = sync.NewCond(&dialer.mu)
	var waited, announced atomic.Int32
	fleet := &verify.Fleet{
		Verifier: &verify.Verifier{Timeout: patience, Dial: dialer.dial},
		Blocked: func(pause time.Duration) {
			if announced.Add(1); pause < time.Minute {
				t.Errorf("it waits for %s, and the block lasts a minute", pause)
			}
		},
		// A minute passes: whoever was under way has seen the block.
		Wait: func(context.Context, time.Duration) error {
			dialer.mu.Lock()
			defer dialer.mu.Unlock()
			for dialer.open > 0 {
				dialer.cond.Wait()
			}
			waited.Add(1)
			b.unblock()
			return nil
		},
	}
	all := append(numberedNames("bad", 10), numberedNames("good", 300)...)
	results, err := toldOnce(t, fleet, fleetOf(b.target, all...))
	if err != nil || len(results) != len(all) || waited.Load() != 1 || announced.Load() != 1 {
		t.Errorf("%d of %d were told, it waited %d times and said so %d times: %v", len(results), len(all), waited.Load(), announced.Load(), err)
	}
	for name, result := range results {
		want := verify.DiagnosisID("")
		if strings.HasPrefix(name, "bad") {
			want = verify.ConnectBadToken
		}
		if result.Report.Diagnosis != want {
			t.Errorf("%s: %q, want %q", name, result.Report.Diagnosis, want)
		}
	}
}

// A block that cannot be waited out is told for what it is.
func TestFleetCannotWait(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	b.blockAfter = 1
	fleet := &verify.Fleet{
		Verifier: &verify.Verifier{Timeout: patience}, Jobs: 1,
		Wait: func(context.Context, time.Duration) error { return os.ErrDeadlineExceeded },
	}
	results, err := toldOnce(t, fleet, fleetOf(b.target, "bad-1", "good-1"))
	if err != nil || results["bad-1"].Report.Diagnosis != verify.ConnectBadToken || results["good-1"].Report.Diagnosis != verify.TLSAddressBlocked {
		t.Errorf("%q and %q: %v", results["bad-1"].Report.Diagnosis, results["good-1"].Report.Diagnosis, err)
	}
}

// Hundreds of refusals cost a handful of questions in MQTT 5, because ThingsBoard
// counts each as a wrong credential; and one login each.
func TestFleetAsksLittle(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	all := numberedNames("bad", 300)
	results, err := toldOnce(t, &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience}}, fleetOf(b.target, all...))
	if err != nil || len(results) != len(all) {
		t.Errorf("%d of %d were told: %v", len(results), len(all), err)
	}
	for name, result := range results {
		if result.Report.Diagnosis != verify.ConnectBadToken {
			t.Errorf("%s: %q", name, result.Report.Diagnosis)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	const handful = 5
	if b.asked < 1 || b.asked > handful {
		t.Errorf("%d questions were asked in MQTT 5", b.asked)
	}
	for _, name := range all {
		if b.logins[name] != 1 {
			t.Errorf("%s logged in %d times", name, b.logins[name])
		}
	}
}

// recovering refuses connections to one port until it has recovered, and counts
// them; all other ports are as they are.
type recovering struct {
	port  int
	well  atomic.Bool
	tries atomic.Int32
}

func (r *recovering) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if strings.HasSuffix(address, fmt.Sprintf(":%d", r.port)) {
		if r.tries.Add(1); !r.well.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// After 128 failures in a row at a server the rest is spared, and told so; but not
// the devices of another server.
func TestFleetSparesTheRest(t *testing.T) {
	t.Parallel()
	bad, good := newFleetBroker(t), newFleetBroker(t)
	server := &recovering{port: bad.port}
	target := func(name string) verify.Target {
		if strings.HasPrefix(name, "good") {
			return good.target(name)
		}
		return bad.target(name)
	}
	const each, tried = 256, 128
	all := append(append(numberedNames("down", each), numberedNames("good", 20)...), "down-one-more")
	results, err := toldOnce(t, &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience, Dial: server.dial}, Jobs: 1}, fleetOf(target, all...))
	if err != nil || len(results) != len(all) {
		t.Errorf("%d of %d were told: %v", len(results), len(all), err)
	}
	if tries := server.tries.Load(); tries != tried+1 {
		t.Errorf("the server was tried %d times, want %d in a row and one more after as many were spared", tries, tried)
	}
	for name, result := range results {
		report := result.Report
		if strings.HasPrefix(name, "good") {
			if !report.OK {
				t.Errorf("%s: %q", name, report.Diagnosis)
			}
			continue
		}
		spared := strings.Contains(report.Checks[1].Detail, "not tried, because 128 devices in a row failed here")
		if want := name >= fmt.Sprintf("down-%04d", tried) && name != "down-one-more"; report.Diagnosis != verify.TCPRefused || report.ExitCode != 11 || spared != want {
			t.Errorf("%s: %q with exit code %d, spared %t, want %t", name, report.Diagnosis, report.ExitCode, spared, want)
		}
	}
}

// A server that was restarted in the middle of a fleet has the rest of it: one
// device is tried from time to time, and when it comes in, all are.
func TestFleetTriesARecoveredServer(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	server := &recovering{port: b.port}
	const devices, recovers, triedAt = 700, 300, 128 + 128 + 1 + 256
	all := numberedNames("good", devices)
	target := func(name string) verify.Target {
		if name == all[recovers] {
			server.well.Store(true)
		}
		return b.target(name)
	}
	results, err := toldOnce(t, &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience, Dial: server.dial}, Jobs: 1}, fleetOf(target, all...))
	if err != nil || len(results) != devices {
		t.Errorf("%d of %d were told: %v", len(results), devices, err)
	}
	for i, name := range all {
		if ok := results[name].Report.OK; ok != (i >= triedAt) {
			t.Errorf("%s: ok %t: %q", name, ok, results[name].Report.Diagnosis)
		}
	}
}

// Hundreds of devices with a wrong token spare nobody: the server lets others in.
func TestFleetRefusalsSpareNobody(t *testing.T) {
	t.Parallel()
	b := newFleetBroker(t)
	all := append(numberedNames("bad", 300), numberedNames("good", 5)...)
	results, err := toldOnce(t, &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience}, Jobs: 1}, fleetOf(b.target, all...))
	if err != nil || len(results) != len(all) {
		t.Errorf("%d of %d were told: %v", len(results), len(all), err)
	}
	for name, result := range results {
		if want := strings.HasPrefix(name, "good"); result.Report.OK != want || strings.Contains(result.Report.Problem(), "not tried, because") {
			t.Errorf("%s: %q: %s", name, result.Report.Diagnosis, result.Report.Problem())
		}
	}
}

// What is a device's own fault spares no other device: an old root, which half a
// fleet may have, and a certificate that it does not have.
func TestFleetSparesNobodyElse(t *testing.T) {
	t.Parallel()
	other := newRoot(t, "Other CA")
	certificate := newRoot(t, "Fleet CA").leaf(t, usage(x509.ExtKeyUsageClientAuth)).tls()
	stale := []*x509.Certificate{other.cert} // read once, as the devices' files are
	const many = 300
	for name, c := range map[string]struct {
		config func(*tls.Config)
		wrong  func(*verify.Target)
		right  func(*verify.Target)
		want   verify.DiagnosisID
		most   int // how many of the wrong ones are tried
	}{
		"an old root": {
			func(*tls.Config) {}, func(target *verify.Target) { target.Roots = stale }, func(*verify.Target) {},
			verify.ChainOtherCA, 130,
		},
		"no certificate": {
			func(config *tls.Config) {
				config.ClientAuth, config.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
			},
			func(*verify.Target) {},
			func(target *verify.Target) { target.ClientCertificate, target.Login = certificate, device.Login{} },
			verify.TLSCertificateRequired, many,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFleetBroker(t)
			c.config(b.config)
			roots := []*x509.Certificate{b.root.cert}
			target := func(name string) verify.Target {
				target := b.target(name)
				target.Roots = roots
				if strings.HasPrefix(name, "wrong") {
					c.wrong(&target)
				} else {
					c.right(&target)
				}
				return target
			}
			fleet := &verify.Fleet{Verifier: &verify.Verifier{Timeout: patience}, Jobs: 1}
			results, err := toldOnce(t, fleet, fleetOf(target, append(numberedNames("wrong", many), numberedNames("right", 20)...)...))
			if err != nil || len(results) != many+20 {
				t.Errorf("%d were told: %v", len(results), err)
			}
			tried := 0
			for name, result := range results {
				want := verify.DiagnosisID("")
				if strings.HasPrefix(name, "wrong") {
					want = c.want
					if !strings.Contains(result.Report.Problem(), "not tried, because") {
						tried++
					}
				}
				if result.Report.Diagnosis != want {
					t.Errorf("%s: %q, want %q: %s", name, result.Report.Diagnosis, want, result.Report.Problem())
				}
			}
			if tried > c.most || tried < 128 {
				t.Errorf("%d were tried, want %d at most", tried, c.most)
			}
		})
	}
}
