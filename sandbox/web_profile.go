package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// A profileJSON is a device profile in the REST API, as far as the sandbox looks
// at it.
type profileJSON struct {
	ID                 *entityID `json:"id"`
	Name               string    `json:"name"`
	Default            bool      `json:"default"`
	Type               string    `json:"type"`
	TransportType      string    `json:"transportType"`
	ProvisionType      string    `json:"provisionType"`
	ProvisionDeviceKey string    `json:"provisionDeviceKey"`
	Version            *int64    `json:"version"`
	ProfileData        *struct {
		TransportConfiguration json.RawMessage `json:"transportConfiguration"`
		ProvisionConfiguration *provisionJSON  `json:"provisionConfiguration"`
	} `json:"profileData"`
}

// A provisionJSON says how devices are provisioned (DeviceProfileProvisionConfiguration).
type provisionJSON struct {
	Type        string `json:"type"`
	Secret      string `json:"provisionDeviceSecret"`
	Pattern     string `json:"certificateRegExPattern"`
	AllowCreate bool   `json:"allowCreateNewDevicesByX509Certificate"`
}

// json is a profile as the REST API shows it. It needs a clone, or the lock.
func (p *profile) json() map[string]any {
	out := map[string]any{
		"description": nil, "image": nil, "defaultRuleChainId": nil, "defaultDashboardId": nil, "defaultQueueName": nil,
		"firmwareId": nil, "softwareId": nil, "defaultEdgeRuleChainId": nil, "externalId": nil, "type": "DEFAULT", "transportType": "DEFAULT",
	}
	for name := range out {
		if value, ok := p.rest[name]; ok {
			out[name] = value
		}
	}
	data := map[string]json.RawMessage{
		"configuration": json.RawMessage(`{"type":"DEFAULT"}`), "transportConfiguration": json.RawMessage(`{"type":"DEFAULT"}`),
		"alarms": json.RawMessage("null"),
	}
	_ = json.Unmarshal(p.rest["profileData"], &data) // it was read before
	data["provisionConfiguration"] = p.configuration()
	for name, value := range map[string]any{
		"id": entityID{"DEVICE_PROFILE", p.id}, "createdTime": p.created, "tenantId": entityID{"TENANT", tenantID}, "name": p.name,
		"default": p.isDefault, "provisionType": p.strategy, "provisionDeviceKey": orNull(p.key), "profileData": data, "version": p.version,
	} {
		out[name] = value
	}
	return out
}

// configuration is the part of a profile that says how devices are provisioned.
func (p *profile) configuration() json.RawMessage {
	configuration := map[string]any{"type": p.configured, "provisionDeviceSecret": orNull(p.secret)}
	if p.configured == strategyChain {
		configuration["certificateRegExPattern"] = orNull(p.pattern)
		configuration["allowCreateNewDevicesByX509Certificate"] = p.allowCreate
	}
	return marshal(configuration)
}

// infoJSON is a profile in lists (DeviceProfileInfo).
func (p *profile) infoJSON() map[string]any {
	return map[string]any{
		"id": entityID{"DEVICE_PROFILE", p.id}, "tenantId": entityID{"TENANT", tenantID}, "name": p.name,
		"type": "DEFAULT", "transportType": "DEFAULT", "image": nil, "defaultDashboardId": nil,
	}
}

// saveProfile creates a profile, or makes the one whose id is given what is given
// (DeviceProfileServiceImpl, DeviceProfileDataValidator).
func (w *web) saveProfile(r *http.Request) (any, error) {
	var raw map[string]json.RawMessage
	if err := body(r, &raw); err != nil {
		return nil, err
	}
	var it profileJSON
	if json.Unmarshal(marshal(raw), &it) != nil {
		return nil, badParameter("The request body is not the JSON that this call takes")
	}
	p, err := it.profile()
	if err != nil {
		return nil, err
	}
	p.rest = raw
	saved, err := w.store.saveProfile(p, it.Version)
	if err != nil {
		return nil, err
	}
	return saved.json(), nil
}

// profile is what a request wants a profile to be. The strategy that counts is
// "provisionType": without it there is none, whatever the configuration says.
func (it profileJSON) profile() (*profile, error) {
	switch {
	case strings.TrimSpace(it.Name) == "":
		return nil, badParameter("Device profile name should be specified!")
	case it.Type == "":
		return nil, badParameter("Device profile type should be specified!")
	case it.TransportType == "":
		return nil, badParameter("Device profile transport type should be specified!")
	case it.ProfileData == nil || len(it.ProfileData.TransportConfiguration) == 0:
		return nil, &restError{status: http.StatusInternalServerError, code: codeGeneral, message: "The profile data has no transport configuration"}
	}
	p := &profile{
		name: it.Name, isDefault: it.Default, strategy: it.ProvisionType, configured: strategyDisabled, key: it.ProvisionDeviceKey,
	}
	if p.strategy == "" {
		p.strategy = strategyDisabled
	}
	if it.ID != nil {
		p.id = strings.ToLower(it.ID.ID)
	}
	if given := it.ProfileData.ProvisionConfiguration; given != nil {
		p.configured, p.secret, p.pattern, p.allowCreate = given.Type, given.Secret, given.Pattern, given.AllowCreate
	}
	known := []string{strategyDisabled, strategyCreate, strategyCheck, strategyChain}
	if !slices.Contains(known, p.strategy) || !slices.Contains(known, p.configured) {
		return nil, badParameter("The provision type is none that there is")
	}
	return p, nil
}

func (w *web) getProfile(r *http.Request) (any, error) {
	p, err := w.profileOf(r)
	if err != nil {
		return nil, err
	}
	return p.json(), nil
}

func (w *web) getProfileInfo(r *http.Request) (any, error) {
	p, err := w.profileOf(r)
	if err != nil {
		return nil, err
	}
	return p.infoJSON(), nil
}

// profileOf is the profile that the path names.
func (w *web) profileOf(r *http.Request) (*profile, error) {
	id, err := pathID(r, "id")
	if err != nil {
		return nil, err
	}
	return w.store.profileByID(id)
}

func (w *web) deleteProfile(r *http.Request) (any, error) {
	id, err := pathID(r, "id")
	if err != nil {
		return nil, err
	}
	return nil, w.store.removeProfile(id)
}

func (w *web) defaultProfile(*http.Request) (any, error) {
	return w.store.defaultProfile().infoJSON(), nil
}

func (w *web) profiles(r *http.Request) (any, error) {
	found := w.store.searchProfiles(r.URL.Query().Get("textSearch"))
	return page(r, len(found), func(i int) any { return found[i].json() })
}

func (w *web) profileInfos(r *http.Request) (any, error) {
	found := w.store.searchProfiles(r.URL.Query().Get("textSearch"))
	return page(r, len(found), func(i int) any { return found[i].infoJSON() })
}
