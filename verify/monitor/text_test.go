package monitor_test

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tbcert/tbcert/verify/monitor"
)

func writeText(t *testing.T, s monitor.Snapshot) string {
	t.Helper()
	var out bytes.Buffer
	if err := monitor.WriteText(&out, s); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// series parses a text as Prometheus does: NAME{LABEL="VALUE",…} to its value.
func series(t *testing.T, text string) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("Prometheus' parser: %v\n%s", err, text)
	}
	found := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, pair := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", pair.GetName(), pair.GetValue()))
			}
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue() + float64(m.GetHistogram().GetSampleCount())
			found[name+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return found
}

// own is the label of the snapshots of these tests, after the labels given.
func own(name, labels string) string {
	if labels != "" && labels < "site" {
		return name + "{" + labels + `,site="plant",target="mqtts://tb.example.com:8883"}`
	}
	rest := ""
	if labels != "" {
		rest = "," + labels
	}
	return name + `{site="plant"` + rest + `,target="mqtts://tb.example.com:8883"}`
}

// promtool holds a text against Prometheus' own parser and linter.
func promtool(t *testing.T, text string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: install Debian's package prometheus", err)
	}
	check := exec.CommandContext(t.Context(), path, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s\nof\n%s", err, out, text)
	}
}

func TestTextSaysWhatTheRoundFound(t *testing.T) {
	t.Parallel()
	recorded := monitor.Row{Device: "gate-1", OK: true, How: monitor.HowRecord, Milliseconds: 9000, At: evening()}
	ended := monitor.Row{Device: "late-1"}
	slow := passed("meter-2")
	slow.Milliseconds = 250
	got := series(t, writeText(t, snapshot(passed("meter-1"), slow, refused("pump-1"), recorded, ended)))
	for name, want := range map[string]float64{
		own("tbcert_verify_success", ""):                                           0,
		own("tbcert_verify_run_duration_seconds", ""):                              1.5,
		own("tbcert_verify_last_run_timestamp_seconds", ""):                        float64(evening().Unix()),
		own("tbcert_verify_devices", `state="ok"`):                                 2,
		own("tbcert_verify_devices", `state="failed"`):                             1,
		own("tbcert_verify_devices", `state="recorded"`):                           1,
		own("tbcert_verify_devices", `state="interrupted"`):                        1,
		own("tbcert_verify_failures", `check="connect",diagnosis="token-unknown"`): 1,
		own("tbcert_verify_device_success", `device="meter-1"`):                    1,
		own("tbcert_verify_device_success", `device="pump-1"`):                     0,
		own("tbcert_verify_device_success", `device="gate-1"`):                     1,
		own("tbcert_verify_device_duration_seconds", `device="meter-2"`):           0.25,
		own("tbcert_verify_latency_seconds", `statistic="median"`):                 0.04,
		own("tbcert_verify_latency_seconds", `statistic="max"`):                    0.25,
		own("tbcert_verify_unnamed_devices", ""):                                   1,
		own("tbcert_certificate_not_after_timestamp_seconds", `role="server"`):     float64(evening().AddDate(0, 0, 300).Unix()),
		own("tbcert_certificate_not_after_timestamp_seconds", `role="root"`):       float64(evening().AddDate(15, 0, 0).Unix()),
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v\n%s", name, value, ok, want, strings.Join(slices.Sorted(maps.Keys(got)), "\n"))
		}
	}
	for name := range got {
		if strings.Contains(name, "late-1") {
			t.Errorf("%s: nothing is known of a device that was not verified", name)
		}
		for _, none := range []string{"duration_seconds{device=\"pump-1\"", "duration_seconds{device=\"gate-1\""} {
			if strings.Contains(name, none) {
				t.Errorf("%s: there was no PUBACK to measure", name)
			}
		}
	}
}

func TestTextIsSuccessOnlyWhenSomethingWasVerifiedAndAllIsWell(t *testing.T) {
	t.Parallel()
	recorded := monitor.Row{Device: "gate-1", OK: true, How: monitor.HowRecord}
	tests := map[string]struct {
		rows []monitor.Row
		want float64
	}{
		"all pass":                 {fleet(3, 0), 1},
		"the record is good":       {[]monitor.Row{recorded}, 1},
		"the server alone":         {[]monitor.Row{{OK: true, How: monitor.HowServer}}, 1},
		"one fails":                {fleet(3, 1), 0},
		"one was left":             {append(fleet(3, 0), monitor.Row{Device: "late"}), 0},
		"nothing was asked of one": {nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := series(t, writeText(t, snapshot(test.rows...)))[own("tbcert_verify_success", "")]; got != test.want {
				t.Errorf("tbcert_verify_success is %v, want %v", got, test.want)
			}
		})
	}
}

func TestTextPassesPromtool(t *testing.T) {
	t.Parallel()
	empty := monitor.Snapshot{Host: "2001:db8::1", Port: 1883}
	many := snapshot(fleet(200, 50)...)
	tests := map[string]monitor.Snapshot{
		"all pass": snapshot(fleet(3, 0)...), "some fail": snapshot(fleet(3, 2)...), "hostile names": hostileSnapshot(), "empty": empty, "many": many,
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := writeText(t, s)
			promtool(t, text)
			series(t, text)
		})
	}
}

