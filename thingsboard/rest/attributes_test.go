package rest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

const telemetryPath = "/api/plugins/telemetry/DEVICE/" + deviceID

func TestSaveAttributes(t *testing.T) {
	t.Parallel()
	values := map[string]json.RawMessage{"a": json.RawMessage(`1`), "b": json.RawMessage(`{"c":"canary-next"}`)}
	it := exchange{method: "POST", uri: telemetryPath + "/attributes/SHARED_SCOPE", login: keyLogin, body: `{"a":1,"b":{"c":"canary-next"}}`}
	if err := thingsBoard(t, it).keyed().SaveAttributes(t.Context(), deviceID, rest.ScopeShared, values, "canary-next"); err != nil {
		t.Error(err)
	}
	err := thingsBoard(t, refusal(it, 400, 31, "cannot take canary-next")).keyed().SaveAttributes(t.Context(), deviceID, rest.ScopeShared, values, "canary-next")
	if err == nil || !strings.Contains(err.Error(), "cannot take [secret]") {
		t.Error(err)
	}
	noSecrets(t, err)
	page := it.with("<!doctype html>") // what serves pages has saved nothing
	if err := thingsBoard(t, page).keyed().SaveAttributes(t.Context(), deviceID, rest.ScopeShared, values); !errors.Is(err, rest.ErrNotThingsBoard) {
		t.Error(err)
	}
}

func TestDeleteAttributes(t *testing.T) {
	t.Parallel()
	it := exchange{method: "DELETE", uri: telemetryPath + "/SHARED_SCOPE?keys=a%2Cb+c", login: keyLogin}
	if err := thingsBoard(t, it).keyed().DeleteAttributes(t.Context(), deviceID, rest.ScopeShared, "a", "b c"); err != nil {
		t.Error(err)
	}
	for _, keys := range [][]string{nil, {""}, {"a,b"}} {
		if err := thingsBoard(t).keyed().DeleteAttributes(t.Context(), deviceID, rest.ScopeShared, keys...); err == nil {
			t.Errorf("%q: no error", keys)
		}
		if _, err := thingsBoard(t).keyed().Attributes(t.Context(), deviceID, rest.ScopeShared, keys...); err == nil {
			t.Errorf("%q: no error", keys)
		}
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	it := exchange{method: "GET", uri: telemetryPath + "/values/attributes/CLIENT_SCOPE?keys=a%2Cb%2Cc", login: keyLogin}
	for answer, want := range map[string]map[string]json.RawMessage{
		`[]`: {},
		`[{"lastUpdateTs":1,"key":"a","value":"x"},{"key":"b","value":{"y":1}},{"key":"other","value":2}]`: {"a": json.RawMessage(`"x"`), "b": json.RawMessage(`{"y":1}`)},
		`null`:        nil,
		`{}`:          nil,
		`[1]`:         nil,
		`[{"key":1}]`: nil,
	} {
		got, err := thingsBoard(t, it.with(answer)).keyed().Attributes(t.Context(), deviceID, rest.ScopeClient, "a", "b", "c")
		if diff := cmp.Diff(want, got); diff != "" || (want == nil) != errors.Is(err, rest.ErrNotThingsBoard) {
			t.Errorf("%s: %v %s", answer, err, diff)
		}
	}
}

// TestRPC: what a device that is asked may do.
func TestRPC(t *testing.T) {
	t.Parallel()
	it := exchange{method: "POST", uri: "/api/rpc/twoway/" + deviceID, login: keyLogin, body: `{"method":"rotate","params":{"token":"canary-next"},"timeout":20000}`}
	with := func(status int, answer string) exchange {
		it.status, it.answer = status, answer
		return it
	}
	for name, test := range map[string]struct {
		exchange
		want string
		err  error
		text string
	}{
		"an answer":       {exchange: with(200, `{"ok":true}`), want: `{"ok":true}`},
		"an empty one":    {exchange: with(200, "")},
		"silent":          {exchange: with(504, ""), err: rest.ErrNoReply},
		"silent, older":   {exchange: with(408, ""), err: rest.ErrNoReply},
		"not there":       {exchange: with(409, ""), err: rest.ErrNoReply},
		"no JSON":         {exchange: with(406, ""), text: "something that is not JSON"},
		"no such device":  {exchange: refusal(it, 404, 32, "no device"), err: rest.ErrNotFound},
		"a secret":        {exchange: refusal(it, 400, 31, "what is canary-next?"), text: "[secret]"},
		"a proxy's 504":   {exchange: with(504, "<html>"), err: rest.ErrUnavailable},
		"down":            {exchange: with(503, ""), err: rest.ErrUnavailable},
		"a page":          {exchange: with(200, "<html>"), err: rest.ErrNotThingsBoard},
		"a proxy's empty": {exchange: with(403, ""), err: rest.ErrNotThingsBoard},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, rest.Config{URL: thingsBoard(t, test.exchange).url, APIKey: secret.New(apiKey), Wait: never(t)}) // it is called once
			got, err := client.RPC(t.Context(), deviceID, "rotate", map[string]string{"token": "canary-next"}, 20*time.Second, "canary-next")
			isWanted := err == nil && test.err == nil && test.text == ""
			if string(got) != test.want || (!isWanted && (err == nil || !errors.Is(err, test.err) && test.err != nil || !strings.Contains(err.Error(), test.text))) {
				t.Errorf("%s %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Error(err)
			}
		})
	}
}

