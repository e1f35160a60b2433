package rest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tbcert/tbcert/certs/secret"
)

// A Profile is a device profile, as far as devices are provisioned by it.
type Profile struct {
	ID        string
	Name      string
	Default   bool
	Strategy  string      // one of the Strategy constants
	DeviceKey string      // provisionDeviceKey: for the chain strategy a hash of its CA certificate
	Secret    secret.Text // provisionDeviceSecret
	Chain     *Chain      // of StrategyChain

	raw map[string]json.RawMessage // as ThingsBoard has it
}

// A Chain lets in every device with a certificate of a CA
// (X509CertificateChainProvisionConfiguration).
type Chain struct {
	Certificate []byte // the CA's certificate, in PEM
	Pattern     string // a regular expression; its first group takes the device's name from the CN
	AllowCreate bool   // devices that are not known are created
}

// How devices may be provisioned by a profile (DeviceProfileProvisionType).
const (
	StrategyDisabled = "DISABLED"
	StrategyCreate   = "ALLOW_CREATE_NEW_DEVICES"
	StrategyCheck    = "CHECK_PRE_PROVISIONED_DEVICES"
	StrategyChain    = "X509_CERTIFICATE_CHAIN"
)

type profileJSON struct {
	ID                 *entityID `json:"id"`
	Name               string    `json:"name"`
	Default            bool      `json:"default"`
	ProvisionType      string    `json:"provisionType"`
	ProvisionDeviceKey string    `json:"provisionDeviceKey"`
	ProfileData        struct {
		ProvisionConfiguration provisionJSON `json:"provisionConfiguration"`
	} `json:"profileData"`
}

type provisionJSON struct {
	Type                  string `json:"type"`
	ProvisionDeviceSecret string `json:"provisionDeviceSecret,omitempty"`
	Pattern               string `json:"certificateRegExPattern,omitempty"`
	AllowCreate           bool   `json:"allowCreateNewDevicesByX509Certificate"`
}

// FindProfile finds the tenant's device profile of exactly this name.
// [ErrNotFound] is in the error's chain when there is none.
func (c *Client) FindProfile(ctx context.Context, name string) (Profile, error) {
	id := ""
	err := c.pages(ctx, "/api/deviceProfileInfos", url.Values{"textSearch": {name}}, func(found string, data json.RawMessage) (bool, error) {
		var info struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(data, &info); err != nil || info.Name == "" {
			return false, fmt.Errorf("%w: the element %s of the page is no device profile", ErrNotThingsBoard, found)
		}
		if info.Name == name {
			id = found
		}
		return id == "", nil
	})
	if err == nil && id == "" {
		err = ErrNotFound
	}
	if err != nil {
		return Profile{}, fmt.Errorf("looking for the device profile %q: %w", name, err)
	}
	return c.readProfile(ctx, id)
}

func (c *Client) readProfile(ctx context.Context, id string) (Profile, error) {
	var raw map[string]json.RawMessage
	if err := c.do(ctx, call{method: http.MethodGet, path: "/api/deviceProfile/" + url.PathEscape(id), answer: &raw}); err != nil {
		return Profile{}, fmt.Errorf("reading the device profile %s: %w", id, err)
	}
	profile, err := parseProfile(raw)
	if err == nil && profile.ID != id {
		err = fmt.Errorf("%w: the answer is another one", ErrNotThingsBoard)
	}
	if err != nil {
		return Profile{}, fmt.Errorf("reading the device profile %s: %w", id, err)
	}
	return profile, nil
}

