package cmd

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/hsm"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// passphrases finds the passphrase of the CA keys: a file, the environment, or
// a question on the terminal; asked for once.
type passphrases struct {
	app   *app
	file  string
	known *secret.Text
}

// get gives the passphrase. With create it is for new keys and may be empty;
// otherwise it is for the encrypted key in file, and must be there.
func (p *passphrases) get(ctx context.Context, create bool, file string) (secret.Text, error) {
	if p.known != nil {
		return *p.known, nil
	}
	text, err := p.find(ctx, create, file)
	if err != nil {
		return secret.Text{}, err
	}
	p.known = &text
	return text, nil
}

func (p *passphrases) find(ctx context.Context, create bool, file string) (secret.Text, error) {
	if p.file != "" {
		return readSecretFile("--passphrase-file", p.file)
	}
	if text := settings.Secret(p.app.env, "passphrase"); !text.IsZero() {
		return text, nil
	}
	canAsk := p.app.ui.CanAsk()
	switch {
	case create && (!canAsk || p.app.global.yes):
		return secret.Text{}, nil
	case create:
		return p.askNew(ctx)
	case canAsk:
		return p.app.ui.Password(ctx, "Passphrase of "+file)
	default:
		return secret.Text{}, fmt.Errorf("%s has a passphrase: give it with --passphrase-file FILE or in TBCERT_PASSPHRASE", file)
	}
}

// askNew asks twice for the passphrase of new keys.
func (p *passphrases) askNew(ctx context.Context) (secret.Text, error) {
	text, err := p.app.ui.Password(ctx, "Passphrase for the new CA keys (empty: none)")
	if err != nil || text.IsZero() {
		return text, err
	}
	again, err := p.app.ui.Password(ctx, "The same again")
	if err != nil {
		return secret.Text{}, err
	}
	if again.Reveal() != text.Reveal() {
		return secret.Text{}, errors.New("the two passphrases are not the same")
	}
	return text, nil
}

// parseKey reads a key, with the passphrase when it needs one.
func (p *passphrases) parseKey(ctx context.Context, data []byte, file string) (crypto.Signer, error) {
	if hsm.IsURI(data) {
		key, err := p.app.tokens.key(ctx, string(data), "")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return key, nil
	}
	var text secret.Text
	if certs.KeyIsEncrypted(data) {
		var err error
		if text, err = p.get(ctx, false, file); err != nil {
			return nil, err
		}
	}
	key, err := certs.ParseKey(data, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// token is an access token from the command line, else a file, else the
// environment; the zero Text when there is none.
func (a *app) token(given, file string) (secret.Text, error) {
	if given == "" && file == "" {
		return settings.Secret(a.env, "token"), nil
	}
	return givenToken(given, file)
}

// givenToken is an access token from the command line or a file.
func givenToken(given, file string) (secret.Text, error) {
	switch {
	case given != "" && file != "":
		return secret.Text{}, errors.New("--token and --token-file exclude each other")
	case file != "":
		return readSecretFile("--token-file", file)
	default:
		return secret.New(given), nil
	}
}

// readSecretFile reads a secret from the first line of a 0600 file.
func readSecretFile(flag, file string) (secret.Text, error) {
	data, err := workspace.ReadInput(file, true)
	if err != nil {
		return secret.Text{}, fmt.Errorf("%s: %w", flag, err)
	}
	line, rest, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return secret.Text{}, fmt.Errorf("%s: the first line of %s is empty", flag, file)
	}
	if strings.TrimSpace(rest) != "" {
		return secret.Text{}, fmt.Errorf("%s: %s has more than one line", flag, file)
	}
	return secret.New(line), nil
}
