package provision

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/tbcert/tbcert/certs/secret"
)

const (
	// maxToken is the longest token that is taken, in characters. ThingsBoard's
	// own form takes 20; its API takes more.
	maxToken = 255
	// newToken is the length of a token made here, that of ThingsBoard's own.
	newToken = 20
	// tokenAlphabet is what a token made here consists of: 62 characters, so
	// that 20 of them carry 119 bits.
	tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	// provisionUser is the user name with which ThingsBoard lets anyone in to
	// provision itself, and nothing else (MqttTransportHandler): as a token it
	// would never identify a device.
	provisionUser = "provision"
)

// ParseToken takes an access token that was given: 1 to 255 printable ASCII
// characters, without spaces, quotes, backslashes and commas, so that it can
// stand in a CSV file, a shell's command line and a JSON text as it is. The
// error never holds the token.
func ParseToken(s string) (secret.Text, error) {
	if s == "" {
		return secret.Text{}, errors.New("the token is empty")
	}
	for i := range len(s) {
		if problem := tokenProblem(s[i]); problem != "" {
			return secret.Text{}, fmt.Errorf("the token has %s at position %d", problem, i+1)
		}
	}
	if len(s) > maxToken {
		return secret.Text{}, fmt.Errorf("the token has %d characters: at most %d are allowed", len(s), maxToken)
	}
	if s == provisionUser {
		return secret.Text{}, errors.New("the token is a word that ThingsBoard keeps for devices that provision themselves")
	}
	return secret.New(s), nil
}

// tokenProblem says what b is, when it may not be in a token.
func tokenProblem(b byte) string {
	switch {
	case b == ' ':
		return "a space"
	case b == '\'' || b == '"' || b == '`':
		return "a quote"
	case b == '\\':
		return "a backslash"
	case b == ',':
		return "a comma"
	case b == '\n' || b == '\r':
		return "a line break"
	case b < ' ' || b == 0x7f:
		return "a control character"
	case b > 0x7f:
		return "a character outside ASCII"
	}
	return ""
}

// NewToken makes an access token: 20 letters and digits, each as likely as any
// other. random is where its randomness comes from; nil is crypto/rand.
func NewToken(random io.Reader) (secret.Text, error) {
	if random == nil {
		random = rand.Reader
	}
	// A byte beyond the last whole multiple of 62 is thrown away: taken modulo
	// 62 it would make the first characters of the alphabet more likely.
	const fair = 256 / len(tokenAlphabet) * len(tokenAlphabet)
	var token [newToken]byte
	var pool [newToken + 12]byte
	for n := 0; n < len(token); {
		if _, err := io.ReadFull(random, pool[:]); err != nil {
			return secret.Text{}, fmt.Errorf("make a token: read random bytes: %w", err)
		}
		for _, b := range pool {
			if n < len(token) && int(b) < fair {
				token[n] = tokenAlphabet[int(b)%len(tokenAlphabet)]
				n++
			}
		}
	}
	return secret.New(string(token[:])), nil
}
