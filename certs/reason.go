package certs

import (
	"fmt"
	"strings"
)

// reason is one of RFC 5280, 5.3.1.
type reason struct {
	name string
	code int
	// device says that a device's certificate can be revoked for it. The others
	// are read in CRLs of other CAs.
	device bool
}

func reasons() []reason {
	return []reason{
		{"unspecified", 0, true}, {"keyCompromise", 1, true}, {"cACompromise", 2, false}, {"affiliationChanged", 3, true},
		{"superseded", 4, true}, {"cessationOfOperation", 5, true}, {"certificateHold", 6, false}, {"removeFromCRL", 8, false},
		{"privilegeWithdrawn", 9, true}, {"aACompromise", 10, false},
	}
}

// standsInCRL reports whether a full CRL may have a reason: all but 8, which is
// a delta CRL's, and those that the RFC does not know.
func standsInCRL(code int) bool {
	for _, known := range reasons() {
		if known.code == code {
			return known.name != "removeFromCRL"
		}
	}
	return false
}

// ReasonNames are the reasons that ParseReason takes: those for which a
// device's certificate can be revoked.
func ReasonNames() []string {
	var names []string
	for _, known := range reasons() {
		if known.device {
			names = append(names, known.name)
		}
	}
	return names
}

// ParseReason gives the code of a reason, in whatever case; the error lists the
// names.
func ParseReason(name string) (int, error) {
	for _, known := range reasons() {
		if known.device && strings.EqualFold(known.name, name) {
			return known.code, nil
		}
	}
	return 0, fmt.Errorf("there is no reason %q: the reasons are %s", name, strings.Join(ReasonNames(), ", "))
}

// ReasonName is the name of a reason's code in RFC 5280; for a code that has
// none there, its number.
func ReasonName(code int) string {
	for _, known := range reasons() {
		if known.code == code {
			return known.name
		}
	}
	return fmt.Sprintf("reason %d", code)
}
