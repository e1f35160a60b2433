package sandbox

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tbcert/tbcert/certs/secret"
)

// How long logins live (JWT_TOKEN_EXPIRATION_TIME, JWT_REFRESH_TOKEN_EXPIRATION_TIME).
const (
	tokenLife   = 9000 * time.Second
	refreshLife = 604800 * time.Second

	scopeTenant  = "TENANT_ADMIN"
	scopeRefresh = "REFRESH_TOKEN"
)

// claims are what ThingsBoard's tokens hold (JwtTokenFactory), as far as a
// client may look at them.
type claims struct {
	Scopes []string `json:"scopes"`
	jwt.RegisteredClaims
}

// logIn gives a pair of tokens for a user and a password.
func (w *web) logIn(r *http.Request) (any, error) {
	var login struct{ Username, Password string }
	if err := body(r, &login); err != nil {
		return nil, err
	}
	if login.Username != w.username || !same(login.Password, w.password) {
		return nil, unauthorized(codeAuthentication, "Invalid username or password")
	}
	return w.pair()
}

// refresh gives a new pair for a refresh token.
func (w *web) refresh(r *http.Request) (any, error) {
	var sent struct{ RefreshToken string }
	if err := body(r, &sent); err != nil {
		return nil, err
	}
	if err := w.check(sent.RefreshToken, scopeRefresh); err != nil {
		return nil, err
	}
	return w.pair()
}

// pair makes an access token and a refresh token.
func (w *web) pair() (any, error) {
	life := tokenLife
	if seconds := w.broker.faults.Load().loginLife; seconds > 0 {
		life = time.Duration(seconds) * time.Second
	}
	token, err := w.sign(scopeTenant, life)
	if err != nil {
		return nil, err
	}
	refresh, err := w.sign(scopeRefresh, refreshLife)
	if err != nil {
		return nil, err
	}
	return map[string]string{"token": token, "refreshToken": refresh}, nil
}

func (w *web) sign(scope string, life time.Duration) (string, error) {
	now := w.now()
	return jwt.NewWithClaims(jwt.SigningMethodHS512, claims{Scopes: []string{scope}, RegisteredClaims: jwt.RegisteredClaims{
		Subject: w.username, Issuer: "thingsboard.io", ID: newID(),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
	}}).SignedString(w.key)
}

// check says whether a token was made here, is good still, and for this.
func (w *web) check(token, scope string) error {
	var found claims
	_, err := jwt.ParseWithClaims(token, &found, func(*jwt.Token) (any, error) { return w.key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS512.Alg()}), jwt.WithTimeFunc(w.now), jwt.WithExpirationRequired())
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return unauthorized(codeTokenExpired, "Token has expired")
	case err != nil, !slices.Contains(found.Scopes, scope):
		return unauthorized(codeAuthentication, "Authentication failed")
	default:
		return nil
	}
}

// authorized wants a login before a call.
func (w *web) authorized(next call) call {
	return func(r *http.Request) (any, error) {
		header := r.Header.Get("X-Authorization")
		if header == "" { // JwtHeaderTokenExtractor takes either
			header = r.Header.Get("Authorization")
		}
		kind, value, _ := strings.Cut(header, " ")
		switch {
		case kind == "Bearer":
			if err := w.check(value, scopeTenant); err != nil {
				return nil, err
			}
		case kind != "ApiKey" || !same(value, w.apiKey):
			return nil, unauthorized(codeAuthentication, "Authentication failed")
		}
		return next(r)
	}
}

// same compares with a secret that is set, in constant time.
func same(given string, want secret.Text) bool {
	return !want.IsZero() && subtle.ConstantTimeCompare([]byte(given), []byte(want.Reveal())) == 1
}
