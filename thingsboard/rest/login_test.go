package rest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// A clock is moved by the test.
type clock struct{ atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_700_000_000+c.Load(), 0) }
func (c *clock) advance(d time.Duration) { c.Add(int64(d / time.Second)) }

// user is a client that logs in with user and password.
func (f *fake) user(now *clock) *rest.Client {
	f.t.Helper()
	return newClient(f.t, rest.Config{URL: f.url, Username: user, Password: secret.New(password), Now: now.now, Wait: never(f.t), Tries: 1})
}

func ask(t *testing.T, client *rest.Client) {
	t.Helper()
	if _, err := client.SystemInfo(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	first, second, third := jwt(time.Hour), jwt(2*time.Hour), jwt(3*time.Hour)
	f := thingsBoard(t,
		login(pair(first, "canary-r1")), info("Bearer "+first), info("Bearer "+first),
		refresh("canary-r1", pair(second, "canary-r2")), info("Bearer "+second), info("Bearer "+second),
		refusal(refresh("canary-r2", ""), 401, 11, "Token has expired"), login(pair(third, "canary-r3")), info("Bearer "+third),
	)
	now := &clock{}
	client := f.user(now)
	ask(t, client)
	now.advance(58 * time.Minute)
	ask(t, client)
	now.advance(time.Minute) // a minute before it would run out
	ask(t, client)
	now.advance(118 * time.Minute)
	ask(t, client)
	now.advance(24 * time.Hour)
	ask(t, client)
}

// TestLoginAtOnce: a login that is good is not made again, and a bad one shows.
func TestLoginAtOnce(t *testing.T) {
	t.Parallel()
	first := jwt(time.Hour)
	client := thingsBoard(t, login(pair(first, "")), info("Bearer "+first)).user(&clock{})
	for range 2 {
		if err := client.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, client)

	bad := refusal(info("ApiKey "+apiKey), 401, 10, "Authentication failed")
	for name, f := range map[string]struct {
		script exchange
		config rest.Config
	}{
		"password": {refusal(login(""), 401, 10, "Invalid username or password"), rest.Config{Username: user, Password: secret.New(password)}},
		"API key":  {bad, rest.Config{APIKey: secret.New(apiKey)}},
	} {
		f.config.URL = thingsBoard(t, f.script).url
		err := newClient(t, f.config).Login(t.Context())
		if !errors.Is(err, rest.ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
		noSecrets(t, err)
	}
	good := rest.Config{URL: thingsBoard(t, info("ApiKey "+apiKey)).url, APIKey: secret.New(apiKey)}
	if err := newClient(t, good).Login(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLoginNeverTold: a token that does not say how long it lives is used until
// ThingsBoard refuses it.
func TestLoginNeverTold(t *testing.T) {
	t.Parallel()
	for _, odd := range []string{"x", "a.b.c", "a.!!.c", "a.e30.c", "a.eyJpYXQiOjUsImV4cCI6NX0.c"} {
		f := thingsBoard(t, login(pair(odd, "")), info("Bearer "+odd), info("Bearer "+odd))
		now := &clock{}
		client := f.user(now)
		ask(t, client)
		now.advance(1000 * time.Hour)
		ask(t, client)
	}
	first := jwt(time.Hour) // says it, and the one after it does not
	f := thingsBoard(t, login(pair(first, "")), info("Bearer "+first), login(pair("x", "")), info("Bearer x"), info("Bearer x"))
	now := &clock{}
	client := f.user(now)
	for range 3 {
		ask(t, client)
		now.advance(time.Hour)
	}
}

// TestLoginRunsOut: a token that is refused, for whatever reason, is renewed
// once.
func TestLoginRunsOut(t *testing.T) {
	t.Parallel()
	old, fresh := jwt(time.Hour), jwt(2*time.Hour)
	expired := refusal(info("Bearer "+old), 401, 11, "Token has expired")
	ask(t, thingsBoard(t, login(pair(old, "canary-r")), expired, refresh("canary-r", pair(fresh, "")), info("Bearer "+fresh)).user(&clock{}))
	ask(t, thingsBoard(t, login(pair(old, "")), expired, login(pair(fresh, "")), info("Bearer "+fresh)).user(&clock{}))

	again := refusal(info("Bearer "+fresh), 401, 10, "Authentication failed for "+fresh)
	client := thingsBoard(t, login(pair(old, "")), expired, login(pair(fresh, "")), again).user(&clock{})
	_, err := client.SystemInfo(t.Context())
	if !errors.Is(err, rest.ErrUnauthorized) {
		t.Error(err)
	}
	noSecrets(t, err)
}

func TestLoginRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer exchange
		want   string
		is     error
		final  bool
	}{
		"wrong password": {refusal(login(""), 401, 10, "Invalid username or password"), "Invalid username or password", rest.ErrUnauthorized, true},
		"locked":         {refusal(login(""), 401, 10, "User account is locked due to security policy"), "locked", rest.ErrUnauthorized, true},
		"expired":        {refusal(login(""), 401, 15, "User password expired!"), "User password expired!", rest.ErrUnauthorized, true},
		"two factors":    {login(`{"token":"canary","scope":"PRE_VERIFICATION_TOKEN"}`), "two-factor", rest.ErrUnauthorized, true},
		"no token":       {login(`{}`), "the answer holds no token", rest.ErrNotThingsBoard, false},
		"failure inside": {refusal(login(""), 500, 2, "oops "+password), "oops [secret]", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := []exchange{test.answer}
			if !test.final {
				script = append(script, test.answer)
			}
			client := thingsBoard(t, script...).user(&clock{})
			for range 2 { // a second time the user is not locked out for it
				_, err := client.SystemInfo(t.Context())
				if err == nil || !strings.Contains(err.Error(), test.want) || (test.is != nil && !errors.Is(err, test.is)) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				noSecrets(t, err)
			}
		})
	}
	for _, config := range []rest.Config{{}, {Username: user}, {Password: secret.New(password)}} {
		config.URL = thingsBoard(t).url
		if _, err := newClient(t, config).SystemInfo(t.Context()); !errors.Is(err, rest.ErrNoLogin) {
			t.Error(err)
		}
	}
}

// TestLoginIsShared: many goroutines log in once, renew once, and one that does
// not want to wait any more does not.
func TestLoginIsShared(t *testing.T) {
	t.Parallel()
	var logins, refreshes, refused atomic.Int32
	old, fresh := jwt(time.Hour), jwt(2*time.Hour)
	var expired atomic.Bool
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get("X-Authorization")
		switch {
		case r.URL.Path == "/api/auth/login":
			logins.Add(1)
			_, _ = w.Write([]byte(pair(old, "canary-r")))
		case r.URL.Path == "/api/auth/token":
			refreshes.Add(1)
			_, _ = w.Write([]byte(pair(fresh, "canary-r")))
		case header == "Bearer "+old && expired.Load():
			refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"status":401,"message":"Token has expired","errorCode":11}`))
		default:
			_, _ = w.Write([]byte(info("").answer))
		}
	}))
	t.Cleanup(web.Close)
	client := newClient(t, rest.Config{URL: web.URL, Username: user, Password: secret.New(password), Now: new(clock).now})
	all := func() {
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() { ask(t, client) })
		}
		group.Wait()
	}
	all()
	expired.Store(true)
	all()
	if logins.Load() != 1 || refreshes.Load() != 1 || refused.Load() == 0 {
		t.Errorf("%d logins, %d refreshes, %d refused", logins.Load(), refreshes.Load(), refused.Load())
	}
}

func TestLoginWaits(t *testing.T) {
	t.Parallel()
	inLogin := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1000)) // so that the server sees the client go
		close(inLogin)
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	client := newClient(t, rest.Config{URL: silent.URL, Username: user, Password: secret.New(password)})
	first, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := client.SystemInfo(first)
		done <- err
	}()
	<-inLogin
	second, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := client.SystemInfo(second); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "waiting for the login") {
		t.Error(err)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestLoginThrottled: when ThingsBoard wants no calls, a refresh that it refused is
// not followed by a login at once, and is made again.
func TestLoginThrottled(t *testing.T) {
	t.Parallel()
	first, second := jwt(time.Hour), jwt(2*time.Hour)
	busy := refusal(refresh("canary-r1", ""), 429, 33, "Too many requests")
	busy.header = map[string]string{"Retry-After": "7"}
	f := thingsBoard(t,
		login(pair(first, "canary-r1")), info("Bearer "+first),
		busy, refresh("canary-r1", pair(second, "canary-r2")), info("Bearer "+second),
	)
	clock := &stopwatch{}
	client := newClient(t, rest.Config{URL: f.url, Username: user, Password: secret.New(password), Now: clock.now, Wait: clock.wait})
	ask(t, client)
	_ = clock.wait(t.Context(), time.Hour)
	ask(t, client)
	if !clock.waited(time.Hour, 7*time.Second) {
		t.Error(clock.waits)
	}
	if stats := client.Stats(); stats.Logins != 3 || stats.Calls != 5 || stats.Throttled != 1 || stats.Retries != 1 {
		t.Errorf("%+v", stats)
	}
}

// TestLoginFailsTogether: callers that wait for a login that fails have failed,
// and do not try it one after another.
func TestLoginFailsTogether(t *testing.T) {
	t.Parallel()
	const callers = 16
	var logins, begun atomic.Int64
	var isUp atomic.Bool
	arrived, release := make(chan struct{}), make(chan struct{})
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/api/auth/login":
			good(w, r)
		case isUp.Load():
			_, _ = w.Write([]byte(pair(jwt(time.Hour), "canary-r")))
		default:
			if logins.Add(1) == 1 {
				close(arrived)
				<-release
			}
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	var waiting, group sync.WaitGroup
	waiting.Add(callers)
	client := newClient(t, rest.Config{URL: url, Username: user, Password: secret.New(password), Wait: func(ctx context.Context, _ time.Duration) error {
		waiting.Done()
		waiting.Wait()
		isUp.Store(true)
		return ctx.Err()
	}})
	for range callers {
		group.Go(func() {
			begun.Add(1)
			ask(t, client)
		})
	}
	<-arrived
	for begun.Load() < callers { // then they wait for the login, but for one that is slow
		runtime.Gosched()
	}
	close(release)
	group.Wait()
	if n := logins.Load(); n > callers/2 {
		t.Errorf("%d logins failed", n)
	}
}

// TestLoginBeforeCreation: a creation was not sent when the login failed, and so
// it is made when that works.
func TestLoginBeforeCreation(t *testing.T) {
	t.Parallel()
	fresh := jwt(time.Hour)
	down, made := login(""), create()
	down.status, made.login, made.answer = http.StatusServiceUnavailable, "Bearer "+fresh, deviceAnswer
	f := thingsBoard(t, down, login(pair(fresh, "canary-r")), made)
	clock := &stopwatch{}
	client := newClient(t, rest.Config{URL: f.url, Username: user, Password: secret.New(password), Now: clock.now, Wait: clock.wait})
	if err := creates(t.Context(), client); err != nil {
		t.Error(err)
	}
}

// TestLoginGivenUp: one caller that goes in the middle of a login takes nobody
// with it.
func TestLoginGivenUp(t *testing.T) {
	t.Parallel()
	var logins atomic.Int64
	arrived := make(chan struct{})
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client go
		switch {
		case r.URL.Path != "/api/auth/login":
			good(w, r)
		case logins.Add(1) == 1:
			close(arrived)
			<-r.Context().Done()
		default:
			_, _ = w.Write([]byte(pair(jwt(time.Hour), "canary-r")))
		}
	}))
	client := newClient(t, rest.Config{URL: url, Username: user, Password: secret.New(password), Wait: never(t)})
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := reads(ctx, client); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-arrived
	for range 4 {
		group.Go(func() { ask(t, client) })
	}
	stop()
	group.Wait()
}
