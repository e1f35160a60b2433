package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/certs/secret"
)

const (
	// maxBody bounds the body of a REST request, in bytes, as ThingsBoard's
	// default does (server.http.max_payload_size for /api/**).
	maxBody = 16 << 20

	headerTimeout  = 10 * time.Second
	requestTimeout = time.Minute
	idleTimeout    = 2 * time.Minute

	// version is the ThingsBoard that the sandbox says it is.
	version = "4.3.1.3"
)

// web is the REST API.
type web struct {
	store  *store
	broker *broker
	log    *slog.Logger
	now    func() time.Time

	rootPEM          []byte
	username         string
	password, apiKey secret.Text
	key              []byte // signs logins; new with every start
	requests         atomic.Uint64

	server  *http.Server
	running sync.WaitGroup // serve, and every connection
}

// A call does what a request asks for. Its answer goes out as JSON; nil is an
// empty body.
type call func(*http.Request) (any, error)

func newWeb(store *store, broker *broker, config Config) (*web, error) {
	w := &web{
		store: store, broker: broker, log: config.Log, now: config.Now, rootPEM: config.RootPEM,
		username: config.Username, password: config.Password, apiKey: config.APIKey, key: make([]byte, 64),
	}
	if _, err := rand.Read(w.key); err != nil {
		return nil, fmt.Errorf("making a key for logins: %w", err)
	}
	w.server = &http.Server{
		Handler:           w.faulty(w.bounded(w.routes())),
		ConnState:         w.count,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(config.Log.Handler(), slog.LevelDebug),
	}
	return w, nil
}

// routes are the calls that the sandbox has.
func (w *web) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, call := range map[string]call{
		"POST /api/auth/login": w.logIn,
		"POST /api/auth/token": w.refresh,
	} {
		mux.Handle(pattern, w.answer(call))
	}
	mux.HandleFunc("GET /api/device-connectivity/{protocol}/certificate/download", w.downloadRoot)
	for pattern, call := range map[string]call{
		"GET /api/system/info":                      w.systemInfo,
		"GET /api/tenant/devices":                   w.tenantDevices,
		"GET /api/tenant/deviceInfos":               w.tenantDevices,
		"GET /api/deviceProfileInfos":               w.profileInfos,
		"GET /api/deviceProfileInfo/default":        w.defaultProfile,
		"GET /api/deviceProfile/{id}":               w.getProfile,
		"POST /api/deviceProfile":                   w.saveProfile,
		"GET /api/customers":                        w.customers,
		"GET /api/tenant/customers":                 w.customerByTitle,
		"POST /api/customer":                        w.saveCustomer,
		"POST /api/customer/{customer}/device/{id}": w.assign,
		"DELETE /api/customer/device/{id}":          w.unassign,
		"GET /api/auth/user":                        w.user,
		"POST /api/rpc/twoway/{id}":                 w.rpc,
		"POST /api/plugins/rpc/twoway/{id}":         w.rpc,
		"POST /api/device":                          w.saveDevice,
		"POST /api/device-with-credentials":         w.saveDeviceWithCredentials,
		"GET /api/device/{id}":                      w.getDevice,
		"DELETE /api/device/{id}":                   w.deleteDevice,
		"GET /api/device/{id}/credentials":          w.getCredentials,
		"POST /api/device/credentials":              w.saveCredentials,
		"POST /api/device/bulk_import":              w.bulkImport,

		"GET /api/plugins/telemetry/DEVICE/{id}/values/timeseries":         w.latest,
		"GET /api/plugins/telemetry/DEVICE/{id}/values/attributes":         w.attributes,
		"GET /api/plugins/telemetry/DEVICE/{id}/values/attributes/{scope}": w.attributes,
		"POST /api/plugins/telemetry/DEVICE/{id}/attributes/{scope}":       w.saveAttributes,
		"POST /api/plugins/telemetry/DEVICE/{id}/{scope}":                  w.saveAttributes,
		"DELETE /api/plugins/telemetry/DEVICE/{id}/{scope}":                w.deleteAttributes,

		"/": func(*http.Request) (any, error) {
			return nil, &restError{status: http.StatusNotFound, message: "The sandbox has no such call"}
		},
	} {
		mux.Handle(pattern, w.answer(w.authorized(call)))
	}
	return mux
}

