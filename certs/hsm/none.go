//go:build !pkcs11

package hsm

import (
	"crypto"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// A Token is one that is logged in to.
type Token struct{}

// Open says that there is no PKCS#11 here.
func Open(URI, secret.Text) (*Token, error) { return nil, ErrNotBuilt }

// Key finds a key, or makes it.
func (*Token) Key(string, certs.KeyType) (crypto.Signer, error) { return nil, ErrNotBuilt }

// Close logs out.
func (*Token) Close() error { return nil }
