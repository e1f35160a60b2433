package templates_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tbcert/tbcert/templates"
)

// quoted gives a value as a function of templates writes it.
func quoted(t *testing.T, function string, value any) (string, error) {
	t.Helper()
	set := templates.NewSet(func(string) ([]byte, error) { return []byte("{{" + function + " .}}"), nil })
	text, err := set.Render("device/connect.sh", value)
	return string(text), err
}

// oddTexts are what some language takes for something else.
func oddTexts() []string {
	return []string{
		"", "plain", `"`, `'`, `\`, `\\"`, "\n", "\r\n", "a\tb", "??/", "??=", "*/", "//", "/*", "</script>", "<!--", "$HOME", "$(x)", "`x`",
		"%s", "{{.}}", "#{x}", `\x41`, `\u0041`, `\N{DASH}`, "é", "😀", "\u2028\u2029", "\x01\x7f", "12\x0034", "1\xff2", "é1", "\x1b[31m", " a ", "True",
	}
}

// The real compiler and the real interpreters read each literal as the text that
// it was made of. What a language cannot hold is an error.
func TestLiteralsAreRead(t *testing.T) {
	t.Parallel()
	for name, language := range map[string]struct {
		function string
		program  string // LITERALS stands for the literals, separated by commas; it prints each in hexadecimal, a line
		file     string
		run      string // a shell's command
		refuses  func(string) bool
	}{
		"C": {
			"c", "#include <stdio.h>\nint main(void) { const char *t[] = {LITERALS, 0}; for (int i = 0; t[i]; i++) { for (const char *p = t[i]; *p; p++) printf(\"%02x\", (unsigned char)*p); puts(\"\"); } }",
			"t.c", "gcc -std=c11 -trigraphs -Wall -Werror -o t t.c && ./t", func(s string) bool { return strings.Contains(s, "\x00") },
		},
		"C, a line each": {
			"clines", "#include <stdio.h>\nint main(void) { const char *t[] = {LITERALS, 0}; for (int i = 0; t[i]; i++) { for (const char *p = t[i]; *p; p++) printf(\"%02x\", (unsigned char)*p); puts(\"\"); } }",
			"t.c", "gcc -std=c11 -trigraphs -Wall -Werror -o t t.c && ./t", func(s string) bool { return strings.Contains(s, "\x00") },
		},
		"Python": {
			"py", "for t in [LITERALS]: print(t.encode().hex())", "t.py", "python3 -W error t.py", func(s string) bool { return !utf8.ValidString(s) },
		},
		"JavaScript": {
			"json", "for (const t of [LITERALS]) console.log(Buffer.from(t).toString('hex'))", "t.js", "node t.js", func(s string) bool { return !utf8.ValidString(s) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var literals, want []string
			for _, text := range oddTexts() {
				literal, err := quoted(t, language.function, text)
				if (err != nil) != language.refuses(text) {
					t.Errorf("%q: error %v", text, err)
				}
				if err == nil {
					literals, want = append(literals, literal), append(want, hexOf(text))
				}
			}
			dir := t.TempDir()
			write(t, filepath.Join(dir, language.file), []byte(strings.ReplaceAll(language.program, "LITERALS", strings.Join(literals, ",\n"))), 0o600)
			cmd := exec.CommandContext(t.Context(), "sh", "-c", language.run)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != strings.Join(want, "\n") {
				t.Errorf("%v\n%s\nwant\n%s", err, got, strings.Join(want, "\n"))
			}
		})
	}
}

func hexOf(s string) string {
	var out strings.Builder
	for i := range len(s) {
		out.WriteString(strconv.FormatUint(uint64(s[i])+0x100, 16)[1:])
	}
	return out.String()
}

func TestBytesAreWritten(t *testing.T) {
	t.Parallel()
	data := []byte("\x00\x01\xff0123456789abcdef")
	for function, want := range map[string]string{
		"cbytes":  "    0x00, 0x01, 0xff, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x61, 0x62, 0x63,\n    0x64, 0x65, 0x66,",
		"pybytes": "    b\"\\x00\\x01\\xff\\x30\\x31\\x32\\x33\\x34\\x35\\x36\\x37\\x38\\x39\\x61\\x62\\x63\"\n    b\"\\x64\\x65\\x66\"",
	} {
		if got, err := quoted(t, function, data); err != nil || got != want {
			t.Errorf("%s: %v\n%s", function, err, got)
		}
	}
}

func TestConfRefuses(t *testing.T) {
	t.Parallel()
	for text, fits := range map[string]bool{
		"plain": true, `a "b' \ # c`: true, "é": true, "#": true, "": false, " a": false, "a ": false, "\ta": false, "a\nb": false, "a\rb": false, "a\x00b": false, "a\x7fb": false,
	} {
		if got, err := quoted(t, "conf", text); (err == nil) != fits || err == nil && got != text {
			t.Errorf("%q gives %q, %v", text, got, err)
		}
	}
}

// FuzzQuote: a literal is ASCII on one line, and gives back its text.
func FuzzQuote(f *testing.F) {
	for _, text := range oddTexts() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if literal, err := quoted(t, "c", text); err == nil {
			if held := decodeC(literal); held != text || !isASCII(literal) || strings.Contains(literal, "??") {
				t.Errorf("C: %q gives %s, which is %q", text, literal, held)
			}
		}
		if literal, err := quoted(t, "py", text); err == nil {
			if held, err := strconv.Unquote(literal); err != nil || held != text || !isASCII(literal) {
				t.Errorf("Python: %q gives %s, %v", text, literal, err)
			}
		}
		if literal, err := quoted(t, "json", text); err == nil {
			var held string
			if err := json.Unmarshal([]byte(literal), &held); err != nil || held != text || strings.ContainsAny(literal, "<>&\n\u2028") {
				t.Errorf("JSON: %q gives %s, %v", text, literal, err)
			}
		}
		if line, err := quoted(t, "conf", text); err == nil && (line != text || strings.ContainsAny(line, "\r\n\x00") || strings.TrimSpace(line) != line) {
			t.Errorf("conf: %q gives %q", text, line)
		}
	})
}

// decodeC reads a string literal of C (C11, 6.4.4.4), as far as ours are.
func decodeC(literal string) string {
	body := strings.TrimSuffix(strings.TrimPrefix(literal, `"`), `"`)
	var out []byte
	for i := 0; i < len(body); i++ {
		switch {
		case body[i] == '"':
			return "it ends early"
		case body[i] != '\\':
			out = append(out, body[i])
			continue
		}
		i++
		if value, err := strconv.ParseUint(body[i:min(i+3, len(body))], 8, 8); err == nil {
			out = append(out, byte(value))
			i += 2
		} else {
			out = append(out, strings.NewReplacer("n", "\n").Replace(body[i:i+1])...)
		}
	}
	return string(out)
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
