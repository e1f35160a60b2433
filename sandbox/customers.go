package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// A customer may have devices. The store's lock guards it.
type customer struct {
	id, title string
	created   int64 // milliseconds since 1970
	version   int64 // counts the changes, from 1
	rest      map[string]json.RawMessage
}

// customers are the customers of a store, under its lock.
type customers struct {
	all           []*customer
	byID, byTitle map[string]*customer
}

// saveCustomer creates a customer; or changes one, when there is an id
// (CustomerServiceImpl.saveCustomer).
func (s *store) saveCustomer(it customer, version *int64) (customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.customers.byID[it.id]
	if it.id != "" && old == nil {
		return customer{}, noCustomer(it.id)
	}
	if old != nil && version != nil && *version != old.version {
		return customer{}, conflict("Customer")
	}
	if err := s.customers.check(old, it); err != nil {
		return customer{}, err
	}
	if old == nil {
		it.id, it.created, it.version = newID(), s.now().UnixMilli(), 1
		made := &it
		s.customers.all = append(s.customers.all, made)
		s.customers.byID[made.id], s.customers.byTitle[made.title] = made, made
		return *made, nil
	}
	delete(s.customers.byTitle, old.title)
	it.created, it.version = old.created, old.version+1
	*old = it
	s.changes++
	s.customers.byTitle[old.title] = old
	return *old, nil
}

// check is CustomerDataValidator, and the database.
func (cs *customers) check(old *customer, it customer) error {
	if err := checkLength("title", it.title); err != nil {
		return err
	}
	if err := checkName("Customer title", it.title); err != nil {
		return err
	}
	if it.title == "Public" {
		return badParameter("'Public' title for customer is system reserved!")
	}
	if other := cs.byTitle[it.title]; other != nil && other != old {
		return badParameter("Customer with such title already exists!")
	}
	return nil
}

func noCustomer(id string) error {
	return notFound(fmt.Sprintf("Customer with id [%s] is not found", id))
}

// customerOf is the id of a customer, who is made when there is none of the title.
func (s *store) customerOf(title string) string {
	if found, err := s.customerTitled(title); err == nil {
		return found.id
	}
	made, _ := s.saveCustomer(customer{title: title}, nil)
	return made.id
}

func (s *store) customerByID(id string) (customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.customers.byID[id]; found != nil {
		return *found, nil
	}
	return customer{}, noCustomer(id)
}

func (s *store) customerTitled(title string) (customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.customers.byTitle[title]; found != nil {
		return *found, nil
	}
	return customer{}, notFound("Customer with title [" + title + "] is not found")
}

// searchCustomers gives the customers with a text in their title, sorted by it.
func (s *store) searchCustomers(part string) []customer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []customer
	for _, one := range s.customers.all {
		if containsFold(one.title, part) {
			found = append(found, *one)
		}
	}
	slices.SortFunc(found, func(a, b customer) int { return cmp.Compare(a.title, b.title) })
	return found
}

// assign gives a device to a customer; to none for an empty id.
func (s *store) assign(deviceID, customerID string) (entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.customers.byID[customerID]
	if customerID != "" && to == nil {
		return entry{}, noCustomer(customerID)
	}
	r, err := s.find(deviceID)
	switch {
	case err != nil:
		return entry{}, err
	case to == nil && r.customer == nil:
		return entry{}, badParameter("Device isn't assigned to any customer!")
	case r.customer != to:
		r.customer = to
		r.version++
		s.changes++
	}
	return s.entry(r), nil
}

// removeCustomer deletes a customer, whose devices are then nobody's.
func (s *store) removeCustomer(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.customers.byID[id]
	if gone == nil {
		return noCustomer(id)
	}
	for _, r := range s.records {
		if r != nil && r.customer == gone {
			r.customer = nil
			r.version++
		}
	}
	s.changes++
	delete(s.customers.byID, gone.id)
	delete(s.customers.byTitle, gone.title)
	s.customers.all = slices.DeleteFunc(s.customers.all, func(other *customer) bool { return other == gone })
	return nil
}
