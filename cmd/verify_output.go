package cmd

import (
	"fmt"
	"strings"

	"github.com/tbcert/tbcert/verify"
)

// verifyResult is the JSON of one target: schema tbcert.verify/v1.
type verifyResult struct {
	Schema string `json:"schema"`
	Device string `json:"device,omitempty"`
	How    string `json:"how,omitempty"`            // connected, record, bundle or server
	Closed bool   `json:"closed_session,omitempty"` // of the device, which was at work
	verify.Report
}

func (a *app) tellReport(result verifyResult) error {
	if a.ui.JSON() {
		return a.ui.ResultJSON(result)
	}
	text := a.reportText(result.Device, result.Report)
	if result.Closed {
		text += "The device was at work, and its session was closed.\n"
	}
	return a.ui.Result("%s", text)
}

// reportText is a report for people: a line a check, and below a failure its
// cause and what to do.
func (a *app) reportText(device string, report verify.Report) string {
	var text strings.Builder
	protocol := "MQTTS"
	if !report.Target.TLS {
		protocol = "MQTT, not encrypted"
	}
	title := fmt.Sprintf("%s port %d (%s)", report.Target.Host, report.Target.Port, protocol)
	if device != "" {
		title = device + " at " + title
	}
	fmt.Fprintf(&text, "%s\n\n", a.ui.Strong(title))
	for _, check := range report.Checks {
		a.checkText(&text, check)
	}
	switch {
	case report.OK:
		fmt.Fprintf(&text, "\n%s\n", a.ui.Good(goodText(report)))
	case report.ExitCode == exitInterrupted:
		text.WriteString("\nInterrupted.\n")
	default:
		fmt.Fprintf(&text, "\n%s\n", a.ui.Bad(fmt.Sprintf("Failed at %s (exit code %d).", report.Failed, report.ExitCode)))
	}
	return text.String()
}

// goodText says what a good report proves.
func goodText(report verify.Report) string {
	for _, check := range report.Checks {
		if check.ID == verify.CheckPublish {
			return "The message was accepted: this device gets in."
		}
		if check.ID == verify.CheckRecord || check.ID == verify.CheckBundle {
			return "Nobody connected as this device (--take-over does)."
		}
	}
	return "This is the server that devices trust; nobody logged in."
}

func (a *app) checkText(text *strings.Builder, check verify.Check) {
	const before = 30 // columns before the texts
	took := ""
	if check.Status != verify.StatusSkip {
		took = fmt.Sprintf("%.1f ms", check.Milliseconds)
	}
	fmt.Fprintf(text, "  %s %-11s %s  %s\n", a.mark(check.Status), check.ID, a.ui.Faint(fmt.Sprintf("%9s", took)), a.ui.Wrap(check.Detail, before))
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
