package rest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// logins keeps the login that a client has. One goroutine at a time renews it,
// and the others wait for that.
type logins struct {
	turn    chan struct{} // holds one element when nobody is at it
	token   secret.Text
	refresh secret.Text
	expires time.Time // by the client's own clock; zero when the token does not say
	refused error     // ThingsBoard's no, which asking again would not change

	failures atomic.Int64 // renewals that failed
	failure  error        // the last of them
}

func newLogins() *logins {
	l := &logins{turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// Login logs in now, unless the client has a login that is good, so that a bad
// one shows before any work is begun. No other call needs it: each logs in when
// it has to. [ErrUnauthorized] is in the error's chain when ThingsBoard does not
// take the login. An API key is tried with a call that changes nothing, because
// there is nothing to log in to with it.
func (c *Client) Login(ctx context.Context) error {
	if !c.config.APIKey.IsZero() {
		_, err := c.SystemInfo(ctx)
		return err
	}
	_, err := c.authorize(ctx, "")
	return err
}

// authorize gives the value of the authorization header. stale is one that
// ThingsBoard did not take.
//
// A refused login is not tried again: ThingsBoard locks a user after some
// failures, and a bulk job would make them.
func (c *Client) authorize(ctx context.Context, stale string) (string, error) {
	if !c.config.APIKey.IsZero() {
		return "ApiKey " + c.config.APIKey.Reveal(), nil
	}
	if c.config.Username == "" || c.config.Password.IsZero() {
		return "", fmt.Errorf("%s: %w: a user and a password are needed, or an API key", c.place(""), ErrNoLogin)
	}
	l := c.logins
	seen := l.failures.Load()
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for the login at %s: %w", c.place(""), context.Cause(ctx))
	}
	switch header := "Bearer " + l.token.Reveal(); {
	case l.refused != nil:
		return "", l.refused
	case header != stale && l.isGood(c.config.Now()):
		return header, nil
	case l.failures.Load() != seen:
		return "", l.failure // of the one before, while this one waited: all of them trying in turn would take long
	}
	if err := c.renew(ctx); err != nil {
		return "", err
	}
	return "Bearer " + l.token.Reveal(), nil
}

// isGood reports whether there is a token that has not run out.
func (l *logins) isGood(now time.Time) bool {
	return !l.token.IsZero() && (l.expires.IsZero() || now.Before(l.expires))
}

// renew gets a new token, and tells those who wait for it when that failed.
func (c *Client) renew(ctx context.Context) error {
	err := c.refreshOrLogin(ctx)
	if err != nil && ctx.Err() == nil {
		c.logins.failure = err
		c.logins.failures.Add(1)
	}
	return err
}

// refreshOrLogin gets a new token with the refresh token, or else by logging in.
func (c *Client) refreshOrLogin(ctx context.Context) error {
	l := c.logins
	if !l.refresh.IsZero() {
		refresh := l.refresh
		l.refresh = secret.Text{} // for one try
		err := c.obtain(ctx, call{
			path: "/api/auth/token", body: map[string]string{"refreshToken": refresh.Reveal()}, secrets: func() []string { return []string{refresh.Reveal()} },
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
		if c.judge(ctx, call{}, err) == held { // ThingsBoard wants no call now, of this kind or another
			l.refresh = refresh
			return err
		}
	}
	err := c.obtain(ctx, call{
		path: "/api/auth/login", body: map[string]string{"username": c.config.Username, "password": c.config.Password.Reveal()},
	})
	if errors.Is(err, ErrUnauthorized) {
		err = fmt.Errorf("logging in as %s: %w", c.config.Username, err)
		l.refused = err
	}
	return err
}

// obtain makes a call that answers with a pair of tokens, and keeps them.
func (c *Client) obtain(ctx context.Context, it call) error {
	var pair struct {
		Token        string `json:"token"`
		RefreshToken string `json:"refreshToken"`
		Scope        string `json:"scope"`
	}
	it.method, it.answer = http.MethodPost, &pair
	c.counters.logins.Add(1)
	if err := c.send(ctx, it, ""); err != nil {
		return err
	}
	switch {
	case pair.Scope != "": // RestAwareAuthenticationSuccessHandler: PRE_VERIFICATION_TOKEN, MFA_CONFIGURATION_TOKEN
		return fmt.Errorf("logging in as %s: %w: the user has two-factor authentication; use an API key, or a user without it", c.config.Username, ErrUnauthorized)
	case pair.Token == "":
		return fmt.Errorf("POST %s: %w: the answer holds no token", c.place(it.path), ErrNotThingsBoard)
	}
	l := c.logins
	l.token, l.refresh = secret.New(pair.Token), secret.New(pair.RefreshToken)
	l.expires = time.Time{}
	if lifetime := lifetime(pair.Token); lifetime > 0 {
		l.expires = c.config.Now().Add(lifetime - min(lifetime/10, time.Minute))
	}
	return nil
}

// lifetime is how long a JWT is good for, from when it was issued; 0 when it
// does not say. Only the difference of its two times counts, so that the clocks
// may differ. The signature is ThingsBoard's own business.
func lifetime(jwt string) time.Duration {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return 0
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0
	}
	var claims struct {
		Issued  int64 `json:"iat"`
		Expires int64 `json:"exp"`
	}
	if json.Unmarshal(data, &claims) != nil || claims.Issued <= 0 || claims.Expires <= claims.Issued {
		return 0
	}
	const longest = int64(365 * 24 * time.Hour / time.Second)
	return time.Duration(min(claims.Expires-claims.Issued, longest)) * time.Second
}
