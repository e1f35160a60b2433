package cmd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/ui"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

// fleetRow is the JSON of one device: schema tbcert.provision/v1,
// tbcert.rotate/v1 or tbcert.revoke/v1.
type fleetRow struct {
	Schema        string `json:"schema"`
	OK            bool   `json:"ok"`
	Device        string `json:"device"`
	Action        string `json:"action"`
	Credential    string `json:"credential,omitempty"`
	Directory     string `json:"directory,omitempty"`
	Registrar     string `json:"registrar,omitempty"`
	ThingsBoardID string `json:"thingsboard_id,omitempty"`
	Out           bool   `json:"out,omitempty"` // it cannot connect until its bundle reaches it
	Note          string `json:"note,omitempty"`
	Error         string `json:"error,omitempty"`
}

// fleetSummary is the last line of the JSON: schema tbcert.provision.summary/v1,
// and so on.
type fleetSummary struct {
	Schema     string `json:"schema"`
	OK         bool   `json:"ok"`
	ExitCode   int    `json:"exit_code"`
	DryRun     bool   `json:"dry_run,omitempty"`
	Total      int    `json:"total"`
	Created    int    `json:"created"`
	Adopted    int    `json:"adopted"`
	Repaired   int    `json:"repaired"`
	Updated    int    `json:"updated"`
	Unchanged  int    `json:"unchanged"`
	Rotated    int    `json:"rotated"`
	Revoked    int    `json:"revoked"`
	Failed     int    `json:"failed"`
	Left       int    `json:"left"`
	Elsewhere  int    `json:"elsewhere,omitempty"` // done by other machines
	Calls      int64  `json:"calls,omitempty"`     // of the REST API
	Retries    int64  `json:"retries,omitempty"`   // of them
	Import     string `json:"import_file,omitempty"`
	FailedRows string `json:"failed_file,omitempty"`
	CRL        string `json:"crl,omitempty"`
	Error      string `json:"error,omitempty"`
}

// shownRows is how many devices the text lists one by one.
const shownRows = 20

// A fleetTeller tells what comes of each device, and then of all.
type fleetTeller struct {
	fleet    *fleet
	command  *cobra.Command
	progress *ui.Progress
	failures *workspace.Scratch // the failed rows; nil: they are not kept
	dryRun   bool
	next     func() string // what to do next, when all went well

	job                         inventory.Job // on record once something was done; ID "" is not yet
	total                       int
	importFile, failedFile, crl string
	rows, failed                int
	broken                      error // of the output
	fromFailed                  bool  // the input is the file of the rows that failed before
}

// provision runs the batch.
func (f *fleet) provision(command *cobra.Command, batch *provision.Batch, devices *deviceSource) error {
	t := &fleetTeller{fleet: f, command: command, dryRun: batch.DryRun, total: devices.Total(), fromFailed: devices.fromFailed}
	if !batch.DryRun {
		scratch, err := f.ws.Scratch(workspace.FailedFile)
		if err != nil {
			return err
		}
		t.failures = scratch
	}
	offline := batch.Registrar.Kind() == provision.RegistrarOffline
	t.next = func() string {
		if offline {
			return fmt.Sprintf("import %s\n"+
				"into ThingsBoard (Entities, Devices, +, Import device), giving the columns behind LABEL their types\n"+
				"(ACCESS_TOKEN is \"Access token\"); then\n  %s", t.importFile, f.app.again("verify NAME"))
		}
		return "copy each directory to its device; to prove that it gets in,\n  " + f.app.again("verify NAME")
	}
	t.progress = f.app.ui.Progress("devices", devices.Total())
	summary, err := batch.Run(command.Context(), devices, t.row)
	t.progress.End()
	devices.others(command.Context(), &summary, err)
	if offline && !batch.DryRun && summary.Left < summary.Total {
		err = errors.Join(err, f.writeImport(context.WithoutCancel(command.Context())))
		t.importFile = f.ws.Path(workspace.ImportFile)
	}
	return t.finish(summary, err)
}

// others counts the devices that other machines have done: a run that came to its
// end left none.
func (d *deviceSource) others(ctx context.Context, summary *provision.Summary, err error) {
	if d.shared && err == nil && ctx.Err() == nil {
		summary.Elsewhere, summary.Left = summary.Left, 0 // the source says that none is left
	}
}

