package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

type customerJSON struct {
	ID    *entityID `json:"id,omitempty"`
	Title string    `json:"title"`
}

// FindCustomer gives the id of the tenant's customer of exactly this title.
// [ErrNotFound] is in the error's chain when there is none.
func (c *Client) FindCustomer(ctx context.Context, title string) (id string, err error) {
	var got customerJSON
	it := call{method: http.MethodGet, path: "/api/tenant/customers", query: url.Values{"customerTitle": {title}}, answer: &got}
	if err := c.do(ctx, it); err != nil {
		return "", fmt.Errorf("looking for the customer %q: %w", title, err)
	}
	if got.ID == nil || !isID(got.ID.ID) || got.Title != title {
		return "", fmt.Errorf("looking for the customer %q at %s: %w: the answer is not that customer", title, c.place(it.path), ErrNotThingsBoard)
	}
	return got.ID.ID, nil
}

// AssignCustomer assigns a device to a customer, whose users then see it.
// [ErrNotFound] is in the error's chain when there is no such device or customer.
func (c *Client) AssignCustomer(ctx context.Context, customerID, deviceID string) error {
	path := "/api/customer/" + url.PathEscape(customerID) + "/device/" + url.PathEscape(deviceID)
	var got deviceJSON
	err := c.do(ctx, call{method: http.MethodPost, path: path, answer: &got})
	if device := got.any(); err == nil && (device.ID != deviceID || device.CustomerID != customerID) {
		err = fmt.Errorf("POST %s: %w: the answer is not that device of that customer", c.place(path), ErrNotThingsBoard)
	}
	if err != nil {
		return fmt.Errorf("assigning device %s to the customer %s: %w", deviceID, customerID, err)
	}
	return nil
}
