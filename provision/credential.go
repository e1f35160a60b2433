package provision

import (
	"bytes"
	"crypto/sha3"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// A CredentialKind is how a device proves itself.
type CredentialKind string

// The kinds of credentials.
const (
	// CredentialToken: an access token, sent as the MQTT user name.
	CredentialToken CredentialKind = "token"
	// CredentialBasic: a client id, a user name and a password, as far as the
	// device has them (ThingsBoard's MQTT_BASIC).
	CredentialBasic CredentialKind = "basic"
	// CredentialX509: a client certificate.
	CredentialX509 CredentialKind = "x509"
)

// CredentialKinds are the kinds there are.
func CredentialKinds() []CredentialKind {
	return []CredentialKind{CredentialToken, CredentialBasic, CredentialX509}
}

// ParseCredentialKind takes the name of a kind; the error lists them.
func ParseCredentialKind(s string) (CredentialKind, error) {
	for _, kind := range CredentialKinds() {
		if string(kind) == s {
			return kind, nil
		}
	}
	return "", fmt.Errorf("there is no credential %s: the kinds are %v", quote(s), CredentialKinds())
}

// A Credential is the one that a device has, or is to have. Only the fields of
// its kind are set. One with a kind and nothing else is still to be made.
type Credential struct {
	Kind CredentialKind // "" is none

	Token secret.Text // of CredentialToken

	// Of CredentialBasic. ThingsBoard wants a client id or a user name; a
	// password needs a user name.
	ClientID, Username, Password secret.Text

	// Of CredentialX509: certificates in PEM, the device's first and then its
	// CA's, without the root.
	Chain []byte
	Key   secret.Text // PKCS#8 in PEM; zero when only the device has it
	// Request is a PKCS#10 request in PEM, for whose key a certificate is to be
	// made. A credential that was made has none.
	Request []byte

	leaf *x509.Certificate // the first of Chain, where it is at hand
}

// Leaf is the device's own certificate, the first of Chain.
func (c Credential) Leaf() (*x509.Certificate, error) {
	if c.leaf != nil {
		return c.leaf, nil
	}
	chain, err := certs.ParseCertificates(c.Chain)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// TokenCredential is a token as a credential; a zero one gives none.
func TokenCredential(token secret.Text) Credential {
	if token.IsZero() {
		return Credential{}
	}
	return Credential{Kind: CredentialToken, Token: token}
}

// IsZero reports whether no credential is named at all.
func (c Credential) IsZero() bool { return c.Kind == "" }

// Made reports whether the credential can be used, and is not still to be made.
func (c Credential) Made() bool {
	switch c.Kind {
	case CredentialToken:
		return !c.Token.IsZero()
	case CredentialBasic:
		return !c.ClientID.IsZero() || !c.Username.IsZero()
	case CredentialX509:
		return len(c.Chain) > 0
	default:
		return false
	}
}

// ID is the text by which ThingsBoard finds the device, and which no two devices
// may share: the token; the user name, or a hash of it and the client id
// (DeviceCredentialsServiceImpl.formatSimpleMqttCredentials); a hash of the
// certificate. It is zero for one that is still to be made, and for a chain
// that is not in PEM.
func (c Credential) ID() secret.Text {
	switch {
	case !c.Made():
		return secret.Text{}
	case c.Kind == CredentialToken:
		return c.Token
	case c.Kind == CredentialX509:
		leaf, err := c.Leaf()
		if err != nil {
			return secret.Text{}
		}
		return secret.New(certs.CredentialsID(leaf))
	case c.ClientID.IsZero():
		return c.Username
	case c.Username.IsZero():
		return secret.New(sha3Hex(c.ClientID.Reveal()))
	default:
		return secret.New(sha3Hex(c.ClientID.Reveal() + "|" + c.Username.Reveal()))
	}
}

func sha3Hex(s string) string {
	sum := sha3.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Equal reports whether two credentials are the same, byte for byte.
func (c Credential) Equal(other Credential) bool {
	return c.Kind == other.Kind && same(c.Token, other.Token) &&
		same(c.ClientID, other.ClientID) && same(c.Username, other.Username) && same(c.Password, other.Password) &&
		bytes.Equal(c.Chain, other.Chain) && same(c.Key, other.Key)
}

// same compares two secrets of ours: there is no timing to hide.
func same(a, b secret.Text) bool { return a.Reveal() == b.Reveal() }

// fits reports whether the credential is what the wish asks for, as far as it
// asks. A chain fits when its leaf is the same.
func (c Credential) fits(wish Credential) bool {
	if wish.IsZero() {
		return true
	}
	if c.Kind != wish.Kind {
		return false
	}
	for _, pair := range [][2]secret.Text{
		{wish.Token, c.Token}, {wish.ClientID, c.ClientID}, {wish.Username, c.Username}, {wish.Password, c.Password},
	} {
		if !pair[0].IsZero() && !same(pair[0], pair[1]) {
			return false
		}
	}
	if len(wish.Request) > 0 && !c.answers(wish.Request) {
		return false
	}
	return len(wish.Chain) == 0 || same(wish.ID(), c.ID())
}

// answers reports whether the credential is a certificate for the key of a
// request.
func (c Credential) answers(request []byte) bool {
	parsed, err := certs.ParseRequest(request)
	if err != nil {
		return false
	}
	chain, err := certs.ParseCertificates(c.Chain)
	if err != nil {
		return false
	}
	return bytes.Equal(parsed.RawSubjectPublicKeyInfo, chain[0].RawSubjectPublicKeyInfo)
}

// validate checks a credential that was given. Its errors hold nothing of it.
func (c Credential) validate() error {
	switch c.Kind {
	case "":
		return nil
	case CredentialToken:
		if c.Token.IsZero() {
			return nil
		}
		_, err := ParseToken(c.Token.Reveal())
		return err
	case CredentialBasic:
		return c.validateBasic()
	case CredentialX509:
		return c.validateX509()
	default:
		return fmt.Errorf("there is no credential %s: the kinds are %v", quote(string(c.Kind)), CredentialKinds())
	}
}

// validateBasic wants what ThingsBoard's validator wants
// (DeviceCredentialsDataValidator), and what MQTT 3.1.1 can say.
func (c Credential) validateBasic() error {
	for _, field := range []struct {
		what string
		text secret.Text
	}{{"client id", c.ClientID}, {"user name", c.Username}, {"password", c.Password}} {
		if problem := textProblem(field.text.Reveal()); problem != "" {
			return fmt.Errorf("the %s %s", field.what, problem)
		}
	}
	switch {
	case !c.Password.IsZero() && c.Username.IsZero() && !c.ClientID.IsZero():
		return errors.New("a password needs a user name: MQTT 3.1.1 cannot send it with a client id alone")
	case c.Username.Reveal() == provisionUser || c.ClientID.Reveal() == provisionUser:
		return errors.New("the user name or client id is a word that ThingsBoard keeps for devices that provision themselves")
	}
	return nil
}

func (c Credential) validateX509() error {
	if len(c.Request) > 0 {
		if _, err := certs.ParseRequest(c.Request); err != nil {
			return err
		}
	}
	if len(c.Chain) == 0 {
		return nil
	}
	_, err := certs.ParseCertificates(c.Chain)
	return err
}
