package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// How devices may be provisioned by a profile (DeviceProfileProvisionType).
const (
	strategyDisabled = "DISABLED"
	strategyCreate   = "ALLOW_CREATE_NEW_DEVICES"
	strategyCheck    = "CHECK_PRE_PROVISIONED_DEVICES"
	strategyChain    = "X509_CERTIFICATE_CHAIN"
)

// defaultType is the device profile that every tenant has.
const defaultType = "default"

// A Profile is a device profile that devices can provision themselves by: over
// MQTT with its key and secret, or by certificates of its CA.
type Profile struct {
	Name        string
	Key, Secret secret.Text // provisionDeviceKey, provisionDeviceSecret
	// PreProvisioned lets in those devices only that were created before, each
	// once (CHECK_PRE_PROVISIONED_DEVICES); otherwise they are created
	// (ALLOW_CREATE_NEW_DEVICES).
	PreProvisioned bool

	// Chain lets in the devices of a CA instead (X509_CERTIFICATE_CHAIN); then key
	// and secret are not looked at.
	Chain *Chain
}

// A Chain lets in every device with a certificate of a CA.
type Chain struct {
	Certificate []byte // the CA's, in PEM
	Pattern     string // a regular expression; its first group takes the device's name from the CN
	AllowCreate bool   // devices that are not known are created
}

// A profile is a device profile. The store's lock guards it.
type profile struct {
	id, name  string
	isDefault bool
	created   int64 // milliseconds since 1970
	version   int64 // counts the changes, from 1
	devices   int   // that have it

	strategy    string // "provisionType"
	configured  string // the type of "provisionConfiguration", which should be the same
	key         string // "provisionDeviceKey"; "" for none
	secret      string // "provisionDeviceSecret": for a chain its certificate
	pattern     string
	expression  *regexp.Regexp // nil when pattern is not one
	allowCreate bool

	rest map[string]json.RawMessage // the fields that are only kept
}

// profiles are the profiles of a store, under its lock.
type profiles struct {
	all                 []*profile // in the order of creation
	byID, byName, byKey map[string]*profile
}

// add takes a profile in.
func (ps *profiles) add(p *profile) {
	p.version++
	ps.all = append(ps.all, p)
	ps.byID[p.id], ps.byName[p.name] = p, p
	if p.key != "" {
		ps.byKey[p.key] = p
	}
}

// of is the profile that a device is to have, which is made when there is none
// of its name (DeviceProfileServiceImpl.findOrCreateDeviceProfile).
func (ps *profiles) of(it spec, now func() time.Time) (*profile, error) {
	switch {
	case it.profileID != "":
		if p := ps.byID[it.profileID]; p != nil {
			return p, nil
		}
		return nil, badParameter("Device is referencing non existing device profile!")
	case it.kind == "":
		return ps.preferred(), nil
	case ps.byName[it.kind] == nil:
		ps.add(&profile{id: newID(), name: it.kind, strategy: strategyDisabled, configured: strategyDisabled, created: now().UnixMilli()})
	}
	return ps.byName[it.kind], nil
}

// preferred is the default profile.
func (ps *profiles) preferred() *profile {
	return ps.all[max(slices.IndexFunc(ps.all, func(p *profile) bool { return p.isDefault }), 0)]
}

// addProfile adds a profile of a config.
func (s *store) addProfile(it Profile) error {
	p := &profile{name: it.Name, strategy: strategyCreate, key: it.Key.Reveal(), secret: it.Secret.Reveal()}
	switch {
	case it.Chain != nil:
		p.strategy, p.key, p.secret = strategyChain, "", string(it.Chain.Certificate)
		p.pattern, p.allowCreate = it.Chain.Pattern, it.Chain.AllowCreate
	case it.PreProvisioned:
		p.strategy = strategyCheck
	}
	p.configured = p.strategy
	_, err := s.saveProfile(p, nil)
	return err
}

// saveProfile creates a profile; or changes one, when there is an id, and
// that only when its version is the one that is given.
func (s *store) saveProfile(p *profile, version *int64) (*profile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.profiles.byID[p.id]
	if p.id != "" && old == nil {
		return nil, notFound(fmt.Sprintf("Device profile with id [%s] is not found", p.id))
	}
	if old != nil && version != nil && *version != old.version {
		return nil, conflict("Device profile")
	}
	p.format()
	if err := s.profiles.check(old, p); err != nil {
		return nil, err
	}
	if old == nil {
		p.id, p.created = newID(), s.now().UnixMilli()
		s.profiles.add(p)
		return p.clone(), nil
	}
	delete(s.profiles.byName, old.name)
	delete(s.profiles.byKey, old.key)
	p.created, p.version, p.devices = old.created, old.version+1, old.devices
	*old = *p // devices point to it, and take its new name as their type
	s.changes++
	s.profiles.byName[old.name] = old
	if old.key != "" {
		s.profiles.byKey[old.key] = old
	}
	return old.clone(), nil
}

// format works out the key of a chain: the hash of its first certificate
// (DeviceProfileServiceImpl.formatDeviceProfileCertificate).
func (p *profile) format() {
	p.expression, _ = regexp.Compile(p.pattern)
	if p.configured == strategyChain && p.secret != "" {
		p.secret, p.key = formatChain(p.secret)
	}
}

// check is DeviceProfileDataValidator, and the database.
func (ps *profiles) check(old, p *profile) error {
	if err := checkLength("name", p.name); err != nil {
		return err
	}
	if err := checkName("Device profile name", p.name); err != nil {
		return err
	}
	if p.isDefault && ps.preferred() != old {
		return badParameter("Another default device profile is present in scope of current tenant!")
	}
	if other := ps.byName[p.name]; other != nil && other != old {
		return badParameter("Device profile with such name already exists!")
	}
	if other := ps.byKey[p.key]; p.key != "" && other != nil && other != old {
		if p.strategy == strategyChain {
			return badParameter("Device profile with such certificate already exists!")
		}
		return badParameter("Device profile with such provision device key already exists!")
	}
	return nil
}

// clone is a copy that needs no lock.
func (p *profile) clone() *profile {
	copied := *p
	return &copied
}

// profileByID is a copy of a profile.
func (s *store) profileByID(id string) (*profile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.profiles.byID[id]; p != nil {
		return p.clone(), nil
	}
	return nil, notFound(fmt.Sprintf("Device profile with id [%s] is not found", id))
}

// defaultProfile is a copy of the default profile.
func (s *store) defaultProfile() *profile {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.profiles.preferred().clone()
}

// searchProfiles gives copies of the profiles that have a text in their name,
// sorted by it.
func (s *store) searchProfiles(part string) []*profile {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*profile
	for _, p := range s.profiles.all {
		if containsFold(p.name, part) {
			found = append(found, p.clone())
		}
	}
	slices.SortFunc(found, func(a, b *profile) int { return cmp.Compare(a.name, b.name) })
	return found
}

// removeProfile deletes a profile that no device has.
func (s *store) removeProfile(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.profiles.byID[id]
	switch {
	case p == nil:
		return notFound(fmt.Sprintf("Device profile with id [%s] is not found", id))
	case p.isDefault:
		return badParameter("Deletion of Default Device Profile is prohibited!")
	case p.devices > 0:
		return badParameter("The device profile referenced by the devices cannot be deleted!")
	}
	delete(s.profiles.byID, p.id)
	delete(s.profiles.byName, p.name)
	delete(s.profiles.byKey, p.key)
	s.profiles.all = slices.DeleteFunc(s.profiles.all, func(other *profile) bool { return other == p })
	return nil
}
