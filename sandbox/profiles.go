package sandbox

import (
	"maps"
	"slices"
)

// profileID is the id of a profile that a device has.
func (s *store) profileID(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.profiles[name]
}

// profileName is the name of a profile by its id.
func (s *store) profileName(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, known := range s.profiles {
		if known == id {
			return name, nil
		}
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
