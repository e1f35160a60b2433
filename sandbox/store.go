package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
)

// A record is a device. The store's lock guards it.
type record struct {
	id, name, label string
	profile         *profile
	customer        *customer       // nil when it is assigned to none
	info            json.RawMessage // "additionalInfo"; nil for none
	created         int64           // milliseconds since 1970
	version         int64           // counts the changes, from 1

	credentials string // the id of its credentials
	credential  credential

	index   int // in the store's records
	data    data
	state   state
	session *link // nil when the device is not connected
	calls   calls
}

// A spec is what a device is to be.
type spec struct {
	id               string // "" for a new one
	name, label      string
	kind, profileID  string // its profile, by one of them; the default one without
	customerID       string // "" for none
	info             json.RawMessage
	version          *int64 // that is changed; nil for whatever there is
	isNameMadeUnique bool   // a name that is taken gets another ending
}

// A store is what the sandbox knows. Its methods may be called concurrently.
type store struct {
	now func() time.Time

	mu           sync.Mutex
	records      []*record // in the order of creation; nil for a deleted one
	count        int       // of those that are not nil
	byID         map[string]*record
	byName       map[string]*record
	byCredential map[string]*record // by the id of the credential
	changes      uint64             // that a list of devices may show
	listed       listing

	profiles  profiles
	customers customers
}

func newStore(now func() time.Time) *store {
	s := &store{now: now, byID: map[string]*record{}, byName: map[string]*record{}, byCredential: map[string]*record{}}
	s.profiles.byID, s.profiles.byName, s.profiles.byKey = map[string]*profile{}, map[string]*profile{}, map[string]*profile{}
	s.customers.byID, s.customers.byTitle = map[string]*customer{}, map[string]*customer{}
	s.profiles.add(&profile{id: newID(), name: defaultType, isDefault: true, strategy: strategyDisabled, configured: strategyDisabled, created: now().UnixMilli()})
	return s
}

// create adds a device, and its profile if there is none of that name
// (DeviceServiceImpl.saveDeviceWithCredentials).
func (s *store) create(it spec, c credential) (entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.add(it, c)
	if err != nil {
		return entry{}, err
	}
	return s.entry(r), nil
}

// add needs the lock. Nothing is changed when it fails.
func (s *store) add(it spec, c credential) (*record, error) {
	if it.isNameMadeUnique && s.byName[it.name] != nil {
		it.name += "_" + newToken()[:6]
	}
	if err := s.check(nil, it); err != nil {
		return nil, err
	}
	if s.byCredential[c.id] != nil {
		return nil, errTaken()
	}
	p, err := s.profiles.of(it, s.now)
	if err != nil {
		return nil, err
	}
	if it.id == "" {
		it.id = newID()
	}
	r := &record{
		id: it.id, name: it.name, label: it.label, profile: p, customer: s.customers.byID[it.customerID], info: it.info,
		created: s.now().UnixMilli(), version: 1, credentials: newID(), credential: c, index: len(s.records),
	}
	p.devices++
	s.records = append(s.records, r)
	s.count++
	s.changes++
	s.byID[r.id], s.byName[r.name], s.byCredential[c.id] = r, r, r
	return r, nil
}

// wouldTake says what is wrong with a new device but for its credential.
func (s *store) wouldTake(it spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.check(nil, it)
}

// errTaken is the refusal of a credential that another device has
// (DeviceCredentialsDataValidator). Where two come at once, ThingsBoard's
// database refuses one of them, with other words.
func errTaken() error {
	return badCredential("Device credentials are already assigned to another device!")
}

// check checks what a device is to be, as DeviceDataValidator and the database
// do; r is nil for a new one.
func (s *store) check(r *record, it spec) error {
	for _, field := range [][2]string{{"label", it.label}, {"name", it.name}, {"type", it.kind}} {
		if err := checkLength(field[0], field[1]); err != nil {
			return err
		}
	}
	if err := checkName("Device name", it.name); err != nil {
		return err
	}
	if it.customerID != "" && s.customers.byID[it.customerID] == nil {
		return badParameter("Can't assign device to non-existent customer!")
	}
	if other := s.byName[it.name]; other != nil && other != r {
		return badParameter("Device with such name already exists!")
	}
	return nil
}

