package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tbcert/tbcert/certs/secret"
)

// Credentials are the one credential that a device has.
type Credentials struct {
	ID       string // of the credentials themselves
	DeviceID string
	Type     string // one of the Type constants
	// CredentialsID is the token for TypeAccessToken, a hash for TypeX509, and a
	// hash or the user name for TypeBasic. ThingsBoard works the latter out.
	CredentialsID secret.Text
	// Value is the certificate in PEM for TypeX509, and JSON for TypeBasic.
	Value secret.Text
}

// The types of credentials.
const (
	TypeAccessToken = "ACCESS_TOKEN"
	TypeBasic       = "MQTT_BASIC"
	TypeX509        = "X509_CERTIFICATE"
	TypeLwM2M       = "LWM2M_CREDENTIALS"
)

// A Basic is the value of credentials of TypeBasic (BasicMqttCredentials).
type Basic struct {
	ClientID, Username, Password secret.Text
}

type basicJSON struct {
	ClientID string `json:"clientId,omitempty"`
	UserName string `json:"userName,omitempty"`
	Password string `json:"password,omitempty"`
}

// TokenCredentials are an access token.
func TokenCredentials(token secret.Text) Credentials {
	return Credentials{Type: TypeAccessToken, CredentialsID: token}
}

// BasicCredentials are a client id, a user name and a password, as far as they
// are set.
func BasicCredentials(basic Basic) (Credentials, error) {
	value, err := json.Marshal(basicJSON{basic.ClientID.Reveal(), basic.Username.Reveal(), basic.Password.Reveal()}) //nolint:gosec // it is what ThingsBoard is told
	if err != nil {
		return Credentials{}, fmt.Errorf("the basic credentials: %w", err)
	}
	return Credentials{Type: TypeBasic, Value: secret.New(string(value))}, nil
}

// CertificateCredentials are a device's certificate in PEM.
func CertificateCredentials(certificate []byte) Credentials {
	return Credentials{Type: TypeX509, Value: secret.New(string(certificate))}
}

// Basic reads the value of credentials of TypeBasic.
func (c Credentials) Basic() (Basic, error) {
	var value basicJSON
	if err := json.Unmarshal([]byte(c.Value.Reveal()), &value); err != nil || c.Type != TypeBasic {
		return Basic{}, fmt.Errorf("%w: the credentials are no basic credentials", ErrNotThingsBoard)
	}
	return Basic{secret.New(value.ClientID), secret.New(value.UserName), secret.New(value.Password)}, nil
}

type credentialsJSON struct {
	ID               *entityID `json:"id,omitempty"`
	DeviceID         *entityID `json:"deviceId,omitempty"`
	CredentialsType  string    `json:"credentialsType"`
	CredentialsID    string    `json:"credentialsId,omitempty"`
	CredentialsValue string    `json:"credentialsValue,omitempty"`
}

func (c Credentials) toJSON() credentialsJSON {
	out := credentialsJSON{CredentialsType: c.Type, CredentialsID: c.CredentialsID.Reveal(), CredentialsValue: c.Value.Reveal()}
	if c.ID != "" {
		out.ID = &entityID{ID: c.ID}
	}
	if c.DeviceID != "" {
		out.DeviceID = &entityID{ID: c.DeviceID, EntityType: "DEVICE"}
	}
	return out
}

// secrets are the parts that no message may show.
func (c Credentials) secrets() []string {
	secrets := []string{c.CredentialsID.Reveal(), url.QueryEscape(c.CredentialsID.Reveal())}
	if basic, err := c.Basic(); err == nil {
		return append(secrets, basic.ClientID.Reveal(), basic.Username.Reveal(), basic.Password.Reveal())
	}
	return append(secrets, strings.TrimSpace(c.Value.Reveal()))
}

// credentials checks an answer.
func (j credentialsJSON) credentials(deviceID string) (Credentials, error) {
	if j.CredentialsType == "" || j.DeviceID == nil || j.DeviceID.ID != deviceID || j.ID == nil || !isID(j.ID.ID) {
		return Credentials{}, fmt.Errorf("%w: the answer is not the credentials of device %s", ErrNotThingsBoard, deviceID)
	}
	return Credentials{
		ID: j.ID.ID, DeviceID: j.DeviceID.ID, Type: j.CredentialsType,
		CredentialsID: secret.New(j.CredentialsID), Value: secret.New(j.CredentialsValue),
	}, nil
}

// DeviceCredentials reads a device's credential. [ErrNotFound] is in the
// error's chain when there is no such device.
func (c *Client) DeviceCredentials(ctx context.Context, deviceID string) (Credentials, error) {
	var got credentialsJSON
	path := "/api/device/" + url.PathEscape(deviceID) + "/credentials"
	err := c.do(ctx, call{method: http.MethodGet, path: path, answer: &got})
	if err == nil {
		var credentials Credentials
		if credentials, err = got.credentials(deviceID); err == nil {
			return credentials, nil
		}
	}
	return Credentials{}, fmt.Errorf("reading the credentials of device %s at %s: %w", deviceID, c.place(path), err)
}

// SetCredentials changes the credential that a device has, which ends its
// session; ID and DeviceID are those that DeviceCredentials gave. [ErrTokenTaken]
// is in the error's chain when another device has it.
func (c *Client) SetCredentials(ctx context.Context, credentials Credentials) (Credentials, error) {
	var got credentialsJSON
	it := call{method: http.MethodPost, path: "/api/device/credentials", body: credentials.toJSON(), answer: &got, secrets: credentials.secrets}
	err := c.do(ctx, it)
	if err == nil {
		var set Credentials
		set, err = got.credentials(credentials.DeviceID)
		switch {
		case err != nil:
		case set.Type != credentials.Type, set.Type == TypeAccessToken && set.CredentialsID.Reveal() != credentials.CredentialsID.Reveal():
			err = fmt.Errorf("POST %s: %w: the answer is not the credential that was to be set", c.place(it.path), ErrNotThingsBoard)
		default:
			return set, nil
		}
	}
	return Credentials{}, fmt.Errorf("changing the credentials of device %s: %w", credentials.DeviceID, err)
}
