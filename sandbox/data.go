package sandbox

import (
	"slices"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// What is kept of one device: the newest samples within both bounds, and client
// attributes up to theirs.
const (
	maxSamples    = 1000
	maxBytes      = 1 << 20
	maxAttributes = 1000
)

// data is what a device has sent.
type data struct {
	samples   []Sample
	bytes     int // of the samples
	scopes    map[string]map[string]attribute
	attrBytes int
}

// The scopes of attributes (AttributeScope).
const (
	scopeClient = "CLIENT_SCOPE"
	scopeShared = "SHARED_SCOPE"
	scopeServer = "SERVER_SCOPE"
)

type attribute struct {
	value any
	ts    int64 // when it was written, in milliseconds since 1970
}

func size(key string, value any) int { return len(key) + len(jsonOf(value)) }

func (d *data) addSample(sample Sample) {
	d.samples = append(d.samples, sample)
	d.bytes += size(sample.Key, sample.Value)
	for len(d.samples) > 1 && (len(d.samples) > maxSamples || d.bytes > maxBytes) {
		d.bytes -= size(d.samples[0].Key, d.samples[0].Value)
		d.samples = d.samples[1:]
	}
}

// setAttribute drops a new attribute that is beyond the bounds.
func (d *data) setAttribute(scope, key string, value attribute) {
	attributes := d.scopes[scope]
	old, known := attributes[key]
	grown := d.attrBytes + size(key, value.value)
	if known {
		grown -= size(key, old.value)
	}
	if grown > maxBytes || !known && len(attributes) >= maxAttributes {
		return
	}
	if d.scopes == nil {
		d.scopes = map[string]map[string]attribute{}
	}
	if attributes == nil {
		attributes = map[string]attribute{}
		d.scopes[scope] = attributes
	}
	attributes[key], d.attrBytes = value, grown
}

// dropAttribute forgets an attribute.
func (d *data) dropAttribute(scope, key string) {
	if old, known := d.scopes[scope][key]; known {
		d.attrBytes -= size(key, old.value)
		delete(d.scopes[scope], key)
	}
}

// storeSamples keeps what a device has published, unless it was deleted.
func (s *store) storeSamples(id string, samples []device.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return
	}
	now := s.now().UnixMilli()
	for _, sample := range samples {
		ts := now
		if sample.HasTS {
			ts = sample.TS
		}
		r.data.addSample(Sample{TS: ts, Key: sample.Key, Value: sample.Value})
	}
}

// storeAttributes keeps attributes of a device, and gives its session, which is
// to be told of shared ones.
func (s *store) storeAttributes(id, scope string, attributes map[string]any) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return nil
	}
	now := s.now().UnixMilli()
	for key, value := range attributes {
		r.data.setAttribute(scope, key, attribute{value: value, ts: now})
	}
	return r.session
}

// dropAttributes forgets attributes of a device, and gives its session.
func (s *store) dropAttributes(id, scope string, keys []string) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		r.data.dropAttribute(scope, key)
	}
	return r.session, nil
}

// attributes gives a device's attributes of a scope and these keys; with no keys
// all.
func (s *store) attributes(id, scope string, keys []string) map[string]attribute {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]attribute{}
	if r := s.byID[id]; r != nil {
		for key, value := range r.data.scopes[scope] {
			if len(keys) == 0 || slices.Contains(keys, key) {
				found[key] = value
			}
		}
	}
	return found
}

// sessionOf is the session of a device; nil when it is not connected.
func (s *store) sessionOf(id string) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return r.session, nil
}

// latest gives, by its key, the sample with the greatest time of each key; the
// one that came last when two have it.
func (s *store) latest(id string) (map[string]Sample, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	found := map[string]Sample{}
	for _, sample := range r.data.samples {
		if newest, known := found[sample.Key]; !known || sample.TS >= newest.TS {
			found[sample.Key] = sample
		}
	}
	return found, nil
}

func (s *store) telemetry(name string) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byName[name]
	if r == nil {
		return nil
	}
	return append([]Sample{}, r.data.samples...)
}

// open lets a session in by what it logged in with, and gives the session that
// the device had before, which has to be ended: a device has one
// (ACTORS_MAX_CONCURRENT_SESSION_PER_DEVICE).
func (s *store) open(session *link) (id string, previous *link, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byLogin(session.login)
	if chain := session.chain(); len(chain) > 0 { // then the rest does not count
		r = s.byChain(chain)
	}
	if r == nil {
		return "", nil, false
	}
	previous, r.session = r.session, session
	s.active(r, true)
	return r.id, previous, true
}

// active notes when a device was last heard of (DefaultDeviceStateService).
func (s *store) active(r *record, connected bool) {
	now := s.now().UnixMilli()
	set := func(key string, value any) { r.data.setAttribute(scopeServer, key, attribute{value: value, ts: now}) }
	set("active", connected)
	if connected {
		set("lastConnectTime", now)
		set("lastActivityTime", now)
	} else {
		set("lastDisconnectTime", now)
	}
}

// gone forgets a session that has ended.
func (s *store) gone(id string, session *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byID[id]; r != nil && r.session == session {
		r.session = nil
		s.active(r, false)
	}
}
