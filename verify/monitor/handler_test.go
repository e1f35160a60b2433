package monitor_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tbcert/tbcert/verify/monitor"
)

func get(t *testing.T, handler http.Handler, path string) (code int, body string) {
	t.Helper()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	all, err := io.ReadAll(answer.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Code, string(all)
}

func scrape(t *testing.T, m *monitor.Metrics) string {
	t.Helper()
	code, body := get(t, monitor.Handler(m), "/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d\n%s", code, body)
	}
	return body
}

func record(t *testing.T, m *monitor.Metrics, snapshots ...monitor.Snapshot) {
	t.Helper()
	for _, s := range snapshots {
		m.Record(s)
	}
}

func TestHandlerPassesPromtool(t *testing.T) {
	t.Parallel()
	m := monitor.NewMetrics(0, nil)
	promtool(t, scrape(t, m))
	record(t, m, snapshot(fleet(5, 2)...), hostileSnapshot(), monitor.Snapshot{Host: "::1", Port: 1883})
	promtool(t, scrape(t, m))
}

func TestHandlerShowsTheLastRoundAndCountsAll(t *testing.T) {
	t.Parallel()
	m := monitor.NewMetrics(0, nil)
	record(t, m, snapshot(fleet(3, 2)...), snapshot(fleet(4, 0)...), snapshot(fleet(4, 1)...), snapshot(monitor.Row{Device: "late"}))
	got := series(t, scrape(t, m))
	for name, want := range map[string]float64{
		own("tbcert_verify_devices", `state="ok"`):                                        0,
		own("tbcert_verify_devices", `state="interrupted"`):                               1,
		own("tbcert_verify_rounds_total", `result="failed"`):                              2,
		own("tbcert_verify_rounds_total", `result="ok"`):                                  1,
		own("tbcert_verify_rounds_total", `result="interrupted"`):                         1,
		own("tbcert_verify_results_total", `state="ok"`):                                  11,
		own("tbcert_verify_results_total", `state="failed"`):                              3,
		own("tbcert_verify_diagnoses_total", `check="connect",diagnosis="token-unknown"`): 3,
		own("tbcert_verify_duration_seconds", ""):                                         11,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, ok, want)
		}
	}
	if _, stale := got[own("tbcert_verify_device_success", `device="pump-000"`)]; stale {
		t.Error("a device of an earlier round is still told")
	}
}

func TestHandlerTellsSitesApart(t *testing.T) {
	t.Parallel()
	m := monitor.NewMetrics(0, nil)
	office := snapshot(fleet(0, 1)...)
	office.Site = "office"
	record(t, m, snapshot(fleet(3, 0)...), office)
	got := series(t, scrape(t, m))
	mine := own("tbcert_verify_success", "")
	theirs := strings.ReplaceAll(mine, "plant", "office")
	if value, ok := got[theirs]; got[mine] != 1 || !ok || value != 0 {
		t.Errorf("plant is %v, office is %v (%v)", got[mine], value, ok)
	}
}

func TestHandlerBoundsTheFailuresOfAllRounds(t *testing.T) {
	t.Parallel()
	m := monitor.NewMetrics(0, nil)
	for i := range 200 {
		row := refused("pump-1")
		row.Diagnosis = fmt.Sprint("reason-", i)
		record(t, m, snapshot(row))
	}
	got := series(t, scrape(t, m))
	pairs := 0
	for key := range got {
		if strings.HasPrefix(key, "tbcert_verify_diagnoses_total{") {
			pairs++
		}
	}
	rest := got[own("tbcert_verify_diagnoses_total", `check="other",diagnosis="other"`)]
	if pairs != 51 || rest != 150 {
		t.Errorf("%d series, %v others; want 51 and 150", pairs, rest)
	}
}

func TestHealthFailsWhenNoRoundEnds(t *testing.T) {
	t.Parallel()
	now := evening()
	m := monitor.NewMetrics(time.Minute, func() time.Time { return now })
	health := func(want int) {
		t.Helper()
		if code, body := get(t, monitor.Handler(m), "/healthz"); code != want {
			t.Errorf("%d %s, want %d", code, body, want)
		}
	}
	health(http.StatusOK) // the first round may take a while
	now = now.Add(2 * time.Minute)
	health(http.StatusServiceUnavailable)
	record(t, m, snapshot(fleet(0, 3)...)) // devices that fail are no fault of the watch
	health(http.StatusOK)
}

func TestHandlerKnowsNothingElse(t *testing.T) {
	t.Parallel()
	handler := monitor.Handler(monitor.NewMetrics(0, nil))
	if code, _ := get(t, handler, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("/debug/pprof/ gave %d", code)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/metrics", nil))
	if answer.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /metrics gave %d", answer.Code)
	}
}

func TestHandlerServesWhileRoundsEnd(t *testing.T) {
	t.Parallel()
	m := monitor.NewMetrics(0, nil)
	record(t, m, snapshot(fleet(3, 1)...))
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 20 {
				m.Record(snapshot(fleet(3, 1)...))
			}
		})
		work.Go(func() {
			for range 20 {
				if code, body := get(t, monitor.Handler(m), "/metrics"); code != http.StatusOK {
					t.Errorf("%d\n%s", code, body)
				}
			}
		})
	}
	work.Wait()
	if got := series(t, scrape(t, m))[own("tbcert_verify_rounds_total", `result="failed"`)]; got != 81 {
		t.Errorf("%v rounds, want 81", got)
	}
}
