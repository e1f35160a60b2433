package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
)

// maxNumber bounds the size and the number of a page.
const maxNumber = 1 << 20

// deviceNamed gives the device of an exact name.
func (w *web) deviceNamed(r *http.Request) (any, error) {
	found, err := w.store.named(r.URL.Query().Get("deviceName"))
	if err != nil {
		return nil, err
	}
	return found.json(), nil
}

// tenantDevices gives the device of an exact name, or a page of devices.
func (w *web) tenantDevices(r *http.Request) (any, error) {
	if r.URL.Query().Has("deviceName") {
		return w.deviceNamed(r)
	}
	return w.list(r, func(e entry) any { return e.json() })
}

func (w *web) deviceInfos(r *http.Request) (any, error) {
	return w.list(r, func(e entry) any { return e.infoJSON() })
}

// list gives a page of devices: of a customer, when the path names one.
func (w *web) list(r *http.Request, show func(entry) any) (any, error) {
	size, at, err := pageOf(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	it := order{
		text: query.Get("textSearch"), kind: query.Get("type"), profileID: query.Get("deviceProfileId"),
		by: query.Get("sortProperty"), isDescending: query.Get("sortOrder") == "DESC",
	}
	if r.PathValue("customer") != "" {
		if it.customerID, err = pathID(r, "customer"); err != nil {
			return nil, err
		}
		if _, err := w.store.customerByID(it.customerID); err != nil {
			return nil, err
		}
	}
	found, total := w.store.search(it, size, at)
	data := make([]any, 0, len(found))
	for _, e := range found {
		data = append(data, show(e))
	}
	return pageJSON(data, size, at, total), nil
}

// page gives the page of a list that a request asks for.
func page(r *http.Request, total int, item func(int) any) (any, error) {
	size, at, err := pageOf(r)
	if err != nil {
		return nil, err
	}
	at = min(at, total/size+1) // nothing is there, and the product stays small
	data := []any{}
	for i := min(at*size, total); i < min((at+1)*size, total); i++ {
		data = append(data, item(i))
	}
	return pageJSON(data, size, at, total), nil
}

// pageJSON is a page in the REST API (PageData).
func pageJSON(data []any, size, at, total int) any {
	return map[string]any{
		"data": data, "totalPages": (total + size - 1) / size, "totalElements": total, "hasNext": (at+1)*size < total,
	}
}

// pageOf is the page that a request asks for.
func pageOf(r *http.Request) (size, at int, err error) {
	size, sizeErr := number(r, "pageSize")
	at, atErr := number(r, "page")
	if err := cmp.Or(sizeErr, atErr); err != nil {
		return 0, 0, err
	}
	if size == 0 {
		return 0, 0, badParameter("Incorrect page link page size '0'. Page size must be greater than zero.")
	}
	return size, at, nil
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
