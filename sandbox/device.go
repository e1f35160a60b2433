package sandbox

import "encoding/json"

// A deviceInfo is the part of "additionalInfo" that ThingsBoard's forms have.
type deviceInfo struct {
	Gateway     bool   `json:"gateway,omitempty"`
	Description string `json:"description,omitempty"`
}

// addDevice adds a device of a config.
func (s *store) addDevice(device Device) error {
	c, err := device.credential()
	if err != nil {
		return err
	}
	it := spec{id: device.ID, name: device.Name, label: device.Label, kind: device.Type}
	if device.Gateway || device.Description != "" {
		it.info = marshal(deviceInfo{device.Gateway, device.Description})
	}
	if device.Customer != "" {
		it.customerID = s.customerOf(device.Customer)
	}
	_, err = s.create(it, c)
	return err
}

// devices gives all devices.
func (s *store) devices() []Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	devices := make([]Device, 0, s.count)
	for _, r := range s.records {
		if r != nil {
			devices = append(devices, r.exported())
		}
	}
	return devices
}

// An entry is what the REST API says of a device.
type entry struct {
	id, name, label      string
	profileID, kind      string
	customerID, customer string // "" when it is assigned to none
	info                 json.RawMessage
	created, version     int64
	credentials          string // the id of its credentials
	isActive             bool
}

// entry is a copy of what the REST API shows; it needs the lock.
func (s *store) entry(r *record) entry {
	e := entry{
		id: r.id, name: r.name, label: r.label, profileID: r.profile.id, kind: r.profile.name, info: r.info,
		created: r.created, version: r.version, credentials: r.credentials, isActive: r.isActive(s.now()),
	}
	if r.customer != nil {
		e.customerID, e.customer = r.customer.id, r.customer.title
	}
	return e
}
