// Package templates holds the text files that tbcert writes for others: what a
// ThingsBoard server is configured with, what a device runs, what systemd runs
// to keep watch, and what operators do, step by step.
//
// A template stands beside this file as DIR/NAME.tmpl and is rendered as
// DIR/NAME. A user may put another in its place; see [Set]. The package knows no
// type of tbcert's: the data is the caller's.
package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
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

// A Set is the templates, some of which a user may have replaced. Each is read
// once. It may be used by several goroutines; a nil Set is tbcert's own
// templates.
type Set struct {
	override func(file string) ([]byte, error)
	parsed   sync.Map // *template.Template by name
}

// NewSet makes a Set of tbcert's templates and the user's own: override gives
// the text that stands in the place of a file such as "device/connect.sh.tmpl",
// or an error that is fs.ErrNotExist.
func NewSet(override func(file string) ([]byte, error)) *Set { return &Set{override: override} }

// An OverrideError says that a user's own template cannot be used.
type OverrideError struct {
	File string // as override was asked for it
	Err  error
}

func (e *OverrideError) Error() string { return fmt.Sprintf("your own template %s: %v", e.File, e.Err) }

func (e *OverrideError) Unwrap() error { return e.Err }

// Render fills in the template name, for instance "device/connect.sh", with
// data. A field or key that the template wants and data does not have is an
// error, never an empty text.
//
// Templates can use functions that write a value in a language so that it cannot
// be taken for anything else. What the language cannot hold is an error.
//
//	sh                          a POSIX shell's word
//	unitword unitpath unitline  systemd: an argument, an absolute path, the rest of a line
//	c clines cbytes             C and C++: a string literal, the same with a literal a line, an array's elements
//	py pybytes                  Python: a string literal, bytes literals
//	json                        JSON and JavaScript: any value
//	conf                        mosquitto.conf: the rest of a line
//	xml                         XML: a text
//	winword                     Windows: an argument of a command line
func Render(name string, data any) ([]byte, error) { return (*Set)(nil).Render(name, data) }

// Render is like the function [Render], with the user's own templates.
func (s *Set) Render(name string, data any) ([]byte, error) {
	parsed, err := s.template(name)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, data); err != nil {
		if own, _ := s.own(name); own != nil {
			return nil, &OverrideError{File: name + extension, Err: err}
		}
		return nil, fmt.Errorf("fill in the template %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// template gives a template, parsed.
func (s *Set) template(name string) (*template.Template, error) {
	if s != nil {
		if known, ok := s.parsed.Load(name); ok {
			return known.(*template.Template), nil //nolint:forcetypeassert // nothing else is stored
		}
	}
	text, err := files.ReadFile(name + extension)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the template %s: %w", name, err)
	}
	own, err := s.own(name)
	if err != nil {
		return nil, err
	}
	if own != nil {
		text = own
	}
	parsed, err := template.New(name).Option("missingkey=error").Funcs(functions()).Parse(string(text))
	if err != nil {
		if own != nil {
			return nil, &OverrideError{File: name + extension, Err: err}
		}
		return nil, fmt.Errorf("parse the template %s: %w", name, err)
	}
	if s != nil {
		s.parsed.Store(name, parsed)
	}
	return parsed, nil
}

// own gives the user's own text of a template; nil is none.
func (s *Set) own(name string) ([]byte, error) {
	if s == nil || s.override == nil {
		return nil, nil
	}
	text, err := s.override(name + extension)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &OverrideError{File: name + extension, Err: err}
	}
	return append([]byte{}, text...), nil
}
