package report

// chart is a row of bars, as the page's script draws it and as the table beside
// it says it.
type chart struct {
	Bars  []bar    `json:"bars"`
	Edges []string `json:"edges,omitempty"` // what stands between the bars; without, each has its own label below
	Marks []mark   `json:"marks,omitempty"`
	Label string   `json:"-"` // the whole chart in a sentence, for who does not see it
}

type bar struct {
	Label string `json:"label"`
	Count int    `json:"count"`
	Late  bool   `json:"late,omitempty"` // it is over: a bar of certificates that expired
}

// mark is a line across the bars. At counts them: bar 0 is from 0 to 1.
type mark struct {
	At    float64 `json:"at"`
	Label string  `json:"label"`
}

// chartTable is a chart's bars for the table that says the same.
type chartTable struct {
	Caption, Column string
	Bars            []bar
}

// Table is for the template.
func (c chart) Table(caption, column string) chartTable {
	return chartTable{caption, column, c.Bars}
}