// TestRPCPatience: a device has as long as it was given, though other calls would
// be given up long before.
func TestRPCPatience(t *testing.T) {
	t.Parallel()
	asked := make(chan time.Duration, 1)
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		deadline, _ := r.Context().Deadline()
		asked <- time.Until(deadline)
		return nil, io.EOF
	})
	client := newClient(t, rest.Config{
		URL: "http://tb.example.com", APIKey: secret.New(apiKey), Timeout: 12 * time.Second, Tries: 1,
		HTTP: &http.Client{Transport: transport, Timeout: time.Second},
	})
	for patience, want := range map[time.Duration]time.Duration{time.Minute: 70 * time.Second, 0: 15 * time.Second} {
		_, _ = client.RPC(t.Context(), deviceID, "m", nil, patience)
		if got := <-asked; got > want || got < want-time.Second {
			t.Errorf("a device that is given %s has %s", patience, got)
		}
	}
	_ = reads(t.Context(), client)
	if got := <-asked; got > 12*time.Second || got < 11*time.Second {
		t.Errorf("a call has %s", got)
	}
}

func TestFindCustomer(t *testing.T) {
	t.Parallel()
	it := exchange{method: "GET", uri: "/api/tenant/customers?customerTitle=A+%26+B", login: keyLogin}
	for answer, want := range map[string]string{
		`{"id":{"entityType":"CUSTOMER","id":"c1"},"title":"A & B"}`: "c1",
		`{"id":{"entityType":"CUSTOMER","id":"c1"},"title":"A"}`:     "",
		`{"id":{"id":"../x"},"title":"A & B"}`:                       "",
		`{"title":"A & B"}`:                                          "",
		`null`:                                                       "",
	} {
		got, err := thingsBoard(t, it.with(answer)).keyed().FindCustomer(t.Context(), "A & B")
		if got != want || (want == "") != errors.Is(err, rest.ErrNotThingsBoard) {
			t.Errorf("%s: %q %v", answer, got, err)
		}
	}
	if _, err := thingsBoard(t, refusal(it, 404, 32, "none")).keyed().FindCustomer(t.Context(), "A & B"); !errors.Is(err, rest.ErrNotFound) {
		t.Error(err)
	}
}

func TestAssignCustomer(t *testing.T) {
	t.Parallel()
	it := exchange{method: "POST", uri: "/api/customer/c1/device/" + deviceID, login: keyLogin}
	device := func(id, customer string) string {
		return `{"id":{"id":"` + id + `"},"name":"x","customerId":{"entityType":"CUSTOMER","id":"` + customer + `"}}`
	}
	for answer, isGood := range map[string]bool{
		device(deviceID, "c1"):  true,
		device(deviceID, "c2"):  false,
		device(profileID, "c1"): false,
		`{}`:                    false,
		``:                      false,
		`<html>`:                false,
	} {
		err := thingsBoard(t, it.with(answer)).keyed().AssignCustomer(t.Context(), "c1", deviceID)
		if isGood != (err == nil) || !isGood && !errors.Is(err, rest.ErrNotThingsBoard) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	if err := thingsBoard(t, refusal(it, 404, 32, "none")).keyed().AssignCustomer(t.Context(), "c1", deviceID); !errors.Is(err, rest.ErrNotFound) {
		t.Error(err)
	}
}
