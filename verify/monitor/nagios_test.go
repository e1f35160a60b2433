package monitor_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/verify/monitor"
)

// perf is one label of performance data, 'label'=value[UOM];[warn];[crit];[min];[max],
// with ranges as in "Threshold and Ranges" of the guidelines.
var perf = func() *regexp.Regexp {
	const number, limits = `-?[0-9]+(\.[0-9]+)?`, `@?(-?[0-9.]+:|~:)?(-?[0-9.]+)?`
	return regexp.MustCompile(`^([a-z_]+)=` + number + `(s|ms|us|%|B|KB|MB|TB|c)?(;(` + limits + `)(;(` + limits + `)(;(` + number + `)?(;(` + number + `)?)?)?)?)?$`)
}()

func writeNagios(t *testing.T, s monitor.Snapshot) (status int, first, data string, long []string) {
	t.Helper()
	var out bytes.Buffer
	status, err := monitor.WriteNagios(&out, s)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "|") != 1 {
		t.Errorf("not one bar in\n%s", out.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	first, data, _ = strings.Cut(lines[0], " | ")
	for _, label := range strings.Fields(data) {
		if !perf.MatchString(label) {
			t.Errorf("%q is not performance data", label)
		}
	}
	return status, first, data, lines[1:]
}

func TestNagiosTellsAHealthyFleetInOneLine(t *testing.T) {
	t.Parallel()
	status, first, data, long := writeNagios(t, snapshot(fleet(20, 0)...))
	if status != monitor.NagiosOK || first != "TBCERT OK - 20 of 20 devices reach mqtts://tb.example.com:8883" || len(long) > 0 {
		t.Errorf("%d %q %q", status, first, long)
	}
	const want = "ok=20;;;0;20 failed=0;;0;0;20 recorded=0;;;0;20 interrupted=0;;;0;20 " +
		"connect_time=40.000ms;;;0 connect_time_max=40.000ms;;;0 certificate_days=300;30:;7: root_days=5479;30:;7:"
	if data != want {
		t.Errorf("%s, want\n%s", data, want)
	}
}

func TestNagiosStatusFollowsTheWorstThatWasFound(t *testing.T) {
	t.Parallel()
	warned := passed("meter-1")
	warned.Checks = []monitor.Check{{ID: "dates", Status: "warn", Cause: "The certificate ends soon.", Fix: "tbcert renew"}}
	late := monitor.Row{Device: "late"}
	const at = " reach mqtts://tb.example.com:8883"
	tests := map[string]struct {
		rows   []monitor.Row
		days   int // that the server's certificate has left
		limits monitor.Limits
		status int
		text   string
	}{
		"healthy":                       {fleet(2, 0), 300, monitor.Limits{}, 0, "OK - 2 of 2 devices" + at},
		"one":                           {fleet(1, 0), 300, monitor.Limits{}, 0, "OK - 1 of 1 device" + at},
		"the server alone":              {[]monitor.Row{{OK: true, How: monitor.HowServer}}, 300, monitor.Limits{}, 0, "OK - mqtts://tb.example.com:8883 answers"},
		"by the record":                 {append(fleet(2, 0), monitor.Row{Device: "gate", OK: true, How: monitor.HowRecord}), 300, monitor.Limits{}, 0, "OK - 2 of 3 devices" + at + ", 1 not connected"},
		"30 days left":                  {fleet(2, 0), 30, monitor.Limits{}, 0, "OK - 2 of 2 devices" + at},
		"29 days left":                  {fleet(2, 0), 29, monitor.Limits{}, 1, "WARNING - 2 of 2 devices" + at + ", server certificate ends in 29 days"},
		"7 days left":                   {fleet(2, 0), 7, monitor.Limits{}, 1, "WARNING - 2 of 2 devices" + at + ", server certificate ends in 7 days"},
		"6 days left":                   {fleet(2, 0), 6, monitor.Limits{}, 2, "CRITICAL - 2 of 2 devices" + at + ", server certificate ends in 6 days"},
		"ended yesterday":               {fleet(2, 0), -1, monitor.Limits{}, 2, "CRITICAL - 2 of 2 devices" + at + ", server certificate has expired"},
		"own limits":                    {fleet(2, 0), 50, monitor.Limits{WarnDays: 90, CriticalDays: 60}, 2, "CRITICAL - 2 of 2 devices" + at + ", server certificate ends in 50 days"},
		"a check warns":                 {[]monitor.Row{warned}, 300, monitor.Limits{}, 1, "WARNING - 1 of 1 device" + at + ", 1 check warns"},
		"some fail":                     {fleet(18, 2), 300, monitor.Limits{}, 2, "CRITICAL - 2 of 20 devices fail at mqtts://tb.example.com:8883: connect 2"},
		"the server fails":              {[]monitor.Row{{Failed: "tls", How: monitor.HowServer}}, 300, monitor.Limits{}, 2, "CRITICAL - mqtts://tb.example.com:8883 fails: tls 1"},
		"interrupted":                   {append(fleet(2, 0), late), 300, monitor.Limits{}, 3, "UNKNOWN - the run was ended before 1 of 3 devices were verified at mqtts://tb.example.com:8883"},
		"interrupted, and one failed":   {append(fleet(2, 1), late), 300, monitor.Limits{}, 2, "CRITICAL - 1 of 4 devices fail at mqtts://tb.example.com:8883: connect 1"},
		"nothing":                       {nil, 300, monitor.Limits{}, 3, "UNKNOWN - nothing was verified at mqtts://tb.example.com:8883"},
		"nothing, but the days are few": {nil, 3, monitor.Limits{}, 2, "CRITICAL - nothing was verified at mqtts://tb.example.com:8883, server certificate ends in 3 days"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := snapshot(test.rows...)
			s.ServerNotAfter, s.Limits = evening().AddDate(0, 0, test.days), test.limits
			status, first, _, _ := writeNagios(t, s)
			if status != test.status || first != "TBCERT "+test.text {
				t.Errorf("%d %q, want %d %q", status, first, test.status, test.text)
			}
		})
	}
}

