package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The scopes of a device's attributes.
const (
	ScopeServer = "SERVER_SCOPE"
	ScopeShared = "SHARED_SCOPE"
	ScopeClient = "CLIENT_SCOPE" // the device's own; read only
)

// SaveAttributes sets attributes of a device. hidden values are kept out of
// errors.
func (c *Client) SaveAttributes(ctx context.Context, deviceID, scope string, values map[string]json.RawMessage, hidden ...string) error { //nolint:revive // a device, a scope, values and what is secret in them
	it := call{
		method: http.MethodPost, path: "/api/plugins/telemetry/DEVICE/" + url.PathEscape(deviceID) + "/attributes/" + scope,
		body: values, secrets: hidden,
	}
	if err := c.do(ctx, it); err != nil {
		return fmt.Errorf("setting attributes of device %s: %w", deviceID, err)
	}
	return nil
}

// DeleteAttributes deletes attributes of a device.
func (c *Client) DeleteAttributes(ctx context.Context, deviceID, scope string, keys ...string) error {
	it := call{
		method: http.MethodDelete, path: "/api/plugins/telemetry/DEVICE/" + url.PathEscape(deviceID) + "/" + scope,
		query: url.Values{"keys": {strings.Join(keys, ",")}},
	}
	if err := c.do(ctx, it); err != nil {
		return fmt.Errorf("deleting attributes of device %s: %w", deviceID, err)
	}
	return nil
}

// Attributes reads attributes of a device, as JSON by key; one that it does not
// have is left out.
func (c *Client) Attributes(ctx context.Context, deviceID, scope string, keys ...string) (map[string]json.RawMessage, error) {
	var got []struct {
		Key   string          `json:"key"`
		Value json.RawMessage `json:"value"`
	}
	it := call{
		method: http.MethodGet, path: "/api/plugins/telemetry/DEVICE/" + url.PathEscape(deviceID) + "/values/attributes/" + scope,
		query: url.Values{"keys": {strings.Join(keys, ",")}}, answer: &got,
	}
	if err := c.do(ctx, it); err != nil {
		return nil, fmt.Errorf("reading attributes of device %s: %w", deviceID, err)
	}
	values := make(map[string]json.RawMessage, len(got))
	for _, attribute := range got {
		values[attribute.Key] = attribute.Value
	}
	return values, nil
}

// RPC calls a method of a connected device and gives its answer. It is sent once:
// whether the device did what an unanswered call asked for is not known. patience
// is how long ThingsBoard waits for the device.
func (c *Client) RPC(ctx context.Context, deviceID, method string, params any, patience time.Duration, hidden ...string) (json.RawMessage, error) { //nolint:revive // what ThingsBoard asks for, and what is secret in it
	var got json.RawMessage
	it := call{
		method: http.MethodPost, path: "/api/rpc/twoway/" + url.PathEscape(deviceID), answer: &got, once: true, secrets: hidden,
		body: map[string]any{"method": method, "params": params, "timeout": patience.Milliseconds()},
	}
	if err := c.do(ctx, it); err != nil {
		return nil, fmt.Errorf("calling %q of device %s: %w", method, deviceID, err)
	}
	return got, nil
}
