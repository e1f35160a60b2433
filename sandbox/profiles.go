package sandbox

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/tbcert/tbcert/certs/secret"
)

// How devices may be provisioned by a profile (DeviceProfileProvisionType).
const (
	strategyDisabled = "DISABLED"
	strategyCreate   = "ALLOW_CREATE_NEW_DEVICES"
	strategyCheck    = "CHECK_PRE_PROVISIONED_DEVICES"
	strategyChain    = "X509_CERTIFICATE_CHAIN"
)

// A Profile is a device profile that devices can provision themselves by, over
// MQTT.
type Profile struct {
	Name        string
	Key, Secret secret.Text // provisionDeviceKey, provisionDeviceSecret
	// PreProvisioned lets in those devices only that were created before, each
	// once (CHECK_PRE_PROVISIONED_DEVICES); otherwise they are created
	// (ALLOW_CREATE_NEW_DEVICES).
	PreProvisioned bool
}

// A profile is a device profile. The store's lock guards it.
type profile struct {
	id, name    string
	isDefault   bool
	strategy    string
	key, secret string // for a chain the hash and the base64 of its certificate
	pattern     string
	allowCreate bool
	extra       map[string]json.RawMessage // what else was saved
}

// profile finds or makes a profile. It needs the lock.
func (s *store) profile(name string) *profile {
	p := s.profiles[name]
	if p == nil {
		p = &profile{id: newID(), name: name, strategy: strategyDisabled}
		s.profiles[name] = p
	}
	return p
}

// addProfile makes a profile for provisioning.
func (s *store) addProfile(given Profile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.profile(given.Name)
	p.strategy, p.key, p.secret = strategyCreate, given.Key.Reveal(), given.Secret.Reveal()
	if given.PreProvisioned {
		p.strategy = strategyCheck
	}
}

// byKey finds the profile of a provision key. It needs the lock.
func (s *store) byKey(key string) *profile {
	for _, p := range s.profiles {
		if p.key != "" && p.key == key {
			return p
		}
	}
	return nil
}

// profileID is the id of a profile that a device has.
func (s *store) profileID(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.profile(name).id
}

// profileByID finds a profile. It needs the lock.
func (s *store) profileByID(id string) *profile {
	for _, p := range s.profiles {
		if p.id == id {
			return p
		}
	}
	return nil
}

// profileName is the name of a profile by its id.
func (s *store) profileName(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.profileByID(id); p != nil {
		return p.name, nil
	}
	return "", badParameter("Device is referencing to non-existent device profile!")
}

// searchProfiles gives the names of profiles that have a text in them, sorted.
func (s *store) searchProfiles(part string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Sorted(maps.Keys(s.profiles))
	return slices.DeleteFunc(names, func(name string) bool { return !containsFold(name, part) })
}
