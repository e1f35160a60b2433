package provision_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/provision"
)

func TestEncodeName(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, want string }{
		{"meter-1", "meter-1"},
		{"Meter_1.b", "Meter_1.b"},
		{"a b", "a_x20b"},
		{"Zähler", "Z_xc3_xa4hler"},
		{"温度", "_xe6_xb8_xa9_xe5_xba_xa6"},
		{"_x20", "_x5fx20"},
		{"_x5f", "_x5fx5f"},
		{"_", "_"},
		{"_x2", "_x2"},
		{"_xAB", "_xAB"}, // upper-case digits are no code
		{"_xg0", "_xg0"},
		{"_é", "__xc3_xa9"},
		{"_xé", "_x_xc3_xa9"},
		{"__x20", "__x5fx20"},
		{"-rf", "-rf"},
		{"a$b", "a_x24b"},
		{"a:b*c?", "a_x3ab_x2ac_x3f"},
		{"console", "console"},
		{"com10", "com10"},
		{"a.con", "a.con"},
		{strings.Repeat("a", 64), strings.Repeat("a", 64)},
		{strings.Repeat("é", 8), strings.Repeat("_xc3_xa9", 8)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := provision.EncodeName(test.name)
			if err != nil || got != test.want {
				t.Fatalf("EncodeName(%q) = %q, %v, want %q", test.name, got, err, test.want)
			}
			back, err := provision.DecodeName(got)
			if err != nil || back != test.name {
				t.Errorf("DecodeName(%q) = %q, %v, want %q", got, back, err, test.name)
			}
		})
	}
}

func TestEncodeNameRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, problem string }{
		{"", "is empty"},
		{".", "begins with a dot"},
		{"..", "begins with a dot"},
		{".hidden", "begins with a dot"},
		{"end.", "ends with a dot"},
		{" a", "begins with a space"},
		{"a ", "ends with a space"},
		{"a..b", `holds ".."`},
		{"a/b", "separates directories"},
		{"/etc", "separates directories"},
		{`a\b`, "separates directories"},
		{"it's", "holds a quote"},
		{`say "x"`, "holds a quote"},
		{"a`b", "holds a quote"},
		{"a\nb", "holds a line break"},
		{"a\rb", "holds a line break"},
		{"a\x00b", "cannot be printed"},
		{"a\x7fb", "cannot be printed"},
		{"a\u2028b", "cannot be printed"},
		{"a\u202eb", "cannot be printed"},
		{"a\u00a0b", "cannot be printed"},
		{"a\xffb", "is not UTF-8"},
		{"con", "is reserved on Windows (CON)"},
		{"NUL.txt", "is reserved on Windows (NUL)"},
		{"com1", "is reserved on Windows (COM1)"},
		{"LpT9.a.b", "is reserved on Windows (LPT9)"},
		{strings.Repeat("a", 65), "has 65 characters"},
		{strings.Repeat("é", 9), "needs 72 characters"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := provision.EncodeName(test.name)
			var nameErr *provision.NameError
			if got != "" || !errors.As(err, &nameErr) || nameErr.Name != test.name {
				t.Fatalf("EncodeName(%q) = %q, %v, want a NameError", test.name, got, err)
			}
			if !strings.Contains(err.Error(), test.problem) || strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 500 {
				t.Errorf("EncodeName(%q): %v, want one line with %q", test.name, err, test.problem)
			}
		})
	}
}

func TestDecodeNameRefusesWhatEncodeNameNeverGives(t *testing.T) {
	t.Parallel()
	for _, directory := range []string{"", ".", "..", "_x41", "_x2f", "a b", "é", "_x5fx", "_x5f", "_xc3", "con", "_x20a", "a/b", strings.Repeat("a", 65)} {
		if name, err := provision.DecodeName(directory); err == nil || name != "" {
			t.Errorf("DecodeName(%q) = %q, %v, want an error", directory, name, err)
		}
	}
}

var directory = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

func FuzzEncodeName(f *testing.F) {
	for _, seed := range []string{"meter-1", "_x20", "Zähler 7", "a..b", "con", "_x5f_x5f", "\xff", "é_xé", strings.Repeat("_x20", 20)} {
		f.Add(seed, seed+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		one, errOne := provision.EncodeName(a)
		two, errTwo := provision.EncodeName(b)
		if errOne == nil && errTwo == nil && (one == two) != (a == b) {
			t.Errorf("%q and %q are written %q and %q", a, b, one, two)
		}
		if errOne != nil {
			if one != "" {
				t.Errorf("EncodeName(%q) = %q and the error %v", a, one, errOne)
			}
			return
		}
		if !directory.MatchString(one) || strings.Contains(one, "..") {
			t.Errorf("EncodeName(%q) = %q: that is no safe directory", a, one)
		}
		if back, err := provision.DecodeName(one); err != nil || back != a {
			t.Errorf("DecodeName(EncodeName(%q)) = %q, %v", a, back, err)
		}
	})
}

func FuzzDecodeName(f *testing.F) {
	for _, seed := range []string{"meter-1", "_x5fx20", "_x41", "__xc3_xa9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, directory string) {
		name, err := provision.DecodeName(directory)
		if err != nil {
			return
		}
		if again, err := provision.EncodeName(name); err != nil || again != directory {
			t.Errorf("EncodeName(DecodeName(%q)) = %q, %v", directory, again, err)
		}
	})
}
