//go:build pkcs11

package hsm

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// A Token is one that is logged in to.
type Token struct {
	uri     URI
	context *crypto11.Context
}

// A key signs in the token.
type key struct {
	crypto.Signer
	uri URI
}

// URI names the key.
func (k key) URI() string { return k.uri.String() }

// Open logs in to the token that a URI names, once: tokens are locked after a few
// wrong PINs.
func Open(uri URI, pin secret.Text) (*Token, error) {
	context, err := crypto11.Configure(&crypto11.Config{Path: uri.Module, TokenLabel: uri.Token, Pin: pin.Reveal()})
	var code pkcs11.Error
	switch {
	case errors.As(err, &code) && (code == pkcs11.CKR_PIN_INCORRECT || code == pkcs11.CKR_PIN_LEN_RANGE):
		return nil, fmt.Errorf("the PIN of the token %q is wrong; it was tried once, and a few more wrong ones lock the token", uri.Token)
	case errors.As(err, &code) && code == pkcs11.CKR_PIN_LOCKED:
		return nil, fmt.Errorf("the token %q is locked after too many wrong PINs: its security officer unlocks it", uri.Token)
	case err != nil:
		return nil, fmt.Errorf("the token %q by %s: %w; see that the library is the token's, and that `pkcs11-tool --module %s -L` lists it", uri.Token, uri.Module, err, uri.Module)
	}
	return &Token{uri: uri, context: context}, nil
}

// Key finds the key with a label, or makes it when there is none and kind is not "".
// Two of one label are an error.
func (t *Token) Key(object string, kind certs.KeyType) (crypto.Signer, error) {
	found, err := t.context.FindKeyPairs(nil, []byte(object))
	if err != nil {
		return nil, fmt.Errorf("look for %q in the token %q: %w", object, t.uri.Token, err)
	}
	named := t.uri
	named.Object = object
	switch {
	case len(found) > 1:
		return nil, fmt.Errorf("the token %q has %d keys with the label %q: give one of them another", t.uri.Token, len(found), object)
	case len(found) == 1:
		if has := certs.KeyTypeOf(found[0].Public()); kind != "" && has != kind {
			return nil, fmt.Errorf("the token %q has a key with the label %q already, of the kind %s and not %s", t.uri.Token, object, has, kind)
		}
		return key{found[0], named}, nil
	case kind == "":
		return nil, fmt.Errorf("the token %q has no key with the label %q", t.uri.Token, object)
	}
	made, err := t.make(object, kind)
	if err != nil {
		return nil, fmt.Errorf("make the key %q in the token %q: %w", object, t.uri.Token, err)
	}
	return key{made, named}, nil
}

// make makes a key that cannot leave the token.
func (t *Token) make(object string, kind certs.KeyType) (crypto.Signer, error) {
	id := []byte(rand.Text())
	curves := map[certs.KeyType]elliptic.Curve{certs.P256: elliptic.P256(), certs.P384: elliptic.P384()}
	bits := map[certs.KeyType]int{certs.RSA2048: 2048, certs.RSA3072: 3072, certs.RSA4096: 4096}
	switch {
	case curves[kind] != nil:
		return t.context.GenerateECDSAKeyPairWithLabel(id, []byte(object), curves[kind])
	case bits[kind] != 0:
		return t.context.GenerateRSAKeyPairWithLabel(id, []byte(object), bits[kind])
	default:
		return nil, fmt.Errorf("keys of the kind %s are not made in tokens", kind)
	}
}

// Close logs out.
func (t *Token) Close() error { return t.context.Close() }
