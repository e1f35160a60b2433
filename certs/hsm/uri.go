// Package hsm keeps CA keys in a token that speaks PKCS#11, such as an HSM or a smart
// card: they are made there, sign there, and never leave it. It needs cgo, and a
// binary that was built with -tags pkcs11; any other says so.
package hsm

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// scheme begins a URI of RFC 7512.
const scheme = "pkcs11:"

// ErrNotBuilt is the error of a binary that knows no tokens.
var ErrNotBuilt = errors.New("this tbcert was built without PKCS#11: build it with CGO_ENABLED=1 go build -tags pkcs11 ./cmd/tbcert")

// A URI names keys in a token (RFC 7512): pkcs11:token=NAME;object=NAME?module-path=FILE&pin-source=file:FILE.
type URI struct {
	Token  string // label of the token
	Object string // label of the key
	Module string // file of the token's library
	// PINSource is the file with the token's PIN; "" is none.
	PINSource string
}

// IsURI reports whether a key file names a key in a token.
func IsURI(data []byte) bool { return strings.HasPrefix(string(data), scheme) }

// ParseURI reads a URI. One that holds a PIN is refused: it would be kept where others
// can read it.
func ParseURI(text string) (URI, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), scheme)
	if !ok {
		return URI{}, errors.New("it is no URI of a token: pkcs11:token=NAME;object=NAME?module-path=FILE")
	}
	path, query, _ := strings.Cut(rest, "?")
	attributes := make(map[string]string)
	for _, part := range append(strings.Split(path, ";"), strings.Split(query, "&")...) {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(value)
		if err != nil {
			return URI{}, fmt.Errorf("%s has a bad escape", name)
		}
		attributes[name] = value
	}
	if _, has := attributes["pin-value"]; has {
		return URI{}, errors.New("it holds a PIN, which others could read: say pin-source=file:FILE, or set TBCERT_PKCS11_PIN")
	}
	uri := URI{Token: attributes["token"], Object: attributes["object"], Module: attributes["module-path"], PINSource: strings.TrimPrefix(attributes["pin-source"], "file:")}
	for _, name := range []string{"token", "object", "module-path"} {
		if attributes[name] == "" {
			return URI{}, fmt.Errorf("it says no %s: pkcs11:token=NAME;object=NAME?module-path=FILE", name)
		}
	}
	return uri, nil
}

// String is the URI as ParseURI takes it.
func (u URI) String() string {
	text := scheme + "token=" + url.PathEscape(u.Token) + ";object=" + url.PathEscape(u.Object) + "?module-path=" + url.PathEscape(u.Module)
	if u.PINSource != "" {
		text += "&pin-source=file:" + url.PathEscape(u.PINSource)
	}
	return text
}
