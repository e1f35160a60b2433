package provision_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// server answers as ThingsBoard does, for an API key.
type server struct {
	mu     sync.Mutex
	tokens map[string]string // by device
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("X-Authorization") != "ApiKey tb_key" {
		answer(w, http.StatusUnauthorized, map[string]any{"status": 401, "message": "Authentication failed", "errorCode": 10})
		return
	}
	name := r.URL.Query().Get("deviceName")
	switch path := r.URL.Path; {
	case path == "/api/system/info":
		answer(w, http.StatusOK, map[string]any{"version": "4.3.1.3", "type": "CE"})
	case path == "/api/tenant/devices" && s.tokens[name] != "":
		answer(w, http.StatusOK, asDevice(name))
	case path == "/api/device-with-credentials" && r.Method == http.MethodPost:
		s.create(w, r)
	case strings.HasSuffix(path, "/credentials"):
		name := strings.TrimSuffix(strings.TrimPrefix(path, "/api/device/id-"), "/credentials")
		answer(w, http.StatusOK, map[string]any{
			"id": map[string]any{"id": "c"}, "deviceId": map[string]any{"id": "id-" + name, "entityType": "DEVICE"},
			"credentialsType": "ACCESS_TOKEN", "credentialsId": s.tokens[name],
		})
	default:
		answer(w, http.StatusNotFound, map[string]any{"status": 404, "message": "Requested item wasn't found!", "errorCode": 32})
	}
}

func (s *server) create(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Device      struct{ Name string }
		Credentials struct{ CredentialsID string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"status": 400, "message": err.Error(), "errorCode": 30})
		return
	}
	if s.tokens[body.Device.Name] != "" {
		answer(w, http.StatusBadRequest, map[string]any{"status": 400, "message": "Device with such name already exists!", "errorCode": 31})
		return
	}
	s.tokens[body.Device.Name] = body.Credentials.CredentialsID
	answer(w, http.StatusOK, asDevice(body.Device.Name))
}

func asDevice(name string) map[string]any {
	return map[string]any{"id": map[string]any{"id": "id-" + name, "entityType": "DEVICE"}, "name": name, "type": "default"}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// The registrar with the real client, over HTTP.
func TestBatchOverREST(t *testing.T) {
	t.Parallel()
	s := &server{tokens: map[string]string{"b": "THEIRS"}}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	registrar := func(key string) provision.Registrar {
		client, err := rest.New(rest.Config{URL: web.URL, HTTP: web.Client(), APIKey: secret.New(key)})
		if err != nil {
			t.Fatal(err)
		}
		return &provision.ThingsBoard{Client: client}
	}
	w := newWorld()
	_, summary, err := run(t, w.batch(registrar("tb_wrong")), named("a", "b", "c"))
	if !errors.Is(err, rest.ErrUnauthorized) || summary.Left != 3 || len(w.records) != 0 {
		t.Errorf("with a wrong key: summary %+v, error %v, records %v", summary, err, w.records)
	}
	for _, want := range []provision.Summary{{Total: 3, Created: 2, Adopted: 1}, {Total: 3, Unchanged: 3}} {
		_, summary, err := run(t, w.batch(registrar("tb_key")), named("a", "b", "c"))
		if err != nil || summary != want {
			t.Fatalf("summary %+v, error %v, want %+v", summary, err, want)
		}
		for name, token := range s.tokens {
			if token == "" || w.token(name) != token+"\n" {
				t.Errorf("the token of %s is %q, in its bundle %q", name, token, w.token(name))
			}
		}
	}
}
