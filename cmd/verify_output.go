package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision/inventory"
	"github.com/tbcert/tbcert/verify"
)

// verifyResult is the JSON of one target: schema tbcert.verify/v1.
type verifyResult struct {
	Schema string `json:"schema"`
	Device string `json:"device,omitempty"`
	verify.Report
}

// verifySummary is the last line for several targets: schema
// tbcert.verify.summary/v1.
type verifySummary struct {
	Schema   string `json:"schema"`
	OK       bool   `json:"ok"`
	ExitCode int    `json:"exit_code"`
	Total    int    `json:"total"`
	Passed   int    `json:"passed"`
	Failed   int    `json:"failed"`
}

// verify runs the targets one after the other and tells each.
func (a *app) verify(command *cobra.Command, verifier *verify.Verifier, targets []namedTarget) error {
	summary := verifySummary{Schema: "tbcert.verify.summary/v1"}
	code := exitOK
	var found []inventory.Verification
	defer func() { a.keepVerifications(command.Context(), found) }()
	for _, target := range targets {
		begin := a.process.Now()
		report := verifier.Run(command.Context(), target.Target)
		if target.device != "" && report.ExitCode != exitInterrupted {
			found = append(found, verification(target.device, begin, a.process.Now(), report))
		}
		if err := a.tellReport(schema(command), target, report); err != nil {
			return err
		}
		summary.Total++
		if report.OK {
			summary.Passed++
		} else {
			summary.Failed++
			code = report.ExitCode
		}
		if report.ExitCode == exitInterrupted {
			break
		}
	}
	if len(targets) == 1 {
		return told(code)
	}
	if code != exitOK && code != exitInterrupted {
		code = exitPartly
	}
	summary.OK, summary.ExitCode = code == exitOK, code
	if err := a.tellSummary(summary); err != nil {
		return err
	}
	return told(code)
}

// verification is a report as the inventory keeps it.
func verification(device string, begin, end time.Time, report verify.Report) inventory.Verification {
	v := inventory.Verification{
		Device: device, At: begin.UTC().Truncate(time.Millisecond), OK: report.OK, ExitCode: report.ExitCode,
		FailedCheck: string(report.Failed), Took: end.Sub(begin), How: "bundle",
	}
	for _, check := range report.Checks {
		if check.ID == report.Failed {
			v.Cause = check.Cause
		}
	}
	return v
}

// keepVerifications puts what was found on record, where there is one. That it
// cannot be is told and is no failure of what was verified.
func (a *app) keepVerifications(ctx context.Context, found []inventory.Verification) {
	ws := a.workspace()
	if there, err := ws.Exists(workspace.InventoryFile); len(found) == 0 || err != nil || !there {
		return
	}
	ctx = context.WithoutCancel(ctx)
	store, err := inventory.Open(ctx, ws.Path(workspace.InventoryFile), inventory.Options{Now: a.process.Now})
	if err == nil {
		err = errors.Join(store.SaveVerifications(ctx, found), store.Close())
	}
	if err != nil {
		a.ui.Warn("the result could not be recorded: %v", err)
	}
}

func (a *app) tellSummary(summary verifySummary) error {
	if a.ui.JSON() {
		return a.ui.ResultJSON(summary)
	}
	return a.ui.Result("%s: %d passed, %d failed.", devicesWord(summary.Total), summary.Passed, summary.Failed)
}

func (a *app) tellReport(schema string, target namedTarget, report verify.Report) error {
	if a.ui.JSON() {
		return a.ui.ResultJSON(verifyResult{Schema: schema, Device: target.device, Report: report})
	}
	return a.ui.Result("%s", a.reportText(target, report))
}

// reportText is a report for people: a line a check, and below a failure its
// cause and what to do.
func (a *app) reportText(target namedTarget, report verify.Report) string {
	var text strings.Builder
	protocol := "MQTTS"
	if !report.Target.TLS {
		protocol = "MQTT, not encrypted"
	}
	title := fmt.Sprintf("%s port %d (%s)", report.Target.Host, report.Target.Port, protocol)
	if target.device != "" {
		title = target.device + " at " + title
	}
	fmt.Fprintf(&text, "%s\n\n", a.ui.Strong(title))
	for _, check := range report.Checks {
		a.checkText(&text, check)
	}
	switch {
	case report.OK:
		fmt.Fprintf(&text, "\n%s\n", a.ui.Good("The message was accepted: this device gets in."))
	case report.ExitCode == exitInterrupted:
		text.WriteString("\nInterrupted.\n")
	default:
		fmt.Fprintf(&text, "\n%s\n", a.ui.Bad(fmt.Sprintf("Failed at %s (exit code %d).", report.Failed, report.ExitCode)))
	}
	return text.String()
}

func (a *app) checkText(text *strings.Builder, check verify.Check) {
	const before = 29 // columns before the texts
	took := ""
	if check.Status != verify.StatusSkip {
		took = fmt.Sprintf("%.1f ms", check.Milliseconds)
	}
	fmt.Fprintf(text, "  %s %-10s %s  %s\n", a.mark(check.Status), check.ID, a.ui.Faint(fmt.Sprintf("%9s", took)), a.ui.Wrap(check.Detail, before))
	for _, more := range []struct{ name, text string }{{"cause", check.Cause}, {"fix", check.Fix}} {
		if more.text != "" {
			fmt.Fprintf(text, "%*s  %s\n", before-2, more.name+":", a.ui.Wrap(more.text, before))
		}
	}
}

func (a *app) mark(status verify.Status) string {
	switch status {
	case verify.StatusPass:
		return a.ui.Good("pass")
	case verify.StatusWarn:
		return a.ui.Doubtful("warn")
	case verify.StatusFail:
		return a.ui.Bad("FAIL")
	default:
		return a.ui.Faint("skip")
	}
}
