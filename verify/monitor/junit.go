package monitor

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The elements and attributes are those of the schema that Jenkins' xUnit
// plugin holds reports against (junit-10.xsd), which GitLab and GitHub's
// reporters read too.
type (
	suites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Time     string   `xml:"time,attr"`
		Suites   []suite  `xml:"testsuite"`
	}
	suite struct {
		Name       string      `xml:"name,attr"`
		Tests      int         `xml:"tests,attr"`
		Failures   int         `xml:"failures,attr"`
		Errors     int         `xml:"errors,attr"`
		Skipped    int         `xml:"skipped,attr"`
		Time       string      `xml:"time,attr"`
		Timestamp  string      `xml:"timestamp,attr,omitempty"`
		Hostname   string      `xml:"hostname,attr,omitempty"`
		Properties *properties `xml:"properties"`
		Cases      []testcase  `xml:"testcase"`
	}
	properties struct {
		List []property `xml:"property"`
	}
	property struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	testcase struct {
		Name      string   `xml:"name,attr"`
		Classname string   `xml:"classname,attr"`
		Time      string   `xml:"time,attr"`
		Skipped   *verdict `xml:"skipped"`
		Error     *verdict `xml:"error"`
		Failure   *verdict `xml:"failure"`
		SystemOut string   `xml:"system-out,omitempty"`
	}
	verdict struct {
		Type    string `xml:"type,attr,omitempty"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the snapshot as a JUnit report: a testsuite a device, a
// testcase a check. A failure's message is its cause, its text the detail and
// the fix; a warning passes, and stands in system-out; an interruption is an
// error. Devices that are counted and have no row are one more testsuite, so
// that a report on a healthy fleet is not an empty one.
func WriteJUnit(w io.Writer, s Snapshot) error {
	report := suites{Name: "tbcert verify " + s.target(), Time: seconds(s.Took.Seconds())}
	for _, row := range s.Rows {
		report.add(suiteOf(s, row))
	}
	if cases := unlisted(s); len(cases) > 0 {
		report.add(suite{Name: "devices that are not listed", Time: seconds(0), Cases: cases})
	}
	out, err := xml.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the JUnit report: %w", err)
	}
	if _, err := w.Write(append([]byte(xml.Header), append(out, '\n')...)); err != nil {
		return fmt.Errorf("write the JUnit report: %w", err)
	}
	return nil
}

// add counts a suite's cases and takes it in.
func (r *suites) add(s suite) {
	s.Tests = len(s.Cases)
	for _, c := range s.Cases {
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	r.Tests, r.Failures, r.Errors = r.Tests+s.Tests, r.Failures+s.Failures, r.Errors+s.Errors
	r.Suites = append(r.Suites, s)
}

func suiteOf(s Snapshot, row Row) suite {
	made := suite{Name: visible(cmp.Or(row.Device, s.target())), Hostname: visible(s.Host), Time: seconds(row.Milliseconds / 1000)}
	if at := cmp.Or(row.At, s.At); !at.IsZero() {
		made.Timestamp = at.UTC().Format("2006-01-02T15:04:05")
	}
	made.Properties = propertiesOf(s, row)
	for _, check := range checksOf(row) {
		c := caseOf(row, check)
		c.Classname = "tbcert." + visible(cmp.Or(row.Device, HowServer)) // a case is known by this and its name
		made.Cases = append(made.Cases, c)
	}
	return made
}

func propertiesOf(s Snapshot, row Row) *properties {
	made := &properties{}
	for _, p := range []property{{"site", s.Site}, {"target", s.target()}, {"how", row.How}, {"diagnosis", row.Diagnosis}} {
		if p.Value != "" {
			made.List = append(made.List, property{p.Name, visible(p.Value)})
		}
	}
	return made
}

// interrupted is the status of a check that stands for a run that was ended.
const interrupted = "interrupted"

// checksOf is the row's checks. What the row says and no check does is a check
// of its own, so that a report never says better of a device than its row.
func checksOf(row Row) []Check {
	failed := false
	for _, check := range row.Checks {
		failed = failed || check.Status == statusFail
	}
	whole := Check{ID: "verify", Status: statusPass, Milliseconds: row.Milliseconds}
	switch {
	case row.OK && len(row.Checks) > 0, failed:
		return row.Checks
	case row.OK:
	case row.Failed == "":
		whole.Status = interrupted
	default:
		whole = Check{ID: row.Failed, Status: statusFail, Detail: row.Diagnosis, Cause: row.Cause, Fix: row.Fix, Milliseconds: row.Milliseconds}
	}
	return append(row.Checks[:len(row.Checks):len(row.Checks)], whole)
}

func caseOf(row Row, check Check) testcase {
	made := testcase{Name: visible(check.ID), Time: seconds(check.Milliseconds / 1000)}
	switch check.Status {
	case statusPass:
		made.SystemOut = multiline(check.Detail)
	case statusWarn:
		made.SystemOut = multiline("warning: " + lines(check.Detail, check.Cause, check.Fix))
	case statusSkip:
		made.Skipped = &verdict{Message: multiline(check.Detail)}
	case statusFail:
		kind := check.ID
		if check.ID == row.Failed {
			kind = cmp.Or(row.Diagnosis, check.ID)
		}
		made.Failure = &verdict{visible(kind), multiline(cmp.Or(check.Cause, check.Detail)), multiline(lines(check.Detail, check.Fix))}
	case interrupted:
		made.Error = &verdict{Type: interrupted, Message: "The run was ended before this device was verified."}
	default:
		made.Error = &verdict{Type: "status", Message: visible(fmt.Sprintf("%q is no status of a check", check.Status))}
	}
	return made
}

// unlisted is the devices without a row, a case for each way they ended.
func unlisted(s Snapshot) (cases []testcase) {
	all, rows := s.counts().states(), Tally(s.Rows).states()
	for _, state := range []string{"ok", "recorded", "failed", "interrupted"} {
		n := all[state] - rows[state]
		if n <= 0 {
			continue
		}
		c := testcase{Name: many(n) + ": " + state, Classname: "tbcert.unlisted", Time: seconds(0)}
		switch state {
		case "failed":
			c.Failure = &verdict{Type: unknown, Message: many(n) + " failed and are not listed"}
		case "interrupted":
			c.Error = &verdict{Type: interrupted, Message: many(n) + " were not verified: the run was ended"}
		}
		cases = append(cases, c)
	}
	return cases
}

// lines joins what is not empty.
func lines(texts ...string) string {
	var kept []string
	for _, text := range texts {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return strings.Join(kept, "\n")
}

// seconds has three decimals: Jenkins' schema takes no more.
func seconds(s float64) string { return strconv.FormatFloat(max(s, 0), 'f', 3, 64) }
