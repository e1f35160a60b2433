package device

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxDepth is how deep objects and arrays may nest: the limit of Gson's reader
// (JsonReader.DEFAULT_NESTING_LIMIT), which also bounds the recursion here.
const maxDepth = 255

// A PayloadError says where a payload stops being what ThingsBoard can parse.
type PayloadError struct {
	Line, Column int // both from 1; the column counts bytes
	Problem      string
}

// Error says what is wrong, and where.
func (e *PayloadError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Problem)
}

// A lenientParser reads the JSON that Gson's lenient reader takes (JsonReader
// with Strictness.LENIENT, which is what JsonParser.parseString uses): beyond
// RFC 8259 it has comments (//, # and /* */), names and strings in single
// quotes or none, = or => for the colon, ; for the comma, keywords in any case,
// empty array elements for null, any character in a string, a byte order mark,
// and the prefix that keeps a script tag from running what follows.
//
// Values are nil, bool, string, json.Number, []any and *object.
type lenientParser struct {
	data  []byte
	pos   int
	depth int
}

// An object keeps its members in the order in which their names first came, as
// Gson's does; the last value of a name wins.
type object struct {
	names   []string
	members map[string]any
}

func (o *object) set(name string, value any) {
	if _, known := o.members[name]; !known {
		o.names = append(o.names, name)
	}
	o.members[name] = value
}

// parseLenient reads a payload that holds one value and nothing after it.
func parseLenient(payload []byte) (any, error) {
	p := &lenientParser{data: bytes.TrimPrefix(payload, []byte("\ufeff"))}
	if err := p.skip(); err != nil {
		return nil, err
	}
	if prefix := []byte(")]}'\n"); bytes.HasPrefix(p.data[p.pos:], prefix) {
		p.pos += len(prefix)
	}
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	if err := p.skip(); err != nil {
		return nil, err
	}
	if p.pos < len(p.data) {
		return nil, p.fail("there is more after the end of the payload's value")
	}
	return value, nil
}

// fail is an error at the present position.
func (p *lenientParser) fail(format string, args ...any) error {
	read := p.data[:min(p.pos, len(p.data))]
	return &PayloadError{
		Line: 1 + bytes.Count(read, []byte("\n")), Column: len(read) - bytes.LastIndexByte(read, '\n'),
		Problem: fmt.Sprintf(format, args...),
	}
}

// skip goes past white space and comments.
func (p *lenientParser) skip() error {
	for p.pos < len(p.data) {
		rest := p.data[p.pos:]
		switch {
		case bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0:
			p.pos++
		case rest[0] == '#', bytes.HasPrefix(rest, []byte("//")):
			end := bytes.IndexAny(rest, "\r\n")
			if end < 0 {
				end = len(rest)
			}
			p.pos += end
		case bytes.HasPrefix(rest, []byte("/*")):
			end := bytes.Index(rest[2:], []byte("*/"))
			if end < 0 {
				return p.fail("a comment does not end")
			}
			p.pos += 2 + end + 2
		default:
			return nil
		}
	}
	return nil
}

// peek skips, and gives the next byte without taking it; 0 at the end. A null
// byte in the payload is part of an unquoted string, so it is not mistaken.
func (p *lenientParser) peek() (byte, error) {
	if err := p.skip(); err != nil || p.pos == len(p.data) {
		return 0, err
	}
	return p.data[p.pos], nil
}

// value reads a value, which is not left out.
func (p *lenientParser) value() (any, error) {
	c, err := p.peek()
	if err != nil {
		return nil, err
	}
	switch {
	case p.pos == len(p.data):
		return nil, p.fail("the payload ends where a value is due")
	case c == '"' || c == '\'':
		return p.quoted()
	case c == '{' || c == '[':
		p.depth++
		defer func() { p.depth-- }()
		if p.depth > maxDepth {
			return nil, p.fail("objects and arrays nest more than %d deep", maxDepth)
		}
		p.pos++
		if c == '{' {
			return p.object()
		}
		return p.array()
	}
	text := p.unquoted()
	if text == "" {
		return nil, p.fail("%q stands where a value is due", c)
	}
	return literal(text), nil
}

// object reads the rest of an object.
func (p *lenientParser) object() (any, error) {
	o := &object{members: map[string]any{}}
	for first := true; ; first = false {
		c, err := p.peek()
		if err != nil {
			return nil, err
		}
		if c == '}' && first {
			p.pos++
			return o, nil
		}
		name, err := p.name(c)
		if err != nil {
			return nil, err
		}
		value, err := p.member()
		if err != nil {
			return nil, err
		}
		o.set(name, value)
		done, err := p.separator('}')
		if done || err != nil {
			return o, err
		}
	}
}

// name reads the name of a member, which begins with c.
func (p *lenientParser) name(c byte) (string, error) {
	if c == '"' || c == '\'' {
		return p.quoted()
	}
	name := p.unquoted()
	if name == "" {
		return "", p.fail("the name of a member is missing")
	}
	return name, nil
}

// member reads a colon, or what stands for it, and the value after it.
func (p *lenientParser) member() (any, error) {
	c, err := p.peek()
	if err != nil {
		return nil, err
	}
	if c != ':' && c != '=' {
		return nil, p.fail("a colon is missing after a name")
	}
	p.pos++
	if c == '=' && p.pos < len(p.data) && p.data[p.pos] == '>' {
		p.pos++
	}
	return p.value()
}

// array reads the rest of an array. An element that is left out is null.
func (p *lenientParser) array() (any, error) {
	list := []any{}
	for first := true; ; first = false {
		c, err := p.peek()
		if err != nil {
			return nil, err
		}
		var element any
		switch {
		case c == ']' && first:
			p.pos++
			return list, nil
		case c != ']' && c != ',' && c != ';':
			if element, err = p.value(); err != nil {
				return nil, err
			}
		}
		list = append(list, element)
		done, err := p.separator(']')
		if done || err != nil {
			return list, err
		}
	}
}

// separator takes what stands after an element: done when that is end.
func (p *lenientParser) separator(end byte) (done bool, err error) {
	c, err := p.peek()
	if err != nil {
		return false, err
	}
	if c != end && c != ',' && c != ';' {
		return false, p.fail("a comma or %q is missing", end)
	}
	p.pos++
	return c == end, nil
}

// unquoted takes what has no quotes, up to the next character that ends such a
// text (JsonReader.isLiteral).
func (p *lenientParser) unquoted() string {
	rest := p.data[p.pos:]
	end := bytes.IndexAny(rest, "/\\;#={}[]:, \t\f\r\n")
	if end < 0 {
		end = len(rest)
	}
	p.pos += end
	return valid(rest[:end])
}

// literal is what an unquoted text means: a keyword, a number, or a string.
func literal(text string) any {
	switch lower(text) {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	}
	if (text[0] == '-' || isDigit(text[0])) && json.Valid([]byte(text)) {
		return json.Number(text)
	}
	return text
}

// lower is text with A to Z in lower case; no other letter is folded.
func lower(text string) string {
	b := []byte(text)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
