package sandbox_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/sandbox"
)

// An outcome is what came of a call; the status is 0 when the connection broke.
type outcome struct {
	status      int
	retryAfter  string
	answer, why string
}

// try makes a call such as "GET /api/system/info".
func (w *world) try(tb testing.TB, client *http.Client, call, body string) outcome {
	tb.Helper()
	method, path, _ := strings.Cut(call, " ")
	request, err := http.NewRequestWithContext(tb.Context(), method, "http://"+w.HTTPAddr().String()+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	request.Header.Set("X-Authorization", apiKey)
	response, err := client.Do(request)
	if err != nil {
		return outcome{why: err.Error()}
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1000))
	if err != nil {
		tb.Fatal(err)
	}
	return outcome{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After"), answer: string(answer)}
}

func TestRESTFaults(t *testing.T) {
	t.Parallel()
	for fault, row := range map[string]struct {
		status  int // 0: the connection breaks
		answer  string
		happens bool
	}{
		"rest-429=100":          {429, `"errorCode":33`, false},
		"rest-500=100":          {500, `"errorCode":2`, false},
		"rest-503=100":          {503, "<html>", false},
		"rest-reset-before=100": {0, "", false},
		"rest-reset-after=100":  {0, "", true},
		"rest-huge":             {200, "          ", false},
		"rest-wrong-types":      {200, `"id":7`, false},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			w := start(t, faulty(t, fault))
			got := w.try(t, http.DefaultClient, "POST /api/device", `{"name":"n"}`)
			if got.status != row.status || !strings.Contains(got.answer, row.answer) {
				t.Errorf("got %+v", got)
			}
			if got.status == 429 && got.retryAfter != "1" {
				t.Errorf("Retry-After is %q", got.retryAfter)
			}
			if got := len(w.Devices()) == 3; got != row.happens {
				t.Errorf("it was done: %v", got)
			}
			if name, _, isPercent := strings.Cut(fault, "="); isPercent && w.Calls()[name] == 0 {
				t.Errorf("counted: %v", w.Calls())
			}
			w.SetFaults(sandbox.Faults{})
			w.do(t, "POST", "/api/device", `{"name":"n2"}`)
		})
	}
}

// TestStall: the call is silent, and ends when the client goes, or the sandbox.
func TestStall(t *testing.T) {
	t.Parallel()
	w := start(t, faulty(t, "rest-stall=100"))
	client := &http.Client{Timeout: 100 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if got := w.try(t, client, "POST /api/device", `{"name":"n"}`); got.status != 0 {
		t.Errorf("got %+v", got)
	}
	came := w.calling(t, "/api/device", `{"name":"n"}`)
	waitFor(t, func() bool { return w.Calls()["rest-stall"] == 2 })
	started := time.Now()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(started); took > patience/2 {
		t.Errorf("the end took %s", took)
	}
	<-came
	if n := len(w.Devices()); n != 2 {
		t.Errorf("there are %d devices", n)
	}
}

// TestFaultsAreSpread: as many calls of a hundred meet a fault as it says, and the
// same ones in every run.
func TestFaultsAreSpread(t *testing.T) {
	t.Parallel()
	run := func() (statuses []int) {
		w := start(t, faulty(t, "rest-429=5", "rest-500=10", "rest-503=1"))
		for range 200 {
			statuses = append(statuses, w.try(t, http.DefaultClient, "GET /api/system/info", "").status)
		}
		want := map[string]int{"rest-429": 10, "rest-500": 20, "rest-503": 2, "GET /api/system/info": 168}
		if diff := cmp.Diff(want, w.Calls()); diff != "" {
			t.Error(diff)
		}
		return statuses
	}
	if diff := cmp.Diff(run(), run()); diff != "" {
		t.Error(diff)
	}
}

func TestPagesRepeat(t *testing.T) {
	t.Parallel()
	w := start(t, faulty(t, "rest-pages-repeat"))
	first := w.do(t, "GET", "/api/tenant/devices?pageSize=1&page=0", "")
	later := w.do(t, "GET", "/api/tenant/devices?pageSize=1&page=7", "")
	if diff := cmp.Diff(first, later); diff != "" || later["hasNext"] != true {
		t.Errorf("hasNext is %v: %s", later["hasNext"], diff)
	}
}

func TestLoginLife(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	clock.Store(fixed().Unix())
	w := start(t, faulty(t, "login-life=5"), func(config *sandbox.Config) { config.Now = func() time.Time { return time.Unix(clock.Load(), 0) } })
	login := parse[object](t, w.as("").call(t, "POST /api/auth/login", `{"username":"tenant@thingsboard.org","password":"canary0password"}`, 200))
	bearer := "Bearer " + login["token"].(string)
	clock.Add(4)
	w.as(bearer).call(t, "GET /api/system/info", "", 200)
	clock.Add(2)
	wantError(t, w.as(bearer).call(t, "GET /api/system/info", "", 401), refusal{401, 11, "Token has expired"})
}
