package cmd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
	"github.com/tbcert/tbcert/verify"
)

// once verifies what was asked for, one time, and tells it.
func (v *verification) once(ctx context.Context) error {
	if !v.isFleet() {
		v.warnOne()
		r := newRound(ctx, v)
		result := v.single(ctx, r)
		return r.end(result.Report.ExitCode, func() error { return v.app.tellReport(v.told(result)) })
	}
	goOn, err := v.warn(ctx)
	if err != nil || !goOn {
		return err
	}
	r := newRound(ctx, v)
	code, err := v.many(ctx, r)
	if err != nil {
		return err
	}
	return r.end(code, r.tellSummary)
}

// told is a result as JSON has it.
func (v *verification) told(result verify.Result) verifyResult {
	return verifyResult{Schema: schema(v.command), Device: result.Subject.Device, How: result.How, Closed: result.Closed, Report: result.Report}
}

// isFleet reports whether devices are told one by one.
func (v *verification) isFleet() bool { return v.fleet && !v.options.devices.serverOnly }

// single verifies one target, and takes the result into the round.
func (v *verification) single(ctx context.Context, r *round) verify.Result {
	result := v.one(ctx)
	r.total, r.code = 1, result.Report.ExitCode
	r.add(result)
	if result.Report.ExitCode != exitInterrupted && result.Subject.Device != "" && r.worthKeeping(result) {
		v.keep(ctx, []inventory.Verification{verificationOf(result)})
	}
	return result
}

// one verifies one target.
func (v *verification) one(ctx context.Context) verify.Result {
	begin, name := v.app.process.Now(), ""
	plan := verify.Plan{Target: v.base, How: verify.HowConnected}
	switch {
	case v.options.devices.serverOnly:
		_, server := v.verifier.Inspect(ctx, v.base)
		plan.Proof, plan.How = &server, verify.HowServer
	case len(v.names) > 0:
		name = v.names[0]
		plan = v.plan(ctx, name)
	}
	if plan.Proof == nil {
		report := v.verifier.Run(ctx, plan.Target)
		plan.Proof = &report
	}
	v.judgeStrictly(ctx, plan.Target, plan.Proof)
	result := verify.NewResult(name, begin, plan.Target, *plan.Proof)
	result.How, result.Closed = plan.How, plan.Closed(*plan.Proof)
	return result
}

// warnOne says, before it does it, what connecting as a device does to its session,
// where nobody has asked ThingsBoard whether it is at work.
func (v *verification) warnOne() {
	o := v.options.devices
	if o.serverOnly || o.canary != "" || o.takeOver || v.client != nil || v.base.Login.Username.IsZero() && v.base.ClientCertificate == nil && len(v.names) == 0 {
		return
	}
	v.app.ui.Note("If the device is at work just now, ThingsBoard closes that session for a moment: a device has one.")
}

// judgeStrictly asks a server that is good how strict it is, with --strict.
func (v *verification) judgeStrictly(ctx context.Context, target verify.Target, report *verify.Report) {
	if v.options.strict && report.OK {
		report.Add(v.verifier.Posture(ctx, target, v.posture())...)
	}
}

func (v *verification) posture() verify.PostureOptions {
	return verify.PostureOptions{PlainPort: v.site.Settings.WithDefaults().MQTTPort}
}

// many verifies a fleet, and gives the exit code.
func (v *verification) many(ctx context.Context, r *round) (code int, err error) {
	devices, err := v.devices(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = devices.close() }()
	if v.options.strict {
		r.server(ctx)
	}
	r.total, r.source, r.shared = devices.total, devices.source, devices.shared
	if r.failures, err = v.ws.Scratch(workspace.UnprovedFile); err != nil {
		r.unlisted(err)
	}
	if !r.quiet {
		r.progress = v.app.ui.Progress("devices", devices.total)
	}
	fleet := &verify.Fleet{Verifier: v.verifier, Jobs: v.options.devices.jobs, Blocked: r.blocked}
	err = fleet.Run(ctx, devices.each(ctx, v), r.row)
	if r.progress != nil {
		r.progress.End()
	}
	err = errors.Join(err, r.flush(ctx))
	r.keepFailures(ctx)
	if devices.shared && err == nil {
		r.elsewhere = r.total - r.done() // the source says that none is left
	}
	if err != nil && ctx.Err() == nil {
		return 0, err
	}
	return r.exitCode(), nil
}

// keepSize is how many results are recorded together.
const keepSize = 256

// row takes one device's result in.
func (r *round) row(result verify.Result) {
	if r.progress != nil {
		r.progress.Done(result.Report.OK)
	}
	r.add(result)
	failed := ""
	if !result.Report.OK {
		failed = r.problem(result)
		r.keepFailure(result.Subject.Device, failed)
	}
	if r.worthKeeping(result) {
		r.kept = append(r.kept, verificationOf(result))
	}
	r.settled = append(r.settled, provision.Outcome{Seq: result.Subject.Seq, Failed: failed})
	if r.shared || len(r.settled) >= keepSize { // machines that share wait for each other's devices
		r.broken = errors.Join(r.broken, r.flush(r.v.command.Context()))
	}
	if r.broken == nil && !r.quiet {
		r.broken = r.tellRow(result)
	}
}

// worthKeeping reports whether a result belongs on record: no bundle that is
// whole, which proves nothing and would hide a failure; and of a watch, whose
// rounds are many, the first of a device and those that differ from the one
// before.
func (r *round) worthKeeping(result verify.Result) bool {
	if result.How == verify.HowBundle && result.Report.OK {
		return false
	}
	if r.v.options.results.watch == 0 {
		return true
	}
	name, state, failed := result.Subject.Device, result.Report.Diagnosis, !result.Report.OK
	before, failedBefore := r.v.failing[name]
	if failed {
		r.v.failing[name] = state
	} else {
		delete(r.v.failing, name)
	}
	return r.first || failed != failedBefore || failed && state != before
}

