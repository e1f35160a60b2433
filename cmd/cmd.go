// Package cmd is the command line of tbcert: one file a command, each with a
// constructor (newX) that only declares, an options struct that knows its flags
// (xOptions), and a function (runX) that does the work by calling the
// libraries below. Everything is wired here; nothing is decided here that a
// library could decide.
package cmd

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/ui"
)

// Process is all that a command gets from outside.
type Process struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string         // as os.Environ gives it
	Now      func() time.Time // nil: time.Now
	Columns  int              // of the terminal that Out goes to in the end; 0 when Out itself knows
}

const (
	// collectAt is how much garbage there may be, in percent of what is in use.
	collectAt = 400
	// collectFrom is how much memory there may be before garbage is collected
	// oftener than that, in bytes.
	collectFrom = 96 << 20
)

// Main runs tbcert as the process it is in, and gives its exit code.
func Main() int {
	// Most of what a bulk run makes is garbage at once: collecting it less often
	// costs some MiB and saves a fifth of the time.
	debug.SetGCPercent(collectAt)
	debug.SetMemoryLimit(collectFrom)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, os.Args[1:], Process{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()})
}

// Run runs one command line and gives its exit code. It reads no global state:
// tests and the demo call it in process. When ctx ends, work in hand is
// finished or undone and the exit code is 130.
func Run(ctx context.Context, args []string, process Process) int {
	a := newApp(process)
	defer a.tokens.close()
	root := newRoot(a)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	return a.finish(ctx, command, err)
}

// newApp makes what the commands of one run share.
func newApp(process Process) *app {
	if process.Now == nil {
		process.Now = time.Now
	}
	a := &app{process: process, env: settings.Environment(process.Environ)}
	a.tokens.app = a
	// Until the flags are known, as plain as it can be.
	a.ui = ui.New(a.streams(), ui.Options{NoColor: settings.NoColor(a.env)})
	return a
}
