package provision

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// A Format is how a manifest is written.
type Format string

// The formats of manifests.
const (
	FormatAny    Format = "" // as [Sniff] finds it
	FormatCSV    Format = "csv"
	FormatJSON   Format = "json"
	FormatNDJSON Format = "ndjson"
	FormatYAML   Format = "yaml"
)

// sniffed is how much of a file Sniff is shown, in bytes.
const sniffed = 4096

// FormatOf is the format that a file has by its extension, or FormatAny.
func FormatOf(file string) Format {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".csv", ".tsv", ".txt":
		return FormatCSV
	case ".json":
		return FormatJSON
	case ".ndjson", ".jsonl":
		return FormatNDJSON
	case ".yaml", ".yml":
		return FormatYAML
	default:
		return FormatAny
	}
}

// Sniff is the format that a file seems to have by how it begins.
func Sniff(head []byte) Format {
	line := firstLine(head)
	switch {
	case bytes.HasPrefix(line, []byte("[")), wrapped(bytes.TrimLeft(head, " \t\r\n")):
		return FormatJSON
	case bytes.HasPrefix(line, []byte("{")):
		if bytes.HasSuffix(line, []byte("}")) {
			return FormatNDJSON
		}
		return FormatJSON // an object of several lines
	case bytes.Equal(line, []byte("-")), bytes.HasPrefix(line, []byte("- ")),
		bytes.HasPrefix(line, []byte("---")), bytes.HasPrefix(line, []byte("devices:")):
		return FormatYAML
	default:
		return FormatCSV
	}
}

// firstLine is the first line that is neither blank nor a comment of YAML.
func firstLine(head []byte) []byte {
	for line := range bytes.Lines(head) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return line
		}
	}
	return nil
}

// openText drops the byte order mark that spreadsheets put before UTF-8 text,
// and tells what else they write.
func openText(r io.Reader, file string) (*bufio.Reader, error) {
	text := bufio.NewReaderSize(r, manifestBuffer)
	head, err := text.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	problem := ""
	switch mark := []byte("\xef\xbb\xbf"); {
	case bytes.HasPrefix(head, mark):
		if _, err := text.Discard(len(mark)); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")), bytes.IndexByte(head, 0) >= 0:
		problem = "the file is UTF-16 text: save it in UTF-8"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		problem = "the file is a spreadsheet or an archive: save it as CSV"
	}
	if problem != "" {
		return nil, &RowError{File: file, Line: 1, Column: 1, Problem: problem}
	}
	return text, nil
}

const notUTF8 = "this is not UTF-8 text: save the file in UTF-8"

// invalidUTF8 gives the place of the first byte that is not UTF-8, or -1.
func invalidUTF8[T string | []byte](text T) int {
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// textLines reads lines, and holds no more than maxRow of one.
type textLines struct {
	in     *bufio.Reader
	number int // of the line read last, from 1
	buf    []byte
}

var errRowTooLong = errors.New("the row is too long")

// next gives the next line with its line break. A line that is too long is
// skipped: errRowTooLong.
func (l *textLines) next() ([]byte, error) {
	l.buf = l.buf[:0]
	read, long := 0, false
	for {
		part, err := l.in.ReadSlice('\n')
		read += len(part)
		long = long || read > maxRow
		if !long {
			l.buf = append(l.buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (read == 0 || !errors.Is(err, io.EOF)):
			return nil, err
		}
		l.number++
		if long {
			l.buf = nil
			return nil, errRowTooLong
		}
		return l.buf, nil
	}
}
