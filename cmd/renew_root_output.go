package cmd

import (
	"fmt"
	"strings"

	"github.com/tbcert/tbcert/cmd/internal/site"
)

// rolloverResult is the JSON of a step: schema tbcert.renew.root/v1.
type rolloverResult struct {
	Schema   string         `json:"schema"`
	OK       bool           `json:"ok"`
	ExitCode int            `json:"exit_code"`
	Step     string         `json:"step"`
	Changed  []string       `json:"changed,omitempty"`
	Bundles  int            `json:"bundles_written"`
	Rollover *site.Rollover `json:"rollover"` // none once it is finished
	Next     string         `json:"next,omitempty"`
}

// tell gives the result, and the next step.
func (r *rolling) tell() (err error) {
	if r.result.Rollover, err = site.RolloverOf(r.ws, r.site); err != nil {
		return err
	}
	r.result.Next = nextStep(r.app, r.result.Rollover)
	if r.hook {
		r.result.Next = "`" + r.app.again("renew") + "` runs the hook and sees that the new certificate is served; after that: " + r.result.Next
	}
	if r.app.ui.JSON() {
		return r.app.ui.ResultJSON(r.result)
	}
	var text strings.Builder
	for _, name := range r.result.Changed {
		fmt.Fprintf(&text, "  %s\n", r.ws.Path(name))
	}
	if r.result.Bundles > 0 {
		fmt.Fprintf(&text, "  %s written again\n", countOf(r.result.Bundles, "bundle", "bundles"))
	}
	if r.result.Rollover == nil {
		fmt.Fprintf(&text, "%s\n", r.app.ui.Good("The rollover is finished: devices trust one root."))
		fmt.Fprintf(&text, "\nThe old CA's keys are in %s: destroy them once you are sure.\n", r.ws.Path("ca/previous"))
		return r.app.ui.Result("%s", text.String())
	}
	text.WriteString(rolloverText(r.result.Rollover))
	fmt.Fprintf(&text, "\n%s\n", r.app.ui.Wrap("Next: "+r.result.Next, 0))
	return r.app.ui.Result("%s", text.String())
}

// nextStep is what to do next in a rollover.
func nextStep(a *app, rollover *site.Rollover) string {
	switch {
	case rollover == nil:
		return ""
	case devicesThat(rollover, lacksRoot) != "" && rollover.Stage == site.StageStarted:
		return "`" + a.again("renew root start") + "` again: it was interrupted before all bundles had both roots"
	case rollover.Stage == site.StageStarted && rollover.Delivered < rollover.Devices:
		return "bring each device its bundle and say so with `" + a.again("renew root delivered NAME…") + "`; then `" + a.again("renew root move") + "`"
	case rollover.Stage == site.StageStarted:
		return a.again("renew root move")
	case rollover.OldCerts > 0:
		return "give the server its new certificate (server/mqttserver.pem, as server/thingsboard.conf says), and devices theirs with `" + a.again("rotate --credential x509 NAME…") + "`; then `" + a.again("renew root finish") + "`"
	default:
		return "give the server its new certificate (server/mqttserver.pem, as server/thingsboard.conf says), and prove it with `" + a.again("verify --server-only") + "`; then `" + a.again("renew root finish") + "`"
	}
}

func lacksRoot(state site.RolloverState) bool { return !state.Bundle }

// rolloverText tells how far a rollover is.
func rolloverText(rollover *site.Rollover) string {
	text := fmt.Sprintf("Rollover to the root %s: ", rollover.NewRoot)
	bundles := 0
	for _, state := range rollover.States {
		if state.Bundle {
			bundles++
		}
	}
	if rollover.Stage == site.StageStarted {
		text += "step 1 of 3, started\n"
	} else {
		text += "step 2 of 3, the server has moved\n"
	}
	text += fmt.Sprintf("  of %d devices, %d have both roots in their bundles here, and %d are known to have them\n", rollover.Devices, bundles, rollover.Delivered)
	if lacking := devicesThat(rollover, isUndelivered); lacking != "" {
		text += fmt.Sprintf("  not known to have them: %s\n", lacking)
	}
	if rollover.OldCerts > 0 {
		text += fmt.Sprintf("  %s of the old CA\n", countOf(rollover.OldCerts, "device has a certificate", "devices have certificates"))
	}
	return text
}

// named is how many devices a text names.
const named = 5

// devicesThat names some of the devices, and says how many more there are; "" is
// none.
func devicesThat(rollover *site.Rollover, are func(site.RolloverState) bool) string {
	var names []string
	more := 0
	for _, state := range rollover.States {
		switch {
		case !are(state):
		case len(names) < named:
			names = append(names, deviceName(state.Directory))
		default:
			more++
		}
	}
	text := strings.Join(names, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
