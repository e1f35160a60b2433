package sandbox

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// A profileJSON is a device profile in the REST API, as far as the sandbox looks
// at it.
type profileJSON struct {
	ID                 *entityID `json:"id"`
	Name               string    `json:"name"`
	ProvisionType      string    `json:"provisionType"`
	ProvisionDeviceKey string    `json:"provisionDeviceKey"`
	ProfileData        struct {
		ProvisionConfiguration provisionJSON `json:"provisionConfiguration"`
	} `json:"profileData"`
}

// A provisionJSON says how devices are provisioned (DeviceProfileProvisionConfiguration).
type provisionJSON struct {
	Type        string `json:"type"`
	Secret      string `json:"provisionDeviceSecret"`
	Pattern     string `json:"certificateRegExPattern"`
	AllowCreate bool   `json:"allowCreateNewDevicesByX509Certificate"`
}

func (w *web) getProfile(r *http.Request) (any, error) {
	id, err := deviceID(r)
	if err != nil {
		return nil, err
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	p := w.store.profileByID(id)
	if p == nil {
		return nil, notFound("Requested item wasn't found!")
	}
	return p.json(), nil
}

// json is a profile as the REST API shows it. It needs the store's lock.
func (p *profile) json() map[string]any {
	out := map[string]any{
		"id": entityID{"DEVICE_PROFILE", p.id}, "tenantId": entityID{"TENANT", tenantID}, "name": p.name, "default": p.isDefault,
		"type": "DEFAULT", "transportType": "DEFAULT", "provisionType": p.strategy, "provisionDeviceKey": nil,
	}
	for key, value := range p.extra {
		if _, ours := out[key]; !ours {
			out[key] = value
		}
	}
	data := map[string]any{"configuration": map[string]string{"type": "DEFAULT"}, "transportConfiguration": map[string]string{"type": "DEFAULT"}}
	var saved map[string]any
	if json.Unmarshal(p.extra["profileData"], &saved) == nil {
		maps.Copy(data, saved)
	}
	configuration := map[string]any{"type": p.strategy, "provisionDeviceSecret": nil}
	if p.secret != "" {
		configuration["provisionDeviceSecret"] = p.secret
		out["provisionDeviceKey"] = p.key
	}
	if p.strategy == strategyChain {
		configuration["certificateRegExPattern"] = p.pattern
		configuration["allowCreateNewDevicesByX509Certificate"] = p.allowCreate
	}
	data["provisionConfiguration"] = configuration
	out["profileData"] = data
	return out
}

// saveProfile creates a profile, or changes the one whose id is given
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
	if strings.TrimSpace(it.Name) == "" {
		return nil, badParameter("Device profile name should be specified!")
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	p, err := w.store.profileToSave(it)
	if err != nil {
		return nil, err
	}
	if err := p.take(it); err != nil {
		return nil, err
	}
	if other := w.store.byKey(p.key); other != nil && other.name != p.name {
		return nil, badParameter("Device profile with such provision device key already exists!")
	}
	p.extra = raw
	w.store.profiles[p.name] = p
	return p.json(), nil
}

// profileToSave is a copy of the profile that is saved, so that one which is
// refused changes nothing. It needs the lock.
func (s *store) profileToSave(it profileJSON) (*profile, error) {
	if it.ID == nil {
		if s.profiles[it.Name] != nil {
			return nil, badParameter("Device profile with such name already exists!")
		}
		return &profile{id: newID(), name: it.Name}, nil
	}
	known := s.profileByID(it.ID.ID)
	if known == nil {
		return nil, notFound("Requested item wasn't found!")
	}
	if known.name != it.Name {
		return nil, badParameter("The sandbox cannot rename a device profile")
	}
	changed := *known
	return &changed, nil
}

// take takes how devices are to be provisioned. The key of a chain is the hash of
// its certificate.
func (p *profile) take(it profileJSON) error {
	configuration := it.ProfileData.ProvisionConfiguration
	p.strategy = cmp.Or(configuration.Type, strategyDisabled)
	p.pattern, p.allowCreate = configuration.Pattern, configuration.AllowCreate
	p.key, p.secret = it.ProvisionDeviceKey, configuration.Secret
	switch p.strategy {
	case strategyDisabled:
		p.key, p.secret = "", ""
	case strategyChain:
		certificate, err := certificateCredential(configuration.Secret)
		if err != nil {
			return err
		}
		if !strings.Contains(p.pattern, "(") {
			return badParameter("Certificate regular expression pattern should contain a group!")
		}
		p.key, p.secret = certificate.id, certificate.value
	case strategyCreate, strategyCheck:
		if p.key == "" {
			p.key = newToken()
		}
		if p.secret == "" {
			p.secret = newToken()
		}
	default:
		return badParameter("Unknown provision type: " + p.strategy)
	}
	return nil
}

func (w *web) defaultProfile(*http.Request) (any, error) {
	return map[string]any{"id": entityID{"DEVICE_PROFILE", w.store.profileID(defaultType)}, "name": defaultType, "type": "DEFAULT", "transportType": "DEFAULT"}, nil
}
