package sandbox

import (
	"encoding/json"
	"slices"
	"time"
)

// A scope is whose attributes they are (AttributeScope).
type scope int

const (
	scopeClient scope = iota
	scopeServer
	scopeShared
	scopeCount
)

func (in scope) String() string {
	return [scopeCount]string{"CLIENT_SCOPE", "SERVER_SCOPE", "SHARED_SCOPE"}[in]
}

// scopeOf is the scope of a name.
func scopeOf(name string) (scope, bool) {
	for in := range scopeCount {
		if in.String() == name {
			return in, true
		}
	}
	return 0, false
}

// inactivity is how long a device counts as active after it was last heard of
// (state.defaultInactivityTimeoutInSec), unless its server attribute
// "inactivityTimeout" says otherwise, in milliseconds.
const inactivity = 10 * time.Minute

// A state is what ThingsBoard keeps of a device's connections, in milliseconds
// since 1970; 0 for never.
type state struct {
	connected, disconnected, seen int64
}

// attributes are those of the server scope that the state makes
// (DefaultDeviceStateService).
func (st state) attributes(created int64, isActive bool) map[string]attribute {
	made := map[string]attribute{"active": {value: isActive, ts: max(created, st.seen)}}
	for key, at := range map[string]int64{
		"lastConnectTime": st.connected, "lastDisconnectTime": st.disconnected, "lastActivityTime": st.seen,
	} {
		if at != 0 {
			made[key] = attribute{value: at, ts: at}
		}
	}
	return made
}

// isActive reports whether a device was heard of lately; it needs the lock.
func (r *record) isActive(now time.Time) bool {
	patience := inactivity.Milliseconds()
	if given, ok := r.data.scopes[scopeServer]["inactivityTimeout"].value.(int64); ok && given > 0 {
		patience = given
	}
	return r.state.seen != 0 && now.UnixMilli() < r.state.seen+patience
}

// attributesOf are all of a scope; it needs the lock.
func (r *record) attributesOf(in scope, now time.Time) map[string]attribute {
	found := map[string]attribute{}
	for key, value := range r.data.scopes[in] {
		found[key] = value
	}
	if in == scopeServer {
		for key, value := range r.state.attributes(r.created, r.isActive(now)) {
			found[key] = value
		}
	}
	return found
}

// attributes gives a device's attributes of these keys; with no keys all.
func (s *store) attributes(id string, in scope, keys []string) map[string]attribute {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return map[string]attribute{}
	}
	found := r.attributesOf(in, s.now())
	for key := range found {
		if len(keys) > 0 && !slices.Contains(keys, key) {
			delete(found, key)
		}
	}
	return found
}

// attributesNamed are all attributes of a device, by its name; nil for none.
func (s *store) attributesNamed(name string, in scope) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byName[name]
	if r == nil {
		return nil
	}
	plain := map[string]any{}
	for key, value := range r.attributesOf(in, s.now()) {
		plain[key] = value.value
	}
	return plain
}

// storeAttributes sets attributes, unless the device was deleted. It gives the
// session of a device that is to be told of them, nil for none.
func (s *store) storeAttributes(id string, in scope, attributes map[string]any) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return nil
	}
	now := s.now().UnixMilli()
	if in == scopeClient {
		r.state.seen = now
	}
	for key, value := range attributes {
		r.data.set(in, key, attribute{value: value, ts: now})
	}
	return r.told(in)
}

// deleteAttributes deletes attributes, and gives the keys there were.
func (s *store) deleteAttributes(id string, in scope, keys []string) (deleted []string, session *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return nil, nil
	}
	for _, key := range keys {
		if r.data.unset(in, key) {
			deleted = append(deleted, key)
		}
	}
	return deleted, r.told(in)
}

// told is the session that hears of changes: those of shared attributes.
func (r *record) told(in scope) *link {
	if in != scopeShared {
		return nil
	}
	return r.session
}

// valuesOf are attributes in JSON.
func valuesOf(attributes map[string]attribute) map[string]json.RawMessage {
	found := map[string]json.RawMessage{}
	for key, attribute := range attributes {
		found[key] = jsonOf(attribute.value)
	}
	return found
}
