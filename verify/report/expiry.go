package report

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// A unit is the length of a bar of the timeline.
type unit int

const (
	week unit = iota
	month
	year
)

const (
	mostBars = 40
	ahead    = 3 * 365 // days: a CA that ends later is not worth an empty timeline
)

// floor is the beginning of t's unit; weeks begin on Monday (ISO 8601).
func (u unit) floor(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	switch u {
	case week:
		return time.Date(y, m, d-(int(t.UTC().Weekday())+6)%7, 0, 0, 0, 0, time.UTC)
	case month:
		return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	default:
		return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC)
	}
}

func (u unit) next(t time.Time) time.Time {
	switch u {
	case week:
		return t.AddDate(0, 0, 7)
	case month:
		return t.AddDate(0, 1, 0)
	default:
		return t.AddDate(1, 0, 0)
	}
}

func (u unit) label(t time.Time) string {
	switch u {
	case week:
		return t.Format("2 Jan 2006")
	case month:
		return t.Format("Jan 2006")
	default:
		return t.Format("2006")
	}
}

func (u unit) noun() string { return [...]string{"week", "month", "year"}[u] }

// unitFor is the finest that keeps the bars countable.
func unitFor(from, to time.Time) unit {
	switch span := to.Sub(from).Hours() / 24; {
	case span <= 26*7:
		return week
	case span <= 36*30:
		return month
	default:
		return year
	}
}

// expiry is when the certificates of devices and server end.
type expiry struct {
	Devices, Expired, Soon int // with a certificate; over; over within 30 days
	Unit                   string
	Chart                  chart
}

// expiryOf is nil where no device has a certificate and the chain is not known.
func expiryOf(days map[int64]int, page Page) *expiry {
	if len(days) == 0 && len(page.Chain) == 0 {
		return nil
	}
	e := &expiry{}
	today := day(page.Generated)
	for at, count := range days {
		e.Devices += count
		switch {
		case at < today:
			e.Expired += count
		case at <= today+soon:
			e.Soon += count
		}
	}
	from, to := spanOf(days, page)
	u := unitFor(from, to)
	e.Unit = u.noun()
	e.Chart = timeline(u, from, to)
	e.fill(u, days, page)
	e.Chart.Label = fmt.Sprintf("Bars of when the devices' certificates end, by %s: %s with a certificate, %s expired, %s within 30 days.",
		e.Unit, counted(e.Devices, "device"), grouped(e.Expired), grouped(e.Soon))
	return e
}

// spanOf is from the first to the last end of a certificate, and has the day of
// the report in it.
func spanOf(days map[int64]int, page Page) (from, to time.Time) {
	today := day(page.Generated)
	list := append(slices.Collect(maps.Keys(days)), today)
	for _, c := range page.Chain {
		if at := day(c.NotAfter); at > today-ahead && at < today+ahead {
			list = append(list, at)
		}
	}
	return dayTime(max(slices.Min(list), today-10*365)), dayTime(slices.Max(list))
}

// timeline is the empty bars. What is after the last is counted in the last.
func timeline(u unit, from, to time.Time) chart {
	var c chart
	for at := u.floor(from); !at.After(to); at = u.next(at) {
		if len(c.Bars) == mostBars {
			c.Bars[mostBars-1].Label += " and later"
			break
		}
		c.Bars = append(c.Bars, bar{Label: u.label(at)})
	}
	return c
}

func (e *expiry) fill(u unit, days map[int64]int, page Page) {
	starts := []time.Time{u.floor(first(days, page))}
	for len(starts) <= len(e.Chart.Bars) {
		starts = append(starts, u.next(starts[len(starts)-1]))
	}
	for at, count := range days {
		e.Chart.Bars[int(place(starts, dayTime(at)))].Count += count
	}
	for i := range e.Chart.Bars {
		e.Chart.Bars[i].Late = !starts[i+1].After(page.Generated)
	}
	e.Chart.Marks = []mark{{place(starts, page.Generated), "today"}}
	for _, c := range page.Chain {
		if !c.NotAfter.Before(starts[0]) && c.NotAfter.Before(starts[len(starts)-1]) {
			e.Chart.Marks = append(e.Chart.Marks, mark{place(starts, c.NotAfter), c.Role})
		}
	}
}

func first(days map[int64]int, page Page) time.Time {
	from, _ := spanOf(days, page)
	return from
}

// place is where a moment stands, counted in bars, kept on the first and last.
func place(starts []time.Time, at time.Time) float64 {
	last := len(starts) - 2
	i := 0
	for i < last && !at.Before(starts[i+1]) {
		i++
	}
	within := float64(at.Sub(starts[i])) / float64(starts[i+1].Sub(starts[i]))
	return float64(i) + float64(int(min(max(within, 0), 0.999)*1000))/1000
}
