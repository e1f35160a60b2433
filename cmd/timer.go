package cmd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/templates"
)

// timerOptions are for a command that is to be run from time to time.
type timerOptions struct {
	install, print, task bool
	dir, calendar, user  string
}

func (o *timerOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.install, "install-timer", false, "do nothing now: write a systemd service and timer that run this command with the other flags given")
	flags.BoolVar(&o.print, "print-timer", false, "as --install-timer, to stdout")
	flags.StringVar(&o.dir, "timer-dir", defaultTimerDir, "where --install-timer writes")
	flags.StringVar(&o.calendar, "on-calendar", "daily", "when the timer is to run it (systemd.time(7))")
	flags.StringVar(&o.user, "timer-user", "", "user that the timer is to run it as (default: root)")
}

// defaultTimerDir is where systemd looks for what an administrator adds.
const defaultTimerDir = "/etc/systemd/system"

// addTaskFlag adds what renew alone has.
func (o *timerOptions) addTaskFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&o.task, "print-task", false, "as --print-timer, for the Windows task scheduler")
}

// asked reports whether a timer is wanted instead of the command's work.
func (o *timerOptions) asked() bool { return o.install || o.print || o.task }

// A schedule is what the templates of units and tasks want.
type schedule struct {
	Site, User, Binary, Workspace string
	Directory                     string   // where it was typed: files may be named from there
	Arguments                     []string // after the command
	Check                         string   // renew: flags of its --check, as a shell reads them
	Writable                      []string // verify: besides the workspace
	OnCalendar, RandomizedDelay   string
	Words                         []string // Windows: all arguments
	Start                         string   // Windows: the first time
}

// maxDelay spreads the sites over an hour.
const maxDelay = "1h"

// schedule is the command line of this run, to be run again. Only flags that were
// typed count, so it is made before the settings fill in the others.
func (o *timerOptions) schedule(command *cobra.Command, a *app, host string, args []string) (schedule, error) {
	made := schedule{Site: host, User: o.user, OnCalendar: o.calendar, RandomizedDelay: maxDelay}
	var err error
	if made.Binary, err = os.Executable(); err != nil {
		return made, fmt.Errorf("find this program: %w", err)
	}
	if made.Workspace, err = filepath.Abs(a.workspace().Dir()); err != nil {
		return made, fmt.Errorf("the workspace: %w", err)
	}
	if made.Directory, err = filepath.Abs("."); err != nil {
		return made, fmt.Errorf("the current directory: %w", err)
	}
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&timerOptions{}).addFlags(own)
	(&timerOptions{}).addTaskFlag(own)
	command.Flags().Visit(func(flag *pflag.Flag) {
		switch {
		case own.Lookup(flag.Name) != nil || command.InheritedFlags().Lookup(flag.Name) != nil:
		case settings.IsSecret(flag.Name):
			err = fmt.Errorf("--%s would stand in a file that others can read: name a file that holds it instead", flag.Name)
		default:
			made.Arguments = append(made.Arguments, argumentsOf(flag)...)
		}
	})
	made.Arguments = append(made.Arguments, args...)
	return made, err
}

// argumentsOf is a flag as it is given on a command line.
func argumentsOf(flag *pflag.Flag) []string {
	values := []string{flag.Value.String()}
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		values = list.GetSlice()
	}
	for i, value := range values {
		values[i] = "--" + flag.Name + "=" + value
	}
	return values
}

// A unit is one file of a timer.
type unit struct {
	name string
	text []byte
}

// render makes the files.
func (s schedule) render(names ...string) ([]unit, error) {
	var units []unit
	for _, name := range names {
		text, err := templates.Render(name, s)
		if err != nil {
			return nil, err
		}
		units = append(units, unit{name: filepath.Base(name), text: text})
	}
	return units, nil
}

// timerResult is the JSON of a command that writes a timer: schema
// tbcert.COMMAND.timer/v1.
type timerResult struct {
	Schema string            `json:"schema"`
	OK     bool              `json:"ok"`
	Files  map[string]string `json:"files"` // path or name, and what is in it
	Next   string            `json:"next,omitempty"`
}

// tellTimer writes the units of a command, or shows them.
func (o *timerOptions) tellTimer(command *cobra.Command, a *app, made schedule) error {
	base := "tbcert-" + command.Name()
	names := []string{"systemd/" + base + ".service", "systemd/" + base + ".timer"}
	if o.task {
		names = []string{"windows/" + base + ".xml"}
	}
	units, err := made.render(names...)
	if err != nil {
		return invalid(err)
	}
	result := timerResult{Schema: "tbcert." + command.Name() + ".timer/v1", OK: true, Files: map[string]string{}}
	if !o.install {
		return o.showUnits(a, units, result)
	}
	var text strings.Builder
	for _, unit := range units {
		file := filepath.Join(o.dir, unit.name)
		err := workspace.WriteOutput(file, func(out io.Writer) error {
			_, err := out.Write(unit.text)
			return err
		})
		if err != nil {
			return fmt.Errorf("write %s: %w; run this as root, or with --print-timer to see the files", file, err)
		}
		result.Files[file] = string(unit.text)
		fmt.Fprintf(&text, "Wrote %s\n", file)
	}
	result.Next = "sudo systemctl daemon-reload && sudo systemctl enable --now " + base + ".timer"
	if a.ui.JSON() {
		return a.ui.ResultJSON(result)
	}
	return a.ui.Result("%s\nNext: %s\n", text.String(), result.Next)
}

func (o *timerOptions) showUnits(a *app, units []unit, result timerResult) error {
	var text strings.Builder
	for i, unit := range units {
		result.Files[unit.name] = string(unit.text)
		if len(units) > 1 {
			fmt.Fprintf(&text, "%s# %s\n", strings.Repeat("\n", min(i, 1)), filepath.Join(o.dir, unit.name))
		}
		text.Write(unit.text)
	}
	if a.ui.JSON() {
		return a.ui.ResultJSON(result)
	}
	return a.ui.Result("%s", text.String())
}

// firstRun is when a Windows task begins: tomorrow at four, local time.
func firstRun(now time.Time) string {
	return now.AddDate(0, 0, 1).Format(time.DateOnly) + "T04:00:00"
}
