package report

import (
	"fmt"
	"net"
	"strconv"
)

// view is what the template shows. All that is counted or worded is worked out
// here, so that a page without JavaScript says it too.
type view struct {
	Page
	Policy   string
	Address  string
	Title    string
	Headline string
	Kind     string // "good", "bad" or "none", of the headline
	Total    int
	Failed   int
	Parts    []part
	BarLabel string
	Causes   []*group
	Latency  *latency
	Expiry   *expiry
	Pictures []picture
}

func (r *Report) view() view {
	v := view{
		Page: r.page, Policy: policy(), Address: net.JoinHostPort(r.page.Host, strconv.Itoa(r.page.Port)),
		Title: "MQTTS verification of " + r.page.Site, Total: r.tally.total(), Failed: r.tally.failed,
		Parts: r.tally.parts(), Causes: r.causes.sorted(),
		Latency: latencyOf(r.latencies), Expiry: expiryOf(r.expiries, r.page),
	}
	v.Headline, v.Kind = r.tally.headline()
	v.BarLabel = barLabel(v.Parts, v.Total)
	if len(r.page.Chain) > 0 {
		now := r.page.Generated
		v.Pictures = []picture{pictureOf(r.page.Chain, now, false), pictureOf(r.page.Chain, now, true)}
	}
	return v
}

func (t *tally) headline() (text, kind string) {
	switch total := t.total(); {
	case total == 0:
		return "No device was verified", "none"
	case t.failed == 0 && total == 1:
		return "The one device passed", "good"
	case t.failed == 0:
		return "All " + grouped(total) + " devices passed", "good"
	case t.passed() == 0:
		return counted(total, "device") + " verified, none passed", "bad"
	default:
		return fmt.Sprintf("%s of %s failed", grouped(t.failed), counted(total, "device")), "bad"
	}
}

// part is a share of the fleet, a piece of the bar and its line of the legend.
type part struct {
	Class, Label, Why string
	Count             int
	Share             string
	X, Width          string // in percent of the bar
}

// parts gives those that have devices, and always the failed ones: none failed
// is worth saying.
func (t *tally) parts() []part {
	all := []part{
		{Class: "connected", Label: "Passed by connecting", Why: "published over MQTTS and had it acknowledged", Count: t.connected},
		{Class: "record", Label: "Proved by record", Why: "did not connect now; what is on record proves it", Count: t.record},
		{Class: "server", Label: "Proved by server", Why: "did not connect now; the server's side proves it", Count: t.server},
		{Class: "bundle", Label: "Not connected", Why: "only the files of its bundle were looked at", Count: t.bundle},
		{Class: "other", Label: "Passed", Why: "how is not known", Count: t.other},
		{Class: "failed", Label: "Failed", Why: "see the causes below", Count: t.failed},
	}
	var shown []part
	for _, p := range all {
		if p.Count > 0 || p.Class == "failed" {
			p.Share = percent(p.Count, t.total())
			shown = append(shown, p)
		}
	}
	layOut(shown, t.total())
	return shown
}

// layOut gives each part that has devices at least a sliver of the bar: one
// failed device in 100,000 has to be seen.
func layOut(parts []part, total int) {
	const sliver = 0.8
	widths, sum := make([]float64, len(parts)), 0.0
	for i, p := range parts {
		if p.Count > 0 {
			widths[i] = max(float64(p.Count)*100/float64(total), sliver)
			sum += widths[i]
		}
	}
	x := 0.0
	for i := range parts {
		if widths[i] > 0 {
			width := widths[i] * 100 / sum
			parts[i].X, parts[i].Width = inPercent(x), inPercent(width)
			x += width
		}
	}
}

func inPercent(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) + "%" }

func barLabel(parts []part, total int) string {
	label := "Of " + counted(total, "device") + ":"
	for i, p := range parts {
		if i > 0 {
			label += ","
		}
		label += " " + p.Label + " " + grouped(p.Count) + " (" + p.Share + ")"
	}
	return label + "."
}
