// Package hook runs a program that the user named, such as the one that makes a
// server load its new certificate. There is no shell in between, no secret in its
// environment, and an end to its time.
package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
)

// DefaultTimeout is how long a program may take when nothing else is said.
const DefaultTimeout = time.Minute

// grace is how long a program that was told to end may keep its output open.
const grace = 5 * time.Second

// ErrTimeout says that a program took too long.
var ErrTimeout = errors.New("it took too long and was stopped")

// Command is a program and its arguments.
type Command struct {
	Arguments []string // the program first; none is no command
	Timeout   time.Duration
	// Environ is the environment to take what the program gets from: everything
	// but what begins with TBCERT_ or PG, which may be secrets.
	Environ []string
	// Asks is for a run on a terminal, where a program such as sudo may ask: one in
	// a group of its own could not. Without it, a program whose time is over is
	// stopped with all that it has started.
	Asks bool
	// Output gets what the program writes.
	Output io.Writer
}

// Parse takes a command line apart into a program and its arguments, by spaces
// and quotes as a shell does. Nothing is expanded, and what would be a shell's to
// do is an error.
func Parse(line string) ([]string, error) {
	parser := shellwords.NewParser()
	words, err := parser.Parse(line)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is no command line: %w", line, err)
	case parser.Position >= 0:
		return nil, fmt.Errorf("%q needs a shell at %q, and there is none: put it into a script", line, line[parser.Position:])
	case len(words) == 0:
		return nil, errors.New("it names no program")
	}
	return words, nil
}

// Run runs the program to its end, or to that of its time or of ctx. The error
// says how it failed.
func (c Command) Run(ctx context.Context) error {
	name := c.Arguments[0]
	timeout := c.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	timed, cancel := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	defer cancel()
	program := exec.CommandContext(timed, name, c.Arguments[1:]...) //nolint:gosec // it is the user's own
	program.Stdout, program.Stderr = c.Output, c.Output
	program.Env = harmless(c.Environ)
	program.WaitDelay = grace
	if !c.Asks {
		ownGroup(program)
	}
	err := program.Run()
	switch {
	case err == nil:
		return nil
	case timed.Err() != nil:
		return fmt.Errorf("%s: %w", name, context.Cause(timed))
	default:
		return fmt.Errorf("%s: %w", name, err)
	}
}

func harmless(environ []string) []string {
	kept := []string{} // nil would be our own environment
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "TBCERT_") && !strings.HasPrefix(variable, "PG") {
			kept = append(kept, variable)
		}
	}
	return kept
}