// problem is a failure in a line.
func (r *round) problem(result verify.Result) string {
	return fmt.Sprintf("%s: %s", result.Report.Failed, result.Report.Problem())
}

// flush records what was found.
func (r *round) flush(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	r.v.keep(ctx, r.kept)
	err := r.source.Settle(ctx, r.settled)
	r.kept, r.settled = r.kept[:0], r.settled[:0]
	return err
}

func (r *round) keepFailure(device, problem string) {
	if r.failures == nil {
		return
	}
	if _, err := r.failures.Write(provision.EncodeRow(provision.Device{Name: device}, problem)); err != nil {
		r.unlisted(errors.Join(err, r.failures.Discard()))
		r.failures = nil
	}
}

// unlisted tells that there will be no file of the devices that failed. What was
// found is worth telling all the same.
func (r *round) unlisted(err error) {
	r.v.app.ui.Warn("the devices that fail are not listed in %s: %v", r.v.ws.Path(workspace.UnprovedFile), err)
}

// keepFailures makes a file of the devices that failed. A run over such a file
// that is interrupted leaves it as it was: it holds those that had no turn.
func (r *round) keepFailures(ctx context.Context) {
	if r.failures == nil {
		return
	}
	finish := r.failures.Keep
	switch {
	case ctx.Err() != nil && (r.v.options.devices.from != "" || len(r.causes) == 0):
		finish = r.failures.Discard
	case len(r.causes) == 0:
		finish = r.failures.Drop
	}
	if err := finish(); err != nil {
		r.unlisted(err)
		return
	}
	if len(r.causes) > 0 && (ctx.Err() == nil || r.v.options.devices.from == "") {
		r.failedFile = r.v.ws.Path(workspace.UnprovedFile)
	}
}

// blocked tells that ThingsBoard blocks this address.
func (r *round) blocked(pause time.Duration) {
	r.v.app.ui.Warn("ThingsBoard closes every connection from here: it blocks an address for a minute after 10 wrong credentials. Going on in %s.", pause)
}

// server asks the server alone how strict it is.
func (r *round) server(ctx context.Context) {
	_, report := r.v.verifier.Inspect(ctx, r.v.base)
	r.v.saw(report)
	r.v.judgeStrictly(ctx, r.v.base, &report)
	result := verify.Result{Report: report, At: r.v.app.process.Now(), How: verify.HowServer}
	r.strict = &result
	row := r.monitored(result)
	r.rows = append(r.rows, row)
	if !row.OK { // a failure for the formats of monitoring, and of no device
		r.counts.Failed++
		r.counts.ByDiagnosis[row.Diagnosis]++
	}
}

// keep puts results on record, where there is one. That it cannot be is told and
// is no failure of what was verified.
func (v *verification) keep(ctx context.Context, found []inventory.Verification) {
	if v.store == nil || len(found) == 0 {
		return
	}
	if err := v.store.SaveVerifications(context.WithoutCancel(ctx), found); err != nil {
		v.app.ui.Warn("the results could not be recorded: %v", err)
	}
}

// verificationOf is a result as the inventory keeps it.
func verificationOf(result verify.Result) inventory.Verification {
	report := result.Report
	kept := inventory.Verification{
		Device: result.Subject.Device, At: result.At.UTC().Truncate(time.Millisecond), OK: report.OK,
		ExitCode: report.ExitCode, FailedCheck: string(report.Failed), Took: result.Took, How: result.How,
	}
	for _, check := range report.Checks {
		if check.ID == report.Failed {
			kept.Cause = check.Cause
		}
	}
	return kept
}

// saw notes when the certificate ends that the server presented: the first end,
// where several servers are behind one name.
func (v *verification) saw(report verify.Report) {
	if ends := report.ServerEnds; !ends.IsZero() && (v.presented.IsZero() || ends.Before(v.presented)) {
		v.presented = ends
	}
}

// expiresOf are the ends of the server's certificate, as it presents it, and of
// the root. What this workspace has may not be installed, or not be loaded yet: it
// stands for a server that presented none.
func (v *verification) expiresOf() (server, root time.Time) {
	server = v.presented
	if server.IsZero() && len(v.site.Server) > 0 {
		server = v.site.Server[0].NotAfter
	}
	if anchors := v.anchors(); len(anchors) > 0 {
		root = anchors[0].NotAfter
	}
	return server, root
}

// anchors are the roots that are trusted, where they are known here.
func (v *verification) anchors() []*x509.Certificate {
	if len(v.base.Roots) > 0 {
		return v.base.Roots
	}
	return v.site.Anchors()
}

// mostLinks bounds the chain that a page shows: a server may present anything.
const mostLinks = 8

// chain is what the server presents, up to the root where that is known here. It
// is asked for with no credential; what this workspace has stands for a server
// that presents nothing.
func (v *verification) chain(ctx context.Context) []*x509.Certificate {
	chain := v.site.Server
	if v.base.TLS && v.base.Host != "" {
		if shown, _ := v.verifier.Inspect(ctx, v.base); len(shown.Chain) > 0 {
			chain = shown.Chain
		}
	}
	if len(chain) == 0 {
		return nil
	}
	chain = slices.Clone(chain[:min(len(chain), mostLinks)])
	last := chain[len(chain)-1]
	for _, root := range v.anchors() {
		if !last.Equal(root) && last.CheckSignatureFrom(root) == nil {
			return append(chain, root)
		}
	}
	return chain
}
