package verify_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/verify"
)

var pagesUpdate = flag.Bool("pages.update", false, "write the pages of docs/checks that are not there yet")

// pagesDir has a page on every diagnosis.
const pagesDir = "../docs/checks"

// pageHead is how the page of a diagnosis begins.
func pageHead(d verify.Diagnosis) string {
	return fmt.Sprintf("# `%s`: %s\n\nCheck: `%s`, exit code %d.\n", d.ID, d.Title, d.Check, d.Check.ExitCode())
}

// pageParts are what every page has.
func pageParts() []string {
	return []string{"## What tbcert saw", "## Why", "## What to do", "## How to see it"}
}

// Every diagnosis has its page, which begins as the catalogue says and has every
// part; no page is of something else; and the index has them all.
func TestPages(t *testing.T) {
	t.Parallel()
	pages := map[string]bool{"README.md": true}
	index, err := os.ReadFile(filepath.Join(pagesDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range verify.Catalogue() {
		name := string(d.ID) + ".md"
		pages[name] = true
		page, err := os.ReadFile(filepath.Join(pagesDir, name))
		if err != nil {
			t.Errorf("%s has no page: %v", d.ID, err)
			continue
		}
		if !strings.HasPrefix(string(page), pageHead(d)) {
			t.Errorf("%s does not begin with\n%s", name, pageHead(d))
		}
		for _, part := range pageParts() {
			_, after, found := strings.Cut(string(page), part+"\n")
			text, _, _ := strings.Cut(after, "\n## ")
			if !found || len(strings.Fields(text)) < 3 {
				t.Errorf("%s has nothing under %q", name, part)
			}
		}
		if !strings.Contains(string(index), fmt.Sprintf("[`%s`](%s)", d.ID, name)) {
			t.Errorf("README.md does not lead to %s", name)
		}
	}
	entries, err := os.ReadDir(pagesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !pages[entry.Name()] {
			t.Errorf("%s is of no diagnosis", entry.Name())
		}
	}
}

// made is a failure as a row made it.
type made struct {
	setup string
	check verify.Check
}

// TestWritePages writes, when asked, the pages that are not there yet, from what
// the rows of the matrix and of the blind table bring about.
func TestWritePages(t *testing.T) {
	if !*pagesUpdate {
		return // it is a tool, and proves nothing
	}
	all := map[verify.DiagnosisID][]made{}
	note := func(setup string, report verify.Report) {
		for _, check := range report.Checks {
			if check.Diagnosis == report.Diagnosis && check.Diagnosis != "" {
				all[check.Diagnosis] = append(all[check.Diagnosis], made{setup, check})
				return
			}
		}
	}
	blind := newBlindWorld(t)
	for _, row := range blindRows() {
		note(row.setup+" ("+row.real+").", row.host(blind.in(t)).report(t))
	}
	for _, row := range afterRows() {
		note(strings.ToUpper(row.name[:1])+row.name[1:]+".", row.host(blind.in(t)).report(t))
	}
	w := newWorld(t)
	for _, row := range rows() {
		verifier := &verify.Verifier{Resolve: row.resolve, Timeout: row.patient}
		if verifier.Timeout == 0 {
			verifier.Timeout = patience
		}
		note(strings.ToUpper(row.name[:1])+row.name[1:]+".", verifier.Run(t.Context(), row.target(w)))
	}
	for _, d := range verify.Catalogue() {
		writePage(t, d, all[d.ID])
	}
}

// report runs the verifier as the host's user would.
func (h blindHost) report(t *testing.T) verify.Report {
	t.Helper()
	verifier := &verify.Verifier{Resolve: h.resolve, Dial: h.dial, Now: h.now, Timeout: h.patient}
	if verifier.Resolve == nil {
		verifier.Resolve = everywhere
	}
	if verifier.Timeout == 0 {
		verifier.Timeout = patience
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	return verifier.Run(ctx, h.target)
}

func writePage(t *testing.T, d verify.Diagnosis, rows []made) {
	t.Helper()
	path := filepath.Join(pagesDir, string(d.ID)+".md")
	if _, err := os.Stat(path); err == nil || len(rows) == 0 {
		return
	}
	check := rows[0].check
	var page strings.Builder
	fmt.Fprintf(&page, "%s\n%s\n\n    %s\n\n%s\n\n%s\n\n%s\n\n%s\n\n%s\n\nThe tests make it happen so:\n\n", pageHead(d),
		pageParts()[0], plainPage(check.Detail), pageParts()[1], plainPage(check.Cause), pageParts()[2], plainPage(check.Fix), pageParts()[3])
	for i, row := range rows {
		if i == 4 {
			break
		}
		fmt.Fprintf(&page, "- %s\n", row.setup)
	}
	write(t, path, []byte(page.String()))
}

// plainPage takes out what is of one run.
func plainPage(text string) string {
	for _, change := range [][2]string{
		{`sha256:[0-9a-f]{64}`, "sha256:…"},
		{`127\.0\.0\.1:[0-9]{4,5}`, "tb.example.com:8883"},
		{`broker\.test`, "tb.example.com"},
		{`\b(port|Port|:|--port) ?(1[2-9][0-9]{3}|[23][0-9]{4}|4[0-9]{4}|[56][0-9]{4})\b`, "$1 8883"},
		{`\(key [0-9A-F]{40}\)`, "(key …)"},
		{`in (400ms|1s)`, "in 10s"},
	} {
		text = regexp.MustCompile(change[0]).ReplaceAllString(text, change[1])
	}
	return text
}
