package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tbcert/tbcert/verify"
)

var blindUpdate = flag.Bool("blind.update", false, "write what was diagnosed into the blind table of docs/checks/README.md")

// The blind table was written before the code that diagnoses, by someone who
// had not read it: what it wants is the cause that the set-up was given, and
// nobody may change a cause to what was diagnosed.

const (
	// blindDoc has the table for readers.
	blindDoc = "../docs/checks/README.md"

	// blindRight of blindOf causes must be named rightly.
	blindRight, blindOf = 38, 40

	// blindShort is the patience with what never answers.
	blindShort = time.Second
)

// blindRow is one broken set-up and what is wrong with it.
type blindRow struct {
	setup string // in plain words
	real  string // which program breaks, or what stands in for it
	want  verify.DiagnosisID
	host  func(*blindWorld) blindHost
}

// blindHost is a machine as its user sees it, and how the user verifies it.
type blindHost struct {
	ports  map[int]int // what the ports of the host are on this machine; all others are closed
	target verify.Target

	resolve func(ctx context.Context, host string) ([]netip.Addr, error) // nil: everywhere
	fails   error                                                        // of connect(2); nil: connect
	now     func() time.Time
	patient time.Duration // 0: patience
	apart   bool          // in a process of its own, whose system trusts nobody
}

// blindResult is what became of a row.
type blindResult struct {
	got    verify.DiagnosisID
	detail string // of the check that got is about
}

func blindRows() []blindRow {
	var all []blindRow
	all = append(all, blindReachRows()...)
	all = append(all, blindHandshakeRows()...)
	all = append(all, blindChainRows()...)
	all = append(all, blindCertificateRows()...)
	all = append(all, blindConnectRows()...)
	all = append(all, blindLoginRows()...)
	all = append(all, blindPublishRows()...)
	return all
}

// TestBlind counts how many of the set-ups are told by their right cause.
// A subtest fails only when its set-up cannot be made.
func TestBlind(t *testing.T) {
	t.Parallel()
	rows := blindRows()
	results := make([]blindResult, len(rows))
	w := newBlindWorld(t)
	t.Run("rows", func(t *testing.T) {
		for i, row := range rows {
			t.Run(row.setup, func(t *testing.T) {
				t.Parallel()
				results[i] = row.host(w.in(t)).verify(t)
			})
		}
	})
	if t.Failed() {
		t.Fatal("no score: a set-up could not be made")
	}
	right := 0
	for i, row := range rows {
		mark := "wrong"
		if results[i].got == row.want {
			right++
			mark = "right"
		}
		t.Logf("%2d %s: %s\n\twant %s\n\tgot  %s: %s", i+1, mark, row.setup, row.want, blindShown(results[i].got), results[i].detail)
	}
	t.Logf("%d of %d causes are named rightly", right, len(rows))
	if len(rows) < blindOf || right*blindOf < blindRight*len(rows) {
		t.Errorf("%d of %d causes are named rightly, want %d of %d", right, len(rows), blindRight, blindOf)
	}
	if *blindUpdate {
		blindWrite(t, rows, results)
	}
}

func blindShown(id verify.DiagnosisID) string {
	if id == "" {
		return "-"
	}
	return string(id)
}

// verify runs the verifier as the host's user would.
func (h blindHost) verify(t *testing.T) blindResult {
	t.Helper()
	if h.apart {
		return h.verifyApart(t)
	}
	return blindOutcome(h.report(t))
}

// report is what the verifier says of a host of this process.
func (h blindHost) report(t *testing.T) verify.Report {
	t.Helper()
	verifier := &verify.Verifier{Resolve: h.resolve, Dial: h.dial, Now: h.now, Timeout: h.patient}
	if verifier.Resolve == nil {
		verifier.Resolve = everywhere
	}
	if verifier.Timeout == 0 {
		verifier.Timeout = patience
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	return verifier.Run(ctx, h.target)
}

// blindOutcome is the diagnosis, and the detail of the check that it is about.
func blindOutcome(report verify.Report) blindResult {
	outcome := blindResult{got: report.Diagnosis, detail: "every check passed"}
	for _, bad := range []verify.Status{verify.StatusFail, verify.StatusWarn} {
		for _, check := range report.Checks {
			if check.Status == bad {
				outcome.detail = fmt.Sprintf("%s %s: %s", check.ID, check.Status, check.Detail)
				return outcome
			}
		}
	}
	return outcome
}

// dial finds the host's ports on this machine. A port that the host does not
// have refuses.
func (h blindHost) dial(ctx context.Context, network, address string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	if h.fails != nil {
		dialer := &net.Dialer{Control: func(string, string, syscall.RawConn) error { return os.NewSyscallError("connect", h.fails) }}
		return dialer.DialContext(ctx, network, address)
	}
	mapped, ok := h.ports[port]
	if !ok {
		mapped = 1 // tcpmux: nobody listens
	}
	return dialTo(mapped)(ctx, network, address)
}

// The environment of a run in a process of its own: the library reads the
// system's roots once in a process.
const (
	blindPort    = "TBCERT_TEST_BLIND_PORT"
	blindOutput  = "blind outcome: "
	blindNobody  = "/nonexistent"
	blindApartID = "TestBlindApart"
)

// verifyApart trusts what a system without the package ca-certificates trusts.
func (h blindHost) verifyApart(t *testing.T) blindResult {
	t.Helper()
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+blindApartID+"$", "-test.v")
	self.Env = append(os.Environ(), systemFile+"="+blindNobody, systemDir+"="+blindNobody, blindPort+"="+strconv.Itoa(h.ports[h.target.Port]))
	out, err := self.CombinedOutput()
	_, text, found := strings.Cut(string(out), blindOutput)
	text, _, _ = strings.Cut(text, "\n")
	var said [2]string
	if err = errors.Join(err, json.Unmarshal([]byte(text), &said)); err != nil || !found {
		t.Fatalf("%v\n%s", err, out)
	}
	return blindResult{got: verify.DiagnosisID(said[0]), detail: said[1]}
}

// TestBlindApart is the other process of verifyApart; by itself it has nothing
// to do.
func TestBlindApart(t *testing.T) {
	t.Parallel()
	if os.Getenv(blindPort) == "" {
		return
	}
	port, err := strconv.Atoi(os.Getenv(blindPort))
	if err != nil {
		t.Fatal(err)
	}
	host := blindHost{ports: map[int]int{8883: port}, target: verify.Target{Host: "broker.test", Port: 8883, TLS: true, Login: token()}}
	outcome := host.verify(t)
	line, err := json.Marshal([2]string{string(outcome.got), outcome.detail})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s\n", blindOutput, line)
}
