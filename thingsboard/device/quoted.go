package device

import (
	"bytes"
	"encoding/hex"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted reads a string with the quotes that it begins with.
func (p *lenientParser) quoted() (string, error) {
	quote := p.data[p.pos]
	var text []byte
	for p.pos++; p.pos < len(p.data); {
		c := p.data[p.pos]
		p.pos++
		switch c {
		case quote:
			return valid(text), nil
		case '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			text = utf8.AppendRune(text, r)
		default:
			text = append(text, c)
		}
	}
	return "", p.fail("a string does not end")
}

// escape reads what follows a backslash.
func (p *lenientParser) escape() (rune, error) {
	if p.pos == len(p.data) {
		return 0, p.fail("a string ends after a backslash")
	}
	c := p.data[p.pos]
	p.pos++
	if i := bytes.IndexByte([]byte("btnfr"), c); i >= 0 {
		return rune("\b\t\n\f\r"[i]), nil
	}
	switch c {
	case '"', '\'', '\\', '/', '\n':
		return rune(c), nil
	case 'u':
		r, ok := p.hex(p.pos)
		if !ok {
			return 0, p.fail("\\u needs four hexadecimal digits")
		}
		p.pos += 4
		return p.surrogate(r), nil
	default:
		return 0, p.fail("%q does not stand after a backslash", c)
	}
}

// surrogate joins r with a second \u escape if the two make a character (RFC
// 8259, 7). A half by itself becomes U+FFFD.
func (p *lenientParser) surrogate(r rune) rune {
	if !utf16.IsSurrogate(r) {
		return r
	}
	if bytes.HasPrefix(p.data[p.pos:], []byte(`\u`)) {
		if low, ok := p.hex(p.pos + 2); ok {
			if joined := utf16.DecodeRune(r, low); joined != utf8.RuneError {
				p.pos += 6
				return joined
			}
		}
	}
	return utf8.RuneError
}

// hex is the number that the four hexadecimal digits at a position write.
func (p *lenientParser) hex(at int) (rune, bool) {
	if at+4 > len(p.data) {
		return 0, false
	}
	var pair [2]byte
	if _, err := hex.Decode(pair[:], p.data[at:at+4]); err != nil {
		return 0, false
	}
	return rune(pair[0])<<8 | rune(pair[1]), true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// valid is text with U+FFFD for each byte that is not UTF-8.
func valid(text []byte) string {
	if utf8.Valid(text) {
		return string(text)
	}
	return string([]rune(string(text)))
}
