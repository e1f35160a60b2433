package provision_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// secrets compares tokens by their value.
func secrets() cmp.Option {
	return cmp.Transformer("Reveal", func(t secret.Text) string { return t.Reveal() })
}

func device(name, label, profile, token string) provision.Device {
	return provision.Device{Name: name, Label: label, Profile: profile, Credential: provision.TokenCredential(secret.New(token))}
}

// rowList is a spool that keeps the rows in memory.
type rowList struct {
	rows       []provision.Row
	names, ids map[string]int
}

func (m *rowList) Add(_ context.Context, row provision.Row) error {
	if line, twice := m.names[row.Device.Name]; twice {
		return &provision.DuplicateError{Line: line}
	}
	m.names[row.Device.Name] = row.Line
	if id := row.Device.Credential.ID(); !id.IsZero() {
		if line, twice := m.ids[id.Reveal()]; twice {
			return &provision.DuplicateError{Credential: true, Line: line}
		}
		m.ids[id.Reveal()] = row.Line
	}
	m.rows = append(m.rows, row)
	return nil
}

// readRows reads a manifest in the format that its name tells.
func readRows(text io.Reader, file string) ([]provision.Row, error) {
	spool := &rowList{names: make(map[string]int), ids: make(map[string]int)}
	err := provision.ReadManifest(context.Background(), text, file, provision.FormatOf(file), spool)
	return spool.rows, err
}

func readManifest(text io.Reader, file string) ([]provision.Device, error) {
	rows, err := readRows(text, file)
	var devices []provision.Device
	for _, row := range rows {
		devices = append(devices, row.Device)
	}
	return devices, err
}

func TestReadManifest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []provision.Device
	}{
		{"names only", "name\na\nb\n", []provision.Device{device("a", "", "", ""), device("b", "", "", "")}},
		{"no line break at the end", "name\na", []provision.Device{device("a", "", "", "")}},
		{"all columns in another order", "token,label,name,profile\nT1,Hall 1,a,meter\n", []provision.Device{device("a", "Hall 1", "meter", "T1")}},
		{"ThingsBoard's own headings", "NAME,TYPE,LABEL,ACCESS_TOKEN\na,default,,T1\n", []provision.Device{device("a", "", "default", "T1")}},
		{"device_profile", "Name , Device_Profile\na,meter\n", []provision.Device{device("a", "", "meter", "")}},
		{"mark and CRLF", "\ufeffname,token\r\na,T1\r\nb,\r\n", []provision.Device{device("a", "", "", "T1"), device("b", "", "", "")}},
		{"empty lines", "name\n\na\n\n\nb\n", []provision.Device{device("a", "", "", ""), device("b", "", "", "")}},
		{"quoted", "name,label\n\"a\",\"one, \"\"two\"\"\"\n", []provision.Device{device("a", `one, "two"`, "", "")}},
		{"not ASCII", "name,label\nZähler,温度\n", []provision.Device{device("Zähler", "温度", "", "")}},
		{"a device called name", "name\nname\n", []provision.Device{device("name", "", "", "")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := readManifest(strings.NewReader(test.text), "devices.csv")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, secrets()); diff != "" {
				t.Errorf("devices (-want +got):\n%s", diff)
			}
		})
	}
}

