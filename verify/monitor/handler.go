package monitor

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
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

	registry *prometheus.Registry
	rounds   *prometheus.CounterVec
	results  *prometheus.CounterVec
	failures *prometheus.CounterVec
	duration *prometheus.HistogramVec

	mu    sync.Mutex
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
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"site", "target"}, labels...))
	}
	m := &Metrics{
		now: now, patience: patience, alive: now(),
		registry: prometheus.NewRegistry(), last: map[string][]*dto.MetricFamily{}, seen: map[failure]bool{},
		rounds:   counter("tbcert_verify_rounds_total", "Rounds that ended, by how they did.", "result"),
		results:  counter("tbcert_verify_results_total", "Verifications of devices over all rounds, by how they did.", "state"),
		failures: counter("tbcert_verify_diagnoses_total", "Failed verifications over all rounds, by the check and the diagnosis.", "check", "diagnosis"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tbcert_verify_duration_seconds", Help: "Time from dial to PUBACK of the devices that got through.",
			Buckets: append(slices.Clone(prometheus.DefBuckets), 30),
		}, []string{"site", "target"}),
	}
	m.registry.MustRegister(m.rounds, m.results, m.failures, m.duration,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Record takes a round in. A scrape sees all of it or nothing.
func (m *Metrics) Record(s Snapshot) error {
	families, err := gather(s)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	site, target := visible(s.Site), s.target()
	m.last[site+"\x00"+target] = families
	m.alive = m.now()
	m.rounds.WithLabelValues(site, target, result(s.counts())).Inc()
	for state, n := range s.counts().states() {
		m.results.WithLabelValues(site, target, state).Add(float64(n))
	}
	for f, n := range s.failures() {
		f = m.known(f)
		m.failures.WithLabelValues(site, target, f.check, f.diagnosis).Add(float64(n))
	}
	for _, took := range s.durations() {
		m.duration.WithLabelValues(site, target).Observe(took.Seconds())
	}
	return nil
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

// Gather implements [prometheus.Gatherer].
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gatherers := prometheus.Gatherers{m.registry}
	for _, families := range m.last {
		gatherers = append(gatherers, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil }))
	}
	families, err := gatherers.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather the metrics: %w", err)
	}
	return families, nil
}

// Handler serves /metrics to Prometheus and /healthz to whoever restarts what
// hangs. /healthz tells of the watch, not of the devices: it stays 200 while
// rounds end, whatever they find.
func Handler(m *Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
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
