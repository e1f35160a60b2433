package templates

import (
	"bytes"
	"encoding/xml"
	"strings"
)

// xmlText escapes a text for an XML document.
func xmlText(s string) (string, error) {
	var out bytes.Buffer
	err := xml.EscapeText(&out, []byte(s))
	return out.String(), err
}

// windowsWord makes one argument of s for CommandLineToArgvW, as its documentation
// says: quotes around a text with spaces, and a backslash before a quote in it; the
// backslashes before that one, or before the end, are doubled.
func windowsWord(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n\v\"") {
		return s
	}
	var out strings.Builder
	out.WriteByte('"')
	backslashes := 0
	for _, r := range s {
		switch r {
		case '\\':
			backslashes++
		case '"':
			out.WriteString(strings.Repeat(`\`, backslashes+1))
			backslashes = 0
		default:
			backslashes = 0
		}
		out.WriteRune(r)
	}
	out.WriteString(strings.Repeat(`\`, backslashes))
	out.WriteByte('"')
	return out.String()
}
