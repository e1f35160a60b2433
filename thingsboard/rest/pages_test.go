package rest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// pageOf is a page of devices with these names, which are their ids too.
func pageOf(hasNext bool, names ...string) string {
	elements := make([]string, len(names))
	for i, name := range names {
		elements[i] = fmt.Sprintf(`{"id":{"entityType":"DEVICE","id":%q},"name":%q,"type":"default"}`, name, name)
	}
	return fmt.Sprintf(`{"data":[%s],"totalPages":9,"totalElements":9,"hasNext":%t}`, strings.Join(elements, ","), hasNext)
}

// A library answers with the page of a number, in memory.
type library func(number int) string

func (l library) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	number, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || r.URL.Query().Get("pageSize") != "100" || r.URL.Path != "/api/tenant/devices" {
		return nil, fmt.Errorf("it asks for %s", r.URL)
	}
	answer.Header().Set("Content-Type", "application/json")
	_, _ = answer.WriteString(l(number))
	return answer.Result(), nil
}

func (l library) client(t *testing.T) *rest.Client {
	t.Helper()
	return newClient(t, rest.Config{URL: "http://tb.example.com", APIKey: secret.New(apiKey), HTTP: &http.Client{Transport: l}, Wait: never(t)})
}

func numbered(pages ...string) library {
	return func(number int) string {
		if number >= len(pages) {
			return pageOf(false)
		}
		return pages[number]
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pages library
		want  []string
		err   string // "" for none
	}{
		"none":  {pages: numbered(pageOf(false))},
		"two":   {pages: numbered(pageOf(true, "a", "b"), pageOf(false, "c")), want: []string{"a", "b", "c"}},
		"moved": {pages: numbered(pageOf(true, "a", "b"), pageOf(true, "b", "c"), pageOf(false, "c")), want: []string{"a", "b", "c"}},

		"the page again":         {numbered(pageOf(true, "a", "b"), pageOf(true, "a", "b")), []string{"a", "b"}, "page 1 repeats"},
		"in a circle":            {numbered(pageOf(true, "a"), pageOf(true, "b"), pageOf(true, "a"), pageOf(true, "b")), []string{"a", "b"}, "page 2 repeats"},
		"empty, and more":        {numbered(pageOf(true, "a"), pageOf(true)), []string{"a"}, "page 1 is empty, and more are said to follow"},
		"no page":                {numbered(`{}`), nil, "no page of a list"},
		"null":                   {numbered(`null`), nil, "no page of a list"},
		"a list":                 {numbered(`[]`), nil, "JSON of another kind"},
		"another type":           {numbered(`{"data":{"a":1},"hasNext":false}`), nil, "it answers 200"},
		"cut off":                {numbered(pageOf(true, "a")[:50]), nil, "it answers 200"},
		"garbage after it":       {numbered(pageOf(false, "a") + "x"), nil, "it answers 200"},
		"a number":               {numbered(`{"data":[1]}`), nil, "no id"},
		"null in it":             {numbered(`{"data":[null]}`), nil, "no id"},
		"an id that is a path":   {numbered(pageOf(false, "a", "../user")), []string{"a"}, "no id"},
		"an id that is too long": {numbered(pageOf(false, strings.Repeat("a", 65))), nil, "no id"},
		"without a name":         {numbered(`{"data":[{"id":{"id":"a"}}]}`), nil, "no device"},
		"a name of another type": {numbered(`{"data":[{"id":{"id":"a"},"name":7}]}`), nil, "no device"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			var failed error
			for device, err := range test.pages.client(t).Devices(t.Context()) {
				if failed != nil {
					t.Error("it goes on after an error")
				}
				if failed = err; err == nil {
					got = append(got, device.Name)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if test.err == "" && failed != nil || test.err != "" && (!errors.Is(failed, rest.ErrNotThingsBoard) || !strings.Contains(failed.Error(), test.err)) {
				t.Errorf("error %v, want %q", failed, test.err)
			}
		})
	}
}

// TestDevicesStop: who has seen enough asks for no more pages.
func TestDevicesStop(t *testing.T) {
	t.Parallel()
	client := library(func(number int) string {
		if number > 0 {
			t.Error("it asks for another page")
		}
		return pageOf(true, "a", "b")
	}).client(t)
	for device, err := range client.Devices(t.Context()) {
		if err != nil || device.Name != "a" {
			t.Errorf("%+v %v", device, err)
		}
		break
	}
}

// TestDevicesEndless: there is an end to pages that are always new.
func TestDevicesEndless(t *testing.T) {
	t.Parallel()
	last, count := error(nil), 0
	for _, err := range library(func(number int) string { return pageOf(true, strconv.Itoa(number)) }).client(t).Devices(t.Context()) {
		last = err
		count++
	}
	if !errors.Is(last, rest.ErrNotThingsBoard) || !strings.Contains(last.Error(), "does not end after 10000 pages") || count != 10_001 {
		t.Errorf("%d devices, error %v", count, last)
	}
}

// TestDevicesOfOthers: what users wrote into a device is no reason to fail.
func TestDevicesOfOthers(t *testing.T) {
	t.Parallel()
	var got []rest.Device
	for _, info := range []string{`null`, `""`, `7`, `{"gateway":"yes","description":{}}`, `{"gateway":true,"description":"in the hall"}`} {
		answer := `{"data":[{"id":{"id":"a"},"name":"a","label":null,"customerId":{"id":"13814000-1dd2-11b2-8080-808080808080"},"additionalInfo":` + info + `}]}`
		for device, err := range numbered(answer).client(t).Devices(t.Context()) {
			if err != nil {
				t.Errorf("%s: %v", info, err)
			}
			got = append(got, device)
		}
	}
	plain := rest.Device{ID: "a", Name: "a"}
	if diff := cmp.Diff([]rest.Device{plain, plain, plain, plain, {ID: "a", Name: "a", Gateway: true, Description: "in the hall"}}, got); diff != "" {
		t.Error(diff)
	}
}