// finish tells the whole, and gives the command's outcome.
func (t *fleetTeller) finish(summary provision.Summary, err error) error {
	err = errors.Join(err, t.keepFailures(summary, err), t.endJob(summary, err))
	if err != nil && summary.Left == summary.Total && summary.Total > 0 {
		return unfitInventory(err)
	}
	a := t.fleet.app
	code := exitOK
	switch {
	case err != nil:
		code = a.exitCode(t.command.Context(), err)
	case summary.Failed > 0:
		code = exitPartly
	}
	if tellErr := t.end(summary, code, err); tellErr != nil {
		return tellErr
	}
	if err != nil && !a.ui.JSON() {
		return &exitError{code: code, err: err}
	}
	return told(code)
}

// keepFailures makes a file of the rows that failed, or removes that of an
// earlier run once all devices are done. One that was this run's input stays as
// long as there are rows in it that were not tried.
func (t *fleetTeller) keepFailures(summary provision.Summary, err error) error {
	switch {
	case t.failures == nil:
		return nil
	case summary.Failed == 0 && summary.Left == 0 && err == nil:
		return t.failures.Drop()
	case summary.Failed == 0:
		return t.failures.Discard()
	case summary.Left > 0 && t.fromFailed:
		t.failedFile = t.fleet.ws.Path(workspace.FailedFile)
		t.fleet.app.ui.Warn("%s was left as it was: not all of its devices were tried.", t.failedFile)
		return t.failures.Discard()
	default:
		t.failedFile = t.fleet.ws.Path(workspace.FailedFile)
		return t.failures.Keep()
	}
}

func (t *fleetTeller) row(result provision.Result) {
	if t.progress != nil {
		t.progress.Done(result.Err == nil)
	}
	if !slices.Contains([]provision.Action{provision.ActionUnchanged, provision.ActionRepaired, provision.ActionFailed}, result.Action) {
		t.broken = errors.Join(t.broken, t.begin(result))
	}
	if t.broken != nil {
		return
	}
	row := fleetRow{
		Schema: schema(t.command), OK: result.Err == nil, Device: result.Device, Action: string(result.Action),
		Credential: string(result.Credential), Registrar: string(result.Registrar), ThingsBoardID: result.ThingsBoardID,
		Out: result.Out && result.Err == nil, Note: result.Note,
	}
	if result.Directory != "" {
		row.Directory = t.fleet.ws.Path(path.Join(workspace.DevicesDir, result.Directory))
	}
	if result.Err != nil {
		row.Error = result.Err.Error()
		t.broken = t.keep(result, row.Error)
	}
	if t.fleet.app.ui.JSON() {
		t.broken = errors.Join(t.broken, t.fleet.app.ui.ResultJSON(row))
		return
	}
	t.broken = errors.Join(t.broken, t.text(row))
}

// begin puts the run on record when it has changed a device. Machines that share
// the work have a job in common already.
func (t *fleetTeller) begin(result provision.Result) (err error) {
	f := t.fleet
	if t.job.ID != "" || t.dryRun || f.store == nil || f.shared() {
		return nil
	}
	t.job = inventory.Job{Kind: strings.TrimPrefix(t.command.CommandPath(), "tbcert "), Registrar: result.Registrar, Host: settings.MachineHosts()[0], Total: t.total}
	t.job.ID, err = f.store.BeginJob(context.WithoutCancel(t.command.Context()), t.job)
	return err
}

// endJob notes how the run ended.
func (t *fleetTeller) endJob(summary provision.Summary, err error) error {
	if t.job.ID == "" {
		return nil
	}
	t.job.Done, t.job.Failed = summary.Total-summary.Left-summary.Failed, summary.Failed
	switch {
	case err != nil && t.command.Context().Err() != nil:
		t.job.State = inventory.JobInterrupted
	case err != nil || summary.Failed > 0:
		t.job.State = inventory.JobFailed
	default:
		t.job.State = inventory.JobDone
	}
	return t.fleet.store.EndJob(context.WithoutCancel(t.command.Context()), t.job)
}

