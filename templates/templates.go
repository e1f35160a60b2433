// Package templates holds the text files that tbcert writes for others: what a
// ThingsBoard server is configured with, what a device runs, what systemd runs
// to keep watch, and what operators do, step by step.
//
// A template stands beside this file as DIR/NAME.tmpl and is rendered as
// DIR/NAME. The package knows no type of tbcert's: the data is the caller's.
package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/template"
)

// extension ends the name of every template.
const extension = ".tmpl"

//go:embed */*.tmpl
var files embed.FS

// ErrUnknown is the error for a name that no template has.
var ErrUnknown = errors.New("no such template")

// Names gives the templates of a directory, without their extensions, sorted.
func Names(dir string) []string {
	entries, err := files.ReadDir(dir)
	if err != nil {
		return nil // there is none
	}
	var names []string
	for _, entry := range entries {
		name, _, _ := strings.Cut(entry.Name(), ".")
		names = append(names, name)
	}
	return names
}

// Render fills in the template name, for instance "device/connect.sh", with
// data. A field or key that the template wants and data does not have is an
// error, never an empty text.
//
// Templates can use functions that quote a text: sh, so that a POSIX shell reads
// it as one word, and for systemd unitword (an argument), unitpath (an absolute
// path) and unitline (the rest of a line); what systemd cannot take is an error.
// xml makes it a text of an XML document, and winword one argument of a Windows
// command line.
func Render(name string, data any) ([]byte, error) {
	text, err := files.ReadFile(name + extension)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the template %s: %w", name, err)
	}
	parsed, err := template.New(name).
		Option("missingkey=error").
		Funcs(template.FuncMap{
			"sh": quoteShell, "unitline": unitLine, "unitword": unitWord, "unitpath": unitPath, "winword": windowsWord, "xml": xmlText,
		}).
		Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("parse the template %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("fill in the template %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// plain is what neither a shell nor systemd takes for anything else.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@%+,="

// quoteShell makes one word of s for a POSIX shell (XCU 2.2.2): nothing is
// special between single quotes but the single quote itself, which is closed,
// escaped and opened again. A text with nothing to quote stays as it is.
func quoteShell(s string) string {
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
