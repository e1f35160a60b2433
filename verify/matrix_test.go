package verify_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
	"github.com/tbcert/tbcert/verify"
)

// short is the patience with what never answers.
const short = 400 * time.Millisecond

// row is one server, and what verify must say of it.
type row struct {
	name string
	// want is a letter a check, in order: p pass, w warn, F fail, s skip. The
	// first F is the failed check and decides the exit code.
	want   string
	target func(*world) verify.Target
	// what the first check that failed (or else warned) must say
	detail, cause, fix string
	diagnosis          verify.DiagnosisID

	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	patient time.Duration // 0: patience
}

// statuses are the letters of row.want.
func statuses() map[verify.Status]rune {
	return map[verify.Status]rune{verify.StatusPass: 'p', verify.StatusWarn: 'w', verify.StatusFail: 'F', verify.StatusSkip: 's'}
}

// everywhere finds every name on this machine.
func everywhere(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
}

func token() device.Login { return device.Login{Username: secret.New(theToken)} }

// rows is the fault matrix.
func rows() []row {
	var all []row
	all = append(all, passRows()...)
	all = append(all, reachRows()...)
	all = append(all, handshakeRows()...)
	all = append(all, chainRows()...)
	all = append(all, certificateRows()...)
	all = append(all, connectRows()...)
	all = append(all, publishRows()...)
	all = append(all, sandboxRows()...)
	return all
}

// TestFaultMatrix runs verify against real endpoints, right and wrong.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, row := range rows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.run(t, w)
		})
	}
}

func (row row) run(t *testing.T, w *world) {
	t.Helper()
	verifier := &verify.Verifier{Resolve: row.resolve, Timeout: row.patient}
	if verifier.Timeout == 0 {
		verifier.Timeout = patience
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	target := row.target(w)
	report := verifier.Run(ctx, target)
	if got := letters(report); got != row.want {
		t.Errorf("checks are %s, want %s", got, row.want)
	}
	if want := row.failed(); report.Failed != want || report.ExitCode != want.ExitCode() || report.OK != (want == "") {
		t.Errorf("failed %q with exit code %d, ok %t; want %q with %d", report.Failed, report.ExitCode, report.OK, want, want.ExitCode())
	}
	if want := (verify.TargetInfo{Host: target.Host, Port: target.Port, TLS: target.TLS}); report.Target != want {
		t.Errorf("the target is told as %+v, want %+v", report.Target, want)
	}
	for _, check := range report.Checks {
		row.complete(t, check)
	}
	row.explained(t, report)
	if report.Diagnosis != row.diagnosis {
		t.Errorf("the diagnosis is %q, want %q", report.Diagnosis, row.diagnosis)
	}
	if t.Failed() {
		for _, c := range report.Checks {
			if c.Cause != "" {
				t.Logf("%s %s\n\t%s\n\tcause: %s\n\tfix: %s", c.ID, c.Status, c.Detail, c.Cause, c.Fix)
			}
		}
	}
}

func letters(report verify.Report) string {
	var got strings.Builder
	for i, check := range report.Checks {
		if check.ID != verify.CheckIDs()[i] {
			return "out of order: " + string(check.ID)
		}
		got.WriteRune(statuses()[check.Status])
	}
	return got.String()
}

// failed is the check that the row wants to fail first.
func (row row) failed() verify.CheckID {
	i := strings.IndexByte(row.want, 'F')
	if i < 0 {
		return ""
	}
	return verify.CheckIDs()[i]
}

// complete holds a check to what every check owes.
func (row row) complete(t *testing.T, check verify.Check) {
	t.Helper()
	needsHelp := check.Status == verify.StatusFail || check.Status == verify.StatusWarn
	if check.Detail == "" || needsHelp != (check.Cause != "") || needsHelp != (check.Fix != "") {
		t.Errorf("%s %s lacks a text, or has one too many: %+v", check.ID, check.Status, check)
	}
	if text := check.Detail + check.Cause + check.Fix; strings.Contains(text, theToken) || strings.Contains(text, thePassword) {
		t.Errorf("%s tells a secret: %s", check.ID, text)
	}
	if check.Status == verify.StatusSkip && check.ID == verify.CheckConnect && !strings.Contains(check.Detail, string(row.failed())) {
		t.Errorf("connect was skipped and does not say that %s failed: %s", row.failed(), check.Detail)
	}
}

// explained looks for the row's texts in the check that failed or warned.
func (row row) explained(t *testing.T, report verify.Report) {
	t.Helper()
	at := strings.IndexAny(row.want, "F")
	if at < 0 {
		at = strings.IndexAny(row.want, "w")
	}
	if at < 0 || at >= len(report.Checks) {
		return
	}
	check := report.Checks[at]
	for _, text := range [][3]string{{"detail", check.Detail, row.detail}, {"cause", check.Cause, row.cause}, {"fix", check.Fix, row.fix}} {
		if text[2] == "" {
			t.Errorf("the row does not say what the %s must be: %s", text[0], text[1])
		}
		for _, want := range strings.Split(text[2], " … ") {
			if !strings.Contains(text[1], want) {
				t.Errorf("the %s of %s is %q, and does not hold %q", text[0], check.ID, text[1], want)
			}
		}
	}
}

// TestMatrixCoversEveryCheck fails when a check never fails, or never passes,
// in any row: such a check proves nothing.
func TestMatrixCoversEveryCheck(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, row := range rows() {
		if seen[row.name] {
			t.Errorf("two rows are called %q", row.name)
		}
		seen[row.name] = true
		if len(row.want) != len(verify.CheckIDs()) {
			t.Fatalf("row %q says %q, which is not a letter for each of %d checks", row.name, row.want, len(verify.CheckIDs()))
		}
	}
	for i, id := range verify.CheckIDs() {
		failed, passed := false, false
		for _, row := range rows() {
			failed = failed || row.want[i] == 'F' && row.failed() == id
			passed = passed || row.want[i] == 'p'
		}
		if !failed {
			t.Errorf("no row has %s fail first: add one", id)
		}
		if !passed {
			t.Errorf("no row has %s pass: add one", id)
		}
	}
}

// at is a target on this machine with the site's root and token.
func (w *world) at(port int) verify.Target {
	return verify.Target{Host: "127.0.0.1", Port: port, TLS: true, Roots: w.roots(w.root), RootsName: "ca-root.pem", Login: token()}
}

func (w *world) plainAt(port int) verify.Target {
	return verify.Target{Host: "127.0.0.1", Port: port, Login: token()}
}