func parseProfile(raw map[string]json.RawMessage) (Profile, error) {
	data, err := json.Marshal(raw)
	if err != nil {
		return Profile{}, err
	}
	var got profileJSON
	if err := json.Unmarshal(data, &got); err != nil || got.ID == nil || !isID(got.ID.ID) || got.Name == "" {
		return Profile{}, fmt.Errorf("%w: the answer is no device profile", ErrNotThingsBoard)
	}
	configuration := got.ProfileData.ProvisionConfiguration
	profile := Profile{
		ID: got.ID.ID, Name: got.Name, Default: got.Default, Strategy: got.ProvisionType, DeviceKey: got.ProvisionDeviceKey, raw: raw,
	}
	if got.ProvisionType == StrategyChain {
		profile.Chain = &Chain{Certificate: []byte(configuration.ProvisionDeviceSecret), Pattern: configuration.Pattern, AllowCreate: configuration.AllowCreate}
	} else {
		profile.Secret = secret.New(configuration.ProvisionDeviceSecret)
	}
	return profile, nil
}

// CreateProfile makes a device profile as ThingsBoard's form does, with this name
// and this way of provisioning.
func (c *Client) CreateProfile(ctx context.Context, profile Profile) (Profile, error) {
	profile.raw = map[string]json.RawMessage{
		"type":          json.RawMessage(`"DEFAULT"`),
		"transportType": json.RawMessage(`"DEFAULT"`),
		"profileData":   json.RawMessage(`{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"}}`),
	}
	saved, err := c.saveProfile(ctx, profile, true)
	if err != nil {
		return Profile{}, fmt.Errorf("creating the device profile %q: %w", profile.Name, err)
	}
	return saved, nil
}

// UpdateProfile changes how devices are provisioned by a profile that was read;
// all else of it stays.
func (c *Client) UpdateProfile(ctx context.Context, profile Profile) (Profile, error) {
	for tries := 1; ; tries++ {
		saved, err := c.saveProfile(ctx, profile, false)
		if errors.Is(err, ErrConflict) && tries < conflictTries {
			var now Profile
			if now, err = c.readProfile(ctx, profile.ID); err == nil {
				profile.raw = now.raw
				continue
			}
		}
		if err != nil {
			return Profile{}, fmt.Errorf("changing the device profile %q: %w", profile.Name, err)
		}
		return saved, nil
	}
}

func (c *Client) saveProfile(ctx context.Context, profile Profile, once bool) (Profile, error) {
	body, err := profile.toJSON()
	if err != nil {
		return Profile{}, err
	}
	var raw map[string]json.RawMessage
	it := call{method: http.MethodPost, path: "/api/deviceProfile", body: body, answer: &raw, once: once, secrets: func() []string { return []string{profile.Secret.Reveal()} }}
	if err := c.do(ctx, it); err != nil {
		return Profile{}, err
	}
	saved, err := parseProfile(raw)
	if err == nil && (saved.Name != profile.Name || profile.ID != "" && saved.ID != profile.ID) {
		err = fmt.Errorf("%w: the answer is another device profile", ErrNotThingsBoard)
	}
	return saved, err
}

// toJSON is the profile as it was read, with its provisioning replaced.
func (p Profile) toJSON() (map[string]json.RawMessage, error) {
	configuration := provisionJSON{Type: cmp.Or(p.Strategy, StrategyDisabled), ProvisionDeviceSecret: p.Secret.Reveal()}
	if p.Chain != nil {
		configuration = provisionJSON{
			Type: StrategyChain, ProvisionDeviceSecret: string(p.Chain.Certificate), Pattern: p.Chain.Pattern, AllowCreate: p.Chain.AllowCreate,
		}
	}
	data := map[string]json.RawMessage{}
	if err := json.Unmarshal(p.raw["profileData"], &data); err != nil {
		return nil, fmt.Errorf("%w: its profile data cannot be read", ErrNotThingsBoard)
	}
	out := map[string]json.RawMessage{}
	for name, value := range p.raw {
		out[name] = value
	}
	var err error
	set := func(to map[string]json.RawMessage, name string, value any) {
		if err == nil {
			to[name], err = json.Marshal(value)
		}
	}
	set(data, "provisionConfiguration", configuration)
	set(out, "profileData", data)
	set(out, "name", p.Name)
	set(out, "provisionType", configuration.Type)
	if p.DeviceKey != "" { // ThingsBoard works out that of a chain (formatDeviceProfileCertificate)
		set(out, "provisionDeviceKey", p.DeviceKey)
	}
	return out, err
}
