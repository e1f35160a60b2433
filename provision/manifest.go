package provision

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
)

const (
	// maxRow is the longest row that is taken, in bytes: a device with a chain
	// of certificates and many attributes has some ten thousand.
	maxRow = 1 << 20
	// manifestBuffer is how much of a manifest is read at a time, in bytes. The
	// headings of a CSV have to fit in.
	manifestBuffer = 64 << 10
)

// A RowError says what is wrong with one place of a manifest. It never holds a
// token, a password or a key.
type RowError struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in bytes
	Problem string
}

func (e *RowError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}

// ReadManifest reads devices, and hands each that is sound to the spool, in
// their order. It holds one row at a time, which may have 1 MiB (in YAML 64 KiB).
// The text must be UTF-8; a byte order mark and lines that end with CRLF are
// accepted.
//
// A device has a name, and where wanted a label, profile (or type), description,
// gateway (true or false), customer (its title), attributes, and a credential:
// the word token, basic or x509 for one to be made, or the credential itself as
// token; client_id, username and password; certificate or csr (PEM). A field
// error is ignored, so that the file of failed rows can be read again.
//
// CSV (RFC 4180) has a row of headings, in any order and in upper or lower case,
// and then a row for each device. The names of ThingsBoard's column types and
// what its import form calls them are headings too. An attribute's heading has
// its key: server:KEY or shared:KEY (or SERVER_ATTRIBUTE:KEY and
// SHARED_ATTRIBUTE:KEY). The fields are separated by commas, or by what the
// headings are certainly separated by: a semicolon, a tab or a bar.
//
// JSON is an array of objects, an object with the one member devices that is
// such an array, or objects one after the other; NDJSON has an object on each
// line; YAML is a list of mappings, which may stand below devices. Attributes are
// objects there: server_attributes and shared_attributes.
//
// file is the name for the errors. Everything that is wrong is told at once:
// errors.Join of *RowError, the first 20 and a count of the rest. After an error
// the spool has some of the rows, and must be thrown away.
func ReadManifest(ctx context.Context, r io.Reader, file string, format Format, spool Spool) error { //nolint:revive // five that belong together, in one call
	text, err := openText(r, file)
	if err != nil {
		return err
	}
	m := &manifest{file: file, spool: spool}
	if format == FormatAny {
		head, err := text.Peek(sniffed)
		if err != nil && !errors.Is(err, io.EOF) {
			return m.broken(err)
		}
		format = Sniff(head)
	}
	if err := m.read(ctx, text, format); err != nil {
		return err
	}
	return m.found.join("row")
}

// manifest is a manifest that is being read.
type manifest struct {
	file  string
	spool Spool
	rows  int // good ones and bad ones
	found problems
}

// read reads the whole file. What is wrong with it is noted in found; an error
// is one of reading or of the spool.
func (m *manifest) read(ctx context.Context, text *bufio.Reader, format Format) error {
	var err error
	switch format {
	case FormatCSV:
		err = m.readCSV(ctx, text)
	case FormatJSON:
		err = m.readJSON(ctx, text)
	case FormatNDJSON:
		err = m.readNDJSON(ctx, text)
	case FormatYAML:
		err = m.readYAML(ctx, text)
	default:
		return fmt.Errorf("%s: there is no format %s: the formats are csv, json, ndjson and yaml", m.file, quote(string(format)))
	}
	var last *RowError
	switch {
	case errors.As(err, &last): // there is no sense in what follows it
		m.found.add(last)
	case err != nil:
		return err
	case m.rows == 0 && len(m.found.shown) == 0:
		m.fail(1, 1, "the file has no device")
	}
	return nil
}

// broken is the error for a file that cannot be read.
func (m *manifest) broken(err error) error { return fmt.Errorf("read %s: %w", m.file, err) }

// problem says what is wrong with a place.
func (m *manifest) problem(line, column int, problem string) *RowError {
	return &RowError{File: m.file, Line: line, Column: column, Problem: problem}
}

// fail notes what is wrong with a place.
func (m *manifest) fail(line, column int, problem string) {
	m.found.add(m.problem(line, column, problem))
}
