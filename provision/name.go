package provision

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDirectory is the longest encoded name, in bytes (all of them ASCII).
const maxDirectory = 64

// A NameError says why a name cannot be a device's.
type NameError struct {
	Name    string
	Problem string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("device name %s %s", quote(e.Name), e.Problem)
}

// quote shows a text of the user's: on one line, and not without end.
func quote(s string) string {
	const most = 80
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// EncodeName gives the directory of a device: its name, as far as that has
// ASCII letters, digits, dots, underscores and hyphens only. Every byte of any
// other printable character becomes _xHH (two lower-case hex digits), and an
// underscore that would read as the beginning of such a code is written _x5f.
// So different names have different directories, DecodeName finds the name
// again, and the directory stays inside [A-Za-z0-9._-].
//
// It refuses, with a *NameError, a name that is empty, longer than 64
// characters when encoded, begins with a dot or a space or ends with one,
// holds "..", a slash, a backslash, a quote or a character that cannot be
// printed, is not UTF-8, or is reserved on Windows (CON, NUL, COM1, …, with or
// without an extension).
func EncodeName(name string) (directory string, err error) {
	if problem := nameProblem(name); problem != "" {
		return "", &NameError{Name: name, Problem: problem}
	}
	directory = encode(name)
	if len(directory) > maxDirectory {
		return "", &NameError{Name: name, Problem: lengthProblem(name, directory)}
	}
	if device, _, _ := strings.Cut(directory, "."); isWindowsDevice(device) {
		return "", &NameError{Name: name, Problem: fmt.Sprintf("is reserved on Windows (%s): choose another", strings.ToUpper(device))}
	}
	return directory, nil
}

func lengthProblem(name, directory string) string {
	if len(directory) == len(name) {
		return fmt.Sprintf("has %d characters: at most %d are allowed", len(name), maxDirectory)
	}
	return fmt.Sprintf("needs %d characters as a directory name, in which every character but A-Z a-z 0-9 . _ - takes four a byte: at most %d are allowed",
		len(directory), maxDirectory)
}

// nameProblem says what is wrong with the text of a name.
func nameProblem(name string) string {
	switch {
	case name == "":
		return "is empty"
	case !utf8.ValidString(name):
		return "is not UTF-8 text"
	case name[0] == '.':
		return "begins with a dot"
	case name[0] == ' ':
		return "begins with a space"
	case name[len(name)-1] == '.':
		return "ends with a dot"
	case name[len(name)-1] == ' ':
		return "ends with a space"
	case strings.Contains(name, ".."):
		return `holds ".."`
	}
	for _, r := range name {
		if problem := runeProblem(r); problem != "" {
			return problem
		}
	}
	return ""
}

// runeProblem says what is wrong with a character of a name.
func runeProblem(r rune) string {
	switch {
	case r == '/' || r == '\\':
		return fmt.Sprintf("holds %q, which separates directories", r)
	case r == '\'' || r == '"' || r == '`':
		return "holds a quote"
	case r == '\n' || r == '\r':
		return "holds a line break"
	case !unicode.IsPrint(r):
		return fmt.Sprintf("holds %U, which cannot be printed", r)
	}
	return ""
}

// isWindowsDevice reports whether Windows takes a file of this name, whatever
// its extension, for a device.
func isWindowsDevice(name string) bool {
	switch name = strings.ToUpper(name); name {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(name) == 4 && (name[:3] == "COM" || name[:3] == "LPT") && name[3] >= '1' && name[3] <= '9'
}

// isPlain reports whether a byte stands for itself in an encoded name.
func isPlain(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '.' || b == '_' || b == '-'
}

const hexDigits = "0123456789abcdef"

func encode(name string) string {
	var out strings.Builder
	out.Grow(len(name))
	for i := range len(name) {
		b := name[i]
		if _, isCode := codeAt(name, i); isPlain(b) && !isCode {
			out.WriteByte(b)
			continue
		}
		out.WriteString("_x")
		out.WriteByte(hexDigits[b>>4])
		out.WriteByte(hexDigits[b&0xf])
	}
	return out.String()
}

// codeAt gives the byte that the text _xHH at s[i:] stands for, if there is one.
func codeAt(s string, i int) (b byte, ok bool) {
	if i+4 > len(s) || s[i] != '_' || s[i+1] != 'x' {
		return 0, false
	}
	for _, digit := range []byte(s[i+2 : i+4]) {
		if strings.IndexByte(hexDigits, digit) < 0 {
			return 0, false
		}
	}
	value, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
	return byte(value), err == nil
}

// DecodeName gives the name of the device whose directory this is. A directory
// that EncodeName would never give is an error.
func DecodeName(directory string) (name string, err error) {
	var out strings.Builder
	for i := 0; i < len(directory); i++ {
		b := directory[i]
		if code, ok := codeAt(directory, i); ok {
			b = code
			i += 3
		}
		out.WriteByte(b)
	}
	name = out.String()
	if again, err := EncodeName(name); err != nil || again != directory {
		return "", fmt.Errorf("%s is not the directory of a device", quote(directory))
	}
	return name, nil
}
