package sandbox

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// defaultType is the device profile that every tenant has.
const defaultType = "default"

// A record is a device. The store's lock guards it.
type record struct {
	entry
	token   string
	data    data
	session *link // nil when the device is not connected
}

// An entry is what the REST API says of a device.
type entry struct {
	id, name, label, kind string
	credentials           string // the id of its credentials
	created               int64  // milliseconds since 1970
}

// A store is what the sandbox knows. Its methods may be called concurrently.
type store struct {
	now func() time.Time

	mu       sync.Mutex
	records  []*record // in the order of creation
	byID     map[string]*record
	byName   map[string]*record
	byToken  map[string]*record
	profiles map[string]string // ids by name
}

func newStore(now func() time.Time) *store {
	return &store{
		now:  now,
		byID: map[string]*record{}, byName: map[string]*record{}, byToken: map[string]*record{},
		profiles: map[string]string{defaultType: newID()},
	}
}

// create adds a device, and its profile if there is none of that name
// (DeviceProfileServiceImpl.findOrCreateDeviceProfile). Without a token it gets
// one of 20 characters.
func (s *store) create(device Device) (entry, error) {
	token := device.Token.Reveal()
	if token == "" {
		token = newToken()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.free(nil, device.Name, token); err != nil {
		return entry{}, err
	}
	r := &record{token: token, entry: entry{
		id: newID(), credentials: newID(), created: s.now().UnixMilli(),
		name: device.Name, label: device.Label, kind: cmp.Or(device.Type, defaultType),
	}}
	s.profile(r.kind)
	s.records = append(s.records, r)
	s.byID[r.id], s.byName[r.name], s.byToken[token] = r, r, r
	return r.entry, nil
}

// free checks that a name and a token are not another device's.
func (s *store) free(r *record, name, token string) error {
	if strings.TrimSpace(name) == "" {
		return badParameter("Device name should be specified!")
	}
	if other := s.byName[name]; other != nil && other != r {
		return badParameter("Device with such name already exists!")
	}
	if other := s.byToken[token]; other != nil && other != r {
		return badParameter("Specified credentials are already registered!")
	}
	return nil
}

// profile makes a profile, if there is none of this name.
func (s *store) profile(name string) {
	if s.profiles[name] == "" {
		s.profiles[name] = newID()
	}
}

// update changes the name, label and type of a device.
func (s *store) update(id string, device Device) (entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return entry{}, err
	}
	if err := s.free(r, device.Name, r.token); err != nil {
		return entry{}, err
	}
	delete(s.byName, r.name)
	r.name, r.label, r.kind = device.Name, device.Label, cmp.Or(device.Type, r.kind)
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
	delete(s.byToken, r.token)
	s.records = slices.DeleteFunc(s.records, func(other *record) bool { return other == r })
	session := r.session
	r.session = nil
	return session, nil
}

// setToken changes a device's token, and gives its session, which has to be
// ended; nil when the token is the one that it has.
func (s *store) setToken(id, token string) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if err := s.free(r, r.name, token); err != nil || token == r.token {
		return nil, err
	}
	delete(s.byToken, r.token)
	r.token = token
	s.byToken[token] = r
	session := r.session
	r.session = nil
	return session, nil
}

// device is a device by its id, with its token.
func (s *store) device(id string) (entry, secret.Text, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return entry{}, secret.Text{}, err
	}
	return r.entry, secret.New(r.token), nil
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
		devices = append(devices, Device{Name: r.name, Label: r.label, Type: r.kind, Token: secret.New(r.token)})
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

// newToken is a token as ThingsBoard makes one: 20 characters.
func newToken() string { return rand.Text()[:20] }
