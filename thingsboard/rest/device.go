package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Device is a device as ThingsBoard has it.
type Device struct {
	ID          string // a UUID, given by ThingsBoard
	Name        string // unique in its tenant
	Label       string
	Type        string // the name of its profile
	Description string
	Gateway     bool
	CustomerID  string // "" when it is assigned to none
}

type entityID struct {
	ID         string `json:"id"`
	EntityType string `json:"entityType,omitempty"`
}

// isID reports whether an id that was answered can be put into a path: it is a
// UUID, and should another version have others, nothing that leads elsewhere.
func isID(id string) bool {
	const longest = 64
	return id != "" && len(id) <= longest && !strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// noID is how ThingsBoard writes that there is none (EntityId.NULL_UUID).
const noID = "13814000-1dd2-11b2-8080-808080808080"

type deviceJSON struct {
	ID             *entityID       `json:"id,omitempty"`
	Name           string          `json:"name"`
	Label          string          `json:"label,omitempty"`
	Type           string          `json:"type,omitempty"`
	CustomerID     *entityID       `json:"customerId,omitempty"`
	AdditionalInfo *additionalInfo `json:"additionalInfo,omitempty"`
}

type additionalInfo struct {
	Gateway     bool   `json:"gateway,omitempty"`
	Description string `json:"description,omitempty"`
}

// UnmarshalJSON takes what is as it should be, and no offense at the rest: it is
// what users and other programs put there.
func (a *additionalInfo) UnmarshalJSON(data []byte) error {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) == nil {
		_ = json.Unmarshal(fields["gateway"], &a.Gateway)
		_ = json.Unmarshal(fields["description"], &a.Description)
	}
	return nil
}

// toJSON is a device to be created.
func (d Device) toJSON() deviceJSON {
	out := deviceJSON{Name: d.Name, Label: d.Label, Type: d.Type}
	if d.Gateway || d.Description != "" {
		out.AdditionalInfo = &additionalInfo{Gateway: d.Gateway, Description: d.Description}
	}
	if d.CustomerID != "" {
		out.CustomerID = &entityID{ID: d.CustomerID, EntityType: "CUSTOMER"}
	}
	return out
}

// device checks an answer: JSON that lacks what a device has is not from
// ThingsBoard.
func (d deviceJSON) device(name string) (Device, error) {
	if d.ID == nil || !isID(d.ID.ID) || d.Name != name {
		return Device{}, fmt.Errorf("%w: the answer is not the device %q", ErrNotThingsBoard, name)
	}
	return d.any(), nil
}

// any is the device of an answer, whatever its name.
func (d deviceJSON) any() Device {
	out := Device{Name: d.Name, Label: d.Label, Type: d.Type}
	if d.ID != nil {
		out.ID = d.ID.ID
	}
	if d.CustomerID != nil && d.CustomerID.ID != noID {
		out.CustomerID = d.CustomerID.ID
	}
	if d.AdditionalInfo != nil {
		out.Gateway, out.Description = d.AdditionalInfo.Gateway, d.AdditionalInfo.Description
	}
	return out
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

// CreateDevice creates a device with its credentials; with zero ones ThingsBoard
// makes a token. The ids of both are not looked at. Without a Type the tenant's default
// profile is used; a profile that does not exist is created by ThingsBoard
// (findOrCreateDeviceProfile).
//
// [ErrExists] is in the error's chain when the name is taken, [ErrTokenTaken]
// when the credential is; nothing was created then. Where [Uncertain] says so, it
// may have been: look for it.
func (c *Client) CreateDevice(ctx context.Context, device Device, credentials Credentials) (Device, error) {
	if device.Name == "" {
		return Device{}, errors.New("creating a device: it has no name")
	}
	var created deviceJSON
	it := call{method: http.MethodPost, path: "/api/device", body: device.toJSON(), answer: &created, once: true}
	if credentials.Type != "" {
		credentials.ID, credentials.DeviceID = "", "" // with those of another device ThingsBoard would take them from it
		it.path = "/api/device-with-credentials"
		it.body = struct {
			Device      deviceJSON      `json:"device"`
			Credentials credentialsJSON `json:"credentials"`
		}{device.toJSON(), credentials.toJSON()}
		it.secrets = credentials.secrets
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

// DeleteDevice deletes a device. [ErrNotFound] is in the error's chain when there
// is no such device.
func (c *Client) DeleteDevice(ctx context.Context, deviceID string) error {
	if err := c.do(ctx, call{method: http.MethodDelete, path: "/api/device/" + url.PathEscape(deviceID)}); err != nil {
		return fmt.Errorf("deleting the device %s: %w", deviceID, err)
	}
	return nil
}

// Devices gives each of the tenant's devices once, page by page; an error is the
// last thing it gives. Pages that repeat or do not end are an error.
func (c *Client) Devices(ctx context.Context) iter.Seq2[Device, error] {
	return func(yield func(Device, error) bool) {
		order := url.Values{"sortProperty": {"name"}, "sortOrder": {"ASC"}}
		err := c.pages(ctx, "/api/tenant/devices", order, func(id string, data json.RawMessage) (bool, error) {
			var got deviceJSON
			if err := json.Unmarshal(data, &got); err != nil || got.Name == "" {
				return false, fmt.Errorf("%w: the element %s of the page is no device", ErrNotThingsBoard, id)
			}
			return yield(got.any(), nil), nil
		})
		if err != nil {
			yield(Device{}, fmt.Errorf("listing the devices: %w", err))
		}
	}
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

// LastTelemetry is when a device sent its latest telemetry, of whatever key; the
// zero time when there is none.
func (c *Client) LastTelemetry(ctx context.Context, deviceID string) (time.Time, error) {
	var got map[string][]struct {
		TS int64 `json:"ts"`
	}
	path := "/api/plugins/telemetry/DEVICE/" + url.PathEscape(deviceID) + "/values/timeseries"
	if err := c.do(ctx, call{method: http.MethodGet, path: path, answer: &got}); err != nil {
		return time.Time{}, fmt.Errorf("reading the latest telemetry of device %s: %w", deviceID, err)
	}
	var last int64
	for _, values := range got {
		for _, value := range values {
			last = max(last, value.TS)
		}
	}
	if last == 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(last), nil
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
