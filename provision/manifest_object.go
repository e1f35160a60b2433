package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// jsonObject is a device in JSON. Spots are offsets into it.
type jsonObject struct {
	raw          []byte
	line, column int // where it begins in the file
	draft        draft
}

// locate finds an offset in the file.
func (o *jsonObject) locate(offset int) (line, column int) {
	before := o.raw[:min(offset, len(o.raw))]
	if last := bytes.LastIndexByte(before, '\n'); last >= 0 {
		return o.line + bytes.Count(before, []byte("\n")), len(before) - last
	}
	return o.line, o.column + len(before)
}

// syntax tells where the object is no object in JSON, as a RowError without a
// file.
func (o *jsonObject) syntax() *RowError {
	var offset int
	var problem string
	switch bad := invalidUTF8(o.raw); {
	case bad >= 0:
		offset, problem = bad, notUTF8
	case o.raw[0] != '{':
		problem = wantDevice
	case !json.Valid(o.raw):
		offset, problem = o.wrong()
	default:
		return nil
	}
	line, column := o.locate(offset)
	return &RowError{Line: line, Column: column, Problem: problem}
}

// wrong says where the object is not JSON, and why.
func (o *jsonObject) wrong() (offset int, problem string) {
	var syntax *json.SyntaxError
	if err := json.Unmarshal(o.raw, new(json.RawMessage)); !errors.As(err, &syntax) {
		return 0, "this is not JSON"
	}
	if strings.HasPrefix(syntax.Error(), "unexpected end") {
		return len(o.raw), "the device has no end: is the file cut off?"
	}
	return int(syntax.Offset) - 1, "this is not JSON: " + syntax.Error()
}

// read takes the device. The object is known to be JSON.
func (o *jsonObject) read(ctx context.Context, m *manifest) error {
	if o.draft.manifest != m {
		o.draft = draft{manifest: m, locate: o.locate}
	}
	d := &o.draft
	d.begin()
	o.members(0, func(key string, at, value, end int) {
		switch c := d.columnOf(key); c {
		case columnUnknown:
			d.fail(at, fmt.Sprintf("field %s is unknown; the fields are %s", quote(key), knownFields()))
		case columnFailure: // whatever it says
		case columnServer, columnShared:
			if o.raw[value] != 'n' && d.take(c, at) {
				o.attributes(c, value)
			}
		default:
			o.field(c, value, end)
		}
	})
	return d.end(ctx)
}

// field takes a field that is no attributes.
func (o *jsonObject) field(c column, start, end int) {
	switch raw := o.raw[start:end]; {
	case raw[0] == 'n': // null
	case raw[0] == '"':
		text, ok := unquote(raw)
		if !ok {
			o.draft.fail(start, "the "+c.String()+" has an escape that is no character")
			return
		}
		o.draft.text(c, text, start)
	case c == columnGateway && (raw[0] == 't' || raw[0] == 'f'):
		o.draft.text(c, string(raw), start)
	default:
		o.draft.fail(start, fmt.Sprintf("the %s must be a text in quotes, and is %s", c, jsonKind(raw[0])))
	}
}

// jsonKind is what a value is that begins with b.
func jsonKind(b byte) string {
	switch b {
	case '"':
		return "a text"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// attributes takes the attributes in the object that begins at start.
func (o *jsonObject) attributes(c column, start int) {
	if o.raw[start] != '{' {
		o.draft.fail(start, fmt.Sprintf("the %s must be an object, and are %s", c, jsonKind(o.raw[start])))
		return
	}
	scope := scopeOf(c)
	o.members(start, func(key string, at, value, end int) {
		if problem := attributeProblem(key, o.raw[value:end]); problem != "" {
			o.draft.fail(at, problem)
			return
		}
		var compact bytes.Buffer
		_ = json.Compact(&compact, o.raw[value:end]) // it is JSON
		o.draft.attribute(scope, key, compact.Bytes(), at)
	})
}

func scopeOf(c column) AttributeScope {
	if c == columnShared {
		return ScopeShared
	}
	return ScopeServer
}

// attributeProblem says what is wrong with an attribute.
func attributeProblem(key string, value []byte) string {
	if string(value) == "null" {
		return fmt.Sprintf("the attribute %s is null: leave it out", quote(key))
	}
	return keyProblem(key)
}

// members calls each for the members of the object that begins at start: with
// the key, and where that and the value stand.
func (o *jsonObject) members(start int, each func(key string, at, value, end int)) {
	for i := spaceEnd(o.raw, start+1); o.raw[i] == '"'; {
		keyEnd := valueEnd(o.raw, i)
		value := spaceEnd(o.raw, spaceEnd(o.raw, keyEnd)+1) // behind the colon
		end := valueEnd(o.raw, value)
		if key, ok := unquote(o.raw[i:keyEnd]); ok {
			each(key, i, value, end)
		} else {
			o.draft.fail(i, "the key has an escape that is no character")
		}
		if i = spaceEnd(o.raw, end); o.raw[i] == ',' {
			i = spaceEnd(o.raw, i+1)
		}
	}
}

// spaceEnd is where the white space ends that may begin at i.
func spaceEnd(raw []byte, i int) int {
	for raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\n' || raw[i] == '\r' {
		i++
	}
	return i
}

// valueEnd is where the value ends that begins at i. It stands in an object, so
// that something follows.
func valueEnd(raw []byte, i int) int {
	depth := 0
	for {
		switch raw[i] {
		case '"':
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		i++
		if depth == 0 && strings.IndexByte(" \t\r\n:,}]", raw[i]) >= 0 {
			return i
		}
	}
}

// unquote is the text that stands in quotes. It is not ok when an escape is one
// half of a character, which encoding/json replaces.
func unquote(raw []byte) (text string, ok bool) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	if json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	const replacement = "\ufffd"
	meant := bytes.Count(raw, []byte(replacement)) + bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`))
	return text, strings.Count(text, replacement) <= meant
}
