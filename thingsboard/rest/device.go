package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tbcert/tbcert/certs/secret"
)

// A Device is a device as ThingsBoard has it.
type Device struct {
	ID    string // a UUID, given by ThingsBoard
	Name  string // unique in its tenant
	Label string
	Type  string // the name of its profile
}

// Credentials are the one credential that a device has.
type Credentials struct {
	ID       string // of the credentials themselves
	DeviceID string
	Type     string // one of the Type constants
	// CredentialsID is the token for TypeAccessToken, a hash for TypeX509, and a
	// hash or the user name for TypeBasic.
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

type entityID struct {
	ID         string `json:"id"`
	EntityType string `json:"entityType,omitempty"`
}

type deviceJSON struct {
	ID    *entityID `json:"id,omitempty"`
	Name  string    `json:"name"`
	Label string    `json:"label,omitempty"`
	Type  string    `json:"type,omitempty"`
}

// device checks an answer: JSON that lacks what a device has is not from
// ThingsBoard.
func (d deviceJSON) device(name string) (Device, error) {
	if d.ID == nil || d.ID.ID == "" || d.Name != name {
		return Device{}, fmt.Errorf("%w: the answer is not the device %q", ErrNotThingsBoard, name)
	}
	return Device{ID: d.ID.ID, Name: d.Name, Label: d.Label, Type: d.Type}, nil
}

// FindDevice finds the tenant's device of exactly this name. [ErrNotFound] is
// in the error's chain when there is none.
func (c *Client) FindDevice(ctx context.Context, name string) (Device, error) {
	var found deviceJSON
	it := call{method: http.MethodGet, path: "/api/tenant/devices", query: url.Values{"deviceName": {name}}, answer: &found}
	if err := c.do(ctx, it); err != nil {
		return Device{}, fmt.Errorf("looking for the device %q: %w", name, err)
	}
	device, err := found.device(name)
	if err != nil {
		return Device{}, fmt.Errorf("looking for the device %q at %s: %w", name, c.place(it.path), err)
	}
	return device, nil
}

// CreateDevice creates a device that has token as its access token; with a zero
// token ThingsBoard makes one. Device.ID is not looked at. Without a Type the
// tenant's default profile is used; a profile that does not exist is created by
// ThingsBoard (findOrCreateDeviceProfile).
//
// [ErrExists] is in the error's chain when the name is taken, [ErrTokenTaken]
// when the token is; nothing was created then. After an error that is no
// *[Error], such as a broken connection, it may have been: look for it.
func (c *Client) CreateDevice(ctx context.Context, device Device, token secret.Text) (Device, error) {
	if device.Name == "" {
		return Device{}, errors.New("creating a device: it has no name")
	}
	var created deviceJSON
	it := call{
		method: http.MethodPost, path: "/api/device", answer: &created,
		body:    deviceJSON{Name: device.Name, Label: device.Label, Type: device.Type},
		secrets: []string{token.Reveal(), url.QueryEscape(token.Reveal())},
	}
	if !token.IsZero() {
		it.query = url.Values{"accessToken": {token.Reveal()}}
	}
	if err := c.do(ctx, it); err != nil {
		return Device{}, fmt.Errorf("creating the device %q: %w", device.Name, err)
	}
	made, err := created.device(device.Name)
	if err != nil {
		return Device{}, fmt.Errorf("creating the device %q at %s: %w", device.Name, c.place(it.path), err)
	}
	return made, nil
}

// DeviceCredentials reads a device's credential. [ErrNotFound] is in the
// error's chain when there is no such device.
func (c *Client) DeviceCredentials(ctx context.Context, deviceID string) (Credentials, error) {
	var got struct {
		ID               entityID `json:"id"`
		DeviceID         entityID `json:"deviceId"`
		CredentialsType  string   `json:"credentialsType"`
		CredentialsID    string   `json:"credentialsId"`
		CredentialsValue string   `json:"credentialsValue"`
	}
	path := "/api/device/" + url.PathEscape(deviceID) + "/credentials"
	if err := c.do(ctx, call{method: http.MethodGet, path: path, answer: &got}); err != nil {
		return Credentials{}, fmt.Errorf("reading the credentials of device %s: %w", deviceID, err)
	}
	if got.CredentialsType == "" || got.DeviceID.ID != deviceID {
		return Credentials{}, fmt.Errorf("reading the credentials of device %s at %s: %w: the answer is not its credentials", deviceID, c.place(path), ErrNotThingsBoard)
	}
	return Credentials{
		ID: got.ID.ID, DeviceID: got.DeviceID.ID, Type: got.CredentialsType,
		CredentialsID: secret.New(got.CredentialsID), Value: secret.New(got.CredentialsValue),
	}, nil
}

// A Reading is a stored value.
type Reading struct {
	TS    int64 // milliseconds since 1970
	Value string
}

// LatestTelemetry reads the newest value that a device has for a key, as text.
// [ErrNotFound] is in the error's chain when there is no such device, or no
// value of that key yet.
func (c *Client) LatestTelemetry(ctx context.Context, deviceID, key string) (Reading, error) {
	if key == "" || strings.Contains(key, ",") { // the parameter is a list
		return Reading{}, fmt.Errorf("the telemetry key %q cannot be asked for", key)
	}
	var got map[string][]struct {
		TS    int64           `json:"ts"`
		Value json.RawMessage `json:"value"`
	}
	path := "/api/plugins/telemetry/DEVICE/" + url.PathEscape(deviceID) + "/values/timeseries"
	it := call{method: http.MethodGet, path: path, query: url.Values{"keys": {key}}, answer: &got}
	if err := c.do(ctx, it); err != nil {
		return Reading{}, fmt.Errorf("reading %q of device %s: %w", key, deviceID, err)
	}
	values := got[key]
	if len(values) == 0 || len(values[0].Value) == 0 || string(values[0].Value) == "null" { // a key without a value has null
		return Reading{}, fmt.Errorf("reading %q of device %s: %w: there is no value yet", key, deviceID, ErrNotFound)
	}
	reading := Reading{TS: values[0].TS, Value: string(values[0].Value)}
	var text string
	if json.Unmarshal(values[0].Value, &text) == nil {
		reading.Value = text
	}
	return reading, nil
}

// SystemInfo is what ThingsBoard says of itself.
type SystemInfo struct {
	Version string `json:"version"` // such as 4.3.1.3
	Type    string `json:"type"`    // CE or PE
}

// SystemInfo asks for ThingsBoard's version. It is the shortest call that needs
// a login, and so tells whether the login is good.
func (c *Client) SystemInfo(ctx context.Context) (SystemInfo, error) {
	var info SystemInfo
	it := call{method: http.MethodGet, path: "/api/system/info", answer: &info}
	if err := c.do(ctx, it); err != nil {
		return SystemInfo{}, fmt.Errorf("asking for ThingsBoard's version: %w", err)
	}
	if info.Version == "" {
		return SystemInfo{}, fmt.Errorf("asking for ThingsBoard's version at %s: %w: the answer has none", c.place(it.path), ErrNotThingsBoard)
	}
	return info, nil
}
