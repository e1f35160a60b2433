package provision_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/provision"
)

// What is read is valid, no two rows have one name, and what EncodeRow writes of
// it is read as the same. What is refused is refused as a row of the file.
func FuzzReadManifest(f *testing.F) {
	for _, seed := range []string{
		"name\na\n", "name,token\na,canary-1\nb,\"x\ny\"\n", "\ufeffNAME,TYPE\r\na,b\r\n", "name;a\n", "\"", "name,label\n\xff,\n",
		"name|gateway|server:a|shared:b\na|true|1,5|{\"x\":[]}\n", "name,client_id,username,password\na,b,c,d\n",
		`[{"name":"a"},{"name":"b","token":"T"}]`, `{"devices":[]}`, "{\"name\":\"a\"}\n{\"name\":\"\\ud800\"}", string(provision.EncodeRow(fullDevice(), "x")),
		"- name: a\n  label: >\n   b\n- {name: c, server_attributes: {a: [1, ~, {b: .5}]}}\n", "devices:\n  - name: a\n...\n", "- name: &a b\n  label: *a\n", "- ? name\n  : a\n", "- name: 'a\n",
	} {
		for format := range 4 {
			f.Add(seed, uint8(format))
		}
	}
	f.Fuzz(func(t *testing.T, text string, kind uint8) {
		format := []provision.Format{provision.FormatCSV, provision.FormatJSON, provision.FormatNDJSON, provision.FormatYAML}[kind%4]
		spool := &rowList{names: make(map[string]int), ids: make(map[string]int)}
		err := provision.ReadManifest(context.Background(), strings.NewReader(text), "f", format, spool)
		var row *provision.RowError
		if err != nil && !errors.As(err, &row) {
			t.Errorf("the error is %v", err)
		}
		if err == nil && len(spool.rows) == 0 {
			t.Error("no error and no row")
		}
		var again strings.Builder
		var want []provision.Device
		for i, row := range spool.rows {
			if err := row.Device.Validate(); err != nil {
				t.Errorf("device %q: %v", row.Device.Name, err)
			}
			if row.Line < 1 || row.Column < 1 || i > 0 && row.Line < spool.rows[i-1].Line {
				t.Errorf("device %q is in %d:%d", row.Device.Name, row.Line, row.Column)
			}
			line := provision.EncodeRow(row.Device, text)
			if !utf8.Valid(line) || strings.Count(string(line), "\n") != 1 {
				t.Errorf("device %q is written as %q", row.Device.Name, line)
			}
			again.Write(line)
			want = append(want, row.Device)
		}
		if len(want) == 0 {
			return
		}
		got, err := readManifest(strings.NewReader(again.String()), "f.ndjson")
		if diff := cmp.Diff(want, got, secrets()); err != nil || diff != "" {
			t.Errorf("read again: %v (-want +got):\n%s", err, diff)
		}
	})
}
