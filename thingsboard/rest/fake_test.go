package rest_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

const (
	user     = "admin@example.com"
	password = "canary-password"
	apiKey   = "tb_canary-key"
	token    = "canary+token/1"
	deviceID = "784f394c-42b6-435a-983c-b7beff2784f9"
)

// An exchange is one request that a fake expects, and what it answers.
type exchange struct {
	method, uri string
	login       string // of the authorization header
	body        string // JSON, "" for none
	status      int    // 0 is 200
	answer      string
	header      map[string]string
}

// A fake is a ThingsBoard that knows a script by heart: a request that is not
// next fails the test, and so does one that does not come.
type fake struct {
	t   *testing.T
	url string

	mu     sync.Mutex
	script []exchange
}

func thingsBoard(t *testing.T, script ...exchange) *fake {
	t.Helper()
	f := &fake{t: t, script: script}
	web := httptest.NewServer(f)
	f.url = web.URL
	t.Cleanup(func() {
		web.Close()
		for _, left := range f.script {
			t.Errorf("not asked: %s %s", left.method, left.uri)
		}
	})
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.script) == 0 {
		f.t.Errorf("unexpected: %s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	next := f.script[0]
	f.script = f.script[1:]
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	got := exchange{method: r.Method, uri: r.URL.RequestURI(), login: r.Header.Get("X-Authorization"), body: string(body)}
	if got.method != next.method || got.uri != next.uri || got.login != next.login || !sameJSON(got.body, next.body) {
		f.t.Errorf("got  %s %s %q %s\nwant %s %s %q %s", got.method, got.uri, got.login, got.body, next.method, next.uri, next.login, next.body)
	}
	if agent := r.Header.Get("User-Agent"); agent != "tbcert" {
		f.t.Errorf("User-Agent %q", agent)
	}
	w.Header().Set("Content-Type", "application/json")
	for name, value := range next.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(max(next.status, http.StatusOK))
	_, _ = io.WriteString(w, next.answer)
}

func sameJSON(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	var left, right any
	if json.Unmarshal([]byte(a), &left) != nil || json.Unmarshal([]byte(b), &right) != nil {
		return false
	}
	return fmt.Sprint(left) == fmt.Sprint(right)
}

// keyed is a client with an API key, and so without a login of its own.
func (f *fake) keyed() *rest.Client {
	f.t.Helper()
	return newClient(f.t, rest.Config{URL: f.url, APIKey: secret.New(apiKey), Tries: 1})
}

const keyLogin = "ApiKey " + apiKey

func newClient(t *testing.T, config rest.Config) *rest.Client {
	t.Helper()
	client, err := rest.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// login expects a login with user and password.
func login(answer string) exchange {
	return exchange{method: "POST", uri: "/api/auth/login", body: fmt.Sprintf(`{"username":%q,"password":%q}`, user, password), answer: answer}
}

func refresh(with, answer string) exchange {
	return exchange{method: "POST", uri: "/api/auth/token", body: fmt.Sprintf(`{"refreshToken":%q}`, with), answer: answer}
}

// info expects the shortest call.
func info(login string) exchange {
	return exchange{method: "GET", uri: "/api/system/info", login: login, answer: `{"version":"4.3.1.3","artifact":"application","name":"ThingsBoard","type":"CE"}`}
}

// refusal is an answer in ThingsBoard's form.
func refusal(e exchange, status, code int, message string) exchange {
	e.status = status
	text, _ := json.Marshal(message) // a string
	e.answer = fmt.Sprintf(`{"status":%d,"message":%s,"errorCode":%d,"timestamp":1700000000000}`, status, text, code)
	return e
}

// jwt is a token that lives this long, by a clock that is a year late.
func jwt(life time.Duration) string {
	claims := fmt.Sprintf(`{"sub":"x","iat":%d,"exp":%d}`, 1_600_000_000, 1_600_000_000+int64(life/time.Second))
	return "canary-head." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".canary-sign"
}

func pair(token, refresh string) string {
	return fmt.Sprintf(`{"token":%q,"refreshToken":%q}`, token, refresh)
}

// noSecrets fails when an error shows one.
func noSecrets(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err)} {
		if strings.Contains(text, "canary") || strings.Contains(text, "?") {
			t.Errorf("the error shows a secret or a query: %s", text)
		}
	}
}

// never is a Wait that fails the test.
func never(t *testing.T) func(context.Context, time.Duration) error {
	t.Helper()
	return func(_ context.Context, pause time.Duration) error {
		t.Errorf("waits %s", pause)
		return nil
	}
}
