package cmd

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/templates"
)

// runbookDir is where package templates has the runbooks.
const runbookDir = "runbook"

type runbookOptions struct {
	host      []string
	mqttsPort int
	url, user string
	confDir   string
	service   string
	timerDir  string
	compose   string
}

func (o *runbookOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.host, "host", []string{"tb.example.com"}, "name of the server that devices use (default: the site's)")
	flags.IntVar(&o.mqttsPort, "mqtts-port", settings.DefaultMQTTSPort, "port of MQTT over TLS (default: the site's)")
	flags.StringVar(&o.url, "url", "", "ThingsBoard's web address (default: the site's, else https:// and the host)")
	flags.StringVar(&o.user, "user", "tenant@example.com", "ThingsBoard user, a tenant administrator (default: the site's)")
	flags.StringVar(&o.confDir, "conf-dir", "/etc/thingsboard/conf", "where ThingsBoard's settings are on its machine")
	flags.StringVar(&o.timerDir, "timer-dir", defaultTimerDir, "where systemd's units are")
	flags.StringVar(&o.compose, "compose-dir", "/opt/thingsboard", "where ThingsBoard's docker-compose.yml is")
	flags.StringVar(&o.service, "service", "thingsboard", "ThingsBoard's systemd service")
}

// runbook is what the templates of runbooks can name.
type runbook struct {
	Host        string
	MQTTSPort   int
	URL, User   string
	ConfDir     string
	ComposeDir  string
	Service     string
	TimerDir    string // of systemd's units; empty for the usual one
	Workspace   string // the absolute path
	Device      string // one of the site's, for the examples
	Bundle      string // its directory in devices/
	Devices     int
	Known       bool // there is such a site; the rest is empty otherwise
	Fingerprint string
	Root        string // when it ends
	Server      string // when it ends
	Made        string // today
}

// PortFlag is what a command line needs for a port that is not the usual one.
func (r runbook) PortFlag() string {
	if r.MQTTSPort == settings.DefaultMQTTSPort {
		return ""
	}
	return fmt.Sprintf(" --mqtts-port %d", r.MQTTSPort)
}

// runbookResult is the JSON of runbook: schema tbcert.runbook/v1.
type runbookResult struct {
	Schema   string   `json:"schema"`
	OK       bool     `json:"ok"`
	Name     string   `json:"name,omitempty"`
	Title    string   `json:"title,omitempty"`
	Text     string   `json:"text,omitempty"` // Markdown
	Runbooks []string `json:"runbooks,omitempty"`
}

func newRunbook(a *app) *cobra.Command {
	options := &runbookOptions{}
	names := templates.Names(runbookDir)
	command := &cobra.Command{
		Use:   "runbook [NAME]",
		Short: "Write a runbook with this site's own names, fingerprints and dates",
		Long: `Write a runbook, in Markdown, with this site's own names, fingerprints and dates: what to do, line by line,
when something is to be set up or has gone wrong. Without a name it lists them:

  ` + strings.Join(names, "\n  ") + `

They hold no secret, so they can be printed and kept where the operators look at night.`,
		Example:   "  tbcert runbook\n  tbcert runbook lost-device\n  tbcert runbook restore > restore.md",
		Args:      takes(cobra.MaximumNArgs(1), "name one runbook, or none to list them"),
		ValidArgs: names,
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, args []string) error { return runRunbook(command, a, options, args) })
	return command
}

func runRunbook(command *cobra.Command, a *app, options *runbookOptions, args []string) error {
	names := templates.Names(runbookDir)
	if len(args) == 0 {
		return a.tellRunbooks(command, names)
	}
	if !slices.Contains(names, args[0]) {
		return invalid(fmt.Errorf("there is no runbook %q; there are %s", args[0], strings.Join(names, ", ")))
	}
	data, err := options.data(command, a)
	if err != nil {
		return err
	}
	text, err := templates.Render(runbookDir+"/"+args[0]+".md", data)
	if err != nil {
		return err
	}
	if a.ui.JSON() {
		return a.ui.ResultJSON(runbookResult{Schema: schema(command), OK: true, Name: args[0], Title: titleOf(text), Text: string(text)})
	}
	return a.ui.Result("%s", text)
}

// data is what the flags and the site say.
func (o *runbookOptions) data(command *cobra.Command, a *app) (runbook, error) {
	ws := a.workspace()
	s, err := site.Load(ws)
	known := err == nil
	if errors.Is(err, site.ErrNoSite) {
		s, err = &site.Site{}, nil
	}
	if err != nil {
		return runbook{}, invalid(err)
	}
	if err := a.resolve(command, s.Settings.Values()); err != nil {
		return runbook{}, err
	}
	data := runbook{
		Host: o.host[0], MQTTSPort: o.mqttsPort, URL: o.url, User: o.user, ConfDir: o.confDir, ComposeDir: o.compose, Service: o.service,
		Known: known, Device: "meter-1", Bundle: "meter-1", Made: a.process.Now().Format(time.DateOnly),
	}
	if data.URL == "" {
		data.URL = "https://" + data.Host
	}
	if data.Workspace, err = filepath.Abs(ws.Dir()); err != nil {
		return runbook{}, fmt.Errorf("the workspace: %w", err)
	}
	if o.timerDir != defaultTimerDir {
		data.TimerDir = o.timerDir
	}
	return data, data.describe(ws, s)
}

// describe puts in what the site has.
func (r *runbook) describe(ws *workspace.Workspace, s *site.Site) error {
	if anchors := s.Anchors(); len(anchors) > 0 {
		r.Fingerprint, r.Root = certs.Fingerprint(anchors[0]), anchors[0].NotAfter.Format(time.DateOnly)
	}
	if len(s.Server) > 0 {
		r.Server = s.Server[0].NotAfter.Format(time.DateOnly)
	}
	directories, err := ws.List(workspace.DevicesDir)
	if err != nil {
		return err
	}
	if r.Devices = len(directories); r.Devices > 0 {
		r.Bundle, r.Device = directories[0], deviceName(directories[0])
	}
	return nil
}

// titleOf is a runbook's first line, without its mark.
func titleOf(text []byte) string {
	title, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(title, "# ")
}

// tellRunbooks lists the runbooks with their titles.
func (a *app) tellRunbooks(command *cobra.Command, names []string) error {
	if a.ui.JSON() {
		return a.ui.ResultJSON(runbookResult{Schema: schema(command), OK: true, Runbooks: names})
	}
	var list strings.Builder
	for _, name := range names {
		text, err := templates.Render(runbookDir+"/"+name+".md", runbook{})
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%-16s %s\n", name, titleOf(text))
	}
	return a.ui.Result("%s", list.String())
}

// Facts is a line about the site; empty where there is none.
func (r runbook) Facts() string {
	if !r.Known {
		return ""
	}
	return fmt.Sprintf("For %s, in %s, on %s: root `%s` until %s, server certificate until %s, %s.",
		r.Host, r.Workspace, r.Made, r.Fingerprint, r.Root, r.Server, devicesWord(r.Devices))
}
