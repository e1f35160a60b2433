package sandbox

import (
	"net/http"
	"strings"
)

// A credentialsJSON is a device's credential in the REST API.
type credentialsJSON struct {
	ID               *entityID `json:"id"`
	CreatedTime      int64     `json:"createdTime"`
	DeviceID         *entityID `json:"deviceId"`
	CredentialsType  string    `json:"credentialsType"`
	CredentialsID    string    `json:"credentialsId"`
	CredentialsValue *string   `json:"credentialsValue"`
}

func (c credentialsJSON) value() string {
	if c.CredentialsValue == nil {
		return ""
	}
	return *c.CredentialsValue
}

// credential is what a request gives a device.
func (c credentialsJSON) credential() (credential, error) {
	return newCredential(c.CredentialsType, c.CredentialsID, c.value())
}

func credentialsOf(e entry, has credential) credentialsJSON {
	return credentialsJSON{
		ID: &entityID{ID: e.credentials}, CreatedTime: e.created, DeviceID: &entityID{"DEVICE", e.id},
		CredentialsType: has.kind, CredentialsID: has.id, CredentialsValue: orNull(has.value),
	}
}

func (w *web) getCredentials(r *http.Request) (any, error) {
	found, has, err := w.find(r)
	if err != nil {
		return nil, err
	}
	return credentialsOf(found, has), nil
}

// saveCredentials changes a device's credential, and so ends its session.
func (w *web) saveCredentials(r *http.Request) (any, error) {
	var it credentialsJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	if it.DeviceID == nil {
		return nil, badParameter("Device credentials should be assigned to device!")
	}
	found, _, err := w.store.device(strings.ToLower(it.DeviceID.ID))
	if err != nil {
		return nil, err
	}
	given, err := it.credential()
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
		return badCredential("Credentials for this device are already specified!")
	case c.ID.ID != e.credentials:
		return badCredential("Unable to update non-existent device credentials!")
	default:
		return nil
	}
}
