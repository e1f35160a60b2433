package sandbox

import (
	"cmp"
	"slices"
	"strings"
)

// An order says which devices a list has, and how they are sorted.
type order struct {
	text         string // in the name, label, type or customer
	kind         string // the exact type; "" for any
	profileID    string // "" for any
	customerID   string // "" for any
	by           string // "name", "label", "createdTime" or ""
	isDescending bool
}

// A listing is the list that was asked for last, so that the pages of a long one
// are not each sorted anew. It is good as long as nothing was changed.
type listing struct {
	order   order
	changes uint64
	records []*record
}

// search gives the devices of a page, and how many there are on all pages.
func (s *store) search(it order, size, page int) (found []entry, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listed.records == nil || s.listed.order != it || s.listed.changes != s.changes {
		s.listed = listing{order: it, changes: s.changes, records: s.list(it)}
	}
	all := s.listed.records
	page = min(page, len(all)/size+1) // nothing is there, and the product stays small
	for _, r := range all[min(page*size, len(all)):min((page+1)*size, len(all))] {
		found = append(found, s.entry(r))
	}
	return found, len(all)
}

// list needs the lock.
func (s *store) list(it order) []*record {
	list := make([]*record, 0, s.count)
	for _, r := range s.records {
		if r != nil && it.has(r) {
			list = append(list, r)
		}
	}
	compare := it.compare()
	if compare == nil {
		return list
	}
	slices.SortStableFunc(list, compare)
	if it.isDescending {
		slices.Reverse(list)
	}
	return list
}

// compare is nil for the order of creation.
func (it order) compare() func(a, b *record) int {
	switch it.by {
	case "name":
		return func(a, b *record) int { return cmp.Compare(a.name, b.name) }
	case "label":
		return func(a, b *record) int { return cmp.Compare(a.label, b.label) }
	case "type", "deviceProfileName":
		return func(a, b *record) int { return cmp.Compare(a.profile.name, b.profile.name) }
	case "createdTime":
		return func(a, b *record) int { return cmp.Compare(a.created, b.created) }
	default:
		return nil
	}
}

// has reports whether a device is in the list (DeviceRepository's queries).
func (it order) has(r *record) bool {
	switch {
	case it.kind != "" && r.profile.name != it.kind,
		it.profileID != "" && r.profile.id != it.profileID,
		it.customerID != "" && (r.customer == nil || r.customer.id != it.customerID):
		return false
	case it.text == "", containsFold(r.name, it.text), containsFold(r.label, it.text), containsFold(r.profile.name, it.text):
		return true
	default:
		return r.customer != nil && containsFold(r.customer.title, it.text)
	}
}

func containsFold(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}
