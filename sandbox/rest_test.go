package sandbox_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// object is a JSON object.
type object = map[string]any

const apiKey = "ApiKey tb_canary0key"

// A caller calls the REST API with an authorization, or without for "".
type caller struct {
	*world
	authorization string
}

func (w *world) as(authorization string) caller {
	return caller{world: w, authorization: authorization}
}

// call makes a call such as "GET /api/system/info", and wants a status.
func (c caller) call(t *testing.T, call, body string, status int) []byte {
	t.Helper()
	method, path, _ := strings.Cut(call, " ")
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.HTTPAddr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if c.authorization != "" {
		request.Header.Set("X-Authorization", c.authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Fatalf("%s: got %d %s, want %d", call, response.StatusCode, got, status)
	}
	return got
}

// do makes a call that is granted, and gives its object.
func (w *world) do(t *testing.T, method, path, body string) object {
	t.Helper()
	return parse[object](t, w.as(apiKey).call(t, method+" "+path, body, http.StatusOK))
}

func parse[T any](tb testing.TB, data []byte) T {
	tb.Helper()
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		tb.Fatalf("%v in %s", err, data)
	}
	return value
}

// find gives the id of a device.
func (w *world) find(t *testing.T, name string) string {
	t.Helper()
	return w.do(t, "GET", "/api/tenant/devices?deviceName="+name, "")["id"].(object)["id"].(string)
}

func (w *world) attributes(t *testing.T) []object {
	t.Helper()
	path := "/api/plugins/telemetry/DEVICE/" + w.find(t, "meter-1") + "/values/attributes/CLIENT_SCOPE"
	return parse[[]object](t, w.as(apiKey).call(t, "GET "+path, "", http.StatusOK))
}

type refusal struct {
	status, code int
	message      string
}

// wantError compares an answer with ThingsBoard's form.
func wantError(t *testing.T, answer []byte, want refusal) {
	t.Helper()
	got := parse[object](t, answer)
	if got["timestamp"] == nil {
		t.Errorf("no timestamp in %s", answer)
	}
	delete(got, "timestamp")
	if diff := cmp.Diff(object{"status": float64(want.status), "errorCode": float64(want.code), "message": want.message}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoginAndItsEnd(t *testing.T) {
	t.Parallel()
	clock := make(chan time.Time, 1)
	clock <- fixed()
	now := func() time.Time {
		it := <-clock
		clock <- it
		return it
	}
	pass := func(by time.Duration) { clock <- (<-clock).Add(by) }
	w := start(t, func(config *sandbox.Config) { config.Now = now })

	wantError(t, w.as("").call(t, "POST /api/auth/login", `{"username":"tenant@thingsboard.org","password":"x"}`, 401), refusal{401, 10, "Invalid username or password"})
	wantError(t, w.as("").call(t, "POST /api/auth/login", `{"username":"x","password":"canary0password"}`, 401), refusal{401, 10, "Invalid username or password"})
	login := `{"username":"tenant@thingsboard.org","password":"canary0password"}`
	first := parse[map[string]string](t, w.as("").call(t, "POST /api/auth/login", login, 200))
	bearer, refresh := "Bearer "+first["token"], `{"refreshToken":"`+first["refreshToken"]+`"}`
	w.as(bearer).call(t, "GET /api/system/info", "", 200)
	for name, header := range map[string]string{
		"none": "", "broken": "Bearer x", "tampered": bearer[:len(bearer)-4] + "AAAA", "the refresh token": "Bearer " + first["refreshToken"],
		"wrong API key": "ApiKey tb_other", "no API key": "ApiKey ", "other kind": "Basic x",
		"unsigned": "Bearer eyJhbGciOiJub25lIn0.eyJzY29wZXMiOlsiVEVOQU5UX0FETUlOIl0sImV4cCI6OTk5OTk5OTk5OX0.",
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, w.as(header).call(t, "GET /api/system/info", "", 401), refusal{401, 10, "Authentication failed"})
		})
	}
	wantError(t, w.as("").call(t, "POST /api/auth/token", `{"refreshToken":"`+first["token"]+`"}`, 401), refusal{401, 10, "Authentication failed"})

	pass(9000*time.Second - time.Second)
	w.as(bearer).call(t, "GET /api/system/info", "", 200)
	pass(2 * time.Second)
	wantError(t, w.as(bearer).call(t, "GET /api/system/info", "", 401), refusal{401, 11, "Token has expired"})
	second := parse[map[string]string](t, w.as("").call(t, "POST /api/auth/token", refresh, 200))
	info := parse[map[string]string](t, w.as("Bearer "+second["token"]).call(t, "GET /api/system/info", "", 200))
	if !strings.HasPrefix(info["version"], "4.3") {
		t.Errorf("got %v", info)
	}
	pass(604800 * time.Second)
	wantError(t, w.as("").call(t, "POST /api/auth/token", refresh, 401), refusal{401, 11, "Token has expired"})
}

