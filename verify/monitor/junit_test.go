package monitor_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/verify/monitor"
)

// A report is what a reader of JUnit reports sees.
type report struct {
	Name     string `xml:"name,attr"`
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Errors   int    `xml:"errors,attr"`
	Time     string `xml:"time,attr"`
	Suites   []struct {
		Name      string `xml:"name,attr"`
		Tests     int    `xml:"tests,attr"`
		Failures  int    `xml:"failures,attr"`
		Errors    int    `xml:"errors,attr"`
		Skipped   int    `xml:"skipped,attr"`
		Timestamp string `xml:"timestamp,attr"`
		Cases     []struct {
			Name      string  `xml:"name,attr"`
			Classname string  `xml:"classname,attr"`
			Time      string  `xml:"time,attr"`
			Failure   *result `xml:"failure"`
			Error     *result `xml:"error"`
			Skipped   *result `xml:"skipped"`
			Out       string  `xml:"system-out"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

type result struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func writeJUnit(t *testing.T, s monitor.Snapshot) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := monitor.WriteJUnit(&out, s); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readJUnit(t *testing.T, s monitor.Snapshot) (r report) {
	t.Helper()
	if err := xml.Unmarshal(writeJUnit(t, s), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// verdicts is a word for each case: name=pass, and so on.
func (r report) verdicts() (list []string) {
	for _, suite := range r.Suites {
		for _, c := range suite.Cases {
			word := "pass"
			switch {
			case c.Failure != nil:
				word = "fail"
			case c.Error != nil:
				word = "error"
			case c.Skipped != nil:
				word = "skip"
			}
			list = append(list, suite.Name+"/"+c.Name+"="+word)
		}
	}
	return list
}

func TestJUnitHasASuiteADeviceAndACaseACheck(t *testing.T) {
	t.Parallel()
	r := readJUnit(t, snapshot(passed("meter-1"), refused("pump-1")))
	want := []string{"meter-1/tls=pass", "meter-1/publish=pass", "meter-1/round-trip=skip", "pump-1/tls=pass", "pump-1/connect=fail", "pump-1/publish=skip"}
	if got := r.verdicts(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if r.Tests != 6 || r.Failures != 1 || r.Errors != 0 || r.Time != "1.500" || r.Suites[1].Failures != 1 || r.Suites[1].Skipped != 1 {
		t.Errorf("the counts are wrong: %+v", r)
	}
	failure := r.Suites[1].Cases[1].Failure
	if failure.Message != "ThingsBoard knows no device with this token." || failure.Text != "CONNACK 5\nRun tbcert rotate pump-1." || failure.Type != "token-unknown" {
		t.Errorf("the failure is %+v", failure)
	}
	if c := r.Suites[0].Cases[0]; c.Time != "0.013" || c.Out != "TLS 1.3" || c.Classname != "tbcert.meter-1" {
		t.Errorf("the case is %+v", c)
	}
	if r.Suites[0].Timestamp != "2026-03-14T18:30:00" {
		t.Errorf("the timestamp is %s", r.Suites[0].Timestamp)
	}
}

// A reader of the report must see each device as its row says, even where the
// checks are missing or say less.
func TestJUnitNeverSaysBetterOfADeviceThanItsRow(t *testing.T) {
	t.Parallel()
	bare := refused("pump-1")
	bare.Checks = nil
	contradicted := refused("pump-1")
	contradicted.Checks = passed("pump-1").Checks
	late := monitor.Row{Device: "late", Checks: []monitor.Check{{ID: "tls", Status: "pass"}, {ID: "publish", Status: "skip"}}}
	warned := passed("meter-1")
	warned.Checks = []monitor.Check{{ID: "dates", Status: "warn", Detail: "12 days left", Cause: "not renewed", Fix: "tbcert renew"}}
	tests := map[string]struct {
		row  monitor.Row
		want []string
	}{
		"failed, no checks":        {bare, []string{"pump-1/connect=fail"}},
		"failed, no check fails":   {contradicted, []string{"pump-1/tls=pass", "pump-1/publish=pass", "pump-1/round-trip=skip", "pump-1/connect=fail"}},
		"passed, no checks":        {monitor.Row{Device: "meter-1", OK: true}, []string{"meter-1/verify=pass"}},
		"interrupted":              {late, []string{"late/tls=pass", "late/publish=skip", "late/verify=error"}},
		"warned":                   {warned, []string{"meter-1/dates=pass"}},
		"the server alone":         {monitor.Row{OK: true, How: monitor.HowServer}, []string{"mqtts://tb.example.com:8883/verify=pass"}},
		"a status that is not one": {monitor.Row{Device: "x", OK: true, Checks: []monitor.Check{{ID: "tls", Status: "odd"}}}, []string{"x/tls=error"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := readJUnit(t, snapshot(test.row)).verdicts(); !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	if out := readJUnit(t, snapshot(warned)).Suites[0].Cases[0].Out; out != "warning: 12 days left\nnot renewed\ntbcert renew" {
		t.Errorf("the warning reads %q", out)
	}
}

func TestJUnitCountsDevicesWithoutARow(t *testing.T) {
	t.Parallel()
	s := snapshot(refused("pump-1"))
	s.Counts = monitor.Counts{OK: 900, Failed: 3, Recorded: 1, Interrupted: 2}
	r := readJUnit(t, s)
	const suite = "devices that are not listed/"
	want := []string{suite + "900 devices: ok=pass", suite + "1 device: recorded=pass", suite + "2 devices: failed=fail", suite + "2 devices: interrupted=error"}
	if got := r.verdicts()[3:]; !slices.Equal(got, want) || r.Errors != 1 || r.Failures != 2 {
		t.Errorf("%q, want %q; %d errors, %d failures", got, want, r.Errors, r.Failures)
	}
}

func TestJUnitKeepsHostileTexts(t *testing.T) {
	t.Parallel()
	r := readJUnit(t, hostileSnapshot())
	seen := map[string]bool{}
	for i, suite := range r.Suites {
		for _, text := range []string{suite.Name, suite.Cases[0].Classname} {
			if strings.ContainsAny(text, "\x00\x07\x1b\uFFFD\uFFFF\u202E\n") {
				t.Errorf("%q has what XML or a reader cannot have", text)
			}
		}
		if seen[suite.Name] {
			t.Errorf("two devices are %q", suite.Name)
		}
		seen[suite.Name] = true
		if name := hostile()[i]; strings.Contains(`quo"te <tag>&amp;]]> Zähler-7 电表 {device="x"} 1 bar|x=1`, name) && suite.Name != name {
			t.Errorf("%q became %q", name, suite.Name)
		}
	}
}

