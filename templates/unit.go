package templates

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
)

var (
	errControl  = errors.New("a systemd unit cannot hold a control character")
	errRelative = errors.New("a systemd unit wants an absolute path")
	errLine     = errors.New("a setting of a systemd unit cannot be empty or end in a backslash")
)

// unitLine makes the whole value of a setting of s: systemd.unit(5) expands
// specifiers such as %h, and systemd.syntax(7) joins a line that ends in a
// backslash with the next.
func unitLine(s string) (string, error) {
	if err := unitText(s); err != nil {
		return "", err
	}
	if strings.TrimSpace(s) == "" || strings.HasSuffix(s, `\`) {
		return "", fmt.Errorf("%w: %q", errLine, s)
	}
	return strings.ReplaceAll(s, "%", "%%"), nil
}

// unitWord makes one argument of ExecStart of s, where systemd.service(5) also
// expands $VARIABLES ("Command lines").
func unitWord(s string) (string, error) {
	if err := unitText(s); err != nil {
		return "", err
	}
	return quoteUnit(strings.ReplaceAll(s, "$", "$$")), nil
}

// unitPath makes one word of an absolute path: the program of ExecStart, or one
// of a list of paths. There a dollar is only a dollar.
func unitPath(s string) (string, error) {
	if err := unitText(s); err != nil {
		return "", err
	}
	if !path.IsAbs(s) {
		return "", fmt.Errorf("%w: %q", errRelative, s)
	}
	return quoteUnit(s), nil
}

// unitText refuses what a value has no honest use for: a new line would be a
// setting of its own.
func unitText(s string) error {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%w: %q", errControl, s)
	}
	return nil
}

// quoteUnit makes one word of s (systemd.syntax(7), "Quoting"). A text with
// nothing to quote stays as it is, but for its percent signs.
func quoteUnit(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if s != "" && strings.Trim(s, plain+"$") == "" {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
