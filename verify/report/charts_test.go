package report_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tbcert/tbcert/verify/report"
)

func latencies(values ...float64) *report.Report {
	r := report.New(report.Page{Generated: noon()})
	for i, ms := range values {
		r.Add(report.Row{Device: fmt.Sprint(i), OK: true, How: report.HowConnected, Milliseconds: ms})
	}
	return r
}

// Percentiles are values that a device had, by the nearest rank.
func TestPercentiles(t *testing.T) {
	t.Parallel()
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	wants(t, words(t, written(t, latencies(hundred...))),
		"(p50) 50.0 ms", "(p95) 95.0 ms", "(p99) 99.0 ms", "Fastest 1.0 ms", "Slowest 100.0 ms")
	wants(t, words(t, written(t, latencies(1500))), "(p50) 1.50 s", "(p99) 1.50 s", "over 1 device that")
}

// Each device is in one bar, and one that is slow does not press the others
// together.
func TestHistogramCountsEveryDevice(t *testing.T) {
	t.Parallel()
	for name, values := range map[string][]float64{
		"one": {5}, "same": {7, 7, 7}, "tiny": {0.1, 0.2, 0.3}, "wide": {1, 100_000}, "slow": append(make200(), 60_000),
	} {
		chart := dataOf(t, written(t, latencies(values...))).Latency
		sum, most := 0, 0
		for _, b := range chart.Bars {
			sum += b.Count
			most = max(most, b.Count)
		}
		if sum != len(values) || len(chart.Bars) > 60 || len(chart.Edges) != len(chart.Bars)+1 || len(chart.Marks) != 3 {
			t.Errorf("%s: %d devices, %d bars, %d edges", name, sum, len(chart.Bars), len(chart.Edges))
		}
		if last := chart.Bars[len(chart.Bars)-1]; name == "slow" && (most > 40 || last.Count != 1 || last.Label[len(last.Label)-4:] != "more") {
			t.Errorf("slow: %+v", chart.Bars)
		}
		for _, m := range chart.Marks {
			if m.At < 0 || m.At > float64(len(chart.Bars)) {
				t.Errorf("%s: mark %s is at %f of %d", name, m.Label, m.At, len(chart.Bars))
			}
		}
	}
}

// make200 is 200 devices between 20 and 40 ms.
func make200() []float64 {
	var list []float64
	for i := range 200 {
		list = append(list, 20+float64(i)/10)
	}
	return list
}

// expiring is a report of devices whose certificates end so many days from now.
func expiring(days ...int) *report.Report {
	r := report.New(report.Page{Generated: noon()})
	for i, n := range days {
		r.Add(report.Row{Device: fmt.Sprint(i), OK: true, Credential: "x509", Expires: noon().AddDate(0, 0, n)})
	}
	return r
}

// The timeline goes by weeks, months or years, and has every device.
func TestTimeline(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		days        []int
		first, last string
		bars        int
		text        string
	}{
		{[]int{-3, 0, 20}, "9 Mar 2026", "6 Apr 2026", 5, "3 devices have a certificate: 1 expired, 2 within 30 days. By week"},
		{[]int{1, 300}, "Mar 2026", "Jan 2027", 11, "By month"},
		{[]int{1, 3650}, "2026", "2036", 11, "By year"},
		{[]int{-9000, 3_000_000}, "2016", "2055 and later", 40, "1 expired"}, // 99991231 is "no end" in RFC 5280
	} {
		out := written(t, expiring(c.days...))
		wants(t, words(t, out), c.text)
		bars := dataOf(t, out).Expiry.Bars
		sum := 0
		for _, b := range bars {
			sum += b.Count
		}
		if bars[0].Label != c.first || bars[len(bars)-1].Label != c.last || len(bars) != c.bars || sum != len(c.days) {
			t.Errorf("%v: %d devices in %d bars from %s to %s", c.days, sum, len(bars), bars[0].Label, bars[len(bars)-1].Label)
		}
	}
	if bars := dataOf(t, written(t, expiring(-30, 30))).Expiry.Bars; !bars[0].Late || bars[len(bars)-1].Late {
		t.Errorf("what is over is not told from what is to come: %+v", bars)
	}
}

// What is wrong with a certificate of the chain is said in words.
func TestChainSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, to := range map[string]time.Duration{"expired 10 days ago": -240 * time.Hour, "expires soon: 5 days left": 125 * time.Hour, "31 days left": 745 * time.Hour} {
		r := report.New(report.Page{Generated: noon(), Chain: []report.Certificate{{Role: "server", NotBefore: noon().AddDate(-1, 0, 0), NotAfter: noon().Add(to)}}})
		wants(t, words(t, written(t, r)), want)
	}
	r := report.New(report.Page{Generated: noon(), Chain: []report.Certificate{{Role: "server", NotBefore: noon().Add(time.Hour), NotAfter: noon().AddDate(1, 0, 0)}}})
	wants(t, words(t, written(t, r)), "not valid yet")
}