func TestJUnitIsValid(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("xmllint")
	if err != nil {
		t.Fatalf("%v: install Debian's package libxml2-utils", err)
	}
	counted := snapshot(refused("pump-1"))
	counted.Counts = monitor.Counts{OK: 900, Failed: 3, Interrupted: 2}
	for name, s := range map[string]monitor.Snapshot{
		"all pass": snapshot(fleet(3, 0)...), "some fail": snapshot(fleet(3, 2)...), "hostile texts": hostileSnapshot(), "empty": {},
		"interrupted": snapshot(monitor.Row{Device: "late"}), "the server alone": snapshot(monitor.Row{OK: true}), "counted": counted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "junit.xml")
			if err := os.WriteFile(file, writeJUnit(t, s), 0o600); err != nil {
				t.Fatal(err)
			}
			schema := filepath.Join("testdata", "junit.xsd")
			if out, err := exec.CommandContext(t.Context(), path, "--noout", "--nonet", "--schema", schema, file).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// The reader of PyPI's junitparser stands for those of CI systems, none of
// which is written in Go.
func TestJUnitIsReadByJunitparser(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "junit.xml")
	if err := os.WriteFile(file, writeJUnit(t, snapshot(passed("meter-1"), refused("Zähler \"7\" <电表>"))), 0o600); err != nil {
		t.Fatal(err)
	}
	out := python(t, junitparser(t), "-c", `
import sys
from junitparser import JUnitXml, Failure, Skipped
report = JUnitXml.fromfile(sys.argv[1])
print(report.tests, report.failures, report.errors, report.time)
for suite in report:
    for case in suite:
        for r in case.result:
            print(suite.name, case.name, type(r).__name__, r.type, r.message)
`, file)
	want := "6 1 0 1.5\nmeter-1 round-trip Skipped None not asked for\n" +
		"Zähler \"7\" <电表> connect Failure token-unknown ThingsBoard knows no device with this token.\n" +
		"Zähler \"7\" <电表> publish Skipped None connect failed\n"
	if out != want {
		t.Errorf("junitparser reads\n%s\nwant\n%s", out, want)
	}
}

// junitparser gives a Python that has it.
func junitparser(t *testing.T) (interpreter string) {
	t.Helper()
	venv := filepath.Join(t.TempDir(), "venv")
	python(t, "python3", "-m", "venv", venv)
	interpreter = filepath.Join(venv, "bin", "python")
	python(t, interpreter, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
		"--only-binary", ":all:", "--no-deps", "-r", filepath.Join("testdata", "requirements.txt"))
	return interpreter
}

func python(t *testing.T, interpreter string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), interpreter, args...)
	command.Env = append(os.Environ(), "PYTHONIOENCODING=utf-8")
	var out, complaints bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaints
	if err := command.Run(); err != nil {
		t.Fatal(fmt.Errorf("%w: install Debian's packages python3 and python3-venv\n%s", err, complaints.String()))
	}
	return out.String()
}