func (w *web) serve(socket net.Listener) {
	w.running.Go(func() {
		if err := w.server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			w.log.Error("the REST API has stopped", "error", err)
		}
	})
}

// count counts the connections. A new one is counted by serve itself, so none
// comes once that has ended.
func (w *web) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		w.running.Add(1)
	case http.StateClosed, http.StateHijacked:
		w.running.Done()
	default:
	}
}

// close ends all connections, and waits for them and for the calls that run.
func (w *web) close() error {
	err := w.server.Close()
	w.running.Wait()
	return err
}

// bounded limits the body.
func (w *web) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody {
			w.refuse(out, tooLarge())
			return
		}
		r.Body = http.MaxBytesReader(out, r.Body, maxBody)
		next.ServeHTTP(out, r)
	})
}

func tooLarge() error {
	return &restError{status: http.StatusRequestEntityTooLarge, code: codeBadParameters, message: "Payload size exceeds the limit"}
}

// answer makes a handler of a call.
func (w *web) answer(call call) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		answer, err := call(r)
		switch {
		case err != nil:
			w.refuse(out, err)
		case answer == nil:
			out.WriteHeader(http.StatusOK)
		default:
			w.write(out, http.StatusOK, answer)
		}
	})
}

// refuse answers an error in ThingsBoard's form (ThingsboardErrorResponse).
func (w *web) refuse(out http.ResponseWriter, err error) {
	var refusal *restError
	if !errors.As(err, &refusal) {
		refusal = &restError{status: http.StatusInternalServerError, code: codeGeneral, message: err.Error()}
	}
	answer := map[string]any{"status": refusal.status, "message": refusal.message, "timestamp": w.now().UnixMilli()}
	if refusal.code != 0 {
		answer["errorCode"] = refusal.code
	}
	w.write(out, refusal.status, answer)
}

func (w *web) write(out http.ResponseWriter, status int, answer any) {
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	_, _ = out.Write(marshal(answer)) // whoever asked may be gone
}

// body reads the JSON of a request.
func body(r *http.Request, into any) error {
	data, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return tooLarge()
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil { // which may quote what was sent
		return badParameter("The request body is not the JSON that this call takes")
	}
	return nil
}

func (w *web) systemInfo(*http.Request) (any, error) {
	return map[string]string{"version": version, "artifact": "application", "name": "ThingsBoard sandbox", "type": "CE"}, nil
}

// user is the one that is logged in (AuthController.getUser).
func (w *web) user(*http.Request) (any, error) {
	return map[string]any{
		"id": entityID{"USER", tenantID}, "tenantId": entityID{"TENANT", tenantID}, "customerId": entityID{"CUSTOMER", nobodyID},
		"email": w.username, "name": w.username, "authority": scopeTenant,
	}, nil
}

// downloadRoot is public (DeviceConnectivityController.downloadServerCertificate).
func (w *web) downloadRoot(out http.ResponseWriter, r *http.Request) {
	protocol := r.PathValue("protocol")
	if protocol != "mqtts" || len(w.rootPEM) == 0 {
		w.refuse(out, notFound(strings.ToLower(protocol)+" pem cert file is not found!"))
		return
	}
	out.Header().Set("Content-Type", "application/octet-stream")
	out.Header().Set("Content-Disposition", "attachment;filename=ca-root.pem")
	out.Header().Set("X-Filename", "ca-root.pem")
	_, _ = out.Write(w.rootPEM)
}

// end closes the session of a device whose credential is gone.
func (w *web) end(session *link) { w.broker.end(session, packets.ErrAdministrativeAction) }
