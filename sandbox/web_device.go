package sandbox

import (
	"bytes"
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
	ID              *entityID       `json:"id"`
	CreatedTime     int64           `json:"createdTime"`
	TenantID        *entityID       `json:"tenantId"`
	CustomerID      *entityID       `json:"customerId"`
	Name            string          `json:"name"`
	Type            string          `json:"type"`
	Label           *string         `json:"label"`
	DeviceProfileID *entityID       `json:"deviceProfileId"`
	DeviceData      json.RawMessage `json:"deviceData"`
	FirmwareID      *entityID       `json:"firmwareId"`
	SoftwareID      *entityID       `json:"softwareId"`
	ExternalID      *entityID       `json:"externalId"`
	AdditionalInfo  json.RawMessage `json:"additionalInfo"`
	Version         *int64          `json:"version"`
}

// A deviceInfoJSON is a device in the lists of more (DeviceInfo).
type deviceInfoJSON struct {
	deviceJSON
	CustomerTitle     *string `json:"customerTitle"`
	CustomerIsPublic  bool    `json:"customerIsPublic"`
	DeviceProfileName string  `json:"deviceProfileName"`
	Active            bool    `json:"active"`
}

// json is a device as the REST API shows it.
func (e entry) json() deviceJSON {
	return deviceJSON{
		ID: &entityID{"DEVICE", e.id}, CreatedTime: e.created, Name: e.name, Type: e.kind, Label: orNull(e.label),
		TenantID: &entityID{"TENANT", tenantID}, CustomerID: &entityID{"CUSTOMER", cmp.Or(e.customerID, nobodyID)},
		DeviceProfileID: &entityID{"DEVICE_PROFILE", e.profileID}, AdditionalInfo: e.info, Version: &e.version,
		DeviceData: json.RawMessage(`{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"}}`),
	}
}

func (e entry) infoJSON() deviceInfoJSON {
	return deviceInfoJSON{deviceJSON: e.json(), CustomerTitle: orNull(e.customer), DeviceProfileName: e.kind, Active: e.isActive}
}

// orNull is a text that is null when there is none.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// spec is what a request wants a device to be.
func (it deviceJSON) spec(r *http.Request) spec {
	want := spec{name: it.Name, kind: it.Type, version: it.Version, isNameMadeUnique: r.URL.Query().Get("nameConflictPolicy") == "UNIQUIFY"}
	if it.Label != nil {
		want.label = *it.Label
	}
	if it.DeviceProfileID != nil {
		want.profileID = strings.ToLower(it.DeviceProfileID.ID)
	}
	if it.CustomerID != nil && it.CustomerID.ID != nobodyID {
		want.customerID = strings.ToLower(it.CustomerID.ID)
	}
	if info := it.AdditionalInfo; len(info) > 0 && !bytes.Equal(info, []byte("null")) {
		want.info = info
	}
	return want
}

// saveDevice creates a device, or makes the one whose id is given what is given:
// what is left out is gone then.
func (w *web) saveDevice(r *http.Request) (any, error) {
	var it deviceJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	if it.ID != nil {
		saved, _, err := w.store.update(strings.ToLower(it.ID.ID), it.spec(r), nil)
		if err != nil {
			return nil, err
		}
		return saved.json(), nil
	}
	return w.create(it.spec(r), accessToken, cmp.Or(r.URL.Query().Get("accessToken"), newToken()), "")
}

// create creates a device. What is wrong with itself comes before what is wrong
// with its credential.
func (w *web) create(it spec, kind, id, value string) (any, error) {
	c, err := newCredential(kind, id, value)
	if err != nil {
		return nil, cmp.Or(w.store.wouldTake(it), err)
	}
	saved, err := w.store.create(it, c)
	if err != nil {
		return nil, err
	}
	return saved.json(), nil
}

func (w *web) saveDeviceWithCredentials(r *http.Request) (any, error) {
	var it struct {
		Device      *deviceJSON      `json:"device"`
		Credentials *credentialsJSON `json:"credentials"`
	}
	if err := body(r, &it); err != nil {
		return nil, err
	}
	switch {
	case it.Credentials == nil && it.Device == nil:
		return nil, badParameter("Validation error: credentials must not be null, device must not be null")
	case it.Credentials == nil:
		return nil, badParameter("Validation error: credentials must not be null")
	case it.Device == nil:
		return nil, badParameter("Validation error: device must not be null")
	}
	given := *it.Credentials
	if it.Device.ID == nil {
		return w.create(it.Device.spec(r), given.CredentialsType, given.CredentialsID, given.value())
	}
	c, err := given.credential()
	if err != nil {
		return nil, err
	}
	saved, session, err := w.store.update(strings.ToLower(it.Device.ID.ID), it.Device.spec(r), &c)
	if err != nil {
		return nil, err
	}
	w.end(session)
	return saved.json(), nil
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

// pathID is an id in the path.
func pathID(r *http.Request, name string) (string, error) {
	id := strings.ToLower(r.PathValue(name))
	if !isUUID(id) {
		return "", badParameter("Invalid UUID string: " + id)
	}
	return id, nil
}

// deviceID is the device's id in the path.
func deviceID(r *http.Request) (string, error) { return pathID(r, "id") }

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
	return found.json(), nil
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
