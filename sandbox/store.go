package sandbox

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// defaultType is the device profile that every tenant has.
const defaultType = "default"

// A record is a device. The store's lock guards it.
type record struct {
	entry
	credential credential
	data       data
	session    *link // nil when the device is not connected
}

// An entry is what the REST API says of a device.
type entry struct {
	id, name, label, kind string
	credentials           string // the id of its credentials
	customer              string // its id; "" is none
	description           string
	gateway               bool
	created               int64 // milliseconds since 1970
}

// A store is what the sandbox knows. Its methods may be called concurrently.
type store struct {
	now func() time.Time

	mu           sync.Mutex
	records      []*record // in the order of creation
	byID         map[string]*record
	byName       map[string]*record
	byCredential map[string]*record // by the credential's id
	profiles     map[string]*profile
	customers    map[string]string // ids by title
}

func newStore(now func() time.Time) *store {
	s := &store{
		now:  now,
		byID: map[string]*record{}, byName: map[string]*record{}, byCredential: map[string]*record{},
		profiles: map[string]*profile{}, customers: map[string]string{},
	}
	s.profile(defaultType).isDefault = true
	return s
}

// create adds a device, and its profile if there is none of that name
// (DeviceProfileServiceImpl.findOrCreateDeviceProfile). Without a credential it
// gets a token of 20 characters.
func (s *store) create(device Device) (entry, error) {
	given, err := credentialOf(device)
	if err != nil {
		return entry{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(device, given)
}

// add needs the lock.
func (s *store) add(device Device, given credential) (entry, error) {
	if err := s.free(nil, device.Name, given.id); err != nil {
		return entry{}, err
	}
	r := &record{credential: given, entry: entry{
		id: newID(), credentials: newID(), created: s.now().UnixMilli(),
		name: device.Name, label: device.Label, kind: cmp.Or(device.Type, defaultType),
		description: device.Description, gateway: device.Gateway, customer: device.customer,
	}}
	s.profile(r.kind)
	s.records = append(s.records, r)
	s.byID[r.id], s.byName[r.name], s.byCredential[given.id] = r, r, r
	return r.entry, nil
}

// free checks that a name and a credential are not another device's.
func (s *store) free(r *record, name, id string) error {
	if strings.TrimSpace(name) == "" {
		return badParameter("Device name should be specified!")
	}
	if other := s.byName[name]; other != nil && other != r {
		return badParameter("Device with such name already exists!")
	}
	if other := s.byCredential[id]; other != nil && other != r {
		return badParameter("Specified credentials are already registered!")
	}
	return nil
}

// update changes the name, label and type of a device.
func (s *store) update(id string, device Device) (entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return entry{}, err
	}
	if err := s.free(r, device.Name, r.credential.id); err != nil {
		return entry{}, err
	}
	delete(s.byName, r.name)
	r.name, r.label, r.kind = device.Name, device.Label, cmp.Or(device.Type, r.kind)
	r.description, r.gateway, r.customer = device.Description, device.Gateway, device.customer
	s.byName[r.name] = r
	s.profile(r.kind)
	return r.entry, nil
}

// find needs the lock.
func (s *store) find(id string) (*record, error) {
	if r := s.byID[id]; r != nil {
		return r, nil
	}
	return nil, notFound(fmt.Sprintf("Device with id [%s] is not found", id))
}

// remove deletes a device, and gives its session, which has to be ended.
func (s *store) remove(id string) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	delete(s.byID, r.id)
	delete(s.byName, r.name)
	delete(s.byCredential, r.credential.id)
	s.records = slices.DeleteFunc(s.records, func(other *record) bool { return other == r })
	session := r.session
	r.session = nil
	return session, nil
}

// setCredential changes a device's credential, and gives its session, which has
// to be ended; nil when the credential is the one that it has.
func (s *store) setCredential(id string, given credential) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if err := s.free(r, r.name, given.id); err != nil || given == r.credential {
		return nil, err
	}
	s.replaceCredential(r, given)
	session := r.session
	r.session = nil
	return session, nil
}

// replaceCredential needs the lock.
func (s *store) replaceCredential(r *record, given credential) {
	delete(s.byCredential, r.credential.id)
	r.credential = given
	s.byCredential[given.id] = r
}

// assign gives a device to a customer; "" takes it away.
func (s *store) assign(id, customer string) (entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return entry{}, err
	}
	r.customer = customer
	return r.entry, nil
}

// device is a device by its id, with its credential.
func (s *store) device(id string) (entry, credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return entry{}, credential{}, err
	}
	return r.entry, r.credential, nil
}

// named is a device by its exact name.
func (s *store) named(name string) (entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byName[name]; r != nil {
		return r.entry, nil
	}
	return entry{}, notFound("Requested item wasn't found!")
}

// search gives the devices with a text in their name, label or type.
func (s *store) search(part string) []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []entry
	for _, r := range s.records {
		if containsFold(r.name, part) || containsFold(r.label, part) || containsFold(r.kind, part) {
			found = append(found, r.entry)
		}
	}
	return found
}

func containsFold(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

func (s *store) devices() []Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	devices := make([]Device, 0, len(s.records))
	for _, r := range s.records {
		devices = append(devices, r.exported())
	}
	return devices
}

// newID is a random UUID (RFC 9562, 5.4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
