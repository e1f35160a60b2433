package templates

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"
)

// functions are those that a template may use. Each writes a text or bytes so
// that its language reads just them again, or gives an error where it cannot.
func functions() template.FuncMap {
	return template.FuncMap{
		"sh": quoteShell, "unitline": unitLine, "unitword": unitWord, "unitpath": unitPath,
		"c": quoteC, "clines": quoteCLines, "cbytes": bytesC, "py": quotePython, "pybytes": bytesPython,
		"json": quoteJSON, "conf": confValue, "xml": xmlText, "winword": windowsWord,
	}
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

var (
	errZero = errors.New("a C string ends at a zero byte")
	errUTF8 = errors.New("the text is not UTF-8")
	errConf = errors.New("mosquitto's settings cannot hold a control character, nor a value that is empty or begins or ends with a space")
)

// quoteC makes a string literal for C and C++. What is not printable ASCII is
// written in octal: three digits at most belong to it (C11, 6.4.4.4), where a
// hexadecimal escape would take any digit that follows. A question mark is
// escaped because of trigraphs.
func quoteC(s string) (string, error) {
	var out strings.Builder
	out.WriteByte('"')
	for i := range len(s) {
		switch b := s[i]; {
		case b == 0:
			return "", errZero
		case b == '\n':
			out.WriteString(`\n`)
		case b == '"' || b == '\\' || b == '?':
			out.WriteByte('\\')
			out.WriteByte(b)
		case b < ' ' || b > '~':
			fmt.Fprintf(&out, `\%03o`, b)
		default:
			out.WriteByte(b)
		}
	}
	out.WriteByte('"')
	return out.String(), nil
}

// quoteCLines is quoteC with a literal a line, which the compiler joins.
func quoteCLines(s string) (string, error) {
	var quoted []string
	for line := range strings.Lines(s) {
		literal, err := quoteC(line)
		if err != nil {
			return "", err
		}
		quoted = append(quoted, "    "+literal)
	}
	if len(quoted) == 0 {
		return `    ""`, nil
	}
	return strings.Join(quoted, "\n"), nil
}

// rowBytes is how many bytes stand in a line.
const rowBytes = 16

// bytesC makes the elements of a C array.
func bytesC(data []byte) string {
	return rows(data, "    ", ",", func(out *strings.Builder, i int, b byte) {
		if i > 0 {
			out.WriteString(", ")
		}
		fmt.Fprintf(out, "0x%02x", b)
	})
}

// bytesPython makes bytes literals, which stand between parentheses.
func bytesPython(data []byte) string {
	return rows(data, `    b"`, `"`, func(out *strings.Builder, _ int, b byte) { fmt.Fprintf(out, `\x%02x`, b) })
}

// rows writes bytes, some a line.
func rows(data []byte, before, after string, each func(out *strings.Builder, i int, b byte)) string {
	var lines []string
	for len(data) > 0 {
		row := data[:min(rowBytes, len(data))]
		data = data[len(row):]
		var out strings.Builder
		for i, b := range row {
			each(&out, i, b)
		}
		lines = append(lines, before+out.String()+after)
	}
	return strings.Join(lines, "\n")
}

// quotePython makes a string literal for Python and MicroPython, in ASCII. Go's
// escapes are among theirs (Python's reference, 2.4.1), for text in UTF-8.
func quotePython(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errUTF8
	}
	return strconv.QuoteToASCII(s), nil
}

// quoteJSON makes a JSON text, which is an expression of JavaScript as well
// (ECMA-262, 12.9.4 since 2019), and safe in a page of HTML.
func quoteJSON(value any) (string, error) {
	if s, isText := value.(string); isText && !utf8.ValidString(s) {
		return "", errUTF8
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// confValue is the rest of a line in mosquitto.conf, which knows no quotes: it
// takes all after the first space, without those at the ends.
func confValue(s string) (string, error) {
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errConf
	}
	return s, nil
}
