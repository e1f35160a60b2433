package sandbox

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/tbcert/tbcert/certs/secret"
)

const (
	// accessToken is the one type of credentials that devices have here.
	accessToken = "ACCESS_TOKEN"

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
	return deviceJSON{
		ID: &entityID{"DEVICE", e.id}, CreatedTime: e.created, Name: e.name, Type: e.kind, Label: e.label,
		TenantID: &entityID{"TENANT", tenantID}, CustomerID: &entityID{"CUSTOMER", nobodyID},
		DeviceProfileID: &entityID{"DEVICE_PROFILE", w.store.profileID(e.kind)},
	}
}

// save creates a device, or changes the one whose id is given.
func (w *web) save(it deviceJSON, token string) (any, error) {
	device := Device{Name: it.Name, Label: it.Label, Type: it.Type, Token: secret.New(token)}
	if it.DeviceProfileID != nil {
		name, err := w.store.profileName(it.DeviceProfileID.ID)
		if err != nil {
			return nil, err
		}
		device.Type = name
	}
	var saved entry
	var err error
	if it.ID != nil {
		saved, err = w.store.update(it.ID.ID, device)
	} else {
		saved, err = w.store.create(device)
	}
	if err != nil {
		return nil, err
	}
	return w.json(saved), nil
}

func (w *web) saveDevice(r *http.Request) (any, error) {
	var it deviceJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	return w.save(it, r.URL.Query().Get("accessToken"))
}

func (w *web) saveDeviceWithCredentials(r *http.Request) (any, error) {
	var it struct {
		Device      deviceJSON      `json:"device"`
		Credentials credentialsJSON `json:"credentials"`
	}
	if err := body(r, &it); err != nil {
		return nil, err
	}
	if err := it.Credentials.check(); err != nil {
		return nil, err
	}
	if it.Device.ID != nil {
		return nil, badParameter("The sandbox takes this call for new devices only")
	}
	return w.save(it.Device, it.Credentials.CredentialsID)
}

// check takes what the sandbox can keep (DeviceCredentialsServiceImpl).
func (c credentialsJSON) check() error {
	switch {
	case c.CredentialsType != accessToken:
		return badParameter(fmt.Sprintf("The sandbox keeps credentials of type %s only", accessToken))
	case c.CredentialsID == "":
		return badParameter("Device credentials id should be specified!")
	default:
		return nil
	}
}

// deviceID is the id in the path.
func deviceID(r *http.Request) (string, error) {
	id := strings.ToLower(r.PathValue("id"))
	if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(id) {
		return "", badParameter("Invalid UUID string: " + id)
	}
	return id, nil
}

func (w *web) find(r *http.Request) (entry, secret.Text, error) {
	id, err := deviceID(r)
	if err != nil {
		return entry{}, secret.Text{}, err
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
	found, token, err := w.find(r)
	if err != nil {
		return nil, err
	}
	return credentialsOf(found, token), nil
}

func credentialsOf(e entry, token secret.Text) credentialsJSON {
	return credentialsJSON{
		ID: &entityID{ID: e.credentials}, DeviceID: &entityID{"DEVICE", e.id},
		CredentialsType: accessToken, CredentialsID: token.Reveal(),
	}
}

// saveCredentials changes a device's credential, and so ends its session.
func (w *web) saveCredentials(r *http.Request) (any, error) {
	var it credentialsJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	if err := it.check(); err != nil {
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
	session, err := w.store.setToken(found.id, it.CredentialsID)
	if err != nil {
		return nil, err
	}
	w.end(session)
	return credentialsOf(found, secret.New(it.CredentialsID)), nil
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
