package sandbox

import (
	"github.com/tbcert/tbcert/thingsboard/device"
)

// What is kept of one device: the newest samples within both bounds, and
// attributes of all scopes up to theirs.
const (
	maxSamples    = 1000
	maxBytes      = 1 << 20
	maxAttributes = 1000
)

// data is what a device has sent, and what it was given.
type data struct {
	samples   []Sample
	bytes     int // of the samples
	scopes    [scopeCount]map[string]attribute
	attrBytes int
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

// set drops a new attribute that is beyond the bounds.
func (d *data) set(in scope, key string, value attribute) {
	old, known := d.scopes[in][key]
	grown := d.attrBytes + size(key, value.value)
	if known {
		grown -= size(key, old.value)
	}
	if grown > maxBytes || !known && len(d.scopes[in]) >= maxAttributes {
		return
	}
	if d.scopes[in] == nil {
		d.scopes[in] = map[string]attribute{}
	}
	d.scopes[in][key], d.attrBytes = value, grown
}

// unset forgets an attribute, and reports whether there was one.
func (d *data) unset(in scope, key string) bool {
	old, known := d.scopes[in][key]
	if known {
		d.attrBytes -= size(key, old.value)
		delete(d.scopes[in], key)
	}
	return known
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
	r.state.seen = now
	for _, sample := range samples {
		ts := now
		if sample.HasTS {
			ts = sample.TS
		}
		r.data.addSample(Sample{TS: ts, Key: sample.Key, Value: sample.Value})
	}
}

// latest gives, by its key, the sample with the greatest time of each key; the
// one that came last when two have it. It is false when there is no such device.
func (s *store) latest(id string) (map[string]Sample, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return nil, false
	}
	found := map[string]Sample{}
	for _, sample := range r.data.samples {
		if newest, known := found[sample.Key]; !known || sample.TS >= newest.TS {
			found[sample.Key] = sample
		}
	}
	return found, true
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
