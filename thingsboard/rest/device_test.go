package rest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

const deviceAnswer = `{"id":{"entityType":"DEVICE","id":"` + deviceID + `"},"createdTime":1,"name":"meter 1/é","label":"hall","type":"meters","version":1}`

func theDevice() rest.Device {
	return rest.Device{ID: deviceID, Name: "meter 1/é", Label: "hall", Type: "meters"}
}

func find() exchange {
	return exchange{method: "GET", uri: "/api/tenant/devices?deviceName=meter+1%2F%C3%A9", login: keyLogin}
}

func create() exchange {
	return exchange{
		method: "POST", uri: "/api/device-with-credentials", login: keyLogin,
		body: `{"device":{"name":"meter 1/é","label":"hall","type":"meters"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"` + token + `"}}`,
	}
}

func readCredentials() exchange {
	return exchange{method: "GET", uri: "/api/device/" + deviceID + "/credentials", login: keyLogin}
}

func readTelemetry() exchange {
	return exchange{method: "GET", uri: "/api/plugins/telemetry/DEVICE/" + deviceID + "/values/timeseries?keys=a+b", login: keyLogin}
}

func (e exchange) with(answer string) exchange { e.answer = answer; return e }

func TestFindDevice(t *testing.T) {
	t.Parallel()
	got, err := thingsBoard(t, find().with(deviceAnswer)).keyed().FindDevice(t.Context(), "meter 1/é")
	if diff := cmp.Diff(theDevice(), got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestCreateDevice(t *testing.T) {
	t.Parallel()
	wanted := theDevice()
	wanted.ID = "not looked at"
	got, err := thingsBoard(t, create().with(deviceAnswer)).keyed().CreateDevice(t.Context(), wanted, rest.TokenCredentials(secret.New(token)))
	if diff := cmp.Diff(theDevice(), got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	bare := exchange{method: "POST", uri: "/api/device", login: keyLogin, body: `{"name":"x"}`, answer: `{"id":{"id":"1"},"name":"x","type":"default"}`}
	got, err = thingsBoard(t, bare).keyed().CreateDevice(t.Context(), rest.Device{Name: "x"}, rest.Credentials{})
	if diff := cmp.Diff(rest.Device{ID: "1", Name: "x", Type: "default"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := thingsBoard(t).keyed().CreateDevice(t.Context(), rest.Device{}, rest.TokenCredentials(secret.New(token))); err == nil {
		t.Error("a device without a name was asked for")
	}
}

func TestDeviceCredentials(t *testing.T) {
	t.Parallel()
	answer := `{"id":{"id":"c1"},"createdTime":1,"deviceId":{"entityType":"DEVICE","id":"` + deviceID + `"},"credentialsType":"ACCESS_TOKEN","credentialsId":"` + token + `","credentialsValue":null}`
	got, err := thingsBoard(t, readCredentials().with(answer)).keyed().DeviceCredentials(t.Context(), deviceID)
	if err != nil || got.ID != "c1" || got.DeviceID != deviceID || got.Type != rest.TypeAccessToken || got.CredentialsID.Reveal() != token || !got.Value.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	hostile := exchange{method: "GET", uri: "/api/device/..%2Fx%3Fy/credentials", login: keyLogin}
	if _, err := thingsBoard(t, refusal(hostile, 400, 31, "Invalid UUID string")).keyed().DeviceCredentials(t.Context(), "../x?y"); err == nil {
		t.Error("no error")
	}
}

func TestLatestTelemetry(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]rest.Reading{
		`{"a b":[{"ts":1700000000000,"value":"25"}]}`:       {TS: 1700000000000, Value: "25"},
		`{"a b":[{"ts":2,"value":25.5},{"ts":1}]}`:          {TS: 2, Value: "25.5"},
		`{"a b":[{"ts":3,"value":"{\"x\":1}"}],"other":[]}`: {TS: 3, Value: `{"x":1}`},
	} {
		got, err := thingsBoard(t, readTelemetry().with(answer)).keyed().LatestTelemetry(t.Context(), deviceID, "a b")
		if err != nil || got != want {
			t.Errorf("%s: %v %v", answer, got, err)
		}
	}
	for _, answer := range []string{`{}`, `{"a b":[]}`, `{"a b":[{"ts":1700000000000,"value":null}]}`} {
		_, err := thingsBoard(t, readTelemetry().with(answer)).keyed().LatestTelemetry(t.Context(), deviceID, "a b")
		if !errors.Is(err, rest.ErrNotFound) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	for _, key := range []string{"", "a,b"} {
		if _, err := thingsBoard(t).keyed().LatestTelemetry(t.Context(), deviceID, key); err == nil {
			t.Errorf("the key %q was asked for", key)
		}
	}
}

func TestSystemInfo(t *testing.T) {
	t.Parallel()
	got, err := thingsBoard(t, info(keyLogin)).keyed().SystemInfo(t.Context())
	if diff := cmp.Diff(rest.SystemInfo{Version: "4.3.1.3", Type: "CE"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// TestRefusals: each answer as ThingsBoard sends it, and what it is.
func TestRefusals(t *testing.T) {
	t.Parallel()
	kinds := []error{
		rest.ErrNotFound, rest.ErrExists, rest.ErrTokenTaken, rest.ErrUnauthorized, rest.ErrForbidden, rest.ErrLimit, rest.ErrTooMany, rest.ErrNotThingsBoard,
	}
	for name, test := range map[string]struct {
		status, code int
		message      string
		want         error
	}{
		"no such device":           {404, 32, "Requested item wasn't found!", rest.ErrNotFound},
		"another 404":              {404, 31, "Something else", nil},
		"name taken":               {400, 31, "Device with such name already exists!", rest.ErrExists},
		"token taken":              {400, 31, "Device credentials are already assigned to another device!", rest.ErrTokenTaken},
		"token taken at once":      {400, 31, "Specified credentials are already registered!", rest.ErrTokenTaken},
		"profile taken":            {400, 31, "Device profile with such name already exists!", nil},
		"bad argument":             {400, 31, "Device name should be specified!", nil},
		"key refused":              {401, 10, "Authentication failed", rest.ErrUnauthorized},
		"a customer's user":        {403, 20, "You don't have permission to perform this operation!", rest.ErrForbidden},
		"too many devices":         {403, 41, "Devices limit reached", rest.ErrLimit},
		"failure inside":           {500, 2, "Device with such name already exists!", nil},
		"conflict":                 {409, 35, "Version conflict", nil},
		"database":                 {500, 46, "Database error", nil},
		"the secrets in the text":  {400, 31, "no " + token + " or canary%2Btoken%2F1 or " + apiKey + "!", nil},
		"an endless text":          {400, 31, strings.Repeat("long ", 1000), nil},
		"a text with line breaks ": {400, 31, "a\nb\x1b[31m\tc", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := thingsBoard(t, refusal(create(), test.status, test.code, test.message))
			_, err := f.keyed().CreateDevice(t.Context(), theDevice(), rest.TokenCredentials(secret.New(token)))
			var told *rest.Error
			if !errors.As(err, &told) || told.Status != test.status || told.Code != test.code || told.Method != http.MethodPost || told.URL != f.url+"/api/device-with-credentials" {
				t.Fatalf("%#v: %v", told, err)
			}
			for _, kind := range kinds {
				if got := errors.Is(err, kind); got != (test.want != nil && errors.Is(test.want, kind)) {
					t.Errorf("is %v: %v", kind, got)
				}
			}
			if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("a long or wild text: %q", err)
			}
			noSecrets(t, err)
		})
	}
}
