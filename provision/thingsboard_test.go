package provision_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// An api is ThingsBoard's REST API with one device at most.
type api struct {
	provision.DeviceAPI // calls that a test does not expect: nil

	mu    sync.Mutex
	calls []string

	device      *rest.Device // the device that exists
	credentials rest.Credentials

	login, find, create, read error // what the calls answer
	createdAnyway             bool  // create answers with its error, and has created
	vanishes                  bool  // the device is gone when its credentials are asked for
	answer                    *rest.Device
}

func (a *api) called(call string) func() {
	a.mu.Lock()
	a.calls = append(a.calls, call)
	return a.mu.Unlock
}

func (a *api) SystemInfo(context.Context) (rest.SystemInfo, error) {
	defer a.called("login")()
	return rest.SystemInfo{Version: "4.3.1.3"}, a.login
}

func (a *api) FindDevice(_ context.Context, name string) (rest.Device, error) {
	defer a.called("find")()
	switch {
	case a.find != nil:
		return rest.Device{}, fmt.Errorf("looking for the device %q: %w", name, a.find)
	case a.answer != nil:
		return *a.answer, nil
	case a.device == nil || a.device.Name != name:
		return rest.Device{}, fmt.Errorf("looking for the device %q: %w", name, rest.ErrNotFound)
	}
	return *a.device, nil
}

func (a *api) CreateDevice(_ context.Context, device rest.Device, credentials rest.Credentials) (rest.Device, error) {
	defer a.called("create")()
	if a.device != nil {
		return rest.Device{}, fmt.Errorf("creating the device %q: %w", device.Name, rest.ErrExists)
	}
	if a.create == nil || a.createdAnyway {
		device.ID = "new-id"
		if device.Type == "" {
			device.Type = "default"
		}
		a.device = &device
		a.credentials = credentials
	}
	if a.create != nil {
		return rest.Device{}, fmt.Errorf("creating the device %q: %w", device.Name, a.create)
	}
	if a.answer != nil {
		return *a.answer, nil
	}
	return *a.device, nil
}

func (a *api) DeviceCredentials(_ context.Context, id string) (rest.Credentials, error) {
	defer a.called("read")()
	if a.read != nil {
		return rest.Credentials{}, a.read
	}
	if a.vanishes || a.device == nil || a.device.ID != id {
		return rest.Credentials{}, fmt.Errorf("GET /api/device/ID/credentials: %w", rest.ErrNotFound)
	}
	return a.credentials, nil
}

var errReset = errors.New("connection reset by peer")

func existing(kind, token string) *api {
	return &api{
		device:      &rest.Device{ID: "old-id", Name: "meter-1", Label: "Hall 1", Type: "meter"},
		credentials: rest.Credentials{Type: kind, CredentialsID: secret.New(token)},
	}
}

func order(given string, begun bool) provision.Order {
	o := provision.Order{Device: device("meter-1", "Hall 2", "", given), Credential: provision.TokenCredential(secret.New("MADE")), Begun: begun}
	if given != "" {
		o.Credential = o.Device.Credential
	}
	return o
}

func TestThingsBoardRegister(t *testing.T) {
	t.Parallel()
	created := provision.Registration{ThingsBoardID: "new-id", Label: "Hall 2", Profile: "default", Credential: provision.TokenCredential(secret.New("MADE")), Created: true}
	looked := created
	looked.Created = false
	adopted := provision.Registration{ThingsBoardID: "old-id", Label: "Hall 1", Profile: "meter", Credential: provision.TokenCredential(secret.New("THEIRS"))}
	given := created
	given.Credential = provision.TokenCredential(secret.New("GIVEN"))
	tests := []struct {
		name  string
		api   *api
		order provision.Order
		want  provision.Registration
		calls string
	}{
		{"new", &api{}, order("", false), created, "create read"},
		{"new, with a given token", &api{}, order("GIVEN", false), given, "create read"},
		{"it exists", existing("ACCESS_TOKEN", "THEIRS"), order("", false), adopted, "create find read"},
		{"it exists with the given token", existing("ACCESS_TOKEN", "THEIRS"), order("THEIRS", false), adopted, "create find read"},
		{"begun, and it exists", existing("ACCESS_TOKEN", "THEIRS"), order("", true), adopted, "find read"},
		{"begun, and it does not exist", &api{}, order("", true), created, "find create read"},
		{"the answer is lost", &api{create: errReset, createdAnyway: true}, order("", false), created, "create find read"},
		{"the answer is that the token is taken, by this device", &api{create: rest.ErrTokenTaken, createdAnyway: true}, order("", false), looked, "create find read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := (&provision.ThingsBoard{Client: test.api}).Register(t.Context(), test.order)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, secrets()); diff != "" {
				t.Errorf("registration (-want +got):\n%s", diff)
			}
			if calls := strings.Join(test.api.calls, " "); calls != test.calls {
				t.Errorf("calls %q, want %q", calls, test.calls)
			}
		})
	}
}

