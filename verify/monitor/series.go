package monitor

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// A book keeps series until they are written. client_golang has the like, and
// costs every start of tbcert half a millisecond, which is a tenth of the time
// that verifying one device takes.
type book struct {
	families map[string]*vec
}

// A vec is the series of one name, by the values of their labels.
type vec struct {
	family *dto.MetricFamily
	labels []string
	series map[string]*dto.Metric
}

// A label is a name and a value.
type label struct{ name, value string }

func newBook() *book { return &book{families: make(map[string]*vec)} }

// vec gives the series of a name, and makes them first if need be.
func (b *book) vec(kind dto.MetricType, name, help string, labels ...string) *vec {
	if known := b.families[name]; known != nil {
		return known
	}
	made := &vec{family: &dto.MetricFamily{Name: &name, Help: &help, Type: &kind}, labels: labels, series: make(map[string]*dto.Metric)}
	b.families[name] = made
	return made
}

// at gives the series with these values of the labels, and makes it first if need
// be. constant come beside them.
func (v *vec) at(constant []label, values ...string) *dto.Metric {
	all := slices.Clone(constant)
	for i, value := range values {
		all = append(all, label{v.labels[i], value})
	}
	slices.SortFunc(all, func(a, b label) int { return cmp.Compare(a.name, b.name) })
	var key strings.Builder
	for _, l := range all {
		key.WriteString(l.name + "\x00" + l.value + "\x00")
	}
	if known := v.series[key.String()]; known != nil {
		return known
	}
	made := &dto.Metric{}
	for _, l := range all {
		made.Label = append(made.Label, &dto.LabelPair{Name: &l.name, Value: &l.value})
	}
	v.series[key.String()] = made
	return made
}

// all gives the families by name, their series by labels. Those without a series
// are left out.
func (b *book) all() []*dto.MetricFamily {
	var families []*dto.MetricFamily
	for _, name := range slices.Sorted(maps.Keys(b.families)) {
		v := b.families[name]
		if len(v.series) == 0 {
			continue
		}
		family := &dto.MetricFamily{Name: v.family.Name, Help: v.family.Help, Type: v.family.Type}
		for _, key := range slices.Sorted(maps.Keys(v.series)) {
			family.Metric = append(family.Metric, v.series[key])
		}
		families = append(families, family)
	}
	return families
}

// add counts a counter up.
func add(m *dto.Metric, n float64) {
	if m.Counter == nil {
		m.Counter = &dto.Counter{Value: new(float64)}
	}
	*m.Counter.Value += n
}

// bounds are the upper bounds of the histogram's buckets, in seconds: those of
// Prometheus' libraries, and half a minute.
func bounds() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
}

// observe counts a value in a histogram.
func observe(m *dto.Metric, value float64) {
	if m.Histogram == nil {
		m.Histogram = &dto.Histogram{SampleCount: new(uint64), SampleSum: new(float64)}
		for _, bound := range bounds() {
			m.Histogram.Bucket = append(m.Histogram.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: new(uint64)})
		}
	}
	*m.Histogram.SampleCount++
	*m.Histogram.SampleSum += value
	for _, bucket := range m.Histogram.Bucket {
		if value <= *bucket.UpperBound {
			*bucket.CumulativeCount++
		}
	}
}
