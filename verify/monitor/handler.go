package monitor

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Metrics is what a watch that goes on tells: the gauges of the last round of
// each site and target, as [WriteText] writes them, and counters and a
// histogram over all rounds. Make it with [NewMetrics]. It is safe for
// concurrent use.
//
// The series of devices are bounded as in WriteText, those of failures over all
// rounds to 50 pairs of check and diagnosis; what comes later counts as "other".
type Metrics struct {
	now      func() time.Time
	patience time.Duration

	mu    sync.Mutex
	book  *book                          // over all rounds
	last  map[string][]*dto.MetricFamily // by site and target
	seen  map[failure]bool               // in any round
	alive time.Time                      // the last round, or the start
}

// NewMetrics makes metrics of no round yet. /healthz fails when no round ends
// within patience; 0 is never. A nil now is time.Now.
func NewMetrics(patience time.Duration, now func() time.Time) *Metrics {
	if now == nil {
		now = time.Now
	}
	return &Metrics{
		now: now, patience: patience, alive: now(), book: newBook(), last: map[string][]*dto.MetricFamily{}, seen: map[failure]bool{},
	}
}

// Record takes a round in. A scrape sees all of it or nothing.
func (m *Metrics) Record(s Snapshot) {
	families := gather(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	site, target := visible(s.Site), s.target()
	m.last[site+"\x00"+target] = families
	m.alive = m.now()
	labels := []label{{"site", site}, {"target", target}}
	counter := func(name, help string, names ...string) func(n int, values ...string) {
		v := m.book.vec(dto.MetricType_COUNTER, name, help, names...)
		return func(n int, values ...string) { add(v.at(labels, values...), float64(n)) }
	}
	counter("tbcert_verify_rounds_total", "Rounds that ended, by how they did.", "result")(1, result(s.counts()))
	results := counter("tbcert_verify_results_total", "Verifications of devices over all rounds, by how they did.", "state")
	for state, n := range s.counts().states() {
		results(n, state)
	}
	failures := counter("tbcert_verify_diagnoses_total", "Failed verifications over all rounds, by the check and the diagnosis.", "check", "diagnosis")
	for f, n := range s.failures() {
		f = m.known(f)
		failures(n, f.check, f.diagnosis)
	}
	duration := m.book.vec(dto.MetricType_HISTOGRAM, "tbcert_verify_duration_seconds", "Time from dial to PUBACK of the devices that got through.")
	for _, took := range s.durations() {
		observe(duration.at(labels), took.Seconds())
	}
}

// known bounds the failures that ever get a series.
func (m *Metrics) known(f failure) failure {
	if len(m.seen) >= maxDiagnoses && !m.seen[f] {
		return failure{other, other}
	}
	m.seen[f] = true
	return f
}

func result(c Counts) string {
	switch {
	case c.Failed > 0:
		return "failed"
	case !c.good():
		return "interrupted"
	default:
		return "ok"
	}
}

// write encodes what there is.
func (m *Metrics) write(encoder expfmt.Encoder) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := newBook()
	for _, families := range m.last {
		for _, family := range families {
			v := all.vec(family.GetType(), family.GetName(), family.GetHelp())
			for _, metric := range family.Metric {
				var labels []label
				for _, pair := range metric.Label {
					labels = append(labels, label{pair.GetName(), pair.GetValue()})
				}
				v.at(labels).Gauge = metric.Gauge
			}
		}
	}
	for name, v := range m.book.families {
		all.families[name] = v
	}
	return encode(encoder, all.all())
}

// serve answers a scrape in the format that it asks for.
func (m *Metrics) serve(w http.ResponseWriter, request *http.Request) {
	format := expfmt.NegotiateAccept(request.Header, expfmt.NewFormat(expfmt.TypeOpenMetrics), expfmt.NewFormat(expfmt.TypeTextPlain))
	var out bytes.Buffer
	if err := m.write(expfmt.NewEncoder(&out, format)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(format))
	_, _ = w.Write(out.Bytes()) // a scraper that is gone asks again
}

// Handler serves /metrics to Prometheus and /healthz to whoever restarts what
// hangs. /healthz tells of the watch, not of the devices: it stays 200 while
// rounds end, whatever they find.
func Handler(m *Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", m.serve)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if silent := m.silence(); m.patience > 0 && silent > m.patience {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "no round has ended for %s\n", silent.Round(time.Second))
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// silence is the time since a round ended.
func (m *Metrics) silence() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now().Sub(m.alive)
}
