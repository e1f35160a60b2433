package cmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/ui"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
	"github.com/tbcert/tbcert/verify"
	"github.com/tbcert/tbcert/verify/monitor"
	"github.com/tbcert/tbcert/verify/report"
)

// The forms of a result that verify has beside text and json.
const (
	outputJUnit      = "junit"
	outputPrometheus = "prometheus"
	outputNagios     = "nagios"
)

// resultOptions say where results go.
type resultOptions struct {
	report   string
	textfile string
	listen   string
	watch    time.Duration
}

func (o *resultOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.report, "report", "", "also write one HTML page that can be handed over")
	flags.StringVar(&o.textfile, "textfile", "", "also write metrics for Prometheus' node_exporter, to a file that it reads (NAME.prom)")
	flags.DurationVar(&o.watch, "watch", 0, "verify again and again, that long apart, until interrupted")
	flags.StringVar(&o.listen, "listen", "", "with --watch: serve metrics for Prometheus at this address, such as 127.0.0.1:9817")
}

func (o *resultOptions) check(a *app, devices bool) error {
	switch {
	case o.watch < 0 || o.watch > 0 && o.watch < time.Second:
		return fmt.Errorf("--watch %s is shorter than a second", o.watch)
	case o.report != "" && !devices:
		return errors.New("--report is about devices: give names, --all or --from")
	case o.listen != "" && o.watch == 0:
		return errors.New("--listen is for --watch: say how often, such as --watch 5m")
	case o.watch > 0 && !slices.Contains([]string{"text", "json"}, a.global.output):
		return fmt.Errorf("-o %s is for one run: with --watch, --listen and --textfile give metrics", a.global.output)
	default:
		return nil
	}
}

// A round is what one verification of all comes to.
type round struct {
	v      *verification
	begin  time.Time
	total  int
	source provision.Source
	shared bool // with other machines
	quiet  bool // devices are not told one by one, and no progress is shown
	first  bool // of a watch

	counts    monitor.Counts
	code      int // of a single target
	failed    int // devices
	bundles   int // of the recorded, those whose bundle alone was looked at
	closed    int // sessions
	elsewhere int // done by other machines
	causes    map[verify.DiagnosisID]*causeCount
	latency   *hdrhistogram.Histogram // microseconds, of those that got through
	rows      []monitor.Row           // of failures, or of all for junit
	page      *report.Report          // nil: none is asked for
	strict    *verify.Result          // of the server, with --strict

	progress   *ui.Progress
	failures   *workspace.Scratch
	failedFile string
	kept       []inventory.Verification
	settled    []provision.Outcome
	told       int // rows in the text
	broken     error
}

// A causeCount is how many devices failed for one cause.
type causeCount struct {
	Diagnosis verify.DiagnosisID `json:"diagnosis"`
	Count     int                `json:"count"`
	Check     verify.CheckID     `json:"check,omitempty"`
	Cause     string             `json:"cause"`
	Fix       string             `json:"fix,omitempty"`
	Examples  []string           `json:"examples,omitempty"` // devices
}

// examples are the devices that stand for a cause, between two words; nothing for
// a target that is no device.
func (c *causeCount) examples(before, after string) string {
	if len(c.Examples) == 0 {
		return ""
	}
	return before + strings.Join(c.Examples, ", ") + after
}

const (
	// mostExamples is how many devices stand beside a cause.
	mostExamples = 3
	// mostRows is how many failures a round keeps for the formats of monitoring.
	mostRows = 1000
	// mostLatency bounds what the histogram tells apart, in microseconds.
	mostLatency = int64(10 * time.Minute / time.Microsecond)
)

func newRound(ctx context.Context, v *verification) *round {
	r := &round{
		v: v, begin: v.app.process.Now(), causes: make(map[verify.DiagnosisID]*causeCount),
		latency: hdrhistogram.New(1, mostLatency, 3), counts: monitor.Counts{ByDiagnosis: map[string]int{}},
	}
	v.presented = time.Time{}
	if v.options.results.report != "" {
		r.page = report.New(v.pageHead(ctx, r.begin))
	}
	return r
}

