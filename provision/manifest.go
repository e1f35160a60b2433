package provision

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/tbcert/tbcert/certs/secret"
)

// A RowError says what is wrong with one place of a manifest. It never holds a
// token.
type RowError struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in bytes
	Problem string
}

func (e *RowError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}

// ReadManifest reads devices from CSV (RFC 4180): a row of headings, then a row
// for each device. The headings are name, and where wanted label, profile (or
// type, or device_profile) and token (or access_token), in any order and in
// upper or lower case; so a file for ThingsBoard's own import is a manifest. A
// byte order mark and lines that end with CRLF are accepted; the text must be
// UTF-8.
//
// file is the name for the errors. Everything that is wrong is told at once:
// errors.Join of *RowError, the first 20 and a count of the rest. When there is
// an error there are no devices.
func ReadManifest(r io.Reader, file string) ([]Device, error) {
	text, err := skipMark(r, file)
	if err != nil {
		return nil, err
	}
	m := &manifest{
		file:   file,
		csv:    csv.NewReader(text),
		names:  make(map[string]int),
		tokens: make(map[[32]byte]int),
	}
	m.csv.FieldsPerRecord = -1 // counted here, to go on after a ragged row
	m.csv.ReuseRecord = true
	if err := m.read(); err != nil {
		return nil, err
	}
	return m.devices, nil
}

// skipMark drops the byte order mark that spreadsheets put before UTF-8 text,
// and tells the other encodings that they write.
func skipMark(r io.Reader, file string) (io.Reader, error) {
	text := bufio.NewReaderSize(r, 64<<10)
	mark, err := text.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	switch {
	case bytes.Equal(mark, []byte("\xef\xbb\xbf")):
		if _, err := text.Discard(len(mark)); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	case bytes.HasPrefix(mark, []byte("\xff\xfe")), bytes.HasPrefix(mark, []byte("\xfe\xff")):
		return nil, &RowError{File: file, Line: 1, Column: 1, Problem: "the file is UTF-16 text: save it as CSV in UTF-8"}
	}
	return text, nil
}

// manifest is a manifest that is being read.
type manifest struct {
	file    string
	csv     *csv.Reader
	columns []column         // by position
	names   map[string]int   // the line of each name
	tokens  map[[32]byte]int // the line of each token, by its SHA-256
	found   problems
	devices []Device
}

// read reads the whole file. Its error is a reading error, or all bad rows.
func (m *manifest) read() error {
	headings, err := m.row()
	if errors.Is(err, io.EOF) {
		return &RowError{File: m.file, Line: 1, Column: 1, Problem: "the file is empty: it needs a row of headings (" + knownColumns() + ") and a row for each device"}
	}
	if err != nil {
		return err
	}
	if err := m.readHeadings(headings); err != nil {
		return err
	}
	rows := 0
	for {
		fields, err := m.row()
		if errors.Is(err, io.EOF) {
			break
		}
		rows++
		var bad *RowError
		switch {
		case errors.As(err, &bad):
			m.found.add(bad)
		case err != nil:
			return err
		default:
			m.readDevice(fields)
		}
	}
	if rows == 0 {
		m.found.add(&RowError{File: m.file, Line: 1, Column: 1, Problem: "the file has headings and no device: add a row for each"})
	}
	return m.found.join("row")
}

// row reads one row. A row that is not CSV gives a *RowError, and reading can go
// on.
func (m *manifest) row() ([]string, error) {
	fields, err := m.csv.Read()
	var syntax *csv.ParseError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return fields, err
	case errors.As(err, &syntax):
		return nil, &RowError{File: m.file, Line: syntax.Line, Column: syntax.Column, Problem: quoteProblem(syntax)}
	default:
		return nil, fmt.Errorf("read %s: %w", m.file, err)
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

// fail notes what is wrong with a field of the row read last.
func (m *manifest) fail(field, offset int, problem string) {
	line, col := m.csv.FieldPos(field)
	m.found.add(&RowError{File: m.file, Line: line, Column: col + offset, Problem: problem})
}

// readDevice takes a row, and notes what is wrong with it.
func (m *manifest) readDevice(fields []string) {
	if len(fields) != len(m.columns) {
		m.fail(0, 0, fmt.Sprintf("the row and the headings differ in length: %d fields, %d headings", len(fields), len(m.columns)))
		return
	}
	var device Device
	good := true
	for i, field := range fields {
		if offset := invalidUTF8(field); offset >= 0 {
			m.fail(i, offset, "this is not UTF-8 text: save the file in UTF-8")
			good = false
			continue
		}
		if problem := m.take(&device, m.columns[i], field); problem != "" {
			m.fail(i, 0, problem)
			good = false
		}
	}
	if good {
		m.devices = append(m.devices, device)
	}
}

// invalidUTF8 gives the place of the first byte that is not UTF-8, or -1.
func invalidUTF8(s string) int {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// take puts one field into the device; it says what is wrong with it.
func (m *manifest) take(device *Device, column column, field string) (problem string) {
	line, _ := m.csv.FieldPos(0)
	switch column {
	case columnName:
		device.Name = strings.Clone(field)
		return m.takeName(device.Name, line)
	case columnLabel:
		device.Label = strings.Clone(field)
	case columnProfile:
		device.Profile = strings.Clone(field)
	case columnToken:
		token, problem := m.takeToken(field, line)
		device.Credential = TokenCredential(token)
		return problem
	case columnUnknown: // readHeadings lets none through
	}
	if problem := textProblem(field); problem != "" {
		return "the " + column.String() + " " + problem
	}
	return ""
}

func (m *manifest) takeName(name string, line int) (problem string) {
	if _, err := EncodeName(name); err != nil {
		return err.Error()
	}
	if first, twice := m.names[name]; twice {
		return fmt.Sprintf("device name %s is in line %d already", quote(name), first)
	}
	m.names[name] = line
	return ""
}

func (m *manifest) takeToken(field string, line int) (token secret.Text, problem string) {
	if field == "" {
		return secret.Text{}, ""
	}
	token, err := ParseToken(strings.Clone(field))
	if err != nil {
		return secret.Text{}, err.Error()
	}
	if first, twice := m.tokens[digest(token)]; twice {
		return secret.Text{}, fmt.Sprintf("the token is that of the device in line %d already: each device needs its own", first)
	}
	m.tokens[digest(token)] = line
	return token, ""
}
