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
	key              []byte        // signs logins; new with every start
	requests         atomic.Uint64 // that faults may meet
	calls            map[string]*atomic.Int64
	closing          chan struct{}
	once             sync.Once

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
		calls: map[string]*atomic.Int64{}, closing: make(chan struct{}),
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
	w.once.Do(func() { close(w.closing) })
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
	if refusal.plain {
		w.writeText(out, refusal)
		return
	}
	answer := map[string]any{"status": refusal.status, "message": refusal.message, "timestamp": w.now().UnixMilli()}
	if refusal.code != 0 {
		answer["errorCode"] = refusal.code
	}
	w.write(out, refusal.status, answer)
}

// writeText answers with the message alone, which may be empty.
func (w *web) writeText(out http.ResponseWriter, refusal *restError) {
	if refusal.message != "" {
		out.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	}
	out.WriteHeader(refusal.status)
	_, _ = out.Write([]byte(refusal.message))
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
