package rest

import (
	"context"
	"crypto/sha256"
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

// pages gives each element of a list once to take, which says whether to go on.
// An element may be met twice: when others come or go meanwhile, all that follow
// move. A page of which nothing is new, and that says that more follow, goes
// round in a circle.
func (c *Client) pages(ctx context.Context, path string, query url.Values, take func(id string, data json.RawMessage) (more bool, err error)) error {
	seen := make(map[[16]byte]struct{}) // by hash: an id may be long
	for number := range maxPages {
		got, err := c.page(ctx, path, query, number)
		if err != nil {
			return err
		}
		before := len(seen)
		for _, data := range got.Data {
			var element struct {
				ID entityID `json:"id"`
			}
			if err := json.Unmarshal(data, &element); err != nil || !isID(element.ID.ID) {
				return fmt.Errorf("%s: %w: an element of page %d has no id", c.place(path), ErrNotThingsBoard, number)
			}
			hash := sha256.Sum256([]byte(element.ID.ID))
			key := [16]byte(hash[:16])
			if _, known := seen[key]; known {
				continue
			}
			seen[key] = struct{}{}
			if more, err := take(element.ID.ID, data); err != nil || !more {
				return err
			}
		}
		switch {
		case !got.HasNext:
			return nil
		case len(got.Data) == 0:
			return fmt.Errorf("%s: %w: page %d is empty, and more are said to follow", c.place(path), ErrNotThingsBoard, number)
		case len(seen) == before:
			return fmt.Errorf("%s: %w: page %d repeats what was on those before", c.place(path), ErrNotThingsBoard, number)
		}
	}
	return fmt.Errorf("%s: %w: the list does not end after %d pages", c.place(path), ErrNotThingsBoard, maxPages)
}

// page asks for one page of a list.
func (c *Client) page(ctx context.Context, path string, query url.Values, number int) (page, error) {
	asked := maps.Clone(query)
	asked.Set("pageSize", strconv.Itoa(pageSize))
	asked.Set("page", strconv.Itoa(number))
	var got page
	if err := c.do(ctx, call{method: http.MethodGet, path: path, query: asked, answer: &got}); err != nil {
		return page{}, err
	}
	if got.Data == nil {
		return page{}, fmt.Errorf("%s: %w: the answer is no page of a list", c.place(path), ErrNotThingsBoard)
	}
	return got, nil
}