// A name that Prometheus can carry comes back as it is; the others come back as
// text that can be seen, and none is lost or mixed up.
func TestTextKeepsHostileNamesApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{"nul\x00": `nul\u0000`, "bell\x07": `bell\u0007`, "esc\x1b[2J": `esc\u001b[2J`, "\xff\xfe": `\xff\xfe`,
		"nonchar\uFFFF": `nonchar\uffff`, "\u202Egnp.exe": `\u202egnp.exe`, "sep\u2028line": `sep\u2028line`, "carriage\rreturn": `carriage\u000dreturn`}
	got := series(t, writeText(t, hostileSnapshot()))
	for i, name := range hostile() {
		want := name
		if escaped, ok := seen[name]; ok {
			want = escaped
		}
		prefix := fmt.Sprintf("tbcert_verify_device_success{device=%q,", want)
		found := 0
		for key, value := range got {
			if strings.HasPrefix(key, prefix) {
				found++
				if value != float64((i+1)%2) {
					t.Errorf("%s is %v", key, value)
				}
			}
		}
		if found != 1 {
			t.Errorf("%q has %d series, want 1 as %q", name, found, want)
		}
	}
}

func TestTextNamesABoundedNumberOfDevicesFailuresFirst(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		limit, ok, failed       int
		named, failures, unseen int
	}{
		"fewer than the default": {0, 60, 20, 80, 20, 0},
		"more than the default":  {0, 300, 20, 100, 20, 220},
		"own limit":              {5, 10, 3, 5, 3, 8},
		"more failures":          {5, 10, 9, 5, 5, 14},
		"none":                   {-1, 10, 3, 0, 0, 13},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := snapshot(fleet(test.ok, test.failed)...)
			s.Limits.Devices = test.limit
			named, failures := 0, 0
			got := series(t, writeText(t, s))
			for key, value := range got {
				if strings.HasPrefix(key, "tbcert_verify_device_success{") {
					named++
					failures += int(1 - value)
				}
			}
			unseen := got[own("tbcert_verify_unnamed_devices", "")]
			if named != test.named || failures != test.failures || unseen != float64(test.unseen) {
				t.Errorf("%d named, %d of them failed, %v not named; want %+v", named, failures, unseen, test)
			}
		})
	}
}

// A fleet whose rows are not kept is told by its counts and durations.
func TestTextBelievesTheCountsOverTheRows(t *testing.T) {
	t.Parallel()
	s := snapshot(refused("pump-1"))
	s.Counts = monitor.Counts{OK: 9000, Failed: 30, ByDiagnosis: map[string]int{"token-unknown": 21, "timeout": 7}}
	s.Durations = []time.Duration{4 * time.Second, time.Second, 2 * time.Second}
	got := series(t, writeText(t, s))
	for name, want := range map[string]float64{
		own("tbcert_verify_devices", `state="ok"`):                                 9000,
		own("tbcert_verify_devices", `state="failed"`):                             30,
		own("tbcert_verify_failures", `check="connect",diagnosis="token-unknown"`): 1,
		own("tbcert_verify_failures", `check="unknown",diagnosis="token-unknown"`): 20,
		own("tbcert_verify_failures", `check="unknown",diagnosis="timeout"`):       7,
		own("tbcert_verify_failures", `check="unknown",diagnosis="unknown"`):       2,
		own("tbcert_verify_latency_seconds", `statistic="median"`):                 2,
		own("tbcert_verify_unnamed_devices", ""):                                   9029,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func TestTextBoundsTheFailures(t *testing.T) {
	t.Parallel()
	var rows []monitor.Row
	for i := range 300 {
		row := refused(fmt.Sprint("pump-", i))
		row.Diagnosis = fmt.Sprint("reason-", i)
		rows = append(rows, row)
	}
	pairs, sum := 0, 0.0
	for key, value := range series(t, writeText(t, snapshot(rows...))) {
		if strings.HasPrefix(key, "tbcert_verify_failures{") {
			pairs++
			sum += value
		}
	}
	if pairs != 50 || sum != 300 {
		t.Errorf("%d series that add up to %v, want 50 and 300", pairs, sum)
	}
}

// A device that comes twice must not break the whole file.
func TestTextKeepsTheFailureOfADeviceThatComesTwice(t *testing.T) {
	t.Parallel()
	got := series(t, writeText(t, snapshot(passed("meter-1"), refused("meter-1"), passed("meter-1"))))
	if value, ok := got[own("tbcert_verify_device_success", `device="meter-1"`)]; !ok || value != 0 {
		t.Errorf("meter-1 is %v (%v), want 0", value, ok)
	}
}

// node_exporter refuses timestamps, and series that two files have.
func TestTextSuitsTheTextfileCollector(t *testing.T) {
	t.Parallel()
	first, second := snapshot(fleet(2, 1)...), snapshot(fleet(2, 1)...)
	second.Site = "office"
	a, b := series(t, writeText(t, first)), series(t, writeText(t, second))
	for key := range a {
		if _, both := b[key]; both {
			t.Errorf("%s comes from two sites", key)
		}
	}
	for line := range strings.Lines(writeText(t, first)) {
		_, after, labeled := strings.Cut(line, "} ")
		if labeled && strings.ContainsRune(strings.TrimSpace(after), ' ') {
			t.Errorf("a timestamp in %s", line)
		}
	}
}

func TestTextIsTheSameForTheSameSnapshot(t *testing.T) {
	t.Parallel()
	s := hostileSnapshot()
	if first, second := writeText(t, s), writeText(t, s); first != second {
		t.Errorf("two writings of a snapshot differ:\n%s\n%s", first, second)
	}
}
