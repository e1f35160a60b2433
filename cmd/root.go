package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/ui"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// app is what the commands of one run share.
type app struct {
	process Process
	env     settings.Lookup
	ui      *ui.UI
	global  globalOptions
	tokens  tokens
	started bool // a command's own work has begun: the command line was right
}

// globalOptions are the flags that every command takes.
type globalOptions struct {
	dir     string
	output  string
	quiet   bool
	verbose bool
	yes     bool
}

func (a *app) streams() ui.Streams {
	return ui.Streams{In: a.process.In, Out: a.process.Out, Err: a.process.Err, Columns: a.process.Columns}
}

// workspace is the directory that this run works in.
func (a *app) workspace() *workspace.Workspace {
	return workspace.New(settings.Dir(a.global.dir, a.env))
}

// again is a command line for the same workspace, to be told as the next one.
func (a *app) again(rest string) string {
	if a.global.dir == "" {
		return "tbcert " + rest
	}
	return "tbcert -C " + a.global.dir + " " + rest
}

const rootLong = `tbcert gives a self-hosted ThingsBoard its MQTTS and its devices their access.

  tbcert init --host tb.example.com    the CA, the server certificate, ThingsBoard's settings
  tbcert fetch mqtt.example.com        or the root of a server that has its certificate from elsewhere
  tbcert provision meter-1 meter-2     for each device: ca-root.pem and its token
  tbcert verify --token-file FILE      publish a test message over 8883, and explain what fails
  tbcert renew                         the server certificate, when it is due
  tbcert rotate meter-1 --verify       a new token or certificate
  tbcert revoke meter-1                the device is lost: let it in no more

Results go to stdout, everything else to stderr. A flag comes before an environment variable
(TBCERT_HOST for --host, and so on), that before tbcert.yaml, that before the default.

Exit codes:
  0  done, or nothing to do            3  some of many failed
  1  failed                            5  needs attention (status, renew --check)
  2  wrong usage or invalid input,   130  interrupted
     nothing was changed           10-18  verify: where it failed (tbcert verify --help)`

// newRoot makes the tree of commands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:               "tbcert",
		Short:             "MQTTS for ThingsBoard, and access for its devices",
		Long:              rootLong,
		Example:           "  tbcert demo",
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(command *cobra.Command, _ []string) error { return a.begin(command) },
	}
	root.SetIn(a.process.In)
	root.SetOut(a.process.Out)
	root.SetErr(a.process.Err)
	flags := root.PersistentFlags()
	flags.StringVarP(&a.global.dir, "dir", "C", "", "the workspace (default $TBCERT_DIR, else the current directory)")
	flags.StringVarP(&a.global.output, "output", "o", "text", "form of the result: text or json (verify also: junit, prometheus, nagios)")
	flags.BoolVarP(&a.global.quiet, "quiet", "q", false, "tell errors and warnings only")
	flags.BoolVarP(&a.global.verbose, "verbose", "v", false, "tell more, such as where each setting comes from")
	flags.BoolVar(&a.global.yes, "yes", false, "answer yes to every question")
	for _, command := range []func(*app) *cobra.Command{
		newInit, newFetch, newProvision, newVerify, newRenew, newRotate, newRevoke, newStatus, newInspect, newExport, newRunbook, newSandbox, newDemo, newMan, newVersion, newEnvironment,
	} {
		root.AddCommand(command(a))
	}
	if width := a.ui.Width(); width > 0 {
		root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped "+strconv.Itoa(width)+" "))
	}
	return root
}

// begin settles how the user is talked to.
func (a *app) begin(command *cobra.Command) error {
	forms := []string{"text", "json"}
	if command.Name() == "verify" {
		forms = append(forms, outputJUnit, outputPrometheus, outputNagios)
	}
	if !slices.Contains(forms, a.global.output) {
		return fmt.Errorf("-o %s: the forms of %s are %s", a.global.output, command.Name(), strings.Join(forms, ", "))
	}
	a.ui = ui.New(a.streams(), ui.Options{
		JSON:    a.global.output == "json",
		Quiet:   a.global.quiet,
		Verbose: a.global.verbose,
		NoColor: settings.NoColor(a.env),
	})
	for _, name := range settings.Unknown(a.process.Environ) {
		a.ui.Warn("the environment variable %s is none that tbcert knows (see `tbcert help environment`)", name)
	}
	return nil
}

// resolve fills a command's flags from the environment and the site's file,
// and marks the command line as right: what fails from here on is not usage.
func (a *app) resolve(command *cobra.Command, file map[string][]string) error {
	origins, err := settings.Resolve(command.Flags(), a.env, file)
	if err != nil {
		return invalid(err)
	}
	for _, origin := range origins {
		if origin.Source != settings.FromDefault {
			a.ui.Detail("%s comes from the %s", origin.Name, origin.Source)
		}
	}
	return nil
}

// takes checks the arguments, and says what they are to be.
func takes(check cobra.PositionalArgs, what string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if check(command, args) != nil {
			return errors.New(what)
		}
		return nil
	}
}

// run makes a command's RunE of its run function.
func (a *app) run(do func(command *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		a.started = true
		return do(command, args)
	}
}