// keep adds a failed row to the file that can be fed back.
func (t *fleetTeller) keep(result provision.Result, failed string) error {
	if t.failures == nil {
		return nil
	}
	_, err := t.failures.Write(provision.EncodeRow(result.Wanted, failed))
	return err
}

// text writes a line for a device, as long as there are few of them. All that
// failed stand in a file.
func (t *fleetTeller) text(row fleetRow) error {
	ui := t.fleet.app.ui
	if row.Error != "" {
		if t.failed++; t.failed > shownRows && t.failures != nil && !ui.Verbose() {
			return nil
		}
		return ui.Result("  %s  %s", ui.Bad("failed    "), row.Error)
	}
	if t.rows++; t.rows > shownRows && !ui.Verbose() {
		return nil
	}
	line := fmt.Sprintf("  %s  %s", ui.Good(fmt.Sprintf("%-10s", row.Action)), row.Directory)
	if row.Note != "" {
		line += "  (" + row.Note + ")"
	}
	return ui.Result("%s", line)
}

// end tells the whole.
func (t *fleetTeller) end(summary provision.Summary, code int, err error) error {
	if t.broken != nil {
		return t.broken
	}
	if !t.fleet.app.ui.JSON() {
		return t.fleet.app.ui.Result("%s", t.summaryText(summary))
	}
	calls, retries := t.fleet.calls()
	told := fleetSummary{
		Schema: strings.TrimSuffix(schema(t.command), "/v1") + ".summary/v1", OK: code == exitOK, ExitCode: code, DryRun: t.dryRun,
		Total: summary.Total, Created: summary.Created, Adopted: summary.Adopted, Repaired: summary.Repaired,
		Updated: summary.Updated, Unchanged: summary.Unchanged, Rotated: summary.Rotated, Revoked: summary.Revoked,
		Failed: summary.Failed, Left: summary.Left, Elsewhere: summary.Elsewhere, Calls: calls, Retries: retries,
		Import: t.importFile, FailedRows: t.failedFile, CRL: t.crl,
	}
	if err != nil {
		told.Error = err.Error()
	}
	return t.fleet.app.ui.ResultJSON(told)
}

// unshown says how many devices were not told one by one.
func (t *fleetTeller) unshown() (text string) {
	if t.fleet.app.ui.Verbose() {
		return ""
	}
	if more := t.rows - shownRows; more > 0 {
		text = fmt.Sprintf("  … and %d more\n", more)
	}
	if more := t.failed - shownRows; more > 0 && t.failures != nil {
		text += fmt.Sprintf("  … and %d more that failed\n", more)
	}
	return text
}

func (t *fleetTeller) summaryText(summary provision.Summary) string {
	var text strings.Builder
	text.WriteString(t.unshown())
	fmt.Fprintf(&text, "%s: %s.\n", devicesWord(summary.Total), counts(summary))
	if _, retries := t.fleet.calls(); retries > 0 {
		fmt.Fprintf(&text, "Calls of ThingsBoard's REST API that had to be made again: %d.\n", retries)
	}
	switch {
	case t.dryRun:
		text.WriteString("Nothing was done (--dry-run).\n")
		return text.String()
	case t.failedFile != "":
		fmt.Fprintf(&text, "The devices that failed stand in %s: mend what is wrong with them, and\n  %s\n", t.failedFile, t.fleet.app.again("provision --from "+t.failedFile))
	}
	if summary.Left > 0 {
		text.WriteString("Run the same command again to go on.\n")
	}
	if summary.Failed == 0 && summary.Left == 0 && t.next != nil {
		if next := t.next(); next != "" {
			fmt.Fprintf(&text, "\nNext: %s\n", next)
		}
	}
	return text.String()
}

func devicesWord(n int) string {
	if n == 1 {
		return "1 device"
	}
	return fmt.Sprintf("%d devices", n)
}

// counts lists what happened, without what did not.
func counts(summary provision.Summary) string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{summary.Created, "created"}, {summary.Adopted, "adopted"}, {summary.Repaired, "repaired"},
		{summary.Updated, "updated"}, {summary.Rotated, "rotated"}, {summary.Revoked, "revoked"}, {summary.Unchanged, "unchanged"}, {summary.Failed, "failed"}, {summary.Left, "left"}, {summary.Elsewhere, "done elsewhere"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, ", ")
}