func TestWithoutLoginsNobodyGetsIn(t *testing.T) {
	t.Parallel()
	w := start(t, func(config *sandbox.Config) {
		config.Username, config.Password, config.APIKey = "", secret.Text{}, secret.Text{}
	})
	w.as("").call(t, "POST /api/auth/login", `{"username":"","password":""}`, 401)
	w.as("ApiKey ").call(t, "GET /api/system/info", "", 401)
	w.as("").call(t, "GET /api/system/info", "", 401)
}

func TestCreateDevice(t *testing.T) {
	t.Parallel()
	w := start(t)
	made := w.do(t, "POST", "/api/device?accessToken=canary0new", `{"name":"new <1>","label":"l","type":"gas"}`)
	id := made["id"].(object)["id"].(string)
	want := object{"name": "new <1>", "label": "l", "type": "gas"}
	for key, value := range want {
		if made[key] != value {
			t.Errorf("%s is %v", key, made[key])
		}
	}
	if got := w.do(t, "GET", "/api/device/"+id, ""); got["name"] != "new <1>" {
		t.Errorf("got %v", got)
	}
	w.dial(t).logIn("canary0new")
	credentials := w.do(t, "GET", "/api/device/"+id+"/credentials", "")
	if credentials["credentialsId"] != "canary0new" || credentials["credentialsType"] != "ACCESS_TOKEN" || credentials["deviceId"].(object)["id"] != id {
		t.Errorf("got %v", credentials)
	}
	for name, row := range map[string]struct{ path, body, message string }{
		"name taken":    {"/api/device", `{"name":"meter-1"}`, "Device with such name already exists!"},
		"token taken":   {"/api/device?accessToken=" + token, `{"name":"other"}`, "Device credentials are already assigned to another device!"},
		"no name":       {"/api/device", `{}`, "Device name should be specified!"},
		"no JSON":       {"/api/device", `{`, "The request body is not the JSON that this call takes"},
		"no profile":    {"/api/device", `{"name":"other","deviceProfileId":{"id":"x"}}`, "Device is referencing non existing device profile!"},
		"other kind":    {"/api/device-with-credentials", `{"device":{"name":"other"},"credentials":{"credentialsType":"MQTT_BASIC"}}`, "Invalid credentials body for simple mqtt credentials!"},
		"no token":      {"/api/device-with-credentials", `{"device":{"name":"other"},"credentials":{"credentialsType":"ACCESS_TOKEN"}}`, "Device credentials id should be specified!"},
		"token is used": {"/api/device-with-credentials", `{"device":{"name":"other"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"` + token + `"}}`, "Device credentials are already assigned to another device!"},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, w.as(apiKey).call(t, "POST "+row.path, row.body, 400), refusal{400, 31, row.message})
		})
	}
	wantError(t, w.as(apiKey).call(t, "GET /api/tenant/devices?deviceName=other", "", 404), refusal{404, 32, "Requested item wasn't found!"})

	w.do(t, "POST", "/api/device-with-credentials", `{"device":{"name":"with"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"canary0with"}}`)
	w.dial(t).logIn("canary0with")
	if changed := w.do(t, "POST", "/api/device", `{"id":{"id":"`+id+`"},"name":"newer"}`); changed["type"] != "default" || changed["label"] != nil {
		t.Errorf("what is left out is still there: %v", changed)
	}
	changed := w.do(t, "POST", "/api/device", `{"id":{"id":"`+id+`"},"name":"newer","label":"m","type":"gas"}`)
	if changed["name"] != "newer" || changed["type"] != "gas" || w.find(t, "newer") != id {
		t.Errorf("got %v", changed)
	}
	made = w.do(t, "POST", "/api/device", `{"name":"made-up"}`)
	credentials = w.do(t, "GET", "/api/device/"+made["id"].(object)["id"].(string)+"/credentials", "")
	if made["type"] != "default" || len(credentials["credentialsId"].(string)) != 20 {
		t.Errorf("got %v with %v", made, credentials)
	}
}

func TestCredentialsAndDeletionEndTheSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	id := w.find(t, "meter-1")
	p := w.dial(t)
	p.logInV5(connect(token))
	credentials := w.do(t, "GET", "/api/device/"+id+"/credentials", "")["id"].(object)["id"].(string)
	changeOf := func(which, token string) string {
		return `{` + which + `"deviceId":{"id":"` + id + `","entityType":"DEVICE"},"credentialsType":"ACCESS_TOKEN","credentialsId":"` + token + `"}`
	}
	change := func(token string) string { return changeOf(`"id":{"id":"`+credentials+`"},`, token) }
	for which, message := range map[string]string{
		"": "Credentials for this device are already specified!", `"id":{"id":"` + id + `"},`: "Unable to update non-existent device credentials!",
	} {
		wantError(t, w.as(apiKey).call(t, "POST /api/device/credentials", changeOf(which, "canary0changed"), 400), refusal{400, 31, message})
	}
	p.wantOpen()
	wantError(t, w.as(apiKey).call(t, "POST /api/device/credentials", change(token2), 400), refusal{400, 31, "Device credentials are already assigned to another device!"})
	w.do(t, "POST", "/api/device/credentials", change(token)) // no change
	p.wantOpen()
	if got := w.do(t, "POST", "/api/device/credentials", change("canary0changed")); got["credentialsId"] != "canary0changed" {
		t.Errorf("got %v", got)
	}
	if got := p.bytes(4); !bytes.Equal(got, []byte{0xe0, 2, 0x98, 0}) {
		t.Errorf("got % x, want DISCONNECT 98", got)
	}
	p.wantClosed()
	p = w.dial(t)
	p.send(connect(token))
	if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != 5 {
		t.Errorf("the old token: CONNACK %d", ack.ReturnCode)
	}
	p = w.dial(t).logIn("canary0changed")
	w.as(apiKey).call(t, "DELETE /api/device/"+id, "", 200)
	p.wantClosed()
	p = w.dial(t)
	p.send(connect("canary0changed"))
	if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != 5 {
		t.Errorf("the token of no device: CONNACK %d", ack.ReturnCode)
	}
	for _, call := range []string{"values/timeseries", "values/attributes"} {
		got := w.as(apiKey).call(t, "GET /api/plugins/telemetry/DEVICE/"+id+"/"+call, "", 404)
		if string(got) != "Device with requested id wasn't found!" {
			t.Errorf("%s: got %s", call, got)
		}
	}
	for _, call := range []string{"GET /api/device/" + id, "DELETE /api/device/" + id, "GET /api/device/" + id + "/credentials"} {
		wantError(t, w.as(apiKey).call(t, call, "", 404), refusal{404, 32, "Device with id [" + id + "] is not found"})
	}
	wantError(t, w.as(apiKey).call(t, "GET /api/device/x", "", 400), refusal{400, 31, "Invalid UUID string: x"})
	if devices := w.Devices(); len(devices) != 1 || devices[0].Name != "meter-2" || devices[0].Token.Reveal() != token2 {
		t.Errorf("got %v", devices)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, name := range []string{"a", "b", "c"} {
		w.do(t, "POST", "/api/device", `{"name":"`+name+`","type":"Water"}`)
	}
	for query, want := range map[string]object{
		"pageSize=2&page=0":                  {"names": "meter-1 meter-2", "totalPages": 3.0, "totalElements": 5.0, "hasNext": true},
		"pageSize=2&page=2":                  {"names": "c", "totalPages": 3.0, "totalElements": 5.0, "hasNext": false},
		"pageSize=2&page=1048576":            {"names": "", "totalPages": 3.0, "totalElements": 5.0, "hasNext": false},
		"pageSize=10&page=0&textSearch=CELL": {"names": "meter-1", "totalPages": 1.0, "totalElements": 1.0, "hasNext": false},
		"pageSize=10&page=0&textSearch=wat":  {"names": "meter-2 a b c", "totalPages": 1.0, "totalElements": 4.0, "hasNext": false},
		"pageSize=10&page=0&textSearch=none": {"names": "", "totalPages": 0.0, "totalElements": 0.0, "hasNext": false},
	} {
		got := w.do(t, "GET", "/api/tenant/devices?"+query, "")
		var names []string
		for _, device := range got["data"].([]any) {
			names = append(names, device.(object)["name"].(string))
		}
		got["names"] = strings.Join(names, " ")
		delete(got, "data")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	for _, query := range []string{"", "pageSize=10", "page=0", "pageSize=0&page=0", "pageSize=-1&page=0", "pageSize=x&page=0", "pageSize=1048577&page=0"} {
		w.as(apiKey).call(t, "GET /api/tenant/devices?"+query, "", 400)
	}
	profiles := w.do(t, "GET", "/api/deviceProfileInfos?pageSize=10&page=0&textSearch=wat", "")
	if data := profiles["data"].([]any); len(data) != 2 || data[1].(object)["name"] != "water" {
		t.Fatalf("got %v", profiles)
	}
	id := profiles["data"].([]any)[1].(object)["id"].(object)["id"].(string)
	if made := w.do(t, "POST", "/api/device", `{"name":"d","deviceProfileId":{"id":"`+id+`"}}`); made["type"] != "water" {
		t.Errorf("got %v", made)
	}
}

func TestReadBack(t *testing.T) {
	t.Parallel()
	w := start(t, at)
	p := w.dial(t).logIn(token)
	p.published("v2/t", `[{"ts":20,"values":{"a":2.0,"b":"x"}},{"ts":10,"values":{"a":1}},{"c":12345678.0,"d":[1]}]`)
	p.published("v2/a", `{"nonce":"n","f":1e-5}`)
	path := "/api/plugins/telemetry/DEVICE/" + w.find(t, "meter-1") + "/values/"
	for query, want := range map[string]string{
		"timeseries?keys=a":                         `{"a":[{"ts":20,"value":"2.0"}]}`,
		"timeseries?keys=a&useStrictDataTypes=true": `{"a":[{"ts":20,"value":2.0}]}`,
		"timeseries":                                `{"a":[{"ts":20,"value":"2.0"}],"b":[{"ts":20,"value":"x"}],"c":[{"ts":1700000000000,"value":"1.2345678E7"}],"d":[{"ts":1700000000000,"value":"[1]"}]}`,
		"timeseries?keys=b,none":                    `{"b":[{"ts":20,"value":"x"}],"none":[{"ts":1700000000000,"value":null}]}`,
		"attributes/CLIENT_SCOPE?keys=nonce":        `[{"key":"nonce","lastUpdateTs":1700000000000,"value":"n"}]`,
		"attributes?keys=f":                         `[{"key":"f","lastUpdateTs":1700000000000,"value":1.0E-5}]`,
		"attributes/SHARED_SCOPE":                   `[]`,
		"attributes/SERVER_SCOPE?keys=active":       `[{"key":"active","lastUpdateTs":1700000000000,"value":true}]`,
	} {
		if got := w.as(apiKey).call(t, "GET "+path+query, "", 200); string(got) != want {
			t.Errorf("%s:\ngot  %s\nwant %s", query, got, want)
		}
	}
	w.as(apiKey).call(t, "GET "+path+"attributes/OTHER", "", 400)
}

func TestRootDownload(t *testing.T) {
	t.Parallel()
	const path = "/api/device-connectivity/mqtts/certificate/download"
	w := start(t)
	if got := w.as("").call(t, "GET "+path, "", 200); !bytes.Equal(got, w.identity.pem) {
		t.Errorf("got %s", got)
	}
	w = start(t, func(config *sandbox.Config) { config.RootPEM = nil })
	wantError(t, w.as("").call(t, "GET "+path, "", 404), refusal{404, 32, "mqtts pem cert file is not found!"})
}

func TestBulkImport(t *testing.T) {
	t.Parallel()
	w := start(t)
	mapping := `"mapping":{"columns":[{"type":"NAME"},{"type":"TYPE"},{"type":"LABEL"},{"type":"ACCESS_TOKEN"}],"delimiter":",","header":true,"update":false}`
	p, kept := w.dial(t).logIn(token2), w.dial(t).logIn(token)
	got := w.do(t, "POST", "/api/device/bulk_import",
		`{"file":"name,type,label,token\nn1,gas,\"a, b\",canary0n1\nmeter-2,,new,canary0m2\nn2,gas,,`+token+`\nn3\nmeter-1,,\n,,,\n",`+mapping+`}`)
	want := object{"created": 2.0, "updated": 2.0, "errors": 2.0, "errorsList": []any{
		"Line 4: DeviceCredentialsValidationException: Device credentials are already assigned to another device!",
		"Line 7: DataValidationException: Device name should be specified!",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	p.wantClosed()
	kept.wantOpen()
	w.dial(t).logIn("canary0n1")
	w.dial(t).logIn("canary0m2")
	var devices []string
	for _, device := range w.Devices() {
		devices = append(devices, device.Name+"|"+device.Type+"|"+device.Label)
	}
	if diff := cmp.Diff([]string{"meter-1|default|Cellar", "meter-2|water|new", "n1|gas|a, b", "n3|default|"}, devices); diff != "" {
		t.Error(diff)
	}
}

// TestBulkImportIsReadBefore has texts that cannot be read, of which nothing is
// imported.
func TestBulkImportIsReadBefore(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, body := range []string{
		`{"file":"a","mapping":{"columns":[{"type":"SNMP_HOST"}]}}`,
		`{"file":"a\n\"","mapping":{"columns":[{"type":"NAME"}]}}`,
		`{"file":"a","mapping":{"columns":[{"type":"NAME"}],"delimiter":"\""}}`,
		`{"file":"a\nb,c","mapping":{"columns":[{"type":"NAME"}]}}`,
	} {
		w.as(apiKey).call(t, "POST /api/device/bulk_import", body, 400)
	}
	if devices := w.Devices(); len(devices) != 2 {
		t.Errorf("got %v", devices)
	}
}

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	w := start(t)
	long := `{"name":"` + strings.Repeat("x", 16<<20) + `"}`
	wantError(t, w.as(apiKey).call(t, "POST /api/device", long, 413), refusal{413, 31, "Payload size exceeds the limit"})
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.HTTPAddr().String()+"/api/device", io.MultiReader(strings.NewReader(long)))
	request.Header.Set("X-Authorization", apiKey) // chunked: the length is not told
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("got %d", response.StatusCode)
		}
	}
	if got := parse[object](t, w.as(apiKey).call(t, "GET /api/nothing", "", 404)); got["errorCode"] != nil {
		t.Errorf("got %v", got)
	}
}
