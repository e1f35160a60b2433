// Package ui is the only writer to the terminal.
//
// The rules: a command's result goes to stdout, and nothing else does, so that
// it can be piped; what tbcert tells about its work goes to stderr. With
// -o json a result is one JSON value on one line, errors too. Colors and
// progress appear only on a terminal, and never with NO_COLOR. A question is
// asked only when both stdin and stderr are a terminal. With -q stderr has
// errors and warnings only.
package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/fatih/color"
	"github.com/mitchellh/go-wordwrap"
	"golang.org/x/term"
)

// Streams are the three streams of a process.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Columns  int // of the terminal that Out goes to in the end; 0 when Out itself knows
}

// Options are how the user wants to be talked to.
type Options struct {
	JSON    bool // results as JSON
	Quiet   bool // no narration
	Verbose bool // more narration
	NoColor bool
}

// UI talks to the user. It is safe for concurrent use: every call writes whole
// lines.
type UI struct {
	streams Streams
	options Options
	mu      sync.Mutex
	above   io.Writer // a progress bar, above which a terminal is written to; nil is none
}

// New makes a UI on streams.
func New(streams Streams, options Options) *UI {
	return &UI{streams: streams, options: options}
}

// JSON reports whether results are to be JSON.
func (u *UI) JSON() bool { return u.options.JSON }

// Verbose reports whether more is to be told.
func (u *UI) Verbose() bool { return u.options.Verbose && !u.options.Quiet }

// Result writes a text result to stdout.
func (u *UI) Result(format string, args ...any) error {
	return u.write(u.streams.Out, fmt.Sprintf(format, args...))
}

// ResultData writes a result to stdout as it is, byte for byte.
func (u *UI) ResultData(data []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := u.target(u.streams.Out).Write(data); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// ResultJSON writes a result to stdout as one line of JSON. A failed write (a
// closed pipe, a full disk) is an error: a result that nobody got is none.
func (u *UI) ResultJSON(value any) error {
	var line strings.Builder
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write the result as JSON: %w", err)
	}
	return u.write(u.streams.Out, line.String())
}

// Note tells on stderr what is going on.
func (u *UI) Note(format string, args ...any) {
	if !u.options.Quiet {
		u.tell(fmt.Sprintf(format, args...))
	}
}

// Detail tells more, with -v.
func (u *UI) Detail(format string, args ...any) {
	if u.Verbose() {
		u.tell(fmt.Sprintf(format, args...))
	}
}

const (
	warningPrefix = "warning: "
	errorPrefix   = "error: "
)

// Warn tells of something that may hurt later.
func (u *UI) Warn(format string, args ...any) {
	u.tellBehind(u.style(u.streams.Err, color.FgYellow, warningPrefix), warningPrefix, fmt.Sprintf(format, args...))
}

// Error tells why the command failed.
func (u *UI) Error(err error) {
	u.tellBehind(u.style(u.streams.Err, color.FgRed, errorPrefix), errorPrefix, err.Error())
}

// tell writes a line to stderr, broken between words where that is a terminal;
// nothing can be done when it fails.
func (u *UI) tell(text string) { u.tellBehind("", "", text) }

// tellBehind tells behind a prefix, whose style takes no columns.
func (u *UI) tellBehind(styled, prefix, text string) {
	lines := wrapTo(prefix+text, widthOf(u.streams.Err), 0)
	_ = u.write(u.streams.Err, styled+lines[len(prefix):])
}

func (u *UI) write(w io.Writer, text string) error {
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := io.WriteString(u.target(w), text); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// Good, Bad, Doubtful, Faint and Strong style a piece of a text result: only
// where stdout is a terminal that takes colors.

// Good is for what is as it should be.
func (u *UI) Good(text string) string { return u.style(u.streams.Out, color.FgGreen, text) }

// Bad is for what is broken.
func (u *UI) Bad(text string) string { return u.style(u.streams.Out, color.FgRed, text) }

// Doubtful is for what needs a look.
func (u *UI) Doubtful(text string) string { return u.style(u.streams.Out, color.FgYellow, text) }

// Faint is for what may be skipped.
func (u *UI) Faint(text string) string { return u.style(u.streams.Out, color.Faint, text) }

// Strong is for what must be seen.
func (u *UI) Strong(text string) string { return u.style(u.streams.Out, color.Bold, text) }

// Wrap breaks a text into lines for a terminal as wide as stdout's, each but the
// first behind begin spaces: the columns that stand before the text already. Where stdout is no terminal the text stays as it is.
func (u *UI) Wrap(text string, begin int) string {
	return wrapTo(text, u.Width()-begin, begin)
}

// Width is how many columns the terminal has that stdout is; 0 when it is none.
func (u *UI) Width() int {
	if u.streams.Columns > 0 {
		return u.streams.Columns
	}
	return widthOf(u.streams.Out)
}

func widthOf(stream any) int {
	file, ok := stream.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// wrapTo breaks a text at width, and leaves it alone where that is too narrow or
// not known.
func wrapTo(text string, width, begin int) string {
	const narrowest = 20
	if width < narrowest {
		return text
	}
	wrapped := wordwrap.WrapString(text, uint(width))
	return strings.ReplaceAll(wrapped, "\n", "\n"+strings.Repeat(" ", begin))
}

func (u *UI) style(w io.Writer, attribute color.Attribute, text string) string {
	if u.options.NoColor || !isTerminal(w) {
		return text
	}
	style := color.New(attribute)
	style.EnableColor() // the decision is made here, not in the library's global
	return style.Sprint(text)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