// add counts a result.
func (r *round) add(result verify.Result) {
	failed := !result.Report.OK
	if result.Closed {
		r.closed++
	}
	r.v.saw(result.Report)
	row := r.monitored(result)
	r.count(result, row)
	if !failed && result.How == verify.HowConnected {
		_ = r.latency.RecordValue(min(max(result.Took.Microseconds(), 1), mostLatency)) // it is in the bounds
	}
	if len(r.rows) < mostRows && failed || r.v.app.global.output == outputJUnit || !r.v.fleet {
		r.rows = append(r.rows, row)
	}
	if r.page != nil && result.Subject.Device != "" {
		r.page.Add(report.Row{
			Device: row.Device, OK: !failed, How: row.How, Failed: row.Failed, Diagnosis: row.Diagnosis, Cause: row.Cause, Fix: row.Fix,
			Milliseconds: row.Milliseconds, At: row.At, Credential: result.Credential, Expires: result.Expires,
		})
	}
}

func (r *round) count(result verify.Result, row monitor.Row) {
	switch {
	case result.Report.ExitCode == exitInterrupted:
		r.counts.Interrupted++
	case !row.OK:
		r.failed++
		r.counts.Failed++
		r.counts.ByDiagnosis[row.Diagnosis]++
		r.cause(row)
	case result.How == verify.HowRecord:
		r.counts.Recorded++
	case result.How == verify.HowBundle:
		r.counts.Recorded++
		r.bundles++
	default:
		r.counts.OK++
	}
}

// done is how many devices had their turn.
func (r *round) done() int {
	return r.counts.OK + r.failed + r.counts.Recorded
}

// monitored is a result as the formats of monitoring have it.
func (r *round) monitored(result verify.Result) monitor.Row {
	row := monitor.Row{
		Device: result.Subject.Device, OK: result.Report.OK, How: result.How,
		Failed: string(result.Report.Failed), Diagnosis: string(result.Report.Diagnosis), At: result.At,
	}
	if result.How == verify.HowConnected && row.OK {
		row.Milliseconds = float64(result.Took) / float64(time.Millisecond)
	}
	keepChecks := r.v.app.global.output == outputJUnit || !r.v.fleet
	for _, check := range result.Report.Checks {
		if check.ID == result.Report.Failed {
			row.Cause, row.Fix = check.Cause, check.Fix
		}
		if keepChecks {
			row.Checks = append(row.Checks, monitor.Check{
				ID: string(check.ID), Status: string(check.Status), Detail: check.Detail, Cause: check.Cause, Fix: check.Fix, Milliseconds: check.Milliseconds,
			})
		}
	}
	return row
}

func (r *round) cause(row monitor.Row) {
	id := verify.DiagnosisID(row.Diagnosis)
	c := r.causes[id]
	if c == nil {
		c = &causeCount{Diagnosis: id, Check: verify.CheckID(row.Failed), Cause: row.Cause, Fix: row.Fix}
		r.causes[id] = c
	}
	c.Count++
	if len(c.Examples) < mostExamples && row.Device != "" {
		c.Examples = append(c.Examples, row.Device)
	}
}

// sortedCauses are the causes, the most frequent first.
func (r *round) sortedCauses() []*causeCount {
	var all []*causeCount
	for _, c := range r.causes {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *causeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Diagnosis, b.Diagnosis))
	})
	return all
}

// snapshot is the round as the formats of monitoring have it.
func (r *round) snapshot() monitor.Snapshot {
	v := r.v
	s := monitor.Snapshot{
		Site: v.base.Host, Version: buildVersion("").Version, Host: v.base.Host, Port: v.base.Port, TLS: v.base.TLS,
		At: v.app.process.Now(), Took: v.app.process.Now().Sub(r.begin), Rows: r.rows, Counts: r.counts, Durations: r.durations(),
	}
	s.ServerNotAfter, s.RootNotAfter = v.expiresOf()
	return s
}

// mostDurations bounds how many latencies stand for all.
const mostDurations = 1000

// durations are the latencies, thinned out evenly where there are many.
func (r *round) durations() []time.Duration {
	count := int(min(r.latency.TotalCount(), mostDurations))
	durations := make([]time.Duration, count)
	for i := range durations {
		durations[i] = time.Duration(r.latency.ValueAtPercentile(100*(float64(i)+0.5)/float64(count))) * time.Microsecond
	}
	return durations
}

