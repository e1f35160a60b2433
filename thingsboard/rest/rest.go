// Package rest speaks to ThingsBoard's REST API as a tenant administrator: it
// finds and creates devices, and reads back their credentials and telemetry.
//
// A [Client] logs in when it first has to, with a user and a password or with
// an API key (ThingsBoard 4.3 and later), and again when its login has run out.
// It follows no redirect: a login and tokens go to the host that was named and
// to no other. No error of this package holds a token, a password, an API key
// or a part of a URL that may hold one.
package rest

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// A Config says where ThingsBoard is and who asks.
type Config struct {
	// URL is ThingsBoard's web address, such as https://tb.example.com, with the
	// path under which it is served if that is not the root.
	URL string

	// Roots are trusted beside the system's, for a ThingsBoard whose web
	// certificate is of the site's own CA. They are not used when HTTP is given.
	Roots []*x509.Certificate

	// HTTP makes the requests; nil is a client that uses no proxy. Its
	// CheckRedirect is not used, and its Timeout only when there is none here.
	HTTP *http.Client

	// Username and Password are a tenant administrator's. An APIKey is used
	// instead of them.
	Username         string
	Password, APIKey secret.Text

	// Timeout bounds each request; 0 is DefaultTimeout.
	Timeout time.Duration
	// Concurrency is how many calls are made at once at most, so that as many
	// connections are kept open between them; 0 is 32.
	Concurrency int

	// Tries is how often a call is made at most; 0 is 10.
	Tries int

	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// Wait waits before a request is sent again; nil waits by the clock. It gives
	// ctx's error when ctx ends first.
	Wait func(ctx context.Context, pause time.Duration) error
}

// A Client calls one ThingsBoard. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	root      string            // base as text
	transport http.RoundTripper // nothing that follows redirects
	config    Config
	logins    *logins
	gate      gate
	counters  counters
	reached   atomic.Bool // a call was answered: what cannot be reached now is down for a moment
}

// New makes a client, which calls nobody yet. The error says what is wrong with
// the URL.
func New(config Config) (*Client, error) {
	base, err := parseURL(config.URL)
	if err != nil {
		return nil, err
	}
	config.Tries = cmp.Or(config.Tries, defaultTries)
	if config.Timeout == 0 && config.HTTP != nil {
		config.Timeout = config.HTTP.Timeout
	}
	config.Timeout = cmp.Or(config.Timeout, DefaultTimeout)
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Wait == nil {
		config.Wait = WaitByClock
	}
	return &Client{base: base, root: base.String(), transport: transportOf(config), config: config, logins: newLogins()}, nil
}

// parseURL takes a web address apart. Its errors quote no more of it than
// scheme and host: someone may have put a password in.
func parseURL(text string) (*url.URL, error) {
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || base.Opaque != "" {
		return nil, errors.New("ThingsBoard's web address is not a URL such as https://tb.example.com")
	}
	place := base.Scheme + "://" + base.Host
	switch {
	case base.Scheme != "https" && base.Scheme != "http":
		return nil, fmt.Errorf("%s is not a web address: it begins with https:// or http://", place)
	case base.User != nil:
		return nil, fmt.Errorf("the web address of %s holds a user or a password: give them apart", base.Host)
	case base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("the web address of %s goes on after a ? or a #: give it without that", base.Host)
	}
	base.Path = strings.TrimRight(base.Path, "/")
	base.RawPath = ""
	return base, nil
}

// WaitByClock is what Config.Wait is when it is nil.
func WaitByClock(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
