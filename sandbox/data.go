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
	samples    []Sample
	bytes      int // of the samples
	attributes map[string]attribute
	attrBytes  int
}

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
func (d *data) setAttribute(key string, value attribute) {
	old, known := d.attributes[key]
	grown := d.attrBytes + size(key, value.value)
	if known {
		grown -= size(key, old.value)
	}
	if grown > maxBytes || !known && len(d.attributes) >= maxAttributes {
		return
	}
	if d.attributes == nil {
		d.attributes = map[string]attribute{}
	}
	d.attributes[key], d.attrBytes = value, grown
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

func (s *store) storeAttributes(id string, attributes map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return
	}
	now := s.now().UnixMilli()
	for key, value := range attributes {
		r.data.setAttribute(key, attribute{value: value, ts: now})
	}
}

// attributes gives a device's client attributes of these keys; with no keys all.
func (s *store) attributes(id string, keys []string) map[string]attribute {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]attribute{}
	if r := s.byID[id]; r != nil {
		for key, value := range r.data.attributes {
			if len(keys) == 0 || slices.Contains(keys, key) {
				found[key] = value
			}
		}
	}
	return found
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

// open lets a session in by a token, and gives the session that the device had
// before, which has to be ended: a device has one
// (ACTORS_MAX_CONCURRENT_SESSION_PER_DEVICE).
func (s *store) open(token string, session *link) (id string, previous *link, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byToken[token]
	if r == nil {
		return "", nil, false
	}
	previous, r.session = r.session, session
	return r.id, previous, true
}

// gone forgets a session that has ended.
func (s *store) gone(id string, session *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byID[id]; r != nil && r.session == session {
		r.session = nil
	}
}