// end writes what was asked for beside the result, and tells the result.
func (r *round) end(code int, tell func() error) error {
	if r.broken != nil {
		return r.broken
	}
	aside := r.beside(code)
	out := r.v.app.process.Out
	var err error
	switch r.v.app.global.output {
	case outputJUnit:
		err = monitor.WriteJUnit(out, r.snapshot())
	case outputPrometheus:
		err = monitor.WriteText(out, r.snapshot())
	case outputNagios: // whose exit codes are its own
		if aside != nil {
			return aside // a plugin has one line for its state
		}
		code, err = monitor.WriteNagios(out, r.snapshot())
	default:
		err = tell()
	}
	if err := errors.Join(err, aside); err != nil {
		return err
	}
	return told(code)
}

// beside writes what was asked for beside the result. Of a run that was
// interrupted nothing is: it would tell of a part of the devices as of all.
func (r *round) beside(code int) error {
	options := r.v.options.results
	if code != exitInterrupted {
		return r.writeAside()
	}
	for _, file := range []string{options.report, options.textfile} {
		if file != "" {
			r.v.app.ui.Warn("interrupted: %s is left as it was", file)
		}
	}
	return nil
}

// writeAside writes what was asked for beside the result.
func (r *round) writeAside() error { return errors.Join(r.writePage(), r.writeTextfile()) }

// writePage writes the HTML page.
func (r *round) writePage() error {
	if r.page == nil {
		return nil
	}
	r.page.End(r.v.app.process.Now().Sub(r.begin))
	return writeAside(r.v.options.results.report, func(out io.Writer) error {
		_, err := r.page.WriteTo(out)
		return err
	})
}

func (r *round) writeTextfile() error {
	file := r.v.options.results.textfile
	if file == "" {
		return nil
	}
	return writeAside(file, func(out io.Writer) error { return monitor.WriteText(out, r.snapshot()) })
}

