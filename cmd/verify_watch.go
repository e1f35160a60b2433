package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tbcert/tbcert/cmd/internal/ui"
	"github.com/tbcert/tbcert/verify/monitor"
)

// A watcher verifies again and again.
type watcher struct {
	v       *verification
	metrics *monitor.Metrics
	live    *ui.Live // nil: no terminal
	history []float64
	rounds  int
}

// mostHistory is how many rounds the sparkline shows.
const mostHistory = 40

// watch verifies until ctx ends. A round that cannot be done is told, and the
// next one tried.
func (v *verification) watch(ctx context.Context) error {
	interval := v.options.results.watch
	w := &watcher{v: v, metrics: monitor.NewMetrics(2*interval+time.Minute, v.app.process.Now)}
	if address := v.options.results.listen; address != "" {
		at, err := monitor.Serve(ctx, address, monitor.Handler(w.metrics))
		if err != nil {
			return invalid(fmt.Errorf("--listen %s: %w", address, err))
		}
		v.app.ui.Note("Metrics for Prometheus at http://%s/metrics", at)
	}
	if v.isFleet() {
		if goOn, err := v.warn(ctx); err != nil || !goOn {
			return err
		}
	}
	if v.app.global.output == "text" {
		w.live = v.app.ui.Live()
		defer w.live.End()
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			v.app.ui.Error(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return told(exitInterrupted)
		}
	}
}

// round verifies once.
func (w *watcher) round(ctx context.Context) error {
	r := newRound(ctx, w.v)
	r.quiet, r.first = true, w.rounds == 0
	if err := w.verify(ctx, r); err != nil || ctx.Err() != nil {
		return err
	}
	w.rounds++
	w.v.base.AskOnce = true // a refusal was asked about in the first round
	w.metrics.Record(r.snapshot())
	if err := r.writeAside(); err != nil {
		return err
	}
	summary := r.summary()
	w.history = append(w.history, summary.P50)
	w.history = w.history[max(0, len(w.history)-mostHistory):]
	if w.v.app.ui.JSON() {
		return w.v.app.ui.ResultJSON(summary)
	}
	if w.live.Shown() {
		w.live.Set(w.view(summary))
		return nil
	}
	return w.v.app.ui.Result("%s  %s", w.v.app.process.Now().UTC().Format(time.RFC3339), w.line(summary))
}

func (w *watcher) verify(ctx context.Context, r *round) error {
	if !w.v.isFleet() {
		w.v.single(ctx, r)
		return nil
	}
	_, err := w.v.many(ctx, r)
	return err
}

// line is a round in a line, for a log.
func (w *watcher) line(s verifySummary) string {
	text := fmt.Sprintf("%d passed, %d failed", s.Passed, s.Failed)
	if s.P50 > 0 {
		text += fmt.Sprintf(", half in %.0f ms", s.P50)
	}
	for _, c := range s.Causes {
		text += fmt.Sprintf(", %d %s%s", c.Count, c.Diagnosis, c.examples(" (", ")"))
	}
	return text
}

// view is a round as it stands on the terminal until the next one.
func (w *watcher) view(s verifySummary) string {
	a := w.v.app
	var text strings.Builder
	state := a.ui.Good("all pass")
	if s.Failed > 0 {
		state = a.ui.Bad(fmt.Sprintf("%d fail", s.Failed))
	}
	fmt.Fprintf(&text, "%s port %d  %s  %s\n", a.ui.Strong(w.v.base.Host), w.v.base.Port, state,
		a.ui.Faint(fmt.Sprintf("round %d at %s, again every %s", w.rounds, a.process.Now().Format(time.TimeOnly), w.v.options.results.watch)))
	fmt.Fprintf(&text, "  devices  %d passed%s, %d failed\n", s.Passed, unconnectedText(s), s.Failed)
	fmt.Fprintf(&text, "  latency  %s  half in %.0f ms, 99 of 100 in %.0f ms\n", sparkline(w.history), s.P50, s.P99)
	fmt.Fprintf(&text, "  expires  %s\n", w.expiry())
	const most = 5
	for i, c := range s.Causes {
		if i == most {
			fmt.Fprintf(&text, "  … and %d more causes\n", len(s.Causes)-most)
			break
		}
		fmt.Fprintf(&text, "  %s %d × %s%s\n", a.ui.Bad("FAIL"), c.Count, c.Diagnosis, c.examples(", such as ", ""))
	}
	return text.String()
}

// expiry is the days that the server's certificate and its root have left.
func (w *watcher) expiry() string {
	server, root := w.v.expiresOf()
	now := w.v.app.process.Now()
	var parts []string
	for _, end := range []struct {
		name string
		at   time.Time
	}{{"server", server}, {"root", root}} {
		if end.at.IsZero() {
			continue
		}
		days := int(end.at.Sub(now).Hours() / 24)
		text := fmt.Sprintf("%s in %d days", end.name, days)
		switch {
		case days < 7:
			text = w.v.app.ui.Bad(text)
		case days < 30:
			text = w.v.app.ui.Doubtful(text)
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "not known here"
	}
	return strings.Join(parts, ", ")
}

// sparkline draws values as bars of eight heights, from nothing to the highest.
func sparkline(values []float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	var highest float64
	for _, value := range values {
		highest = max(highest, value)
	}
	var line strings.Builder
	for _, value := range values {
		height := 0
		if highest > 0 {
			height = int(value / highest * float64(len(bars)-1))
		}
		line.WriteRune(bars[height])
	}
	return line.String()
}
