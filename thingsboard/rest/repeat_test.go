package rest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// A stopwatch is a clock that goes on while somebody waits by it, and keeps how
// long that was.
type stopwatch struct {
	mu    sync.Mutex
	late  time.Duration
	waits []time.Duration
}

func (s *stopwatch) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Unix(1_700_000_000, 0).Add(s.late)
}

func (s *stopwatch) wait(ctx context.Context, pause time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late += pause
	s.waits = append(s.waits, pause)
	return ctx.Err()
}

// waited are the pauses so far, without their jitter: those that are wanted, if
// each is no shorter and no more than a quarter longer.
func (s *stopwatch) waited(want ...time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.EqualFunc(s.waits, want, func(got, want time.Duration) bool { return want <= got && got <= want+want/4 })
}

func (s *stopwatch) client(t *testing.T, url string) *rest.Client {
	t.Helper()
	return newClient(t, rest.Config{URL: url, APIKey: secret.New(apiKey), Now: s.now, Wait: s.wait, Timeout: 10 * time.Second})
}

// A flaky is a ThingsBoard that does badly the first times that it is called,
// and then answers every call well.
type flaky struct {
	bad   http.HandlerFunc
	times int64
	calls atomic.Int64
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if f.calls.Add(1) <= f.times {
		f.bad(w, r)
		return
	}
	good(w, r)
}

const credentialsAnswer = `{"id":{"id":"c1"},"deviceId":{"entityType":"DEVICE","id":"` + deviceID + `"},"credentialsType":"ACCESS_TOKEN","credentialsId":"` + token + `"}`

func good(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/api/system/info":
		_, _ = io.WriteString(w, `{"version":"4.3.1.3"}`)
	case "/api/device/credentials":
		_, _ = io.WriteString(w, credentialsAnswer)
	case "/api/device-with-credentials":
		_, _ = io.WriteString(w, deviceAnswer)
	default:
		w.WriteHeader(http.StatusTeapot)
	}
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	return web.URL
}

func newToken() rest.Credentials {
	credentials := rest.TokenCredentials(secret.New(token))
	credentials.ID, credentials.DeviceID = "c1", deviceID
	return credentials
}

// The three kinds of calls: one that reads, one that sets a state, and one that
// done twice would be done twice.
func reads(ctx context.Context, client *rest.Client) error {
	_, err := client.SystemInfo(ctx)
	return err
}

func sets(ctx context.Context, client *rest.Client) error {
	_, err := client.SetCredentials(ctx, newToken())
	return err
}

func creates(ctx context.Context, client *rest.Client) error {
	_, err := client.CreateDevice(ctx, theDevice(), newToken())
	return err
}

func status(status int, answer string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}
}

func ours(code, errorCode int) http.HandlerFunc {
	return status(code, fmt.Sprintf(`{"status":%d,"message":"m","errorCode":%d}`, code, errorCode))
}

func reset(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = connection.(*net.TCPConn).SetLinger(0)
		_ = connection.Close()
	}
}

