package rest_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

func TestNewRefusesURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                    "is not a URL such as",
		"tb.example.com":                      "is not a URL such as",
		"http://":                             "is not a URL such as",
		"https://a b":                         "is not a URL such as",
		"mqtts://tb.example.com":              "mqtts://tb.example.com is not a web address",
		"https://u:canary@tb.example.com":     "tb.example.com holds a user or a password",
		"https://tb.example.com/?token=canry": "tb.example.com goes on after a ? or a #",
		"https://tb.example.com/#/login":      "tb.example.com goes on after a ? or a #",
	} {
		_, err := rest.New(rest.Config{URL: text})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestURLWithPath(t *testing.T) {
	t.Parallel()
	it := info(keyLogin)
	it.uri = "/tb/api/system/info"
	f := thingsBoard(t, it)
	client := newClient(t, rest.Config{URL: f.url + "/tb/", APIKey: secret.New(apiKey)})
	if _, err := client.SystemInfo(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNotThingsBoard: an answer that is not ThingsBoard's is never taken for
// one. Above all, a stranger's 404 does not say that a device is not there.
func TestNotThingsBoard(t *testing.T) {
	t.Parallel()
	html := map[string]string{"Content-Type": "text/html; charset=utf-8"}
	for name, test := range map[string]struct {
		exchange
		want string
	}{
		"a login page":         {exchange{answer: "<!doctype html><title>" + token, header: html}, "it answers 200 with a web page"},
		"a proxy's 404":        {exchange{status: 404, answer: "<html>", header: html}, "it answers 404 Not Found with a web page"},
		"another 404":          {exchange{status: 404, answer: `{"status":404,"error":"Not Found"}`}, "it answers 404 Not Found with JSON of another kind"},
		"an empty 404":         {exchange{status: 404}, "with nothing"},
		"a proxy's 401":        {exchange{status: 401, answer: "no", header: map[string]string{"Content-Type": "text/plain"}}, "401 Unauthorized with something that is not JSON"},
		"another's JSON":       {exchange{answer: `{"ok":true}`}, "the answer is not the device"},
		"a list":               {exchange{answer: `[]`}, "with JSON of another kind"},
		"null":                 {exchange{answer: `null`}, "the answer is not the device"},
		"broken JSON":          {exchange{answer: `{"id":`}, "with JSON that is broken"},
		"another device":       {exchange{answer: `{"id":{"id":"1"},"name":"meter 2"}`}, `the answer is not the device "meter 1/é"`},
		"a status of its own":  {exchange{status: 599, answer: "x"}, "it answers 599 with"},
		"a redirect":           {exchange{status: 302, header: map[string]string{"Location": "https://sso.example.com/login?x=" + token}}, "redirected to https://sso.example.com: use that"},
		"a redirect to a path": {exchange{status: 307, header: map[string]string{"Location": "/tb/api"}}, `redirected to the path "/tb/api" on the same host`},
		"a redirect nowhere":   {exchange{status: 302}, "redirected to nowhere"},
		"bad gateway":          {exchange{status: 502, answer: "<html>", header: html}, "a proxy answers 502 Bad Gateway: ThingsBoard behind it is down or still starting"},
		"starting":             {exchange{status: 503, answer: "<html>", header: html}, "a proxy answers 503"},
		"1 MiB and a byte":     {exchange{answer: `{"name":"` + strings.Repeat("x", 1<<20) + `"}`}, "the answer is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			it := find()
			it.status, it.answer, it.header = test.status, test.answer, test.header
			f := thingsBoard(t, it)
			_, err := f.keyed().FindDevice(t.Context(), "meter 1/é")
			var told *rest.Error
			if err == nil || errors.As(err, &told) || errors.Is(err, rest.ErrNotFound) || errors.Is(err, rest.ErrUnauthorized) {
				t.Fatalf("taken for ThingsBoard's word: %v", err)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), strings.TrimPrefix(f.url, "http://")) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			noSecrets(t, err)
		})
	}
	for name, call := range map[string]func(*rest.Client) error{
		"/api/system/info":                         func(c *rest.Client) error { _, err := c.SystemInfo(t.Context()); return err },
		"/api/device/" + deviceID + "/credentials": func(c *rest.Client) error { _, err := c.DeviceCredentials(t.Context(), deviceID); return err },
	} {
		f := thingsBoard(t, exchange{method: "GET", uri: name, login: keyLogin, answer: `{}`})
		if err := call(f.keyed()); !errors.Is(err, rest.ErrNotThingsBoard) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSecureRedirect: a login that was meant for https is not sent on to http.
func TestSecureRedirect(t *testing.T) {
	t.Parallel()
	plain := thingsBoard(t) // expects nobody
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.url+"/api/device", http.StatusTemporaryRedirect))
	t.Cleanup(secure.Close)
	client := newClient(t, rest.Config{URL: secure.URL, APIKey: secret.New(apiKey), Roots: []*x509.Certificate{secure.Certificate()}})
	_, err := client.CreateDevice(t.Context(), rest.Device{Name: "x"}, rest.TokenCredentials(secret.New(token)))
	if !errors.Is(err, rest.ErrRedirect) || !strings.Contains(err.Error(), "from https to http") {
		t.Error(err)
	}
	noSecrets(t, err)

	followed := newClient(t, rest.Config{URL: secure.URL, APIKey: secret.New(apiKey), HTTP: secure.Client()}) // whose own policy follows
	if _, err := followed.SystemInfo(t.Context()); !errors.Is(err, rest.ErrRedirect) {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	quiet := func(handler http.HandlerFunc) *httptest.Server {
		server := httptest.NewUnstartedServer(handler)
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	secure := quiet(func(http.ResponseWriter, *http.Request) {})
	_, port, err := net.SplitHostPort(secure.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	hangsUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
			_ = conn.Close()
		}
	}))
	t.Cleanup(hangsUp.Close)
	badLocation := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://[bad/"+r.URL.RawQuery+token)
		w.WriteHeader(http.StatusFound)
	}))
	t.Cleanup(badLocation.Close)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, test := range map[string]struct {
		url   string
		roots []*x509.Certificate
		want  string
	}{
		"nobody listens":    {url: closed.URL, want: "connection refused: nothing listens there"},
		"no such host":      {url: "https://tb.invalid", want: "see that the name in the URL is right"},
		"an unknown CA":     {url: secure.URL, want: "is not of a CA that is trusted here"},
		"another's name":    {url: "https://localhost:" + port, roots: []*x509.Certificate{secure.Certificate()}, want: "use a name that is in the web server's certificate"},
		"https on http":     {url: "https" + strings.TrimPrefix(plain.URL, "http"), want: "the port speaks plain HTTP"},
		"half an answer":    {url: hangsUp.URL, want: "unexpected EOF"},
		"a broken redirect": {url: badLocation.URL, want: "redirected to nowhere"}, // an answer, but no place,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, rest.Config{URL: test.url, APIKey: secret.New(apiKey), Roots: test.roots, Tries: 1})
			_, err := client.CreateDevice(t.Context(), rest.Device{Name: "x"}, rest.TokenCredentials(secret.New(token)))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.url) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			noSecrets(t, err)
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.Close)
	client := newClient(t, rest.Config{URL: silent.URL, APIKey: secret.New(apiKey), HTTP: &http.Client{Timeout: 20 * time.Millisecond}, Tries: 1})
	if _, err := client.SystemInfo(t.Context()); err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	client = newClient(t, rest.Config{URL: silent.URL, APIKey: secret.New(apiKey), Wait: never(t)}) // there is no time to wait
	if _, err := client.SystemInfo(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := client.SystemInfo(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestTimeoutUnasked: without a client of the caller's own there is a limit too.
func TestTimeoutUnasked(t *testing.T) {
	t.Parallel()
	client := newClient(t, rest.Config{URL: "https://tb.example.com"})
	if got := client.Timeout(); got != 30*time.Second {
		t.Errorf("a request may take %s", got)
	}
}

// TestEndlessAnswer: what is too long is known at its first byte too many, and
// the rest is not waited for.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat(" ", 1<<20+1)))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(web.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client := newClient(t, rest.Config{URL: web.URL, APIKey: secret.New(apiKey)})
	if _, err := client.SystemInfo(ctx); !errors.Is(err, rest.ErrTooLarge) {
		t.Error(err)
	}
}
