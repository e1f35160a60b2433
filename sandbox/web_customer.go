package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
)

// json is a customer as the REST API shows it.
func (c customer) json() map[string]any {
	out := map[string]any{
		"country": nil, "state": nil, "city": nil, "address": nil, "address2": nil, "zip": nil, "phone": nil, "email": nil,
		"externalId": nil, "additionalInfo": nil,
	}
	for name := range out {
		if value, ok := c.rest[name]; ok {
			out[name] = value
		}
	}
	for name, value := range map[string]any{
		"id": entityID{"CUSTOMER", c.id}, "createdTime": c.created, "tenantId": entityID{"TENANT", tenantID},
		"title": c.title, "name": c.title, "version": c.version,
	} {
		out[name] = value
	}
	return out
}

// customerOf is the customer that the path names.
func (w *web) customerOf(r *http.Request) (customer, error) {
	id, err := pathID(r, "customer")
	if err != nil {
		return customer{}, err
	}
	return w.store.customerByID(id)
}

func (w *web) getCustomer(r *http.Request) (any, error) {
	found, err := w.customerOf(r)
	if err != nil {
		return nil, err
	}
	return found.json(), nil
}

// customerByTitle gives the customer of an exact title.
func (w *web) customerByTitle(r *http.Request) (any, error) {
	found, err := w.store.customerTitled(r.URL.Query().Get("customerTitle"))
	if err != nil {
		return nil, err
	}
	return found.json(), nil
}

func (w *web) customers(r *http.Request) (any, error) {
	found := w.store.searchCustomers(r.URL.Query().Get("textSearch"))
	return page(r, len(found), func(i int) any { return found[i].json() })
}

func (w *web) saveCustomer(r *http.Request) (any, error) {
	var raw map[string]json.RawMessage
	if err := body(r, &raw); err != nil {
		return nil, err
	}
	var it struct {
		ID      *entityID `json:"id"`
		Title   string    `json:"title"`
		Version *int64    `json:"version"`
	}
	if json.Unmarshal(marshal(raw), &it) != nil {
		return nil, badParameter("The request body is not the JSON that this call takes")
	}
	want := customer{title: it.Title, rest: raw}
	if it.ID != nil {
		want.id = strings.ToLower(it.ID.ID)
	}
	saved, err := w.store.saveCustomer(want, it.Version)
	if err != nil {
		return nil, err
	}
	return saved.json(), nil
}

func (w *web) deleteCustomer(r *http.Request) (any, error) {
	found, err := w.customerOf(r)
	if err != nil {
		return nil, err
	}
	return nil, w.store.removeCustomer(found.id)
}

// assign gives a device to a customer.
func (w *web) assign(r *http.Request) (any, error) {
	to, err := w.customerOf(r)
	if err != nil {
		return nil, err
	}
	return w.assignTo(r, to.id)
}

// unassign takes a device from its customer.
func (w *web) unassign(r *http.Request) (any, error) { return w.assignTo(r, "") }

func (w *web) assignTo(r *http.Request, customerID string) (any, error) {
	id, err := deviceID(r)
	if err != nil {
		return nil, err
	}
	assigned, err := w.store.assign(id, customerID)
	if err != nil {
		return nil, err
	}
	return assigned.json(), nil
}
