package provision

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
)

// csvManifest is a CSV that is being read.
type csvManifest struct {
	*manifest
	csv      *csv.Reader
	leash    *leash
	headings []heading // by position
}

// leash lets a reader have so much of a text and no more, so that a quoted field
// that has no end is not held as a whole.
type leash struct {
	text io.Reader
	left int // bytes
	err  error
}

func (l *leash) Read(p []byte) (int, error) {
	if l.left <= 0 {
		l.err = errRowTooLong
		return 0, errRowTooLong
	}
	n, err := l.text.Read(p[:min(len(p), l.left)])
	l.left -= n
	if err != nil && !errors.Is(err, io.EOF) {
		l.err = err
	}
	return n, err
}

func (m *manifest) readCSV(ctx context.Context, text *bufio.Reader) error {
	head, err := text.Peek(manifestBuffer)
	if err != nil && !errors.Is(err, io.EOF) {
		return m.broken(err)
	}
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, "\r\n"), []byte("\n"))
	leash := &leash{text: text}
	c := &csvManifest{manifest: m, leash: leash, csv: csv.NewReader(bufio.NewReaderSize(leash, manifestBuffer))}
	c.csv.Comma = separatorOf(string(line))
	c.csv.FieldsPerRecord = -1 // counted here, to go on after a ragged row
	c.csv.ReuseRecord = true
	return c.read(ctx)
}

func (m *csvManifest) read(ctx context.Context) error {
	headings, err := m.row()
	if errors.Is(err, io.EOF) {
		return m.problem(1, 1, "the file is empty: it needs a row of headings ("+knownColumns()+") and a row for each device")
	}
	if err != nil {
		return err
	}
	if m.readHeadings(headings); len(m.found.shown) > 0 {
		return nil
	}
	draft := &draft{manifest: m.manifest, locate: m.csv.FieldPos}
	for ctx.Err() == nil {
		fields, err := m.row()
		var bad *RowError
		switch {
		case errors.Is(err, io.EOF) && m.rows == 0:
			return m.problem(1, 1, "the file has headings and no device: add a row for each")
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad) && m.leash.err == nil:
			m.found.add(bad)
			err = nil
		case err == nil:
			err = m.readDevice(ctx, draft, fields)
		}
		if err != nil {
			return err
		}
		m.rows++
	}
	return context.Cause(ctx)
}

// row reads one row. A row that is not CSV gives a *RowError, and reading can go
// on unless the leash has an error.
func (m *csvManifest) row() ([]string, error) {
	m.leash.left = maxRow
	fields, err := m.csv.Read()
	var syntax *csv.ParseError
	switch {
	case errors.Is(m.leash.err, errRowTooLong):
		line, column := 1, 1
		if len(fields) > 0 {
			line, column = m.csv.FieldPos(0)
		}
		return nil, m.problem(line, column, `the row is longer than 1 MiB: is there a quote (") that is never closed? What follows was not looked at`)
	case m.leash.err != nil:
		return nil, m.broken(m.leash.err)
	case errors.As(err, &syntax):
		return nil, m.problem(syntax.Line, syntax.Column, quoteProblem(syntax))
	default:
		return fields, err
	}
}

// quoteProblem says in other words what encoding/csv found.
func quoteProblem(err *csv.ParseError) string {
	switch {
	case errors.Is(err.Err, csv.ErrBareQuote):
		return `a quote (") inside a field that does not begin with one: quote the whole field and write "" for each quote in it`
	case err.Line != err.StartLine:
		return fmt.Sprintf(`the quoted field that begins in line %d has no end, or something follows its closing quote (")`, err.StartLine)
	default:
		return `a quoted field has no end, or something follows its closing quote (")`
	}
}

// failField notes what is wrong with a field of the row read last, so many bytes
// after its beginning.
func (m *csvManifest) failField(field, offset int, problem string) {
	line, column := m.csv.FieldPos(field)
	m.fail(line, column+offset, problem)
}

// readDevice takes a row, and notes what is wrong with it.
func (m *csvManifest) readDevice(ctx context.Context, d *draft, fields []string) error {
	if len(fields) != len(m.headings) {
		m.failField(0, 0, fmt.Sprintf("the row and the headings differ in length: %d fields, %d headings", len(fields), len(m.headings)))
		return nil
	}
	d.begin()
	for i, field := range fields {
		heading := m.headings[i]
		bad := invalidUTF8(field)
		switch {
		case bad >= 0:
			m.failField(i, bad, notUTF8)
			d.bad = true
		case heading.column != columnServer && heading.column != columnShared:
			d.text(heading.column, field, i)
		case field != "": // an empty attribute is none
			d.attribute(scopeOf(heading.column), heading.key, parseValue(field), i)
		}
	}
	return d.end(ctx)
}
