package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/certs/secret"
)

const canary = "canary-4f1c"

// holder has the secret where fmt reaches past methods: an unexported field.
type holder struct {
	Shown  secret.Text
	hidden secret.Text
	nested *holder
}

func TestNoFormatterShowsTheValue(t *testing.T) {
	t.Parallel()
	text := secret.New(canary)
	value := holder{Shown: text, hidden: text, nested: &holder{hidden: text}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", text)
		fmt.Fprintf(&out, verb+"\n", value)
		fmt.Fprintf(&out, verb+"\n", &value)
		fmt.Fprintf(&out, verb+"\n", []secret.Text{text})
	}
	fmt.Fprintln(&out, fmt.Errorf("wrapped: %v", value))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Error("failed", "secret", text, "holder", value, "pointer", &value)
	}
	encoded, err := json.Marshal(map[string]any{"text": text, "holder": value})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	hexed := fmt.Sprintf("%x", canary)
	if got := out.String(); strings.Contains(got, canary) || strings.Contains(strings.ToLower(got), hexed) {
		t.Errorf("a formatter showed the secret:\n%s", got)
	}
	if !strings.Contains(out.String(), "[secret]") {
		t.Errorf("no placeholder in:\n%s", out.String())
	}
}

func TestRevealAndZero(t *testing.T) {
	t.Parallel()
	if got := secret.New(canary).Reveal(); got != canary {
		t.Errorf("Reveal() = %q, want %q", got, canary)
	}
	for _, zero := range []secret.Text{{}, secret.New("")} {
		if !zero.IsZero() || zero.Reveal() != "" || zero.String() != "" {
			t.Errorf("an empty secret is not zero: IsZero %v, Reveal %q, String %q", zero.IsZero(), zero.Reveal(), zero.String())
		}
	}
	if secret.New("x").IsZero() {
		t.Error("a secret of one character is zero")
	}
}
