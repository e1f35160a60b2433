package provision

import (
	"bytes"
	"encoding/json"
)

// rowJSON is a device as ReadManifest reads it from JSON.
type rowJSON struct {
	Name        string                     `json:"name"`
	Label       string                     `json:"label,omitempty"`
	Profile     string                     `json:"profile,omitempty"`
	Description string                     `json:"description,omitempty"`
	Gateway     bool                       `json:"gateway,omitempty"`
	Customer    string                     `json:"customer,omitempty"`
	Credential  CredentialKind             `json:"credential,omitempty"`
	Token       string                     `json:"token,omitempty"`
	ClientID    string                     `json:"client_id,omitempty"`
	Username    string                     `json:"username,omitempty"`
	Password    string                     `json:"password,omitempty"`
	Certificate string                     `json:"certificate,omitempty"`
	Request     string                     `json:"csr,omitempty"`
	Server      map[string]json.RawMessage `json:"server_attributes,omitempty"`
	Shared      map[string]json.RawMessage `json:"shared_attributes,omitempty"`
	Error       string                     `json:"error,omitempty"`
}

// EncodeRow writes a device that Device.Validate finds good as a line of NDJSON,
// with why it failed, so that ReadManifest reads the same device. The line has
// the secrets that were given for the device: the file is for its owner alone. A
// key is never given, and is not in it.
func EncodeRow(device Device, failed string) []byte {
	row := rowJSON{
		Name:        device.Name,
		Label:       device.Label,
		Profile:     device.Profile,
		Description: device.Extra.Description,
		Gateway:     device.Extra.Gateway,
		Customer:    device.Extra.Customer,
		Credential:  device.Credential.Kind,
		Token:       device.Credential.Token.Reveal(),
		ClientID:    device.Credential.ClientID.Reveal(),
		Username:    device.Credential.Username.Reveal(),
		Password:    device.Credential.Password.Reveal(),
		Certificate: string(device.Credential.Chain),
		Request:     string(device.Credential.Request),
		Server:      attributesOf(device, ScopeServer),
		Shared:      attributesOf(device, ScopeShared),
		Error:       failed,
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(row) //nolint:gosec // the file is for its owner, and texts and JSON never fail
	return out.Bytes()
}

// attributesOf are the attributes of a scope, by key.
func attributesOf(device Device, scope AttributeScope) map[string]json.RawMessage {
	var attributes map[string]json.RawMessage
	for _, attribute := range device.Extra.Attributes {
		if attribute.Scope != scope {
			continue
		}
		if attributes == nil {
			attributes = make(map[string]json.RawMessage)
		}
		attributes[attribute.Key] = attribute.Value
	}
	return attributes
}
