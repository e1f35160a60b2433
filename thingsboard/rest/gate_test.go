package rest_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// TestRetryAfter: ThingsBoard, or a proxy, is taken at its word, within bounds.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	clock := &stopwatch{}
	date := func(in time.Duration) string { return clock.now().Add(in).UTC().Format(http.TimeFormat) }
	for value, want := range map[string]time.Duration{
		"7":                    7 * time.Second,
		"100":                  time.Minute,
		"9223372036854775807":  time.Minute,
		"99999999999999999999": 250 * time.Millisecond,
		"0":                    250 * time.Millisecond,
		"-5":                   250 * time.Millisecond,
		"soon":                 250 * time.Millisecond,
		date(5 * time.Second):  5 * time.Second,
		date(time.Hour):        time.Minute,
		date(-time.Hour):       250 * time.Millisecond,
	} {
		for _, code := range []int{429, 503} {
			f := &flaky{bad: status(code, "", "Retry-After", value), times: 1}
			clock := &stopwatch{}
			client := clock.client(t, serve(t, f))
			if err := reads(t.Context(), client); err != nil || !clock.waited(want) {
				t.Errorf("%d, %s: waits %s, error %v", code, value, clock.waits, err)
			}
			if throttled := client.Stats().Throttled; throttled != 1 && (code == 429 || want != 250*time.Millisecond) {
				t.Errorf("%d, %s: %d answers count as throttled", code, value, throttled)
			}
		}
	}
	// Not every answer may hold all calls back.
	f := &flaky{bad: status(404, `{"errorCode":32}`, "Retry-After", "7"), times: 1}
	client := clock.client(t, serve(t, f))
	if err := reads(t.Context(), client); !errors.Is(err, rest.ErrNotFound) || client.Stats().Throttled != 0 {
		t.Error(err)
	}
}

// TestGateIsShared: while one caller waits as ThingsBoard asked, no other calls;
// and a pause that is made longer meanwhile is kept by those who wait.
func TestGateIsShared(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			status(429, "", "Retry-After", "30")(w, r)
		case 2:
			status(503, "", "Retry-After", "20")(w, r)
		default:
			good(w, r)
		}
	}))
	clock := &stopwatch{}
	waiting, release := make(chan time.Duration), make(chan struct{})
	client := newClient(t, rest.Config{URL: url, APIKey: secret.New(apiKey), Now: clock.now, Wait: func(ctx context.Context, pause time.Duration) error {
		waiting <- pause
		<-release
		return ctx.Err()
	}})
	var group sync.WaitGroup
	group.Go(func() {
		if err := reads(t.Context(), client); err != nil {
			t.Error(err)
		}
	})
	first := <-waiting
	for range 9 {
		group.Go(func() {
			if err := creates(t.Context(), client); err != nil && !errors.Is(err, rest.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	for range 9 {
		if pause := <-waiting; pause < 30*time.Second || first < 30*time.Second {
			t.Errorf("waits %s, the first %s", pause, first)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls while all must wait", n)
	}
	_ = clock.wait(t.Context(), 25*time.Second) // too early: each looks again, and waits for the rest
	for range 10 {
		release <- struct{}{}
	}
	for range 10 {
		if pause := <-waiting; pause < 5*time.Second || pause > 7*time.Second {
			t.Errorf("waits %s for the rest", pause)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls before the time", n)
	}
	_ = clock.wait(t.Context(), 25*time.Second)
	go func() { // the second answer holds back those who come late
		for range waiting {
			_ = clock.wait(t.Context(), time.Minute)
			release <- struct{}{}
		}
	}()
	for range 10 {
		release <- struct{}{}
	}
	group.Wait()
	close(waiting)
	if stats := client.Stats(); stats.Throttled != 2 || stats.Calls != calls.Load() {
		t.Errorf("%+v, %d calls", stats, calls.Load())
	}
}

// TestGateBurst: callers that are refused at the same moment are one reason to
// wait, not one each.
func TestGateBurst(t *testing.T) {
	t.Parallel()
	const callers = 8
	var refused, waiting sync.WaitGroup
	refused.Add(callers)
	waiting.Add(callers)
	f := &flaky{times: callers, bad: func(w http.ResponseWriter, r *http.Request) {
		refused.Done()
		refused.Wait()
		ours(429, 33)(w, r)
	}}
	clock := &stopwatch{}
	client := newClient(t, rest.Config{URL: serve(t, f), APIKey: secret.New(apiKey), Now: clock.now, Wait: func(ctx context.Context, pause time.Duration) error {
		if pause > 400*time.Millisecond {
			t.Errorf("waits %s", pause)
		}
		waiting.Done()
		waiting.Wait()
		return clock.wait(ctx, time.Second)
	}})
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			if err := reads(t.Context(), client); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// TestGateLetsAllThrough: a tenant's limit is far below what all callers want,
// and ThingsBoard does not say when to come again: each gets its turn, however
// often that takes.
func TestGateLetsAllThrough(t *testing.T) {
	t.Parallel()
	const callers, calls, limit = 24, 8, 3 // of every 250 ms
	clock := &stopwatch{}
	var mu sync.Mutex
	var window, used int64
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if now := clock.now().UnixMilli() / 250; now != window {
			window, used = now, 0
		}
		used++
		isOver := used > limit
		mu.Unlock()
		if isOver {
			ours(429, 33)(w, r)
			return
		}
		good(w, r)
	}))
	client := clock.client(t, url)
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range calls {
				if err := creates(t.Context(), client); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if stats := client.Stats(); stats.Throttled < callers*calls/limit {
		t.Errorf("the limit was not felt: %+v", stats)
	}
}
