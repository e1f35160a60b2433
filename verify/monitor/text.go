package monitor

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

const (
	unknown = "unknown"
	other   = "other"

	// maxDiagnoses bounds the pairs of check and diagnosis that get a series.
	maxDiagnoses = 50
)

// WriteText writes the snapshot in Prometheus' text format 0.0.4, for
// node_exporter's textfile collector or a push. All of it are gauges of this
// one round: each round is a process of its own, so a counter or a histogram
// would not add up; [Metrics] has those.
//
// Every series has the labels site and target, so that the files of several
// sites can stand side by side. Only [Limits.Devices] devices get series of
// their own, those that failed first; tbcert_verify_unnamed_devices says how
// many have none.
func WriteText(w io.Writer, s Snapshot) error {
	var out bytes.Buffer // written at once: a reader sees all of it or nothing
	if err := encode(expfmt.NewEncoder(&out, expfmt.NewFormat(expfmt.TypeTextPlain)), gather(s)); err != nil {
		return err
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write the metrics: %w", err)
	}
	return nil
}

func encode(encoder expfmt.Encoder, families []*dto.MetricFamily) error {
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return fmt.Errorf("encode the metric %s: %w", family.GetName(), err)
		}
	}
	return nil
}

// gather turns a snapshot into gauges.
func gather(s Snapshot) []*dto.MetricFamily {
	g := &gauges{book: newBook(), constant: constant(s)}
	g.round(s)
	g.counts(s)
	g.durations(s)
	g.devices(s)
	g.certificates(s)
	return g.book.all()
}

// constant is the labels of every series.
func constant(s Snapshot) []label {
	labels := []label{{"target", s.target()}}
	if s.Site != "" {
		labels = append(labels, label{"site", visible(s.Site)})
	}
	return labels
}

// gauges makes the gauges of a round.
type gauges struct {
	book     *book
	constant []label
}

// A gaugeVec is the gauges of one name.
type gaugeVec struct {
	*vec
	constant []label
}

func (g *gauges) vec(name, help string, labels ...string) gaugeVec {
	return gaugeVec{g.book.vec(dto.MetricType_GAUGE, name, help, labels...), g.constant}
}

// set sets the gauge with these values of the labels.
func (v gaugeVec) set(value float64, labels ...string) {
	v.at(v.constant, labels...).Gauge = &dto.Gauge{Value: &value}
}

func (g *gauges) set(name, help string, value float64) {
	g.vec(name, help).set(value)
}

func (g *gauges) round(s Snapshot) {
	g.set("tbcert_verify_success", "1 when the last round verified something and nothing failed.", number(s.counts().good()))
	g.set("tbcert_verify_run_duration_seconds", "How long the last round took.", s.Took.Seconds())
	g.set("tbcert_verify_last_run_timestamp_seconds", "When the last round ended.", unix(s.At))
	if s.Version != "" {
		g.vec("tbcert_build_info", "The version of tbcert; always 1.", "version", "goversion").set(1, visible(s.Version), runtime.Version())
	}
}

func (g *gauges) counts(s Snapshot) {
	devices := g.vec("tbcert_verify_devices", "Devices of the last round, by how they did.", "state")
	for state, n := range s.counts().states() {
		devices.set(float64(n), state)
	}
	failures := g.vec("tbcert_verify_failures", "Devices that failed in the last round, by the check and the diagnosis.", "check", "diagnosis")
	for f, n := range s.failures() {
		failures.set(float64(n), f.check, f.diagnosis)
	}
}

func (g *gauges) durations(s Snapshot) {
	times := s.durations()
	if len(times) == 0 {
		return
	}
	latency := g.vec("tbcert_verify_latency_seconds", "Time from dial to PUBACK in the last round, over the devices that got through.", "statistic")
	for statistic, q := range map[string]float64{"median": 0.5, "p95": 0.95, "max": 1} {
		latency.set(quantile(times, q).Seconds(), statistic)
	}
}

func (g *gauges) devices(s Snapshot) {
	rows, left := s.listed()
	success := g.vec("tbcert_verify_device_success", "1 when the device did well in the last round. Only some devices have this series, those that failed first.", "device")
	latency := g.vec("tbcert_verify_device_duration_seconds", "Time from dial to PUBACK of the device in the last round.", "device")
	for _, row := range slices.Backward(rows) { // a name that comes twice keeps its failure
		name := visible(row.Device, '\n', '\t')
		success.set(number(row.OK), name)
		if row.connected() {
			latency.set(row.Milliseconds/1000, name)
		}
	}
	g.set("tbcert_verify_unnamed_devices", "Devices of the last round that have no series of their own.", float64(left))
}

func (g *gauges) certificates(s Snapshot) {
	notAfter := g.vec("tbcert_certificate_not_after_timestamp_seconds", "When the certificate ends.", "role")
	for role, at := range map[string]time.Time{"server": s.ServerNotAfter, "root": s.RootNotAfter} {
		if !at.IsZero() {
			notAfter.set(unix(at), role)
		}
	}
}

// states is the counts by their label; all of them, so that an alert has a
// series before anything fails.
func (c Counts) states() map[string]int {
	return map[string]int{"ok": c.OK, "failed": c.Failed, "recorded": c.Recorded, "interrupted": c.Interrupted}
}

// A failure is why devices fail, as labels.
type failure struct{ check, diagnosis string }

// failures counts why devices failed. A failure without a row is known by its
// diagnosis at most.
func (s Snapshot) failures() map[failure]int {
	found, rows := map[failure]int{}, Tally(s.Rows)
	for _, row := range s.Rows {
		if !row.OK && row.Failed != "" {
			found[failure{visible(row.Failed), visible(cmp.Or(row.Diagnosis, unknown))}]++
		}
	}
	rest := s.counts().Failed - rows.Failed
	for diagnosis, n := range s.counts().ByDiagnosis {
		if more := min(n-rows.ByDiagnosis[diagnosis], rest); more > 0 {
			found[failure{unknown, visible(cmp.Or(diagnosis, unknown))}] += more
			rest -= more
		}
	}
	if rest > 0 {
		found[failure{unknown, unknown}] += rest
	}
	return bounded(found)
}

// bounded keeps the most frequent failures and adds up the others.
func bounded(found map[failure]int) map[failure]int {
	if len(found) <= maxDiagnoses {
		return found
	}
	order := slices.SortedFunc(maps.Keys(found), func(a, b failure) int {
		return cmp.Or(found[b]-found[a], cmp.Compare(a.check, b.check), cmp.Compare(a.diagnosis, b.diagnosis))
	})
	kept := map[failure]int{}
	for i, f := range order {
		if i >= maxDiagnoses-1 {
			kept[failure{other, other}] += found[f]
			continue
		}
		kept[f] = found[f]
	}
	return kept
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// unix is a point in time in Prometheus' base unit.
func unix(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return float64(at.UnixMilli()) / 1000
}