func TestThingsBoardRegisterFails(t *testing.T) {
	t.Parallel()
	down := errors.New("no route to host")
	tests := []struct {
		name  string
		api   *api
		order provision.Order
		is    error
		want  string
		calls string
	}{
		{"another token", existing("ACCESS_TOKEN", "THEIRS"), order("GIVEN", false), nil, "has another token in ThingsBoard", "create find read"},
		{"LwM2M credentials", existing("LWM2M_CREDENTIALS", "THEIRS"), order("", false), nil, `credentials of the type "LWM2M_CREDENTIALS"`, "create find read"},
		{"basic credentials that are broken", existing("MQTT_BASIC", "THEIRS"), order("", false), rest.ErrNotThingsBoard, "no basic credentials", "create find read"},
		{"a certificate that is broken", existing("X509_CERTIFICATE", "THEIRS"), order("THEIRS", true), rest.ErrNotThingsBoard, "certificate cannot be read", "find read"},
		{"the request is lost", &api{create: errReset}, order("", false), errReset, "creating the device", strings.TrimSpace(strings.Repeat("create find ", 6))},
		{"the token is another device's", &api{create: rest.ErrTokenTaken}, order("GIVEN", false), rest.ErrTokenTaken, "creating the device", "create find"},
		{"the tenant is full", &api{create: rest.ErrLimit}, order("", false), rest.ErrLimit, "the tenant's limit", "create"},
		{"the login ends", &api{create: rest.ErrUnauthorized}, order("", false), rest.ErrUnauthorized, "creating the device", "create"},
		{"all is lost", &api{create: errReset, find: down}, order("", false), errReset, "no route to host", "create find"},
		{"it cannot be looked up", &api{find: down}, order("", true), down, "looking for the device", "find"},
		{"it vanishes", func() *api { a := existing("ACCESS_TOKEN", "T"); a.vanishes = true; return a }(), order("", true), rest.ErrNotFound, "read its credentials back", "find read"},
		{"the token cannot be read back", &api{read: down}, order("", false), down, "read its credentials back", "create read"},
		{"another device is found", &api{answer: &rest.Device{ID: "x", Name: "meter-10"}}, order("", true), nil, `gave device "meter-10"`, "find"},
		{"a device without an id is found", &api{answer: &rest.Device{Name: "meter-1"}}, order("", true), nil, "is this address that of a ThingsBoard", "find"},
		{"another device is created", &api{answer: &rest.Device{ID: "x", Name: "meter-10"}}, order("", false), nil, `gave device "meter-10"`, "create"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := (&provision.ThingsBoard{Client: test.api, Wait: noWait}).Register(t.Context(), test.order)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `device "meter-1"`) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
			if errors.Is(err, rest.ErrNotFound) && !errors.Is(test.is, rest.ErrNotFound) {
				t.Errorf("that it was not found is no news: %v", err)
			}
			for _, token := range []string{"THEIRS", "GIVEN", "MADE"} {
				if err != nil && strings.Contains(err.Error(), token) {
					t.Errorf("the error holds a token: %v", err)
				}
			}
			if diff := cmp.Diff(provision.Registration{}, got, secrets()); diff != "" {
				t.Errorf("an error, and yet:\n%s", diff)
			}
			if calls := strings.Join(test.api.calls, " "); calls != test.calls {
				t.Errorf("calls %q, want %q", calls, test.calls)
			}
		})
	}
}

func noWait(context.Context, time.Duration) error { return nil }

// Between creations that are lost there is a pause, longer each time; one that is
// interrupted is the last.
func TestThingsBoardPausesBetweenCreations(t *testing.T) {
	t.Parallel()
	var pauses []time.Duration
	interrupted := errors.New("interrupted")
	client := &api{create: errReset}
	board := &provision.ThingsBoard{Client: client, Wait: func(_ context.Context, pause time.Duration) error {
		if pauses = append(pauses, pause); len(pauses) == 3 {
			return interrupted
		}
		return nil
	}}
	_, err := board.Register(t.Context(), order("", false))
	if !errors.Is(err, interrupted) || !errors.Is(err, errReset) || fmt.Sprint(pauses) != "[100ms 200ms 400ms]" {
		t.Errorf("pauses %v, error %v", pauses, err)
	}
	if calls := strings.Join(client.calls, " "); calls != "create find create find create find" {
		t.Errorf("calls %q", calls)
	}
}

func TestThingsBoardReady(t *testing.T) {
	t.Parallel()
	refused := errors.New("401: Invalid username or password")
	if err := (&provision.ThingsBoard{Client: &api{login: refused}}).Ready(t.Context()); !errors.Is(err, refused) {
		t.Errorf("the error is %v", err)
	}
	if err := (&provision.ThingsBoard{Client: &api{}}).Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// The whole way with the registrar for ThingsBoard: made, interrupted in the
// transit of the answer, found again.
func TestBatchWithThingsBoard(t *testing.T) {
	t.Parallel()
	w := newWorld()
	client := &api{create: errReset, createdAnyway: true, find: errReset}
	batch := w.batch(&provision.ThingsBoard{Client: client})
	if result := one(t, batch, plain("meter-1")); !errors.Is(result.Err, errReset) || w.records["meter-1"].State != provision.StatePending {
		t.Fatalf("result %+v, record %+v", result, w.records["meter-1"])
	}
	client.create, client.find = nil, nil
	result := one(t, batch, plain("meter-1"))
	if result.Action != provision.ActionAdopted || result.ThingsBoardID != "new-id" || w.token("meter-1") != client.credentials.CredentialsID.Reveal()+"\n" {
		t.Errorf("result %+v, token %q", result, w.token("meter-1"))
	}
	if calls := strings.Join(client.calls, " "); calls != "login create find login find read" {
		t.Errorf("calls %q", calls)
	}
}
