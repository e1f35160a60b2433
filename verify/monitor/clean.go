package monitor

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible writes what is no text in a way that can be seen, as Go does: a
// control character or one that turns the line around as \u0007, a byte that is
// no UTF-8 as \xff. XML 1.0 cannot hold most of them (2.2), and a terminal or a
// parser may obey them. Characters of keep stay.
func visible(text string, keep ...rune) string {
	var out strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case !hidden(r) || strings.ContainsRune(string(keep), r):
			out.WriteString(text[:size])
		case r > 0xffff:
			fmt.Fprintf(&out, `\U%08x`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		text = text[size:]
	}
	return out.String()
}

// hidden reports a control character, a line separator, a character that
// reorders its neighbors, or a code point that is none.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control, unicode.Noncharacter_Code_Point)
}

// multiline is text that may have lines and tabs.
func multiline(text string) string {
	return visible(strings.ReplaceAll(text, "\r\n", "\n"), '\n', '\t')
}

// oneLine is text for a line of a plugin. The bar would begin performance data
// (Monitoring Plugins Development Guidelines, "Plugin Output for Nagios"), so it
// becomes a broken one. A semicolon means nothing before the bar, and stays.
func oneLine(text string) string {
	return strings.ReplaceAll(visible(strings.Join(strings.Fields(text), " ")), "|", "¦")
}