// Each problem is told at its place, and no error holds a token: the tokens of
// these files all hold the word canary.
func TestReadManifestRefuses(t *testing.T) {
	t.Parallel()
	const names = "name,token\n"
	tests := []struct {
		name, text string
		want       []string // the beginnings of the lines of the error
	}{
		{"empty", "", []string{"f.csv:1:1: the file is empty"}},
		{"a mark only", "\ufeff", []string{"f.csv:1:1: the file is empty"}},
		{"blank lines only", "\n\n", []string{"f.csv:1:1: the file is empty"}},
		{"headings only", "name,token\r\n", []string{"f.csv:1:1: the file has headings and no device"}},
		{"UTF-16", "\xff\xfen\x00a\x00m\x00e\x00", []string{"f.csv:1:1: the file is UTF-16"}},
		{"no headings", "meter-1,canary\nmeter-2,canary2\n", []string{"f.csv:1:1: there is no column name"}},
		{"no name", "token,label\ncanary,x\n", []string{"f.csv:1:1: there is no column name"}},
		{"no name, two labels", "label,label\n", []string{"f.csv:1:1: there is no column name"}},
		{"unknown columns", "name,color,token,x\na,b,canary,c\n", []string{
			`f.csv:1:6: column "color" is unknown; the columns are name, label, profile (or type, device_profile), description`,
			`f.csv:1:18: column "x" is unknown`,
		}},
		{"an empty heading", "name,\na,\n", []string{`f.csv:1:6: column "" is unknown`}},
		{"a column twice", "name,token,access_token\na,canary,\n", []string{"f.csv:1:12: there are two columns for the token"}},
		{"headings not CSV", "na\"me\na\n", []string{`f.csv:1:3: a quote`}},
		{"ragged", names + "a,canary1,x\nb\nc,canary2\n", []string{
			"f.csv:2:1: the row and the headings differ in length: 3 fields, 2 headings",
			"f.csv:3:1: the row and the headings differ in length: 1 fields, 2 headings",
		}},
		{"a bad name in line 7", names + "a,\nb,\nc,\nd,\ne,\nf/g,canary\n", []string{`f.csv:7:1: device name "f/g" holds '/'`}},
		{"names of all kinds", "name\n \"\n..\n" + strings.Repeat("a", 65) + "\n\"x\ny\"\n", []string{
			"f.csv:2:2: a quote", `f.csv:3:1: device name ".." begins with a dot`, "f.csv:4:1: device name", `f.csv:5:1: device name "x\ny" holds a line break`,
		}},
		{"an empty name", "name,label\n,x\n", []string{`f.csv:2:1: device name "" is empty`}},
		{"a name twice", names + "a,canary1\nb,\na,canary2\n", []string{`f.csv:4:1: device name "a" is in line 2 already`}},
		{"a token twice", names + "a,canary\nb,canary2\nc,canary\n", []string{"f.csv:4:3: the token is that of the device in line 2 already"}},
		{"a token with a space", names + "a,canary b\n", []string{"f.csv:2:3: the token has a space at position 7"}},
		{"not UTF-8", "name,label,token\na,caf\xe9,canary\n", []string{"f.csv:2:6: this is not UTF-8 text"}},
		{"a token not UTF-8", names + "a,canary\xe9\n", []string{"f.csv:2:9: this is not UTF-8 text"}},
		{"a label with a tab", "name,label\na,x\ty\n", []string{"f.csv:2:3: the label holds U+0009"}},
		{"a long profile", "name,type\na," + strings.Repeat("é", 256) + "\n", []string{"f.csv:2:3: the profile has 256 characters"}},
		{"a bare quote, and the rest is read", names + "a,can\"ary\nb/,\n", []string{`f.csv:2:6: a quote (") inside a field`, `f.csv:3:1: device name "b/"`}},
		{"text after a quote", names + "a,\"canary\"x\nb/,\n", []string{`f.csv:2:10: a quoted field has no end`, `f.csv:3:1: device name "b/"`}},
		{"cut off in a quote", names + "a,\"canary\nb,\n", []string{`f.csv:3:4: the quoted field that begins in line 2 has no end`}},
		{"two things in a row", "name,label,token\na/b,x\ty,canary d\n", []string{
			`f.csv:2:1: device name "a/b"`, "f.csv:2:5: the label holds U+0009", "f.csv:2:9: the token has a space",
		}},
		{"columns after a quoted line break", "name,label\n\"a\nb\",x\ty\n", []string{`f.csv:2:1: device name "a\nb" holds a line break`, "f.csv:3:4: the label holds U+0009"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := readManifest(strings.NewReader(test.text), "f.csv")
			checkProblems(t, err, test.want)
		})
	}
}

// checkProblems looks whether the error has these lines, by their beginnings, and
// no secret.
func checkProblems(t *testing.T, err error, want []string) {
	t.Helper()
	var row *provision.RowError
	if !errors.As(err, &row) {
		t.Fatalf("the error is %v, want a RowError", err)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the error holds a secret: %v", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%v", len(lines), len(want), err)
	}
	for i, want := range want {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is\n%s\nwant it to begin with\n%s", i+1, lines[i], want)
		}
	}
}

func TestReadManifestTellsTwentyBadRowsAndCountsTheRest(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("name\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "bad/%d\n", i)
	}
	_, err := readManifest(strings.NewReader(text.String()), "f.csv")
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || !strings.HasPrefix(lines[19], "f.csv:21:1: ") || lines[20] != "and 980 more rows are wrong" {
		t.Errorf("the error has %d lines and ends with %q", len(lines), lines[len(lines)-1])
	}
}

func TestReadManifestPassesOnAReadingError(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk broke")
	for _, before := range []string{"", "name\na\n"} {
		_, err := readManifest(io.MultiReader(strings.NewReader(before), iotest.ErrReader(broken)), "f.csv")
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "f.csv") {
			t.Errorf("after %q: the error %v", before, err)
		}
	}
}

func TestDevicesFromNames(t *testing.T) {
	t.Parallel()
	got, err := provision.DevicesFromNames([]string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]provision.Device{{Name: "a"}, {Name: "b"}}, got, secrets()); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	devices, err := provision.DevicesFromNames([]string{"a", "b/c", "a", ""})
	if devices != nil || err == nil {
		t.Fatalf("gave %v and no error", devices)
	}
	want := `device name "b/c" holds '/', which separates directories` + "\n" + `device name "a" is given twice` + "\n" + `device name "" is empty`
	if err.Error() != want {
		t.Errorf("the error is\n%v\nwant\n%v", err, want)
	}
}
