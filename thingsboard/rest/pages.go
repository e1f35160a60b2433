package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

const (
	pageSize = 100
	// maxPages bounds a list that does not end: a million entries.
	maxPages = 10_000
)

// A page is one answer of a list (PageData).
type page struct {
	Data    []json.RawMessage `json:"data"`
	HasNext bool              `json:"hasNext"`
}

// pages gives each element of a list to take, which says whose id it has and
// whether to go on. A page whose elements were all on the page before repeats.
func (c *Client) pages(ctx context.Context, path string, query url.Values, take func(json.RawMessage) (id string, more bool, err error)) error {
	before := map[string]bool{}
	for number := range maxPages {
		var got page
		asked := maps.Clone(query)
		if asked == nil {
			asked = url.Values{}
		}
		asked.Set("pageSize", strconv.Itoa(pageSize))
		asked.Set("page", strconv.Itoa(number))
		if err := c.do(ctx, call{method: http.MethodGet, path: path, query: asked, answer: &got}); err != nil {
			return err
		}
		now := map[string]bool{}
		for _, data := range got.Data {
			id, more, err := take(data)
			if err != nil || !more {
				return err
			}
			if before[id] {
				return fmt.Errorf("%s: %w: page %d repeats the one before", c.place(path), ErrNotThingsBoard, number)
			}
			now[id] = true
		}
		if !got.HasNext || len(got.Data) == 0 {
			return nil
		}
		before = now
	}
	return fmt.Errorf("%s: %w: the list does not end after %d pages", c.place(path), ErrNotThingsBoard, maxPages)
}
