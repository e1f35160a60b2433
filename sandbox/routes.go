package sandbox

import (
	"net/http"
	"sync/atomic"
)

// Paths of the REST API.
const (
	pathTelemetry = "/api/plugins/telemetry/DEVICE/{id}"
	pathDevice    = "/api/device/{id}"
)

// routes are the calls that the sandbox has. A route that is not here is 404 with
// a message of its own.
func (w *web) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, handler http.Handler) {
		counter := &atomic.Int64{}
		w.calls[pattern] = counter
		mux.HandleFunc(pattern, func(out http.ResponseWriter, r *http.Request) {
			counter.Add(1)
			handler.ServeHTTP(out, r)
		})
	}
	handle("POST /api/auth/login", w.answer(w.logIn))
	handle("POST /api/auth/token", w.answer(w.refresh))
	handle("GET /api/device-connectivity/{protocol}/certificate/download", http.HandlerFunc(w.downloadRoot))
	for _, calls := range []map[string]call{w.deviceCalls(), w.dataCalls(), w.otherCalls()} {
		for pattern, call := range calls {
			handle(pattern, w.answer(w.authorized(call)))
		}
	}
	for _, fault := range []string{faultREST429, faultREST500, faultREST503, faultRESTResetBefore, faultRESTResetAfter, faultRESTStall} {
		w.calls[fault] = &atomic.Int64{}
	}
	return mux
}

// deviceCalls are those for devices and their credentials.
func (w *web) deviceCalls() map[string]call {
	return map[string]call{
		"POST /api/device":                         w.saveDevice,
		"POST /api/device-with-credentials":        w.saveDeviceWithCredentials,
		"POST /api/device/credentials":             w.saveCredentials,
		"POST /api/device/bulk_import":             w.bulkImport,
		"GET " + pathDevice:                        w.getDevice,
		"DELETE " + pathDevice:                     w.deleteDevice,
		"GET " + pathDevice + "/credentials":       w.getCredentials,
		"GET /api/tenant/device":                   w.deviceNamed,
		"GET /api/tenant/devices":                  w.tenantDevices,
		"GET /api/tenant/deviceInfos":              w.deviceInfos,
		"GET /api/customer/{customer}/devices":     w.tenantDevices,
		"GET /api/customer/{customer}/deviceInfos": w.deviceInfos,

		"POST /api/customer/{customer}/device/{id}": w.assign,
		"DELETE /api/customer/device/{id}":          w.unassign,
	}
}

// dataCalls are those for what devices send and are sent.
func (w *web) dataCalls() map[string]call {
	return map[string]call{
		"GET " + pathTelemetry + "/values/timeseries":         w.latest,
		"GET " + pathTelemetry + "/values/attributes":         w.attributes,
		"GET " + pathTelemetry + "/values/attributes/{scope}": w.attributes,
		"POST " + pathTelemetry + "/attributes/{scope}":       w.saveAttributes,
		"POST " + pathTelemetry + "/{scope}":                  w.saveAttributes,
		"POST /api/plugins/telemetry/{id}/{scope}":            w.saveAttributes,
		"DELETE " + pathTelemetry + "/{scope}":                w.deleteAttributes,
		"DELETE /api/plugins/telemetry/{id}/{scope}":          w.deleteAttributes,

		"POST /api/rpc/twoway/{id}":         w.rpc(false, http.StatusGatewayTimeout, http.StatusGatewayTimeout),
		"POST /api/rpc/oneway/{id}":         w.rpc(true, http.StatusGatewayTimeout, http.StatusGatewayTimeout),
		"POST /api/plugins/rpc/twoway/{id}": w.rpc(false, http.StatusRequestTimeout, http.StatusConflict),
		"POST /api/plugins/rpc/oneway/{id}": w.rpc(true, http.StatusRequestTimeout, http.StatusConflict),
	}
}

// otherCalls are those for profiles, customers, and the server itself.
func (w *web) otherCalls() map[string]call {
	return map[string]call{
		"GET /api/deviceProfiles":            w.profiles,
		"GET /api/deviceProfileInfos":        w.profileInfos,
		"GET /api/deviceProfileInfo/default": w.defaultProfile,
		"GET /api/deviceProfileInfo/{id}":    w.getProfileInfo,
		"GET /api/deviceProfile/{id}":        w.getProfile,
		"DELETE /api/deviceProfile/{id}":     w.deleteProfile,
		"POST /api/deviceProfile":            w.saveProfile,

		"GET /api/customers":              w.customers,
		"GET /api/tenant/customers":       w.customerByTitle,
		"GET /api/customer/{customer}":    w.getCustomer,
		"DELETE /api/customer/{customer}": w.deleteCustomer,
		"POST /api/customer":              w.saveCustomer,

		"GET /api/system/info": w.systemInfo,
		"GET /api/auth/user":   w.user,

		"/": func(*http.Request) (any, error) {
			return nil, &restError{status: http.StatusNotFound, message: "The sandbox has no such call"}
		},
	}
}

// counts are the calls that there were.
func (w *web) counts() map[string]int {
	counts := map[string]int{}
	for name, counter := range w.calls {
		if n := counter.Load(); n > 0 {
			counts[name] = int(n)
		}
	}
	return counts
}
