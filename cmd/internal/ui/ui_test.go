package ui_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/cmd/internal/ui"
)

// talk makes a UI that writes into buffers.
func talk(options ui.Options) (u *ui.UI, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	return ui.New(ui.Streams{In: strings.NewReader("yes\n"), Out: out, Err: err}, options), out, err
}

func TestResultsAndNarrationAreApart(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		options ui.Options
		want    string
	}{
		"plain":   {ui.Options{}, "note\nwarning: warn\nerror: bad\n"},
		"verbose": {ui.Options{Verbose: true}, "note\ndetail\nwarning: warn\nerror: bad\n"},
		"quiet":   {ui.Options{Quiet: true, Verbose: true}, "warning: warn\nerror: bad\n"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, out, stderr := talk(test.options)
			u.Note("note")
			u.Detail("detail")
			u.Warn("warn")
			u.Error(errors.New("bad"))
			if err := u.Result("result %d", 1); err != nil {
				t.Fatal(err)
			}
			if out.String() != "result 1\n" || stderr.String() != test.want {
				t.Errorf("stdout %q, stderr %q; want stderr %q", out, stderr, test.want)
			}
		})
	}
}

func TestJSONIsOneLine(t *testing.T) {
	t.Parallel()
	u, out, _ := talk(ui.Options{JSON: true})
	if err := u.ResultJSON(map[string]string{"fix": "a < b & c\nd"}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !json.Valid(out.Bytes()) || !strings.Contains(got, "a < b & c") {
		t.Errorf("got %q", got)
	}
}

// Where nobody looks there are no colors, and nobody is asked.
func TestNoTerminal(t *testing.T) {
	t.Parallel()
	u, _, stderr := talk(ui.Options{})
	for _, text := range []string{u.Good("x"), u.Bad("x"), u.Doubtful("x"), u.Faint("x"), u.Strong("x")} {
		if text != "x" {
			t.Errorf("styled: %q", text)
		}
	}
	if yes, err := u.Confirm(t.Context(), "sure?"); yes || !errors.Is(err, ui.ErrNoTerminal) {
		t.Errorf("Confirm gives %v, %v", yes, err)
	}
	if text, err := u.Password(t.Context(), "passphrase"); !text.IsZero() || !errors.Is(err, ui.ErrNoTerminal) {
		t.Errorf("Password gives %v, %v", text, err)
	}
	if u.CanAsk() || stderr.Len() > 0 {
		t.Errorf("asked: %q", stderr)
	}
}

// broken is a stream that cannot be written, as a full disk.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestLostResultsAreErrors(t *testing.T) {
	t.Parallel()
	u := ui.New(ui.Streams{Out: broken{}, Err: broken{}}, ui.Options{})
	if err := u.Result("x"); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Result gives %v", err)
	}
	if err := u.ResultJSON(1); err == nil {
		t.Error("ResultJSON gives nothing")
	}
	u.Note("lost, and no harm done")
}
