package ui

import (
	"fmt"
	"io"
	"strings"
)

// Live is some lines at the foot of the terminal that are drawn again when they
// change. Its methods may be called by many goroutines.
type Live struct {
	ui    *UI
	out   io.Writer // nil: nothing is shown
	text  string    // guarded by ui.mu, as the next
	lines int       // of text that stand on the terminal
}

// Control sequences (ECMA-48; ?7 is DEC's autowrap mode).
const (
	cursorUp = "\x1b[%dA"
	clearEnd = "\x1b[J" // from the cursor to the end of the screen
	noWrap   = "\x1b[?7l"
	wrap     = "\x1b[?7h"
)

// Live begins such lines on stderr. Nothing is shown where that is no terminal,
// and with -q. While they are there, all else that goes to a terminal is written
// above them. It has to be ended.
func (u *UI) Live() *Live {
	l := &Live{ui: u}
	if u.options.Quiet || !isTerminal(u.streams.Err) {
		return l
	}
	l.out = u.streams.Err
	u.mu.Lock()
	defer u.mu.Unlock()
	u.above = l
	return l
}

// Shown reports whether there is a terminal for it.
func (l *Live) Shown() bool { return l != nil && l.out != nil }

// Set changes the lines. A line that is too long for the terminal is cut off.
func (l *Live) Set(text string) {
	if !l.Shown() {
		return
	}
	l.ui.mu.Lock()
	defer l.ui.mu.Unlock()
	l.text = strings.TrimRight(text, "\n") + "\n"
	_, _ = io.WriteString(l.out, l.cleared()+l.drawn()) // a terminal that is gone has nobody to tell
}

// Write writes above the lines. The UI holds its lock.
func (l *Live) Write(data []byte) (int, error) {
	if _, err := io.WriteString(l.out, l.cleared()+string(data)+l.drawn()); err != nil {
		return 0, err
	}
	return len(data), nil
}

// cleared goes to the first of the lines and clears them.
func (l *Live) cleared() string {
	if l.lines == 0 {
		return ""
	}
	return fmt.Sprintf(cursorUp, l.lines) + clearEnd
}

// drawn is the lines, which then stand on the terminal.
func (l *Live) drawn() string {
	l.lines = strings.Count(l.text, "\n")
	return noWrap + l.text + wrap
}

// End leaves the lines as they are.
func (l *Live) End() {
	if !l.Shown() {
		return
	}
	l.ui.mu.Lock()
	defer l.ui.mu.Unlock()
	l.ui.above = nil
}
