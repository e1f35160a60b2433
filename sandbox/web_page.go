package sandbox

import (
	"fmt"
	"net/http"
	"strconv"
)

// maxNumber bounds the size and the number of a page.
const maxNumber = 1 << 20

// tenantDevices gives the device of an exact name, or a page of devices.
func (w *web) tenantDevices(r *http.Request) (any, error) {
	query := r.URL.Query()
	if query.Has("deviceName") {
		found, err := w.store.named(query.Get("deviceName"))
		if err != nil {
			return nil, err
		}
		return w.json(found), nil
	}
	found := w.store.search(query.Get("textSearch"))
	return page(r, len(found), func(i int) any { return w.json(found[i]) })
}

func (w *web) profileInfos(r *http.Request) (any, error) {
	found := w.store.searchProfiles(r.URL.Query().Get("textSearch"))
	return page(r, len(found), func(i int) any {
		return map[string]any{
			"id": entityID{"DEVICE_PROFILE", w.store.profileID(found[i])}, "name": found[i],
			"type": "DEFAULT", "transportType": "DEFAULT", "image": nil, "defaultDashboardId": nil,
		}
	})
}

// page gives the page of a list that a request asks for (PageData).
func page(r *http.Request, total int, item func(int) any) (any, error) {
	size, err := number(r, "pageSize")
	if err != nil {
		return nil, err
	}
	at, err := number(r, "page")
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, badParameter("Incorrect page link page size '0'. Page size must be greater than zero.")
	}
	at = min(at, total/size+1) // nothing is there, and the product stays small
	data := []any{}
	for i := min(at*size, total); i < min((at+1)*size, total); i++ {
		data = append(data, item(i))
	}
	return map[string]any{
		"data": data, "totalPages": (total + size - 1) / size, "totalElements": total, "hasNext": (at+1)*size < total,
	}, nil
}

// number is a parameter that has to be there.
func number(r *http.Request, name string) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, badParameter(fmt.Sprintf("Required request parameter '%s' for method parameter type int is not present", name))
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxNumber {
		return 0, badParameter(fmt.Sprintf("The parameter '%s' is not a number from 0 to %d", name, maxNumber))
	}
	return n, nil
}