// maxField is the longest text of a field, in Java's chars (the annotation Length).
const maxField = 255

func checkLength(field, value string) error {
	if len(value) > maxField && len(utf16.Encode([]rune(value))) > maxField {
		return badParameter(fmt.Sprintf("Validation error: %s length must be equal or less than %d", field, maxField))
	}
	return nil
}

// checkName is DataValidator.validateString.
func checkName(what, value string) error {
	switch {
	case strings.TrimSpace(value) == "":
		return badParameter(what + " should be specified!")
	case strings.ContainsRune(value, 0):
		return badParameter(what + " should not contain 0x00 symbol!")
	default:
		return nil
	}
}

// update makes a device what it is to be, with a new credential unless c is nil.
// It gives the session that has to be ended, as every change of a credential
// does.
func (s *store) update(id string, it spec, c *credential) (entry, *link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return entry{}, nil, err
	}
	if it.isNameMadeUnique && s.byName[it.name] != nil && s.byName[it.name] != r {
		it.name += "_" + newToken()[:6]
	}
	if err := s.checkUpdate(r, it, c); err != nil {
		return entry{}, nil, err
	}
	p, err := s.profiles.of(it, s.now)
	if err != nil {
		return entry{}, nil, err
	}
	delete(s.byName, r.name)
	r.profile.devices--
	p.devices++
	r.name, r.label, r.profile, r.customer, r.info = it.name, it.label, p, s.customers.byID[it.customerID], it.info
	r.version++
	s.changes++
	s.byName[r.name] = r
	var session *link
	if c != nil {
		session = s.change(r, *c)
	}
	return s.entry(r), session, nil
}

// checkUpdate checks what a device is to become.
func (s *store) checkUpdate(r *record, it spec, c *credential) error {
	if it.version != nil && *it.version != r.version {
		return conflict("Device")
	}
	if err := s.check(r, it); err != nil {
		return err
	}
	if c != nil && s.byCredential[c.id] != nil && s.byCredential[c.id] != r {
		return errTaken()
	}
	return nil
}

// change gives a device another credential, which no other one has. It gives the
// session that has to be ended (EntityStateSourcingListener, and then
// DeviceActorMessageProcessor.processCredentialsUpdate); nil when nothing changed.
// It needs the lock.
func (s *store) change(r *record, c credential) *link {
	if c == r.credential {
		return nil
	}
	delete(s.byCredential, r.credential.id)
	r.credential = c
	s.byCredential[c.id] = r
	return s.part(r)
}

// part takes the session from a device; it needs the lock.
func (s *store) part(r *record) *link {
	session := r.session
	r.session = nil
	if session != nil {
		r.state.disconnected = s.now().UnixMilli()
	}
	return session
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
	r.profile.devices--
	s.records[r.index] = nil
	s.count--
	s.changes++
	s.compact()
	return s.part(r), nil
}

// compact drops the places of deleted devices, once they are half of all.
func (s *store) compact() {
	if s.count*2 > len(s.records) {
		return
	}
	kept := make([]*record, 0, s.count)
	for _, r := range s.records {
		if r != nil {
			r.index = len(kept)
			kept = append(kept, r)
		}
	}
	s.records = kept
}

// setCredential changes a device's credential; see update.
func (s *store) setCredential(id string, c credential) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if other := s.byCredential[c.id]; other != nil && other != r {
		return nil, errTaken()
	}
	return s.change(r, c), nil
}

// device is a device by its id, with its credential.
func (s *store) device(id string) (entry, credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return entry{}, credential{}, err
	}
	return s.entry(r), r.credential, nil
}

// named is a device by its exact name.
func (s *store) named(name string) (entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byName[name]; r != nil {
		return s.entry(r), nil
	}
	return entry{}, notFound("Requested item wasn't found!")
}

// newID is a random UUID (RFC 9562, 5.4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var out [36]byte
	at := 0
	for i, part := range [][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
		if i > 0 {
			out[at] = '-'
			at++
		}
		at += hex.Encode(out[at:], part)
	}
	return string(out[:])
}

// newToken is a token as ThingsBoard makes one: 20 characters.
func newToken() string { return rand.Text()[:20] }
