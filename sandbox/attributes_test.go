package sandbox_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/sandbox"
)

// TestSharedAttributes: what is saved is read back, pushed to a device that has
// subscribed, and given to one that asks.
func TestSharedAttributes(t *testing.T) {
	t.Parallel()
	for filter, topic := range map[string]string{
		"v1/devices/me/attributes": "v1/devices/me/attributes", "v2/a": "v2/a", "v2/a/j": "v2/a/j",
	} {
		t.Run(filter, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			path := "/api/plugins/telemetry/DEVICE/" + w.find(t, "meter-1") + "/"
			p := w.dial(t).logIn(token)
			p.subscribed(filter)
			pushed := func(want string) {
				t.Helper()
				message := receive[*paho.PublishPacket](p)
				if string(message.Payload) != want || message.TopicName != topic {
					t.Errorf("got %s on %s, want %s on %s", message.Payload, message.TopicName, want, topic)
				}
			}
			api := w.as(apiKey)
			api.call(t, "POST "+path+"attributes/SHARED_SCOPE", `{"a":"x","n":{"b":[1]}}`, 200)
			pushed(`{"a":"x","n":{"b":[1]}}`)
			api.call(t, "POST "+path+"SHARED_SCOPE", `{"c":1.5}`, 200)
			pushed(`{"c":1.5}`)
			api.call(t, "POST "+path+"SERVER_SCOPE", `{"d":true}`, 200) // which the device does not hear of
			api.call(t, "DELETE "+path+"SHARED_SCOPE?keys=c,none", "", 200)
			pushed(`{"deleted":["c"]}`)
			if got := w.Attributes("meter-1", "SHARED_SCOPE"); len(got) != 2 || got["a"] != "x" {
				t.Errorf("got %v", got)
			}
			p.subscribed("v1/devices/me/attributes/response/+")
			p.published("v1/devices/me/attributes", `{"mine":1}`)
			for request, want := range map[string]string{
				`{"sharedKeys":"a,none"}`:             `{"shared":{"a":"x"}}`,
				`{"clientKeys":"a","sharedKeys":"a"}`: `{"shared":{"a":"x"}}`,
				`{"clientKeys":"mine"}`:               `{"client":{"mine":1}}`,
				`{}`:                                  `{"client":{"mine":1},"shared":{"a":"x","n":{"b":[1]}}}`,
			} {
				p.published("v1/devices/me/attributes/request/1", request)
				if message := receive[*paho.PublishPacket](p); string(message.Payload) != want {
					t.Errorf("%s: got %s, want %s", request, message.Payload, want)
				}
			}
		})
	}
}

// TestAttributeRefusals are in plain text, but for those of Spring.
func TestAttributeRefusals(t *testing.T) {
	t.Parallel()
	w := start(t)
	path := "/api/plugins/telemetry/DEVICE/" + w.find(t, "meter-1") + "/"
	none := "/api/plugins/telemetry/DEVICE/00000000-0000-0000-0000-000000000000/"
	for _, row := range []struct {
		call, body string
		status     int
		want       string
	}{
		{"POST " + path + "CLIENT_SCOPE", `{"a":1}`, 400, "Invalid scope: CLIENT_SCOPE"},
		{"POST " + path + "SERVER_SCOPE", `[1]`, 400, "Request is not a JSON object"},
		{"POST " + path + "SERVER_SCOPE", `{"a":`, 400, "Invalid JSON"},
		{"POST " + path + "SERVER_SCOPE", `{}`, 400, "No attributes data found in request body!"},
		{"POST " + path + "SERVER_SCOPE", `{" ":1}`, 400, "Key cannot be blank"},
		{"DELETE " + path + "SERVER_SCOPE", "", 400, "Empty keys: []"},
		{"POST " + none + "SERVER_SCOPE", `{"a":1}`, 404, "Device with requested id wasn't found!"},
		{"DELETE " + none + "SERVER_SCOPE?keys=a", "", 404, "Device with requested id wasn't found!"},
		{"GET " + none + "values/attributes/SERVER_SCOPE", "", 404, "Device with requested id wasn't found!"},
	} {
		if got := w.as(apiKey).call(t, row.call, row.body, row.status); string(got) != row.want {
			t.Errorf("%s: got %s, want %s", row.call, got, row.want)
		}
	}
	w.as(apiKey).call(t, "POST "+path+"OTHER", `{"a":1}`, 400)
}

