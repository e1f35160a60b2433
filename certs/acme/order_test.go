package acme_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	lib "github.com/mholt/acmez/v3/acme"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/acme"
	"github.com/tbcert/tbcert/certs/acme/acmetest"
)

// zoneFuncs is a zone of two functions.
type zoneFuncs struct {
	present, cleanUp func(ctx context.Context, name string) error
}

func (z zoneFuncs) Present(ctx context.Context, name, _ string) error { return z.present(ctx, name) }

func (z zoneFuncs) CleanUp(ctx context.Context, name, _ string) error { return z.cleanUp(ctx, name) }

// A record goes away also when the user has had enough, and that it does not is told.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	pebble := acmetest.StartPebble(t, acmetest.PebbleOptions{})
	ctx, interrupt := context.WithCancel(t.Context())
	var presented, gone, told []string
	config := config(t, pebble, acme.DNS01)
	config.DNS = zoneFuncs{
		present: func(ctx context.Context, name string) error {
			presented = append(presented, name)
			if len(presented) == 2 {
				interrupt()
			}
			return ctx.Err()
		},
		cleanUp: func(ctx context.Context, name string) error {
			if ctx.Err() != nil {
				t.Errorf("%s: there is no time to take it away: %v", name, ctx.Err())
			}
			gone = append(gone, name)
			return errors.New("it stays")
		},
	}
	config.Warn = func(err error) { told = append(told, err.Error()) }
	client, err := acme.New(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Obtain(ctx, []string{"one.example.com", "two.example.com"}, newKey(t, certs.P256), nil)
	if len(presented) != 2 {
		t.Fatalf("presented: %v", presented)
	}
	first, second := strings.TrimPrefix(presented[0], "_acme-challenge."), strings.TrimPrefix(presented[1], "_acme-challenge.")
	var challenge *acme.ChallengeError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &challenge) || challenge.Host != second {
		t.Errorf("got %v", err)
	}
	// The second may be there in part; that it may not be is no news.
	if !slices.Equal(gone, presented) {
		t.Errorf("presented %v, taken away %v", presented, gone)
	}
	if len(told) != 1 || !strings.Contains(told[0], first+" is still there: it stays") {
		t.Errorf("told: %v", told)
	}
}

// A certificate that the CA gave to another account is no reason to give none.
func TestReplacesAnothers(t *testing.T) {
	t.Parallel()
	pebble := acmetest.StartPebble(t, acmetest.PebbleOptions{})
	config := config(t, pebble, acme.DNS01)
	chain, err := obtain(t, config, "tb.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		other bool
	}{{"its own", false}, {"its own, which has a successor", false}, {"another account's", true}} {
		if row.other {
			config.Account = newKey(t, certs.P256)
		}
		client, err := acme.New(config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Obtain(t.Context(), []string{"tb.example.com"}, newKey(t, certs.P256), chain[0]); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// An account that was closed is told from a name that was refused.
func TestClosedAccount(t *testing.T) {
	t.Parallel()
	pebble := acmetest.StartPebble(t, acmetest.PebbleOptions{})
	config := config(t, pebble, acme.DNS01)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: config.Roots, MinVersion: tls.VersionTLS12}}}
	library := &lib.Client{Directory: pebble.Directory, HTTPClient: web}
	account, err := library.NewAccount(t.Context(), lib.Account{PrivateKey: config.Account, TermsOfServiceAgreed: true})
	if err != nil {
		t.Fatal(err)
	}
	account.Status = "deactivated"
	if _, err := library.UpdateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	_, err = obtain(t, config, "tb.example.com")
	var refused *acme.RefusedError
	if !errors.As(err, &refused) || refused.Host != "" || !strings.Contains(refused.Fix, "move acme/account.key away to begin a new one") {
		t.Errorf("got %v", err)
	}
}

// between starts a server between a client and a Pebble, which answers some requests
// itself: it returns whether it did.
func between(t *testing.T, pebble *acmetest.Pebble, answer func(w http.ResponseWriter, r *http.Request) bool) acme.Config {
	t.Helper()
	config := config(t, pebble, acme.DNS01)
	target, err := url.Parse(pebble.Directory)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "https", target.Host // r.Out.Host stays: Pebble's addresses are made of it
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: config.Roots, MinVersion: tls.VersionTLS12}},
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answer(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	config.Roots = config.Roots.Clone()
	config.Roots.AddCert(server.Certificate())
	config.Directory = server.URL + "/dir"
	return config
}

// What a CA, or what stands between, may answer at its worst: one clear error, soon.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	pebble := acmetest.StartPebble(t, acmetest.PebbleOptions{})
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	problem := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
	for _, row := range []struct {
		name, path string
		answer     http.HandlerFunc
		want       []string // none: a certificate
	}{
		{"nothing odd", "/none", nil, nil},
		{
			"too many orders", "/order-plz", func(w http.ResponseWriter, _ *http.Request) {
				problem(w, http.StatusTooManyRequests, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates already issued for tb.example.com, retry after 2026-12-01"}`)
			}, []string{"the CA refused (rateLimited): too many certificates", "retry after 2026-12-01", "wait as long as it says", "--acme staging"},
		},
		{
			"a redirect to http", "/dir", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL+"/dir", http.StatusFound) },
			[]string{plain.URL, "which is not https"},
		},
		{
			"redirects without an end", "/dir", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/dir", http.StatusFound) },
			[]string{"leads on too often"},
		},
		{
			"a directory of 2 MiB", "/dir", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"newNonce":"`+strings.Repeat("x", 2<<20)+`"}`)
			}, []string{"too large"},
		},
		{
			"a page that is no directory", "/dir", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
			[]string{"/dir", "text/html"},
		},
		{
			"a fault of the CA's", "/order-plz", func(w http.ResponseWriter, _ *http.Request) {
				problem(w, http.StatusInternalServerError, `{"type":"urn:ietf:params:acme:error:serverInternal","detail":"the database is away"}`)
			}, []string{"the CA refused (serverInternal): the database is away", "try again later"},
		},
		{
			"a CAA record", "/order-plz", func(w http.ResponseWriter, _ *http.Request) {
				problem(w, http.StatusForbidden, `{"type":"urn:ietf:params:acme:error:caa","detail":"not us","subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"it names letsencrypt.org","identifier":{"type":"dns","value":"tb.example.com"}}]}`)
			}, []string{"the CA refused tb.example.com (caa)", "it names letsencrypt.org", "CAA record names another CA"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			config := between(t, pebble, func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != row.path {
					return false
				}
				row.answer(w, r)
				return true
			})
			begin := time.Now()
			_, err := obtain(t, config, "tb.example.com")
			if row.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is no error")
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q", err, want)
				}
			}
			if took := time.Since(begin); took > config.Patience {
				t.Errorf("it took %s", took)
			}
		})
	}
}
