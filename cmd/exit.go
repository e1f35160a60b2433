package cmd

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes. Those of verify, 10 to 18, are in package verify.
const (
	exitOK          = 0
	exitFailed      = 1   // it could not be done
	exitUsage       = 2   // wrong usage or invalid input; nothing was changed
	exitPartly      = 3   // some rows of many failed
	exitAttention   = 5   // status: something needs attention
	exitInterrupted = 130 // stopped by Ctrl-C or SIGTERM
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code   int
	err    error // nil: the result has been told already
	silent bool  // the text result says it all
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "see above"
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// invalid marks an error as the fault of what was given: exit 2, and nothing
// was changed.
func invalid(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &exitError{code: exitUsage, err: err}
}

// told ends a command whose result is written with a code.
func told(code int) error {
	if code == exitOK {
		return nil
	}
	return &exitError{code: code, silent: true}
}

// failure is the JSON of a command that failed before it had a result.
type failure struct {
	Schema   string `json:"schema"`
	OK       bool   `json:"ok"`
	ExitCode int    `json:"exit_code"`
	Error    string `json:"error"`
}

// finish turns the outcome of a command into its exit code, telling the error
// if there is one.
func (a *app) finish(ctx context.Context, command *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	code := a.exitCode(ctx, err)
	var known *exitError
	if errors.As(err, &known) && known.silent {
		return code
	}
	if code == exitInterrupted {
		err = errors.New("interrupted")
	}
	if a.ui.JSON() {
		result := failure{Schema: schema(command), ExitCode: code, Error: err.Error()}
		if a.ui.ResultJSON(result) == nil {
			return code
		}
	}
	a.ui.Error(err)
	if !a.started {
		a.ui.Note("Run `%s --help` for how to use it.", command.CommandPath())
	}
	return code
}

func (a *app) exitCode(ctx context.Context, err error) int {
	var known *exitError
	switch {
	case errors.As(err, &known):
		return known.code
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		return exitInterrupted
	case !a.started:
		return exitUsage // cobra refused the command line
	default:
		return exitFailed
	}
}

// schema names the JSON form of a command's result.
func schema(command *cobra.Command) string {
	return strings.ReplaceAll(command.CommandPath(), " ", ".") + "/v1"
}