// TestState: what ThingsBoard keeps of a device's connections are attributes of
// the server; a device is active for ten minutes after it was last heard of, or
// as long as its "inactivityTimeout" says.
func TestState(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	begin := fixed().UnixMilli()
	clock.Store(begin)
	w := start(t, func(config *sandbox.Config) {
		config.Now = func() time.Time { return time.UnixMilli(clock.Load()) }
	})
	want := func(what string, values map[string]any) {
		t.Helper()
		if diff := cmp.Diff(values, w.Attributes("meter-1", "SERVER_SCOPE")); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	want("never seen", map[string]any{"active": false})
	clock.Add(1000)
	p := w.dial(t).logIn(token)
	want("connected", map[string]any{"active": true, "lastConnectTime": begin + 1000, "lastActivityTime": begin + 1000})
	clock.Add(1000)
	p.published("v2/t", `{"a":1}`)
	p.send(paho.NewControlPacket(paho.Disconnect))
	p.wantClosed()
	left := map[string]any{"lastConnectTime": begin + 1000, "lastActivityTime": begin + 2000, "lastDisconnectTime": begin + 2000}
	waitFor(t, func() bool { return w.Attributes("meter-1", "SERVER_SCOPE")["lastDisconnectTime"] != nil })
	left["active"] = true
	want("disconnected", left)
	clock.Add(10*60_000 - 1)
	want("for ten minutes", left)
	clock.Add(1)
	left["active"] = false
	want("after ten minutes", left)
	w.as(apiKey).call(t, "POST /api/plugins/telemetry/DEVICE/"+w.find(t, "meter-1")+"/SERVER_SCOPE", `{"inactivityTimeout":600001}`, 200)
	left["active"], left["inactivityTimeout"] = true, int64(600001)
	want("with a timeout of its own", left)
}

// waitFor waits for what another goroutine does.
func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
		tick := time.NewTimer(time.Millisecond)
		<-tick.C
	}
}

func TestImportColumns(t *testing.T) {
	t.Parallel()
	w := start(t)
	_, leaf := newFactory(t).device("x", false)
	oneLine := strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "", "\n", "").Replace(string(leaf))
	columns := `[{"type":"NAME"},{"type":"DESCRIPTION"},{"type":"IS_GATEWAY"},{"type":"X509"},{"type":"MQTT_CLIENT_ID"},{"type":"MQTT_USER_NAME"},` +
		`{"type":"MQTT_PASSWORD"},{"type":"ACCESS_TOKEN"},{"type":"SERVER_ATTRIBUTE","key":"sa"},{"type":"SHARED_ATTRIBUTE","key":"sh"},{"type":"TIMESERIES","key":"ts"}]`
	send := func(lines, update string) object {
		t.Helper()
		return w.do(t, "POST", "/api/device/bulk_import",
			`{"file":`+quoted(lines)+`,"mapping":{"columns":`+columns+`,"delimiter":";","header":false,"update":`+update+`}}`)
	}
	got := send("n1;d;TRUE;"+oneLine+";c;u;p;canary0not;1;x;2,5\n"+
		"n2;;;;c;u;canary0p;canary0not;true;7;\n"+
		"n3;;;;;;canary0p\n"+
		"n4;;;;;;;canary0n4\n"+
		"meter-1;new;;;;;;;9\n", "false")
	want := object{"created": 3.0, "updated": 1.0, "errors": 1.0, "errorsList": []any{
		"Line 3: DeviceCredentialsValidationException: Invalid device credentials: Both mqtt client id and user name are empty!",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var n1, n2, old sandbox.Device
	for _, device := range w.Devices() {
		switch device.Name {
		case "n1":
			n1 = device
		case "n2":
			n2 = device
		case "meter-1":
			old = device
		}
	}
	if string(n1.Certificate) != string(leaf) || n1.Description != "d" || !n1.Gateway {
		t.Errorf("n1 is %v", n1)
	}
	if n2.Basic.ClientID.Reveal() != "c" || n2.Basic.Password.Reveal() != "canary0p" || n2.Gateway {
		t.Errorf("n2 is %v", n2)
	}
	if old.Description != "new" || old.Label != "Cellar" || old.Token.Reveal() != token {
		t.Errorf("meter-1 is %v", old)
	}
	w.dial(t).logIn("canary0n4")
	for _, row := range []struct {
		name, scope, key string
		want             any
	}{
		{"n1", "SERVER_SCOPE", "sa", int64(1)}, {"n1", "SHARED_SCOPE", "sh", "x"}, {"n2", "SERVER_SCOPE", "sa", true}, {"n2", "SHARED_SCOPE", "sh", int64(7)},
		{"meter-1", "SERVER_SCOPE", "sa", nil}, // only with "update"
	} {
		if got := w.Attributes(row.name, row.scope)[row.key]; got != row.want {
			t.Errorf("%s: %s is %v", row.name, row.key, got)
		}
	}
	if got := w.Telemetry("n1"); len(got) != 1 || got[0].Value != 2.5 {
		t.Errorf("got %v", got)
	}
	send("meter-1;;;;;;;;9\n", "true")
	if got := w.Attributes("meter-1", "SERVER_SCOPE")["sa"]; got != int64(9) {
		t.Errorf("with update: %v", got)
	}
}
