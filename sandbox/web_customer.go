package sandbox

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

type customerJSON struct {
	ID       *entityID `json:"id"`
	TenantID *entityID `json:"tenantId"`
	Title    string    `json:"title"`
	Name     string    `json:"name"`
}

func customer(id, title string) customerJSON {
	return customerJSON{ID: &entityID{"CUSTOMER", id}, TenantID: &entityID{"TENANT", tenantID}, Title: title, Name: title}
}

// customerByTitle gives the customer of an exact title.
func (w *web) customerByTitle(r *http.Request) (any, error) {
	title := r.URL.Query().Get("customerTitle")
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if id := w.store.customers[title]; id != "" {
		return customer(id, title), nil
	}
	return nil, notFound("Requested item wasn't found!")
}

func (w *web) customers(r *http.Request) (any, error) {
	w.store.mu.Lock()
	titles := slices.Sorted(maps.Keys(w.store.customers))
	ids := maps.Clone(w.store.customers)
	w.store.mu.Unlock()
	titles = slices.DeleteFunc(titles, func(title string) bool { return !containsFold(title, r.URL.Query().Get("textSearch")) })
	return page(r, len(titles), func(i int) any { return customer(ids[titles[i]], titles[i]) })
}

func (w *web) saveCustomer(r *http.Request) (any, error) {
	var it customerJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	if strings.TrimSpace(it.Title) == "" {
		return nil, badParameter("Customer title should be specified!")
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.store.customers[it.Title] != "" {
		return nil, badParameter("Customer with such title already exists!")
	}
	id := newID()
	w.store.customers[it.Title] = id
	return customer(id, it.Title), nil
}

// assign gives a device to a customer.
func (w *web) assign(r *http.Request) (any, error) {
	id, err := deviceID(r)
	if err != nil {
		return nil, err
	}
	customerID := strings.ToLower(r.PathValue("customer"))
	w.store.mu.Lock()
	known := slices.Contains(slices.Collect(maps.Values(w.store.customers)), customerID)
	w.store.mu.Unlock()
	if !known {
		return nil, notFound("Customer with id [" + customerID + "] is not found")
	}
	assigned, err := w.store.assign(id, customerID)
	if err != nil {
		return nil, err
	}
	return w.json(assigned), nil
}

// unassign takes a device from its customer.
func (w *web) unassign(r *http.Request) (any, error) {
	id, err := deviceID(r)
	if err != nil {
		return nil, err
	}
	left, err := w.store.assign(id, "")
	if err != nil {
		return nil, err
	}
	return w.json(left), nil
}
