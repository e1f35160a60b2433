package verify_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// blindSection is where the table is in blindDoc.
const blindSection = "## Blind table\n"

// blindLine is a row of the table, without its last column.
func blindLine(number int, row blindRow) string {
	return fmt.Sprintf("| %d | %s | %s | `%s` |", number, row.setup, row.real, row.want)
}

// blindRead splits the document before the table's first row and after its
// last, and gives the rows between.
func blindRead(t *testing.T) (before string, lines []string, after string) {
	t.Helper()
	text, err := os.ReadFile(blindDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, section, found := strings.Cut(string(text), blindSection)
	intro, body, ruled := strings.Cut(section, "|---|---|---|---|---|\n")
	if !found || !ruled {
		t.Fatalf("%s has no table of five columns under %q", blindDoc, strings.TrimSpace(blindSection))
	}
	for strings.HasPrefix(body, "|") {
		line, rest, _ := strings.Cut(body, "\n")
		lines, body = append(lines, line), rest
	}
	return head + blindSection + intro + "|---|---|---|---|---|\n", lines, body
}

// blindWrite writes the table with what was diagnosed.
func blindWrite(t *testing.T, rows []blindRow, results []blindResult) {
	t.Helper()
	before, _, after := blindRead(t)
	var table strings.Builder
	for i, row := range rows {
		shown := blindShown(results[i].got)
		if shown != "-" {
			shown = "`" + shown + "`"
		}
		fmt.Fprintf(&table, "%s %s |\n", blindLine(i+1, row), shown)
	}
	write(t, blindDoc, []byte(before+table.String()+after))
}

// TestBlindTableIsDocumented holds the rows against the table that readers
// have: neither can change alone, the right cause least of all.
func TestBlindTableIsDocumented(t *testing.T) {
	t.Parallel()
	if *blindUpdate {
		t.Log("the table is being written")
		return
	}
	_, lines, _ := blindRead(t)
	var want, got []string
	seen := map[string]bool{}
	for i, row := range blindRows() {
		if seen[row.setup] || strings.Contains(row.setup+row.real, "|") {
			t.Errorf("set-up %d is there twice, or would end its column: %s", i+1, row.setup)
		}
		seen[row.setup] = true
		want = append(want, blindLine(i+1, row))
	}
	for _, line := range lines {
		line = strings.TrimSuffix(line, " |")
		got = append(got, line[:strings.LastIndex(line, "|")+1])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the rows and the table of %s are not the same (-rows +table):\n%s", blindDoc, diff)
	}
}
