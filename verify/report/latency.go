package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// latency is how long the devices took, from dialing to PUBACK.
type latency struct {
	Count                        int
	Least, Most                  string // with its unit, as those below
	Median, Ninety5th, Ninety9th string
	Chart                        chart
}

// latencyOf needs at least one value; nil without.
func latencyOf(values []float32) *latency {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	p50, p95, p99 := percentile(sorted, 50), percentile(sorted, 95), percentile(sorted, 99)
	l := &latency{
		Count: len(sorted), Least: inUnit(float64(sorted[0])), Most: inUnit(float64(sorted[len(sorted)-1])),
		Median: inUnit(p50), Ninety5th: inUnit(p95), Ninety9th: inUnit(p99),
	}
	b := binsFor(sorted, p99)
	l.Chart = b.chart(sorted)
	for _, m := range []mark{{p50, "p50"}, {p95, "p95"}, {p99, "p99"}} {
		l.Chart.Marks = append(l.Chart.Marks, mark{b.place(m.At), m.Label + " " + inUnit(m.At)})
	}
	l.Chart.Label = fmt.Sprintf("Histogram of latency over %s: half within %s, 95%% within %s, 99%% within %s.",
		counted(l.Count, "device"), l.Median, l.Ninety5th, l.Ninety9th)
	return l
}

// percentile is the nearest rank: a value that a device really had.
func percentile(sorted []float32, percent int) float64 {
	rank := (len(sorted)*percent + 99) / 100
	return float64(sorted[max(rank, 1)-1])
}

// bins are of one width up to p99, so that a few slow devices do not press all
// others into one bar; those are counted in one bar after it.
type bins struct {
	start, width float64
	count        int
	over         bool // there is one more, for what is above
}

func binsFor(sorted []float32, p99 float64) bins {
	least, most := float64(sorted[0]), float64(sorted[len(sorted)-1])
	wanted := min(max(math.Sqrt(float64(len(sorted)))*2, 8), 32)
	width := round125(max(p99-least, 0.5) / wanted)
	b := bins{start: math.Floor(least/width) * width, width: width}
	b.count = int(math.Floor((p99-b.start)/width)) + 1
	b.over = most >= b.edge(b.count)
	return b
}

func (b bins) edge(i int) float64 { return b.start + float64(i)*b.width }

// place is where a value stands, counted in bars.
func (b bins) place(value float64) float64 {
	at := (value - b.start) / b.width
	return math.Round(min(at, float64(b.count)+0.5)*1000) / 1000
}

func (b bins) chart(sorted []float32) chart {
	var c chart
	for i := range b.count {
		c.Edges = append(c.Edges, short(b.edge(i)))
		c.Bars = append(c.Bars, bar{Label: short(b.edge(i)) + " to " + short(b.edge(i+1)) + " ms"})
	}
	c.Edges = append(c.Edges, short(b.edge(b.count)))
	if b.over {
		c.Edges = append(c.Edges, "more")
		c.Bars = append(c.Bars, bar{Label: short(b.edge(b.count)) + " ms and more"})
	}
	for _, value := range sorted {
		at := int((float64(value) - b.start) / b.width)
		c.Bars[min(max(at, 0), len(c.Bars)-1)].Count++
	}
	return c
}

// round125 is the next of …, 1, 2, 5, 10, 20, 50, …
func round125(x float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, step := range []float64{1, 2, 5} {
		if x <= step*power*1.000001 {
			return step * power
		}
	}
	return 10 * power
}

// short is a number of milliseconds without the noise of floating point.
func short(milliseconds float64) string {
	return strconv.FormatFloat(math.Round(milliseconds*1000)/1000, 'f', -1, 64)
}

// inUnit is a latency to read: a tenth of a millisecond below a second.
func inUnit(milliseconds float64) string {
	if milliseconds >= 1000 {
		return strconv.FormatFloat(milliseconds/1000, 'f', 2, 64) + " s"
	}
	return strconv.FormatFloat(milliseconds, 'f', 1, 64) + " ms"
}
