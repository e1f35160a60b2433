package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
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
		body: values, secrets: func() []string { return hidden },
	}
	if err := c.do(ctx, it); err != nil {
		return fmt.Errorf("setting attributes of device %s: %w", deviceID, err)
	}
	return nil
}

// DeleteAttributes deletes attributes of a device.
func (c *Client) DeleteAttributes(ctx context.Context, deviceID, scope string, keys ...string) error {
	query, err := list(keys)
	if err == nil {
		path := "/api/plugins/telemetry/DEVICE/" + url.PathEscape(deviceID) + "/" + scope
		err = c.do(ctx, call{method: http.MethodDelete, path: path, query: query})
	}
	if err != nil {
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
	path := "/api/plugins/telemetry/DEVICE/" + url.PathEscape(deviceID) + "/values/attributes/" + scope
	query, err := list(keys)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, query: query, answer: &got})
	}
	if err == nil && got == nil {
		err = fmt.Errorf("%s: %w: the answer is no list", c.place(path), ErrNotThingsBoard)
	}
	if err != nil {
		return nil, fmt.Errorf("reading attributes of device %s: %w", deviceID, err)
	}
	values := make(map[string]json.RawMessage, len(got))
	for _, attribute := range got {
		if slices.Contains(keys, attribute.Key) {
			values[attribute.Key] = attribute.Value
		}
	}
	return values, nil
}

// list is the parameter that names keys. With none ThingsBoard would take all,
// and with a comma in one, others.
func list(keys []string) (url.Values, error) {
	for _, key := range keys {
		if key == "" || strings.Contains(key, ",") {
			return nil, fmt.Errorf("the key %q cannot be asked for", key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key is named")
	}
	return url.Values{"keys": {strings.Join(keys, ",")}}, nil
}

const (
	// leastPatience is how long ThingsBoard waits for a device at least
	// (server.rest.server_side_rpc.min_timeout).
	leastPatience = 5 * time.Second
	// rpcSlack is how much longer its answer is waited for.
	rpcSlack = 10 * time.Second
)

// noReply reads the answers without a body of AbstractRpcController.
func noReply(status int) error {
	switch status {
	case http.StatusGatewayTimeout, http.StatusRequestTimeout, http.StatusConflict:
		return ErrNoReply
	case http.StatusNotAcceptable:
		return errors.New("the device answers with something that is not JSON")
	default:
		return nil
	}
}

// RPC calls a method of a connected device and gives its answer, nil when that is
// empty. It is sent once: whether the device did what an unanswered call asked
// for is not known. patience is how long ThingsBoard waits for the device.
// [ErrNoReply] is in the error's chain when that was in vain.
func (c *Client) RPC(ctx context.Context, deviceID, method string, params any, patience time.Duration, hidden ...string) (json.RawMessage, error) { //nolint:revive // what ThingsBoard asks for, and what is secret in it
	var got json.RawMessage
	it := call{
		method: http.MethodPost, path: "/api/rpc/twoway/" + url.PathEscape(deviceID), answer: &got, once: true, secrets: func() []string { return hidden },
		body:     map[string]any{"method": method, "params": params, "timeout": patience.Milliseconds()},
		patience: max(patience, leastPatience) + rpcSlack, told: noReply,
	}
	if err := c.do(ctx, it); err != nil {
		return nil, fmt.Errorf("calling %q of device %s: %w", method, deviceID, err)
	}
	return got, nil
}
