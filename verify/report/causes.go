package report

import (
	"cmp"
	"slices"
)

// words keeps each of a few words once.
type words struct {
	list []string
}

// index of a word; none for "" and for more words than a page has use for.
func (w *words) index(word string) int {
	const most = 32
	if word == "" {
		return none
	}
	if at := slices.Index(w.list, word); at >= 0 {
		return at
	}
	if len(w.list) == most {
		return none
	}
	w.list = append(w.list, word)
	return len(w.list) - 1
}

// wording is why devices failed, as the table of devices tells it.
type wording struct {
	Diagnosis string `json:"diagnosis"`
	Failed    string `json:"failed"`
	Cause     string `json:"cause"`
}

// group is every device of one diagnosis.
type group struct {
	wording
	Fix      string
	Count    int      // devices
	Examples []string // names of the first few
	Varies   bool     // others were told another cause or fix than the first
}

// mostWordings bounds what is kept where each device is told something else.
const mostWordings = 1000

const mostExamples = 8

// causes keeps each wording once, and counts devices by diagnosis.
type causes struct {
	list   []wording
	at     map[wording]int
	groups map[string]*group
}

// add counts a failed row and gives the index of its wording. Past mostWordings
// a row shares a wording that has its diagnosis and check alone.
func (c *causes) add(row Row) int {
	if c.at == nil {
		c.at, c.groups = map[wording]int{}, map[string]*group{}
	}
	told := wording{diagnosisOf(row), row.Failed, row.Cause}
	g := c.groups[told.Diagnosis]
	if g == nil {
		g = &group{wording: told, Fix: row.Fix}
		c.groups[told.Diagnosis] = g
	}
	g.Count++
	g.Varies = g.Varies || g.wording != told || g.Fix != row.Fix
	if len(g.Examples) < mostExamples {
		g.Examples = append(g.Examples, row.Device)
	}
	return c.index(told)
}

func (c *causes) index(told wording) int {
	if at, ok := c.at[told]; ok {
		return at
	}
	if len(c.list) >= mostWordings && told.Cause != "" {
		told.Cause = ""
		return c.index(told)
	}
	c.list = append(c.list, told)
	c.at[told] = len(c.list) - 1
	return len(c.list) - 1
}

// sorted gives the groups, the largest first.
func (c *causes) sorted() []*group {
	list := make([]*group, 0, len(c.groups))
	for _, g := range c.groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Diagnosis, b.Diagnosis))
	})
	return list
}

// diagnosisOf is what a failed row is grouped by: its check, where nobody has
// found out more.
func diagnosisOf(row Row) string {
	return cmp.Or(row.Diagnosis, row.Failed, "unknown")
}
