package cmd

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
)

// provisionRow is the JSON of one device: schema tbcert.provision/v1.
type provisionRow struct {
	Schema        string `json:"schema"`
	OK            bool   `json:"ok"`
	Device        string `json:"device"`
	Action        string `json:"action"`
	Directory     string `json:"directory,omitempty"`
	Registrar     string `json:"registrar,omitempty"`
	ThingsBoardID string `json:"thingsboard_id,omitempty"`
	Note          string `json:"note,omitempty"`
	Error         string `json:"error,omitempty"`
}

// provisionSummary is the last line of provision's JSON: schema
// tbcert.provision.summary/v1.
type provisionSummary struct {
	Schema    string `json:"schema"`
	OK        bool   `json:"ok"`
	ExitCode  int    `json:"exit_code"`
	DryRun    bool   `json:"dry_run,omitempty"`
	Total     int    `json:"total"`
	Created   int    `json:"created"`
	Adopted   int    `json:"adopted"`
	Repaired  int    `json:"repaired"`
	Updated   int    `json:"updated"`
	Unchanged int    `json:"unchanged"`
	Failed    int    `json:"failed"`
	Left      int    `json:"left"`
	Import    string `json:"import_file,omitempty"`
	Error     string `json:"error,omitempty"`
}

// shownRows is how many devices the text lists one by one; failures are always
// listed.
const shownRows = 20

// provision runs the batch, tells what comes of each device, and then of all.
func (a *app) provision(command *cobra.Command, batch *provision.Batch, source provision.Source, after func() error) error {
	teller := &provisionTeller{app: a, schema: schema(command), ws: a.workspace(), dryRun: batch.DryRun}
	summary, err := batch.Run(command.Context(), source, teller.row)
	offline := batch.Registrar.Kind() == provision.RegistrarOffline
	if offline && !batch.DryRun && summary.Left < summary.Total {
		err = errors.Join(err, after())
		teller.importFile = a.workspace().Path(workspace.ImportFile)
	}
	if err != nil && summary.Left == summary.Total {
		return err
	}
	code := exitOK
	switch {
	case err != nil:
		code = a.exitCode(command.Context(), err)
	case summary.Failed > 0:
		code = exitPartly
	}
	if tellErr := teller.end(summary, code, err); tellErr != nil {
		return tellErr
	}
	if err != nil && !a.ui.JSON() {
		return &exitError{code: code, err: err}
	}
	return told(code)
}

// provisionTeller tells the results as they come.
type provisionTeller struct {
	app        *app
	schema     string
	ws         *workspace.Workspace
	dryRun     bool
	importFile string
	rows       int
	failed     error // of the output
}

func (t *provisionTeller) row(result provision.Result) {
	if t.failed != nil {
		return
	}
	row := provisionRow{
		Schema: t.schema, OK: result.Err == nil, Device: result.Device, Action: string(result.Action),
		Registrar: string(result.Registrar), ThingsBoardID: result.ThingsBoardID, Note: result.Note,
	}
	if result.Directory != "" {
		row.Directory = t.ws.Path(path.Join(workspace.DevicesDir, result.Directory))
	}
	if result.Err != nil {
		row.Error = result.Err.Error()
	}
	if t.app.ui.JSON() {
		t.failed = t.app.ui.ResultJSON(row)
		return
	}
	t.failed = t.text(row)
}

// text writes a line for a device, as long as there are few of them.
func (t *provisionTeller) text(row provisionRow) error {
	ui := t.app.ui
	if row.Error != "" {
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
func (t *provisionTeller) end(summary provision.Summary, code int, err error) error {
	if t.failed != nil {
		return t.failed
	}
	if t.app.ui.JSON() {
		told := provisionSummary{
			Schema: "tbcert.provision.summary/v1", OK: code == exitOK, ExitCode: code, DryRun: t.dryRun,
			Total: summary.Total, Created: summary.Created, Adopted: summary.Adopted, Repaired: summary.Repaired,
			Updated: summary.Updated, Unchanged: summary.Unchanged, Failed: summary.Failed, Left: summary.Left,
			Import: t.importFile,
		}
		if err != nil {
			told.Error = err.Error()
		}
		return t.app.ui.ResultJSON(told)
	}
	return t.app.ui.Result("%s", t.summaryText(summary))
}

func (t *provisionTeller) summaryText(summary provision.Summary) string {
	var text strings.Builder
	if more := t.rows - shownRows; more > 0 && !t.app.ui.Verbose() {
		fmt.Fprintf(&text, "  … and %d more\n", more)
	}
	fmt.Fprintf(&text, "%s: %s.\n", devicesWord(summary.Total), counts(summary))
	if t.dryRun {
		text.WriteString("Nothing was done (--dry-run).\n")
		return text.String()
	}
	if summary.Left > 0 {
		text.WriteString("Run the same command again to go on.\n")
	}
	if t.importFile != "" && summary.Failed == 0 && summary.Left == 0 {
		fmt.Fprintf(&text, "\nNext: import %s into ThingsBoard (Entities, Devices, +, Import device), giving the\n"+
			"column ACCESS_TOKEN the type \"Access token\"; then\n  %s\n", t.importFile, t.app.again("verify NAME"))
	} else if summary.Failed == 0 && summary.Left == 0 {
		fmt.Fprintf(&text, "\nNext: copy each directory to its device; to prove that it gets in,\n  %s\n", t.app.again("verify NAME"))
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
		{summary.Updated, "updated"}, {summary.Unchanged, "unchanged"}, {summary.Failed, "failed"}, {summary.Left, "left"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return strings.Join(parts, ", ")
}