// writeAside writes a file outside the workspace, which appears whole.
func writeAside(name string, write func(io.Writer) error) error {
	if err := workspace.WriteOutput(name, write); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// pageHead is what the page says beside the devices.
func (v *verification) pageHead(ctx context.Context, now time.Time) report.Page {
	page := report.Page{Site: v.base.Host, Version: buildVersion("").Version, Host: v.base.Host, Port: v.base.Port, Generated: now}
	for i, cert := range v.chain(ctx) {
		role := "issuing CA"
		switch {
		case i == 0:
			role = "server"
		case bytes.Equal(cert.RawSubject, cert.RawIssuer):
			role = "root"
		}
		described := certs.Describe(cert)
		page.Chain = append(page.Chain, report.Certificate{
			Role: role, Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Fingerprint: certs.Fingerprint(cert),
			Key: string(described.KeyType), Names: certs.Hosts(cert), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		})
	}
	return page
}

// verifySummary is the last line for several targets: schema
// tbcert.verify.summary/v1.
type verifySummary struct {
	Schema    string        `json:"schema"`
	OK        bool          `json:"ok"`
	ExitCode  int           `json:"exit_code"`
	Total     int           `json:"total"`
	Passed    int           `json:"passed"`            // connected, by record and by bundle
	Recorded  int           `json:"recorded"`          // of them, by the server's record alone
	Bundles   int           `json:"bundles,omitempty"` // of them, whose bundle alone was looked at
	Failed    int           `json:"failed"`
	Left      int           `json:"left"`
	Elsewhere int           `json:"elsewhere,omitempty"`       // done by other machines
	Closed    int           `json:"closed_sessions,omitempty"` // of devices that were at work
	Seconds   float64       `json:"seconds"`
	P50       float64       `json:"p50_ms,omitempty"` // of those that were connected
	P99       float64       `json:"p99_ms,omitempty"`
	Causes    []*causeCount `json:"causes,omitempty"`
	File      string        `json:"failed_file,omitempty"`
	Strict    *verifyResult `json:"strict,omitempty"`
}

func (r *round) summary() verifySummary {
	took := r.v.app.process.Now().Sub(r.begin)
	summary := verifySummary{
		Schema: "tbcert.verify.summary/v1", Total: r.total, Passed: r.counts.OK + r.counts.Recorded, Recorded: r.counts.Recorded - r.bundles, Bundles: r.bundles,
		Failed: r.failed, Elsewhere: r.elsewhere, Left: r.total - r.done() - r.elsewhere, Closed: r.closed, Seconds: took.Seconds(),
		Causes: r.sortedCauses(), File: r.failedFile,
	}
	if r.latency.TotalCount() > 0 {
		summary.P50, summary.P99 = float64(r.latency.ValueAtPercentile(50))/1000, float64(r.latency.ValueAtPercentile(99))/1000
	}
	if r.strict != nil {
		strict := r.v.told(*r.strict)
		summary.Strict = &strict
	}
	summary.ExitCode = r.exitCode()
	summary.OK = summary.ExitCode == exitOK
	return summary
}

// exitCode is that of the round.
func (r *round) exitCode() int {
	switch {
	case r.v.command.Context().Err() != nil:
		return exitInterrupted
	case !r.v.isFleet():
		return r.code
	case len(r.causes) > 0:
		return exitPartly
	case r.strict != nil && !r.strict.Report.OK:
		return exitFailed
	default:
		return exitOK
	}
}

// tellRow tells one device of a fleet: in the text, failures first of all.
func (r *round) tellRow(result verify.Result) error {
	a := r.v.app
	switch {
	case a.global.output == "json":
		return a.ui.ResultJSON(r.v.told(result))
	case a.global.output != "text":
		return nil
	}
	failed := !result.Report.OK
	if !failed && r.total > shownRows || failed && r.told >= shownRows {
		return nil
	}
	if failed {
		r.told++
		return a.ui.Result("  %s %s  %s", a.ui.Bad("FAIL"), result.Subject.Device, a.ui.Wrap(r.problem(result), 7))
	}
	how := fmt.Sprintf("%.1f ms", float64(result.Took)/float64(time.Millisecond))
	if result.How != verify.HowConnected {
		how = result.Report.Checks[0].Detail
	}
	return a.ui.Result("  %s %s  %s", a.ui.Good("pass"), result.Subject.Device, a.ui.Faint(how))
}

// tellSummary tells a fleet as a whole.
func (r *round) tellSummary() error {
	a, s := r.v.app, r.summary()
	if a.ui.JSON() {
		return a.ui.ResultJSON(s)
	}
	var text strings.Builder
	if s.Failed > shownRows {
		fmt.Fprintf(&text, "  … and %d more failures\n", s.Failed-shownRows)
	}
	r.causeText(&text, s.Causes)
	if r.strict != nil {
		fmt.Fprintf(&text, "\n%s", a.reportText("", r.strict.Report))
	}
	fmt.Fprintf(&text, "\n%s: %d passed%s, %d failed", a.ui.Strong(devicesWord(s.Total)), s.Passed, unconnectedText(s), s.Failed)
	if s.Left > 0 {
		fmt.Fprintf(&text, ", %d left", s.Left)
	}
	if s.Elsewhere > 0 {
		fmt.Fprintf(&text, ", %d done by other machines", s.Elsewhere)
	}
	fmt.Fprintf(&text, " (%.1f s", s.Seconds)
	if s.P50 > 0 {
		fmt.Fprintf(&text, "; half in %.0f ms, 99 of 100 in %.0f ms", s.P50, s.P99)
	}
	text.WriteString(").\n")
	if s.Closed > 0 {
		fmt.Fprintf(&text, "%s at work lost its session to this; a device connects again by itself.\n", devicesWord(s.Closed))
	}
	if s.File != "" {
		fmt.Fprintf(&text, "The failed ones are in %s; again with those alone:\n  %s\n", s.File, a.again("verify --from "+s.File))
	}
	return a.ui.Result("%s", strings.TrimPrefix(text.String(), "\n"))
}

// unconnectedText says of how many of those that passed nobody connected as them.
func unconnectedText(s verifySummary) string {
	var parts []string
	if s.Recorded > 0 {
		parts = append(parts, fmt.Sprintf("%d of them by ThingsBoard's own record, their sessions left alone", s.Recorded))
	}
	if s.Bundles > 0 {
		parts = append(parts, fmt.Sprintf("%d of them not connected, only their bundles looked at", s.Bundles))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

// causeText tells the causes, with what to do and examples.
func (r *round) causeText(text *strings.Builder, causes []*causeCount) {
	const before = 9
	a := r.v.app
	for _, c := range causes {
		fmt.Fprintf(text, "\n  %s %s\n", a.ui.Strong(fmt.Sprintf("%6d", c.Count)), a.ui.Strong(string(c.Diagnosis)))
		for _, line := range []string{c.Cause, "Fix: " + c.Fix, c.examples("Such as: ", "")} {
			fmt.Fprintf(text, "%*s%s\n", before, "", a.ui.Wrap(line, before))
		}
	}
}