func halfway(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"version":`)
}

// TestRepeats: what reads and what sets a state is done again; a creation only
// when it is certain that nothing was created.
func TestRepeats(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		bad             http.HandlerFunc
		again, creation bool
	}{
		"too many":                  {ours(429, 33), true, true},
		"a proxy's too many":        {status(429, "slow down"), true, true},
		"an error of ThingsBoard's": {ours(500, 2), true, false},
		"no database":               {ours(500, 46), true, false},
		"starting":                  {ours(503, 2), true, false},
		"a proxy's 502":             {status(502, "<html>"), true, false},
		"a proxy's 503":             {status(503, "<html>"), true, false},
		"a proxy's 503, for a time": {status(503, "<html>", "Retry-After", "1"), true, false},
		"a proxy's 504":             {status(504, "<html>"), true, false},
		"a reset":                   {reset, true, false},
		"half an answer":            {halfway, true, false},
		"a refusal":                 {ours(400, 31), false, false},
		"another's version":         {ours(409, 35), false, false},
		"no right":                  {ours(403, 20), false, false},
		"no such thing":             {ours(404, 32), false, false},
		"another site":              {status(200, "<html>"), false, false},
		"another site's 404":        {status(404, "<html>"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, call := range []struct {
				name  string
				make  func(context.Context, *rest.Client) error
				again bool
			}{{"read", reads, test.again}, {"set", sets, test.again}, {"create", creates, test.creation}} {
				f := &flaky{bad: test.bad, times: 2}
				client := new(stopwatch).client(t, serve(t, f))
				err := call.make(t.Context(), client)
				calls, stats := f.calls.Load(), client.Stats()
				if call.again != (err == nil) || call.again && calls != 3 || !call.again && calls != 1 {
					t.Errorf("%s: %d calls, error %v", call.name, calls, err)
				}
				if stats.Calls != calls || stats.Retries != calls-1 || (stats.Waited > 0) != call.again {
					t.Errorf("%s: %d calls: %+v", call.name, calls, stats)
				}
				noSecrets(t, err)
			}
		})
	}
}

// TestRepeatsHTTP2: the errors of HTTP/2 are others.
func TestRepeatsHTTP2(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]http.HandlerFunc{
		"a stream that is reset":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a connection that is given up": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &flaky{bad: bad, times: 1}
			web := httptest.NewUnstartedServer(f)
			web.EnableHTTP2 = true
			web.StartTLS()
			t.Cleanup(web.Close)
			if bad == nil {
				f.bad = func(http.ResponseWriter, *http.Request) { web.CloseClientConnections() }
			}
			clock := &stopwatch{}
			client := newClient(t, rest.Config{URL: web.URL, APIKey: secret.New(apiKey), HTTP: web.Client(), Now: clock.now, Wait: clock.wait})
			if err := sets(t.Context(), client); err != nil || f.calls.Load() != 2 {
				t.Errorf("%d calls, error %v", f.calls.Load(), err)
			}
		})
	}
}

// TestRepeatsLost: what net/http has no names for.
func TestRepeatsLost(t *testing.T) {
	t.Parallel()
	for text, again := range map[string]bool{
		"http: server closed idle connection": true,
		"http2: client connection lost":       true,
		"http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug=\"\"": true,
		`malformed HTTP response "x"`: false,
	} {
		calls := 0
		clock := &stopwatch{}
		client := newClient(t, rest.Config{URL: "http://tb.example.com", APIKey: secret.New(apiKey), Now: clock.now, Wait: clock.wait, HTTP: &http.Client{
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if calls++; calls == 1 {
					return nil, errors.New(text)
				}
				answer := httptest.NewRecorder()
				good(answer, r)
				return answer.Result(), nil
			}),
		}})
		if err := sets(t.Context(), client); again != (err == nil) || again != (calls == 2) {
			t.Errorf("%s: %d calls, error %v", text, calls, err)
		}
	}
}

// TestRepeatsSlow: a call that is not answered is given up, and made again.
func TestRepeatsSlow(t *testing.T) {
	t.Parallel()
	f := &flaky{times: 1, bad: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
	clock := &stopwatch{}
	client := newClient(t, rest.Config{URL: serve(t, f), APIKey: secret.New(apiKey), Wait: clock.wait, Timeout: 50 * time.Millisecond})
	if err := sets(t.Context(), client); err != nil || f.calls.Load() != 2 {
		t.Errorf("%d calls, error %v", f.calls.Load(), err)
	}
	f.calls.Store(0)
	err := creates(t.Context(), client)
	if err == nil || !rest.Uncertain(err) || f.calls.Load() != 1 || !strings.Contains(err.Error(), "it takes longer than 50ms") {
		t.Errorf("%d calls, error %v", f.calls.Load(), err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRepeatsUnsent: when no connection comes about, nothing was done. A server
// that never answered most likely has another address; one that did comes back.
func TestRepeatsUnsent(t *testing.T) {
	t.Parallel()
	unknown := &net.DNSError{Err: "no such host", Name: "tb.example.com", IsNotFound: true}
	for name, test := range map[string]struct {
		err   error
		again bool
	}{
		"refused":        {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, true},
		"no route":       {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}, true},
		"no name server": {&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "server misbehaving", Name: "tb.example.com", IsTemporary: true}}, true},
		"no such name":   {&net.OpError{Op: "dial", Net: "tcp", Err: unknown}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var down, calls atomic.Int64
			transport := roundTrip(func(r *http.Request) (*http.Response, error) {
				calls.Add(1)
				if down.Add(-1) >= 0 {
					return nil, test.err
				}
				answer := httptest.NewRecorder()
				good(answer, r)
				return answer.Result(), nil
			})
			clock := &stopwatch{}
			client := newClient(t, rest.Config{
				URL: "http://tb.example.com", APIKey: secret.New(apiKey), HTTP: &http.Client{Transport: transport}, Now: clock.now, Wait: clock.wait,
			})
			down.Store(2)
			if err := creates(t.Context(), client); err == nil || rest.Uncertain(err) || calls.Load() != 1 {
				t.Errorf("a server that was never heard of: %d calls, error %v", calls.Load(), err)
			}
			down.Store(0)
			if err := reads(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			down.Store(2)
			calls.Store(0)
			err := creates(t.Context(), client)
			if test.again != (err == nil) || test.again && calls.Load() != 3 || rest.Uncertain(err) {
				t.Errorf("a server that is down for a moment: %d calls, error %v", calls.Load(), err)
			}
		})
	}
}

// TestRepeatsEnd: a call is not made forever, with pauses that grow; one to a
// server that was never heard of not even that long.
func TestRepeatsEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		bad  http.HandlerFunc
		want error
	}{
		"too many": {ours(429, 33), rest.ErrTooMany},
		"down":     {status(503, ""), rest.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pauses := []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}
			f := &flaky{bad: test.bad, times: 1000}
			clock := &stopwatch{}
			client := clock.client(t, serve(t, f))
			if err := reads(t.Context(), client); !errors.Is(err, test.want) || f.calls.Load() != 4 || !clock.waited(pauses[:3]...) {
				t.Errorf("at first: %d calls, error %v, pauses %s", f.calls.Load(), err, clock.waits)
			}
			f.calls.Store(1000)
			if err := reads(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			f.calls.Store(0)
			*clock = stopwatch{late: time.Hour}
			if err := reads(t.Context(), client); !errors.Is(err, test.want) || f.calls.Load() != 10 || !clock.waited(pauses...) {
				t.Errorf("later: %d calls, error %v, pauses %s", f.calls.Load(), err, clock.waits)
			}
		})
	}
}

// TestRepeatsStop: a wait ends with its context, and says what was waited for.
func TestRepeatsStop(t *testing.T) {
	t.Parallel()
	url := serve(t, &flaky{bad: ours(429, 33), times: 1000})
	ctx, cancel := context.WithCancel(t.Context())
	client := newClient(t, rest.Config{URL: url, APIKey: secret.New(apiKey), Wait: func(ctx context.Context, _ time.Duration) error {
		cancel()
		return ctx.Err()
	}})
	if err := reads(ctx, client); !errors.Is(err, context.Canceled) || !errors.Is(err, rest.ErrTooMany) {
		t.Error(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond) // ends in the real wait
	defer cancel()
	client = newClient(t, rest.Config{URL: url, APIKey: secret.New(apiKey)})
	if err := reads(ctx, client); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestUncertain: what may have been done.
func TestUncertain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		bad  http.HandlerFunc
		want bool
	}{
		"exists":         {status(400, `{"message":"Device with such name already exists!","errorCode":31}`), false},
		"taken":          {status(400, `{"message":"Device credentials are already assigned to another device!","errorCode":31}`), false},
		"not valid":      {ours(400, 31), false},
		"limit":          {ours(403, 41), false},
		"no right":       {ours(403, 20), false},
		"too many":       {ours(429, 33), false},
		"login":          {ours(401, 10), false},
		"elsewhere":      {status(302, "", "Location", "https://tb.example.com/"), false},
		"error":          {ours(500, 2), true},
		"down":           {status(502, ""), true},
		"reset":          {reset, true},
		"half":           {halfway, true},
		"a web page":     {status(200, "<html>"), true},
		"another device": {status(200, strings.Replace(deviceAnswer, "meter", "other", 1)), true},
		"too long":       {status(200, strings.Repeat(" ", 1<<20+1)), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, rest.Config{URL: serve(t, test.bad), APIKey: secret.New(apiKey), Tries: 1})
			if err := creates(t.Context(), client); err == nil || rest.Uncertain(err) != test.want {
				t.Errorf("uncertain is %v of %v", rest.Uncertain(err), err)
			}
		})
	}
	if rest.Uncertain(nil) {
		t.Error("what worked is uncertain")
	}
}
