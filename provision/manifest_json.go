package provision

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
)

// jsonManifest is a JSON text that is being read. It cuts the objects out
// without looking at more than their brackets and quotes.
type jsonManifest struct {
	*manifest
	in           *bufio.Reader
	line, column int // of the next byte
	object       jsonObject
}

const (
	cutOff     = "the file ends in the middle of the list of devices: is it cut off?"
	wantDevice = "a device is wanted here, which is an object in braces"
)

// devicesMember is how a document begins that has the list as a member.
var devicesMember = regexp.MustCompile(`^\{[ \t\r\n]*"devices"[ \t\r\n]*:[ \t\r\n]*`)

// wrapped reports whether the text begins with an object that has the list of
// devices.
func wrapped(text []byte) bool { return devicesMember.Match(text) }

func (m *manifest) readJSON(ctx context.Context, text *bufio.Reader) error {
	j := &jsonManifest{manifest: m, in: text, line: 1, column: 1}
	first, err := j.space()
	if err != nil {
		return j.ended(err, "the file is empty: it needs a list of devices")
	}
	head, err := text.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return m.broken(err)
	}
	switch member := devicesMember.Find(head); {
	case first == '[':
		err = j.list(ctx)
	case member != nil:
		for range member {
			_, _ = j.next() // they were seen
		}
		if err = j.list(ctx); err == nil {
			err = j.closing()
		}
	case first == '{':
		return j.stream(ctx)
	default:
		err = j.here("a manifest in JSON is a list of devices, [{…}, …], or has one as its member devices")
	}
	if err != nil {
		return err
	}
	if _, err := j.space(); !errors.Is(err, io.EOF) {
		return errors.Join(err, j.here("something follows the list of devices"))
	}
	return nil
}

// list reads an array of devices.
func (j *jsonManifest) list(ctx context.Context) error {
	if b, err := j.space(); err != nil || b != '[' {
		return j.ended(err, "a list of devices is wanted here, in brackets")
	}
	_, _ = j.next() // it was seen
	for first := true; ; first = false {
		b, err := j.space()
		switch {
		case err != nil:
			return j.ended(err, cutOff)
		case b == ']':
			_, _ = j.next()
			return nil
		case !first && b != ',':
			return j.here("a comma or the end of the list is wanted here")
		case !first:
			_, _ = j.next()
		}
		if err := j.device(ctx); err != nil {
			return err
		}
	}
}

// closing reads the end of the object that has the list.
func (j *jsonManifest) closing() error {
	b, err := j.space()
	if err != nil || b != '}' {
		return j.ended(err, "the object with the devices must end here: it has no other member")
	}
	_, _ = j.next()
	return nil
}

// stream reads devices one after the other.
func (j *jsonManifest) stream(ctx context.Context) error {
	for {
		if _, err := j.space(); errors.Is(err, io.EOF) {
			return nil
		}
		if err := j.device(ctx); err != nil {
			return err
		}
	}
}

// device reads one device. After an object that is not JSON there is no telling
// where the next begins.
func (j *jsonManifest) device(ctx context.Context) error {
	if b, err := j.space(); err != nil || b != '{' {
		return j.ended(err, wantDevice)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	j.rows++
	o := &j.object
	o.line, o.column = j.line, j.column
	switch err := j.cut(); {
	case errors.Is(err, errRowTooLong):
		j.fail(o.line, o.column, "the device is longer than 1 MiB")
		return nil
	case errors.Is(err, io.EOF):
		return j.problem(o.line, o.column, "the device that begins here has no end: is the file cut off?")
	case err != nil:
		return err
	}
	if problem := o.syntax(); problem != nil {
		return j.problem(problem.Line, problem.Column, problem.Problem)
	}
	return o.read(ctx, j.manifest)
}

// cut reads an object into j.object. One that is too long is read, and not
// held: errRowTooLong.
func (j *jsonManifest) cut() error {
	var seen brackets
	raw, long := j.object.raw[:0], false
	for first := true; first || seen.open > 0; first = false {
		b, err := j.next()
		if err != nil {
			return err
		}
		if long = long || len(raw) == maxRow; !long {
			raw = append(raw, b)
		}
		seen.see(b)
	}
	if j.object.raw = raw; long {
		j.object.raw = nil
		return errRowTooLong
	}
	return nil
}

// brackets counts the brackets of JSON that stand outside of texts.
type brackets struct {
	open            int
	quoted, escaped bool
}

func (s *brackets) see(b byte) {
	switch {
	case s.escaped:
		s.escaped = false
	case s.quoted && b == '\\':
		s.escaped = true
	case b == '"':
		s.quoted = !s.quoted
	case s.quoted:
	case b == '{', b == '[':
		s.open++
	case b == '}', b == ']':
		s.open--
	}
}

// next takes a byte.
func (j *jsonManifest) next() (byte, error) {
	b, err := j.in.ReadByte()
	switch {
	case errors.Is(err, io.EOF):
		return 0, err
	case err != nil:
		return 0, j.broken(err)
	case b == '\n':
		j.line, j.column = j.line+1, 1
	default:
		j.column++
	}
	return b, nil
}

// space takes white space, and gives the byte after it, which is not taken.
func (j *jsonManifest) space() (byte, error) {
	for {
		b, err := j.in.Peek(1)
		switch {
		case errors.Is(err, io.EOF):
			return 0, err
		case err != nil:
			return 0, j.broken(err)
		case !bytes.Contains([]byte(" \t\r\n"), b):
			return b[0], nil
		}
		_, _ = j.next() // it was seen
	}
}

// here is a problem with the next byte.
func (j *jsonManifest) here(problem string) error {
	return j.problem(j.line, j.column, problem)
}

// ended is the error for something that is wanted and not there: err is why
// nothing more could be read, or nil.
func (j *jsonManifest) ended(err error, problem string) error {
	switch {
	case err == nil:
		return j.here(problem)
	case errors.Is(err, io.EOF) && j.rows > 0:
		return j.here(cutOff)
	case errors.Is(err, io.EOF):
		return j.here(problem)
	default:
		return err
	}
}

// readNDJSON reads an object from each line.
func (m *manifest) readNDJSON(ctx context.Context, text *bufio.Reader) error {
	lines := &textLines{in: text}
	var o jsonObject
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errRowTooLong):
			m.rows++
			m.fail(lines.number, 1, "the line is longer than 1 MiB")
			continue
		case err != nil:
			return m.broken(err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		o.raw = bytes.TrimRight(line, " \t\r\n")
		if len(o.raw) == 0 {
			continue
		}
		m.rows++
		start := len(o.raw) - len(bytes.TrimLeft(o.raw, " \t"))
		o.raw, o.line, o.column = o.raw[start:], lines.number, start+1
		if problem := o.syntax(); problem != nil {
			m.fail(problem.Line, problem.Column, problem.Problem)
		} else if err := o.read(ctx, m); err != nil {
			return err
		}
	}
}
