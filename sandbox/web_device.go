package sandbox

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
)

const (
	tenantID = "8f5b1a10-0000-11f0-8000-000000000001"
	nobodyID = "13814000-1dd2-11b2-8080-808080808080" // EntityId.NULL_UUID: no customer
)

// An entityID names an entity.
type entityID struct {
	EntityType string `json:"entityType,omitempty"`
	ID         string `json:"id"`
}

// A deviceJSON is a device in the REST API.
type deviceJSON struct {
	ID              *entityID `json:"id"`
	CreatedTime     int64     `json:"createdTime"`
	TenantID        *entityID `json:"tenantId"`
	CustomerID      *entityID `json:"customerId"`
	Name            string    `json:"name"`
	Type            string    `json:"type"`
	Label           string    `json:"label"`
	DeviceProfileID *entityID `json:"deviceProfileId"`
	AdditionalInfo  *info     `json:"additionalInfo"`
}

// An info is what else a device has.
type info struct {
	Gateway     bool   `json:"gateway,omitempty"`
	Description string `json:"description,omitempty"`
}

// A credentialsJSON is a device's credential in the REST API.
type credentialsJSON struct {
	ID               *entityID `json:"id"`
	DeviceID         *entityID `json:"deviceId"`
	CredentialsType  string    `json:"credentialsType"`
	CredentialsID    string    `json:"credentialsId"`
	CredentialsValue *string   `json:"credentialsValue"`
}

// json is a device as the REST API shows it.
func (w *web) json(e entry) deviceJSON {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.json(e)
}

// json needs the lock.
func (s *store) json(e entry) deviceJSON {
	return deviceJSON{
		ID: &entityID{"DEVICE", e.id}, CreatedTime: e.created, Name: e.name, Type: e.kind, Label: e.label,
		TenantID: &entityID{"TENANT", tenantID}, CustomerID: &entityID{"CUSTOMER", cmp.Or(e.customer, nobodyID)},
		DeviceProfileID: &entityID{"DEVICE_PROFILE", s.profile(e.kind).id},
		AdditionalInfo:  &info{e.gateway, e.description},
	}
}

