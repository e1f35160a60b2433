package ui

import (
	"strings"
	"testing"
)

// Lines that change are drawn in their place, and what is written meanwhile
// stands above them.
func TestLive(t *testing.T) {
	t.Parallel()
	var screen strings.Builder
	u := New(Streams{}, Options{})
	l := &Live{ui: u, out: &screen}
	l.Set("one\ntwo")
	l.Set("three\n")
	if _, err := l.Write([]byte("said\n")); err != nil {
		t.Fatal(err)
	}
	want := noWrap + "one\ntwo\n" + wrap +
		"\x1b[2A" + clearEnd + noWrap + "three\n" + wrap +
		"\x1b[1A" + clearEnd + "said\n" + noWrap + "three\n" + wrap
	if got := screen.String(); got != want {
		t.Errorf("the terminal got %q, want %q", got, want)
	}
	var none *Live
	if none.Shown() || u.Live().Shown() {
		t.Error("lines are shown where there is no terminal")
	}
}
