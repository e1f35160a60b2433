package cmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// statusResult is the JSON of status: schema tbcert.status/v1.
type statusResult struct {
	Schema       string          `json:"schema"`
	OK           bool            `json:"ok"`
	ExitCode     int             `json:"exit_code"`
	Workspace    string          `json:"workspace"`
	Host         string          `json:"host"`
	Fingerprint  string          `json:"root_fingerprint"`
	Certificates []certificateIn `json:"certificates"`
	Constraints  *constraintsOn  `json:"name_constraints,omitempty"`
	Devices      int             `json:"devices"`
	Proofs       []proof         `json:"proofs,omitempty"`   // the last verification of each device that had one
	Rollover     *site.Rollover  `json:"rollover,omitempty"` // of the root, while it is under way
	Attention    []site.Finding  `json:"attention"`
}

// shownFindings is how many findings the text shows; JSON has them all.
const shownFindings = 20

func newStatus(a *app) *cobra.Command {
	var url string
	command := &cobra.Command{
		Use:   "status",
		Short: "Tell what this site has, what expires when, and what needs attention",
		Long: `Tell what this site has, what expires when, how each device did when it was last verified, and what
needs attention.

It reads the workspace, and with --inventory or that setting the inventory in PostgreSQL, and changes
nothing. Exit code 5 says that something needs attention,
0 that nothing does, so it can be run by cron or a monitoring system.`,
		Example: "  tbcert status\n  tbcert status -o json",
		Args:    cobra.NoArgs,
	}
	command.Flags().StringVar(&url, "inventory", "", inventoryUsage)
	command.RunE = a.run(func(command *cobra.Command, _ []string) error { return runStatus(command, a, &url) })
	return command
}

func runStatus(command *cobra.Command, a *app, url *string) error {
	ws := a.workspace().AnyMode()
	s, err := a.loadSite(ws)
	if err != nil {
		return err
	}
	typed := command.Flags().Changed("inventory") // and not from the environment
	if err := a.resolve(command, s.Settings.Values()); err != nil {
		return err
	}
	if err := settings.CheckInventory(*url, typed); err != nil {
		return invalid(fmt.Errorf("--inventory: %w", err))
	}
	result := statusResult{
		Schema: schema(command), Workspace: ws.Dir(), Host: s.Host(), Certificates: a.certificatesOf(s), Constraints: constraintsOf(s),
		Attention: site.Examine(ws, s, a.process.Now()),
	}
	if anchors := s.Anchors(); len(anchors) > 0 {
		result.Fingerprint = certs.Fingerprint(anchors[0])
	}
	devices, findings, err := site.Bundles(ws, s, a.process.Now())
	if err != nil {
		return err
	}
	result.Devices = devices
	result.Attention = append(result.Attention, findings...)
	recorded, err := a.recorded(command.Context(), ws, *url, &result)
	if err != nil {
		return err
	}
	result.Attention = append(result.Attention, recorded...)
	if result.Rollover, err = site.RolloverOf(ws, s); err != nil {
		return err
	}
	if result.Rollover != nil {
		result.Attention = append(result.Attention, site.Finding{File: workspace.RootFile, Problem: "a change of the root CA is under way", Fix: nextStep(a, result.Rollover)})
	}
	result.OK = len(result.Attention) == 0
	if !result.OK {
		result.ExitCode = exitAttention
	}
	if err := a.tellStatus(result); err != nil {
		return err
	}
	return told(result.ExitCode)
}

// loadSite reads the site of a workspace, for commands that need one.
func (a *app) loadSite(ws *workspace.Workspace) (*site.Site, error) {
	s, err := site.Load(ws)
	if errors.Is(err, site.ErrNoSite) {
		return nil, invalid(fmt.Errorf("%w; run `tbcert init --host NAME` there, or name the workspace with -C DIR", err))
	}
	return s, invalid(err)
}

func (a *app) tellStatus(result statusResult) error {
	if a.ui.JSON() {
		if result.Attention == nil {
			result.Attention = []site.Finding{}
		}
		return a.ui.ResultJSON(result)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Site %s in %s\n\n", a.ui.Strong(result.Host), result.Workspace)
	text.WriteString(a.certificateTable(result.Certificates))
	fmt.Fprintf(&text, "\nRoot fingerprint: %s\n%sDevices: %d\n", result.Fingerprint, result.Constraints.text(), result.Devices)
	a.proofText(&text, result)
	if result.Rollover != nil {
		text.WriteString(rolloverText(result.Rollover))
	}
	text.WriteString("\n")
	if result.OK {
		text.WriteString(a.ui.Good("Nothing needs attention.") + "\n")
		return a.ui.Result("%s", text.String())
	}
	fmt.Fprintf(&text, "%s\n", a.ui.Doubtful(fmt.Sprintf("Needs attention (%d):", len(result.Attention))))
	for i, finding := range result.Attention {
		if i == shownFindings {
			fmt.Fprintf(&text, "  … and %d more; tbcert status -o json lists them all\n", len(result.Attention)-i)
			break
		}
		fmt.Fprintf(&text, "  %s: %s\n      fix: %s\n", finding.File, finding.Problem, finding.Fix)
	}
	return a.ui.Result("%s", text.String())
}