// save creates a device, or changes the one whose id is given.
func (w *web) save(it deviceJSON, given credential) (any, error) {
	device, err := w.deviceOf(it)
	if err != nil {
		return nil, err
	}
	var saved entry
	if it.ID != nil {
		saved, err = w.store.update(it.ID.ID, device)
	} else {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		saved, err = w.store.add(device, given)
		if err == nil {
			return w.store.json(saved), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return w.json(saved), nil
}

// deviceOf is a device as a request describes it.
func (w *web) deviceOf(it deviceJSON) (Device, error) {
	device := Device{Name: it.Name, Label: it.Label, Type: it.Type}
	if it.DeviceProfileID != nil {
		name, err := w.store.profileName(it.DeviceProfileID.ID)
		if err != nil {
			return Device{}, err
		}
		device.Type = name
	}
	if it.AdditionalInfo != nil {
		device.Gateway, device.Description = it.AdditionalInfo.Gateway, it.AdditionalInfo.Description
	}
	if it.CustomerID != nil && it.CustomerID.ID != nobodyID {
		device.customer = it.CustomerID.ID
	}
	return device, nil
}

func (w *web) saveDevice(r *http.Request) (any, error) {
	var it deviceJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	given := credential{kind: accessToken, id: cmp.Or(r.URL.Query().Get("accessToken"), newToken())}
	return w.save(it, given)
}

func (w *web) saveDeviceWithCredentials(r *http.Request) (any, error) {
	var it struct {
		Device      deviceJSON      `json:"device"`
		Credentials credentialsJSON `json:"credentials"`
	}
	if err := body(r, &it); err != nil {
		return nil, err
	}
	given, err := it.Credentials.credential()
	if err != nil {
		return nil, err
	}
	if it.Device.ID != nil {
		return nil, badParameter("The sandbox takes this call for new devices only")
	}
	return w.save(it.Device, given)
}

// credential is what a request gives a device (DeviceCredentialsServiceImpl).
func (c credentialsJSON) credential() (credential, error) {
	value := ""
	if c.CredentialsValue != nil {
		value = *c.CredentialsValue
	}
	switch c.CredentialsType {
	case accessToken:
		if c.CredentialsID == "" {
			return credential{}, badParameter("Device credentials id should be specified!")
		}
		return credential{kind: accessToken, id: c.CredentialsID}, nil
	case mqttBasic:
		var basic basicJSON
		if err := json.Unmarshal([]byte(value), &basic); err != nil {
			return credential{}, badParameter("Invalid credentials body for simple mqtt credentials!")
		}
		return basicCredential(basic)
	case x509Certificate:
		return certificateCredential(value)
	default:
		return credential{}, badParameter("The sandbox keeps no credentials of type " + c.CredentialsType)
	}
}

// isUUID reports whether a text has the form of RFC 9562, in lower case.
func isUUID(text string) bool {
	const form = "00000000-0000-0000-0000-000000000000"
	if len(text) != len(form) {
		return false
	}
	for i := range len(text) {
		isHex := text[i] >= '0' && text[i] <= '9' || text[i] >= 'a' && text[i] <= 'f'
		if form[i] == '-' && text[i] != '-' || form[i] == '0' && !isHex {
			return false
		}
	}
	return true
}

// deviceID is the id in the path.
func deviceID(r *http.Request) (string, error) {
	id := strings.ToLower(r.PathValue("id"))
	if !isUUID(id) {
		return "", badParameter("Invalid UUID string: " + id)
	}
	return id, nil
}

func (w *web) find(r *http.Request) (entry, credential, error) {
	id, err := deviceID(r)
	if err != nil {
		return entry{}, credential{}, err
	}
	return w.store.device(id)
}

func (w *web) getDevice(r *http.Request) (any, error) {
	found, _, err := w.find(r)
	if err != nil {
		return nil, err
	}
	return w.json(found), nil
}

func (w *web) deleteDevice(r *http.Request) (any, error) {
	id, err := deviceID(r)
	if err != nil {
		return nil, err
	}
	session, err := w.store.remove(id)
	w.end(session)
	return nil, err
}

func (w *web) getCredentials(r *http.Request) (any, error) {
	found, has, err := w.find(r)
	if err != nil {
		return nil, err
	}
	return credentialsOf(found, has), nil
}

func credentialsOf(e entry, has credential) credentialsJSON {
	out := credentialsJSON{
		ID: &entityID{ID: e.credentials}, DeviceID: &entityID{"DEVICE", e.id}, CredentialsType: has.kind, CredentialsID: has.id,
	}
	if has.value != "" {
		out.CredentialsValue = &has.value
	}
	return out
}

// saveCredentials changes a device's credential, and so ends its session.
func (w *web) saveCredentials(r *http.Request) (any, error) {
	var it credentialsJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	given, err := it.credential()
	if err != nil {
		return nil, err
	}
	if it.DeviceID == nil {
		return nil, badParameter("Device credentials should be assigned to device!")
	}
	found, _, err := w.store.device(it.DeviceID.ID)
	if err != nil {
		return nil, err
	}
	if err := it.names(found); err != nil {
		return nil, err
	}
	session, err := w.store.setCredential(found.id, given)
	if err != nil {
		return nil, err
	}
	w.end(session)
	return credentialsOf(found, given), nil
}

// names wants the id of the credentials that a device has: without one they
// would be its second (DeviceCredentialsDataValidator).
func (c credentialsJSON) names(e entry) error {
	switch {
	case c.ID == nil:
		return badParameter("Credentials for this device are already specified!")
	case c.ID.ID != e.credentials:
		return badParameter("Unable to update non-existent device credentials!")
	default:
		return nil
	}
}
