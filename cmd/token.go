package cmd

import (
	"context"
	"crypto"
	"fmt"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/hsm"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
)

// tokens are those of a run, each logged in to once.
type tokens struct {
	app  *app
	open map[string]*hsm.Token
}

// key is the key that a URI names. With a kind it is made when it is not there.
func (t *tokens) key(ctx context.Context, text string, kind certs.KeyType) (crypto.Signer, error) {
	uri, err := hsm.ParseURI(text)
	if err != nil {
		return nil, err
	}
	place := uri.Module + "\x00" + uri.Token
	token := t.open[place]
	if token == nil {
		pin, err := t.pin(ctx, uri)
		if err != nil {
			return nil, err
		}
		if token, err = hsm.Open(uri, pin); err != nil {
			return nil, err
		}
		if t.open == nil {
			t.open = make(map[string]*hsm.Token)
		}
		t.open[place] = token
	}
	return token.Key(uri.Object, kind)
}

// pin is a token's: from its file, the environment, or what is typed.
func (t *tokens) pin(ctx context.Context, uri hsm.URI) (secret.Text, error) {
	if uri.PINSource != "" {
		return readSecretFile("pin-source", uri.PINSource)
	}
	if pin := settings.Secret(t.app.env, "pkcs11-pin"); !pin.IsZero() || !t.app.ui.CanAsk() {
		return pin, nil
	}
	return t.app.ui.Password(ctx, "PIN of the token "+uri.Token)
}

// close logs out of all tokens.
func (t *tokens) close() {
	for _, token := range t.open {
		_ = token.Close() // the run is over, whatever it says
	}
}

// useTokens lets a request open keys that are in tokens, and, with the URI of one,
// make the keys of new CAs there: each under the URI's object and its own name.
func (a *app) useTokens(ctx context.Context, request *site.Request, text string) error {
	request.OpenKey = func(uri string) (crypto.Signer, error) { return a.tokens.key(ctx, uri, "") }
	if text == "" {
		return nil
	}
	uri, err := hsm.ParseURI(text)
	if err != nil {
		return fmt.Errorf("--ca-key-uri: %w", err)
	}
	request.NewCAKey = func(name string, kind certs.KeyType) (crypto.Signer, error) {
		named := uri
		named.Object += "-" + name
		return a.tokens.key(ctx, named.String(), kind)
	}
	return nil
}
