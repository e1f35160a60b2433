package rest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

func basic(t *testing.T, clientID, username, password string) rest.Credentials {
	t.Helper()
	credentials, err := rest.BasicCredentials(rest.Basic{ClientID: secret.New(clientID), Username: secret.New(username), Password: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	return credentials
}

// asText is text as a JSON string.
func asText(text string) string {
	data, _ := json.Marshal(text) // a string
	return string(data)
}

// TestCredentialKinds: each kind as ThingsBoard takes it, at creation and later.
func TestCredentialKinds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		credentials rest.Credentials
		want        string // its fields
	}{
		"token":       {rest.TokenCredentials(secret.New(token)), `"credentialsType":"ACCESS_TOKEN","credentialsId":"` + token + `"`},
		"certificate": {rest.CertificateCredentials([]byte(caPEM)), `"credentialsType":"X509_CERTIFICATE","credentialsValue":` + asText(caPEM)},
		"basic":       {basic(t, "canary-c", "canary-u", "canary-p"), `"credentialsType":"MQTT_BASIC","credentialsValue":` + asText(`{"clientId":"canary-c","userName":"canary-u","password":"canary-p"}`)},
		"client id":   {basic(t, "canary-c", "", ""), `"credentialsType":"MQTT_BASIC","credentialsValue":` + asText(`{"clientId":"canary-c"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := exchange{method: "POST", uri: "/api/device-with-credentials", login: keyLogin, answer: deviceAnswer,
				body: `{"device":{"name":"meter 1/é","label":"hall","type":"meters","customerId":{"entityType":"CUSTOMER","id":"c1"},"additionalInfo":{"gateway":true,"description":"d"}},"credentials":{` + test.want + `}}`}
			device := theDevice()
			device.Gateway, device.Description, device.CustomerID = true, "d", "c1"
			if _, err := thingsBoard(t, made).keyed().CreateDevice(t.Context(), device, test.credentials); err != nil {
				t.Error(err)
			}
			full := `{"id":{"id":"c1"},"deviceId":{"entityType":"DEVICE","id":"` + deviceID + `"},` + test.want + `}`
			it := exchange{method: "POST", uri: "/api/device/credentials", login: keyLogin, body: full, answer: full}
			test.credentials.ID, test.credentials.DeviceID = "c1", deviceID
			got, err := thingsBoard(t, it).keyed().SetCredentials(t.Context(), test.credentials)
			if err != nil || got.Type != test.credentials.Type || got.Value.Reveal() != test.credentials.Value.Reveal() {
				t.Errorf("%+v %v", got, err)
			}
			// An answer that shows what was sent does not get into an error.
			_, err = thingsBoard(t, refusal(it, 400, 31, "no: "+full+" "+test.credentials.Value.Reveal())).keyed().SetCredentials(t.Context(), test.credentials)
			if err == nil {
				t.Error("no error")
			}
			noSecrets(t, err)
		})
	}
}

func TestBasic(t *testing.T) {
	t.Parallel()
	got, err := basic(t, "c", `u"`, "").Basic()
	if err != nil || got.ClientID.Reveal() != "c" || got.Username.Reveal() != `u"` || !got.Password.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	for _, other := range []rest.Credentials{
		{}, rest.TokenCredentials(secret.New(token)), {Type: rest.TypeBasic}, {Type: rest.TypeBasic, Value: secret.New(`{"clientId":1,"password":"canary"}`)}, {Type: rest.TypeX509, Value: secret.New(`{}`)},
	} {
		got, err := other.Basic()
		if !errors.Is(err, rest.ErrNotThingsBoard) || !got.ClientID.IsZero() || !got.Username.IsZero() || !got.Password.IsZero() {
			t.Errorf("%+v: %+v %v", other, got, err)
		}
		noSecrets(t, err)
	}
}

// TestSetCredentials: only the credential that was to be set is a good answer.
func TestSetCredentials(t *testing.T) {
	t.Parallel()
	answer := func(id, device, kind, value string) string {
		return fmt.Sprintf(`{"id":{"id":%q},"deviceId":{"id":%q},"credentialsType":%q,"credentialsId":%q}`, id, device, kind, value)
	}
	it := exchange{method: "POST", uri: "/api/device/credentials", login: keyLogin,
		body: `{"id":{"id":"c1"},"deviceId":{"entityType":"DEVICE","id":"` + deviceID + `"},"credentialsType":"ACCESS_TOKEN","credentialsId":"` + token + `"}`}
	for text, want := range map[string]error{
		answer("c1", deviceID, "ACCESS_TOKEN", token):         nil,
		answer("c1", profileID, "ACCESS_TOKEN", token):        rest.ErrNotThingsBoard,
		answer("", deviceID, "ACCESS_TOKEN", token):           rest.ErrNotThingsBoard,
		answer("../c", deviceID, "ACCESS_TOKEN", token):       rest.ErrNotThingsBoard,
		answer("c1", deviceID, "ACCESS_TOKEN", "canary-old"):  rest.ErrNotThingsBoard,
		answer("c1", deviceID, "MQTT_BASIC", token):           rest.ErrNotThingsBoard,
		answer("c1", deviceID, "", token):                     rest.ErrNotThingsBoard,
		`{"id":{"id":"c1"},"credentialsType":"ACCESS_TOKEN"}`: rest.ErrNotThingsBoard,
		`null`: rest.ErrNotThingsBoard,
		``:     rest.ErrNotThingsBoard,
	} {
		got, err := thingsBoard(t, it.with(text)).keyed().SetCredentials(t.Context(), newToken())
		if !errors.Is(err, want) || (err == nil) != (got.ID != "") {
			t.Errorf("%s: %+v %v", text, got, err)
		}
		noSecrets(t, err)
	}
	taken := refusal(it, 400, 31, "Device credentials are already assigned to another device!")
	if _, err := thingsBoard(t, taken).keyed().SetCredentials(t.Context(), newToken()); !errors.Is(err, rest.ErrTokenTaken) {
		t.Error(err)
	}
}

func TestDeleteDevice(t *testing.T) {
	t.Parallel()
	it := exchange{method: "DELETE", uri: "/api/device/" + deviceID, login: keyLogin}
	gone := refusal(it, 404, 32, "no device")
	for name, test := range map[string]struct {
		exchange
		want error
	}{"deleted": {it, nil}, "gone": {gone, rest.ErrNotFound}, "a page": {it.with("<html>"), rest.ErrNotThingsBoard}} {
		if err := thingsBoard(t, test.exchange).keyed().DeleteDevice(t.Context(), deviceID); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDeviceOfCustomer: nobody's device has an id for that, which is no customer's.
func TestDeviceOfCustomer(t *testing.T) {
	t.Parallel()
	for customer, want := range map[string]string{`{"id":"13814000-1dd2-11b2-8080-808080808080"}`: "", `null`: "", `{"id":"c1","entityType":"CUSTOMER"}`: "c1"} {
		answer := `{"id":{"id":"` + deviceID + `"},"name":"meter 1/é","label":"hall","type":"meters","customerId":` + customer + `}`
		wanted := theDevice()
		wanted.CustomerID = want
		got, err := thingsBoard(t, find().with(answer)).keyed().FindDevice(t.Context(), "meter 1/é")
		if diff := cmp.Diff(wanted, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
}
