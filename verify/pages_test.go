package verify_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/verify"
)

var pagesUpdate = flag.Bool("pages.update", false, "write the heads of the pages in docs/checks, and the table of its index, by the catalogue")

const (
	// pagesDir has a page on every diagnosis, and these two on all of them.
	pagesDir    = "../docs/checks"
	pagesIndex  = "index.md"
	pagesReadme = "README.md"

	// The index has its table between these lines.
	tableBegin = "<!-- diagnoses: kept by TestPages; go test ./verify -run TestPages -pages.update writes them -->\n"
	tableEnd   = "<!-- end of diagnoses -->\n"
)

// pageHead is how the page of a diagnosis begins.
func pageHead(d verify.Diagnosis) string {
	return fmt.Sprintf("# `%s`: %s\n\nCheck: `%s`, exit code %d.\n\n", d.ID, d.Title, d.Check, d.Check.ExitCode())
}

// pageParts are what every page has, in this order.
func pageParts() []string {
	return []string{"## What happened", "## How tbcert knows", "## What to do", "## See it yourself"}
}

// fewestWords is what no part of a page can do with less than.
const fewestWords = 10

// pageTable is the index of the catalogue, grouped by check.
func pageTable() string {
	var table strings.Builder
	table.WriteString("\n| Check | Exit code | Diagnosis | |\n|---|---|---|---|\n")
	var last verify.CheckID
	for _, d := range verify.Catalogue() {
		check, code := "", ""
		if d.Check != last {
			check, code = fmt.Sprintf("`%s`", d.Check), fmt.Sprint(d.Check.ExitCode())
		}
		last = d.Check
		fmt.Fprintf(&table, "| %s | %s | [`%s`](%s.md) | %s |\n", check, code, d.ID, d.ID, d.Title)
	}
	table.WriteString("\n")
	return table.String()
}

func pageText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(pagesDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every diagnosis has its page, which begins as the catalogue says and has every
// part; and no page is of something else.
func TestPages(t *testing.T) {
	t.Parallel()
	if *pagesUpdate {
		updatePages(t)
	}
	known := []string{pagesReadme, pagesIndex}
	for _, d := range verify.Catalogue() {
		name := string(d.ID) + ".md"
		known = append(known, name)
		t.Run(string(d.ID), func(t *testing.T) {
			t.Parallel()
			page := pageText(t, name)
			if !strings.HasPrefix(page, pageHead(d)) {
				t.Errorf("it does not begin with\n%s", pageHead(d))
			}
			for _, problem := range partProblems(page) {
				t.Error(problem)
			}
		})
	}
	entries, err := os.ReadDir(pagesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.Contains(known, entry.Name()) {
			t.Errorf("%s is of no diagnosis", entry.Name())
		}
	}
}

// partProblems tells which parts of a page are missing, out of order, or have
// next to nothing in them.
func partProblems(page string) []string {
	var problems []string
	heads := regexp.MustCompile(`(?m)^## .*$`).FindAllString(page, -1)
	if !slices.Equal(heads, pageParts()) {
		return []string{fmt.Sprintf("its parts are %q, want %q", heads, pageParts())}
	}
	for _, part := range pageParts() {
		_, after, _ := strings.Cut(page, part+"\n")
		text, _, _ := strings.Cut("\n"+after, "\n## ")
		if words := len(strings.Fields(text)); words < fewestWords {
			problems = append(problems, fmt.Sprintf("%d words stand under %q", words, part))
		}
	}
	return problems
}

// A page that lacks a part, or has it empty or twice, is noticed.
func TestPageProblems(t *testing.T) {
	t.Parallel()
	words := strings.Repeat("word ", fewestWords) + "\n"
	parts := pageParts()
	whole := parts[0] + "\n" + words + parts[1] + "\n" + words + parts[2] + "\n" + words + parts[3] + "\n" + words
	for name, row := range map[string]struct {
		page string
		want int
	}{
		"whole":        {whole, 0},
		"without one":  {strings.Replace(whole, parts[1]+"\n", "", 1), 1},
		"an empty one": {strings.Replace(whole, words, "", 1), 1},
		"one twice":    {whole + parts[3] + "\n" + words, 1},
		"nothing":      {"", 1},
	} {
		if problems := partProblems(row.page); len(problems) != row.want {
			t.Errorf("%s: %q, want %d", name, problems, row.want)
		}
	}
}

// The index tells the catalogue, and the README leads to it.
func TestPagesIndex(t *testing.T) {
	t.Parallel()
	if *pagesUpdate {
		t.Skip("TestPages writes it")
	}
	_, after, _ := strings.Cut(pageText(t, pagesIndex), tableBegin)
	table, _, found := strings.Cut(after, tableEnd)
	if !found || table != pageTable() {
		t.Errorf("the table of %s is not the catalogue's; -pages.update writes it:\n%s", pagesIndex, pageTable())
	}
	if !strings.Contains(pageText(t, pagesReadme), "]("+pagesIndex+")") {
		t.Errorf("%s does not lead to %s", pagesReadme, pagesIndex)
	}
}

// Every relative link of a page leads to a file, and to a heading in it when it
// names one.
func TestPageLinks(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob(filepath.Join(pagesDir, "*.md"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for _, name := range names {
		for _, match := range link.FindAllStringSubmatch(pageText(t, filepath.Base(name)), -1) {
			if !strings.Contains(match[1], "://") && !leads(name, match[1]) {
				t.Errorf("%s: the link %s leads nowhere", filepath.Base(name), match[1])
			}
		}
	}
}

// leads reports whether a link of a page leads somewhere.
func leads(page, target string) bool {
	path, anchor, anchored := strings.Cut(target, "#")
	file := page
	if path != "" {
		file = filepath.Join(filepath.Dir(page), filepath.FromSlash(path))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	return !anchored || slices.Contains(anchors(string(text)), anchor)
}

// anchors are the names that GitHub gives to the headings of a text.
func anchors(text string) []string {
	var names []string
	for _, head := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ReplaceAll(strings.ToLower(head[1]), " ", "-")
		names = append(names, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(name, ""))
	}
	return names
}

// Links that lead nowhere are noticed.
func TestLeads(t *testing.T) {
	t.Parallel()
	index := filepath.Join(pagesDir, pagesIndex)
	for target, want := range map[string]bool{
		"tcp-refused.md": true, "README.md#blind-table": true, "#thingsboards-log": true, "../verify.md": true,
		"tcp-refuse.md": false, "README.md#blind": false, "#": false, "../checks": false,
	} {
		if got := leads(index, target); got != want {
			t.Errorf("%s leads somewhere: %t, want %t", target, got, want)
		}
	}
}

// updatePages writes the heads of the pages that there are, and the index.
func updatePages(t *testing.T) {
	t.Helper()
	for _, d := range verify.Catalogue() {
		path := filepath.Join(pagesDir, string(d.ID)+".md")
		page, err := os.ReadFile(path)
		if err != nil {
			continue // somebody has to write it
		}
		_, rest, _ := strings.Cut(string(page), pageParts()[0])
		write(t, path, []byte(pageHead(d)+pageParts()[0]+rest))
	}
	before, after, _ := strings.Cut(pageText(t, pagesIndex), tableBegin)
	_, after, found := strings.Cut(after, tableEnd)
	if !found {
		t.Fatalf("%s has no place for its table", pagesIndex)
	}
	write(t, filepath.Join(pagesDir, pagesIndex), []byte(before+tableBegin+pageTable()+tableEnd+after))
}