// Twelve hours of the last day are no day: a plugin must not warn late.
func TestNagiosCountsWholeDays(t *testing.T) {
	t.Parallel()
	s := snapshot(fleet(1, 0)...)
	s.ServerNotAfter = evening().AddDate(0, 0, 29).Add(12 * time.Hour)
	status, _, data, _ := writeNagios(t, s)
	if status != monitor.NagiosWarning || !strings.Contains(data, "certificate_days=29;") {
		t.Errorf("%d %s", status, data)
	}
}

func TestNagiosSaysNothingOfWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	status, _, data, _ := writeNagios(t, monitor.Snapshot{Host: "tb.example.com", Port: 1883, Counts: monitor.Counts{OK: 3}})
	if status != monitor.NagiosOK || data != "ok=3;;;0;3 failed=0;;0;0;3 recorded=0;;;0;3 interrupted=0;;;0;3" {
		t.Errorf("%d %s", status, data)
	}
}

func TestNagiosTellsWhatDevicesHaveInCommonOnce(t *testing.T) {
	t.Parallel()
	rows := fleet(1, 2)
	for i := range 6 {
		row := passed(fmt.Sprint("gate-", i))
		row.Checks = []monitor.Check{{ID: "dates", Status: "warn", Cause: "The certificate ends soon.", Fix: "tbcert renew"}}
		rows = append(rows, row)
	}
	_, _, _, long := writeNagios(t, snapshot(rows...))
	want := []string{
		"pump-000: connect: ThingsBoard knows no device with this token. Fix: Run tbcert rotate pump-000.",
		"pump-001: connect: ThingsBoard knows no device with this token. Fix: Run tbcert rotate pump-001.",
		"gate-0, gate-1, gate-2 and 3 more: dates warns: The certificate ends soon. Fix: tbcert renew",
	}
	if strings.Join(long, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want\n%q", long, want)
	}
}

func TestNagiosKeepsItsOutputShort(t *testing.T) {
	t.Parallel()
	rows := fleet(0, 500)
	for i := range rows {
		rows[i].Cause = strings.Repeat("ü", 1000) + fmt.Sprint(i)
	}
	_, _, _, long := writeNagios(t, snapshot(rows...))
	if len(long) != 21 || long[20] != "and 480 more" {
		t.Errorf("%d lines, the last %q", len(long), long[len(long)-1])
	}
	for _, line := range long {
		if n := len([]rune(line)); n > 400 {
			t.Errorf("a line of %d characters", n)
		}
	}
}

// One bar, no control character, and one line for each complaint, whatever the
// names are: writeNagios checks the bar and the data.
func TestNagiosOutputCannotBeForgedByAName(t *testing.T) {
	t.Parallel()
	for _, name := range hostile() {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			t.Parallel()
			row := refused(name)
			row.Failed, row.Cause = "connect"+name, name
			s := snapshot(row)
			s.Host = name
			status, _, _, long := writeNagios(t, s)
			if status != monitor.NagiosCritical || len(long) != 1 {
				t.Errorf("%d, and %d lines: %q", status, len(long), long)
			}
			if strings.ContainsAny(strings.Join(long, ""), "\x00\x07\x1b\r\t\u202E\u2028") {
				t.Errorf("control characters in %q", long)
			}
		})
	}
	_, _, _, long := writeNagios(t, snapshot(refused("a;b|c=1;2;3")))
	if want := "a;b¦c=1;2;3: connect: ThingsBoard knows no device with this token. Fix: Run tbcert rotate a;b¦c=1;2;3."; long[0] != want {
		t.Errorf("%q, want %q", long[0], want)
	}
}

func TestWritersTellOfABrokenPipe(t *testing.T) {
	t.Parallel()
	s := snapshot(passed("meter-1"))
	status, err := monitor.WriteNagios(brokenPipe{}, s)
	if status != monitor.NagiosUnknown || !errors.Is(err, errBroken) {
		t.Errorf("WriteNagios gave %d, %v", status, err)
	}
	for name, err := range map[string]error{"WriteText": monitor.WriteText(brokenPipe{}, s), "WriteJUnit": monitor.WriteJUnit(brokenPipe{}, s)} {
		if !errors.Is(err, errBroken) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}
