// Package secret holds the credential type that cannot print itself.
//
// A token, password or passphrase travels through tbcert as a [Text]. Whatever
// formats it (fmt with any verb, slog, encoding/json, a YAML encoder) gets a
// placeholder; only an explicit call of [Text.Reveal] gives the value, so that
// every place that can leak one is found by searching for that name.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// placeholder is what every formatter sees instead of a value.
const placeholder = "[secret]"

// Text is a secret string. The zero value is the empty secret. It is safe for
// concurrent use and may be copied; it cannot be compared with ==, because
// comparing secrets is the business of crypto/subtle.
//
// The value sits in a closure, not in a field: fmt's %+v and slog reach the
// unexported string fields of a struct by reflection, past its String method,
// and cannot reach into a function.
type Text struct {
	reveal func() string
}

// New makes a Text of s. New("") is the zero Text.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{reveal: func() string { return s }}
}

// Reveal gives the value. It belongs only where the secret is used: written to
// its 0600 file, or sent over a verified connection.
func (t Text) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t.reveal == nil }

// String gives a placeholder, or "" for the zero Text.
func (t Text) String() string {
	if t.IsZero() {
		return ""
	}
	return placeholder
}

// GoString gives a placeholder for %#v.
func (t Text) GoString() string { return "secret.Text(" + t.String() + ")" }

// Format gives the placeholder for every verb, so that %x or %d does not walk
// round String.
func (t Text) Format(f fmt.State, verb rune) {
	text := t.String()
	if verb == 'v' && f.Flag('#') {
		text = t.GoString()
	}
	_, _ = io.WriteString(f, text) // fmt.State never fails
}

// LogValue gives slog the placeholder.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText gives every text-based encoder (JSON, YAML, XML) the placeholder.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
