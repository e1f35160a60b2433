package sandbox_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs"
)

// profileBody is a profile to be saved; more is JSON that begins with a comma.
func profileBody(name, strategy, configuration, more string) string {
	return `{"name":` + quoted(name) + `,"type":"DEFAULT","transportType":"DEFAULT","provisionType":"` + strategy + `",` +
		`"profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"alarms":[{"id":"kept"}],` +
		`"provisionConfiguration":{"type":"` + strategy + `"` + configuration + `}}` + more + `}`
}

func idOf(entity object) string { return entity["id"].(object)["id"].(string) }

func TestProfiles(t *testing.T) {
	t.Parallel()
	w := start(t)
	api := w.as(apiKey)
	made := w.do(t, "POST", "/api/deviceProfile",
		profileBody("made", "ALLOW_CREATE_NEW_DEVICES", `,"provisionDeviceSecret":"s"`, `,"provisionDeviceKey":"k","description":"d"`))
	id := idOf(made)
	if diff := cmp.Diff(made, w.do(t, "GET", "/api/deviceProfile/"+id, "")); diff != "" {
		t.Errorf("what is saved is not what is read: %s", diff)
	}
	want := object{
		"name": "made", "default": false, "provisionType": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceKey": "k", "description": "d", "version": 1.0,
		"profileData": object{
			"configuration": object{"type": "DEFAULT"}, "transportConfiguration": object{"type": "DEFAULT"}, "alarms": []any{object{"id": "kept"}},
			"provisionConfiguration": object{"type": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceSecret": "s"},
		},
	}
	for key, value := range want {
		if diff := cmp.Diff(value, made[key]); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	for name, row := range map[string]struct{ body, message string }{
		"name taken":   {profileBody("made", "DISABLED", "", ""), "Device profile with such name already exists!"},
		"key taken":    {profileBody("x", "DISABLED", "", `,"provisionDeviceKey":"k"`), "Device profile with such provision device key already exists!"},
		"no name":      {profileBody("", "DISABLED", "", ""), "Device profile name should be specified!"},
		"long name":    {profileBody(strings.Repeat("x", 256), "DISABLED", "", ""), "Validation error: name length must be equal or less than 255"},
		"no type":      {`{"name":"x"}`, "Device profile type should be specified!"},
		"no transport": {`{"name":"x","type":"DEFAULT"}`, "Device profile transport type should be specified!"},
		"two defaults": {profileBody("x", "DISABLED", "", `,"default":true`), "Another default device profile is present in scope of current tenant!"},
	} {
		wantError(t, api.call(t, "POST /api/deviceProfile", row.body, 400), refusal{400, 31, row.message})
		_ = name
	}
	w.do(t, "POST", "/api/device", `{"name":"n1","type":"made"}`)
	change := `,"id":{"id":"` + id + `"},"version":`
	w.do(t, "POST", "/api/deviceProfile", profileBody("renamed", "DISABLED", "", change+`1`))
	if got := w.do(t, "GET", "/api/tenant/devices?deviceName=n1", "")["type"]; got != "renamed" {
		t.Errorf("the device's type is %q", got)
	}
	wantError(t, api.call(t, "POST /api/deviceProfile", profileBody("again", "DISABLED", "", change+`1`), 409),
		refusal{409, 35, "Device profile was already changed by someone else"})
	wantError(t, api.call(t, "DELETE /api/deviceProfile/"+id, "", 400), refusal{400, 31, "The device profile referenced by the devices cannot be deleted!"})
	api.call(t, "DELETE /api/device/"+w.find(t, "n1"), "", 200)
	api.call(t, "DELETE /api/deviceProfile/"+id, "", 200)
	wantError(t, api.call(t, "GET /api/deviceProfile/"+id, "", 404), refusal{404, 32, "Device profile with id [" + id + "] is not found"})
	standard := w.do(t, "GET", "/api/deviceProfileInfo/default", "")
	if standard["name"] != "default" {
		t.Errorf("got %v", standard)
	}
	wantError(t, api.call(t, "DELETE /api/deviceProfile/"+idOf(standard), "", 400), refusal{400, 31, "Deletion of Default Device Profile is prohibited!"})
}

// TestChainProfileKey: the key of a chain is the hash of its first certificate,
// which is kept as base64 when it is alone.
func TestChainProfileKey(t *testing.T) {
	t.Parallel()
	w := start(t)
	ca, other := newFactory(t).ca, newFactory(t).ca
	one, two := certs.EncodeCertificates(ca.Certificate), certs.EncodeCertificates(other.Certificate, ca.Certificate)
	save := func(name string, pem []byte) object {
		t.Helper()
		return w.do(t, "POST", "/api/deviceProfile", profileBody(name, "X509_CERTIFICATE_CHAIN", `,"provisionDeviceSecret":`+quoted(string(pem))+
			`,"certificateRegExPattern":"(.*)","allowCreateNewDevicesByX509Certificate":true`, `,"provisionDeviceKey":"is not looked at"`))
	}
	alone := save("one", one)
	if got := alone["provisionDeviceKey"]; got != certs.CredentialsID(ca.Certificate) {
		t.Errorf("the key is %v", got)
	}
	configuration := func(profile object) object {
		return profile["profileData"].(object)["provisionConfiguration"].(object)
	}
	base64 := func(pem []byte) string {
		return strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "", "\n", "").Replace(string(pem))
	}
	want := object{
		"type": "X509_CERTIFICATE_CHAIN", "provisionDeviceSecret": base64(one),
		"certificateRegExPattern": "(.*)", "allowCreateNewDevicesByX509Certificate": true,
	}
	if diff := cmp.Diff(want, configuration(alone)); diff != "" {
		t.Error(diff)
	}
	both := save("two", two)
	if got := both["provisionDeviceKey"]; got != certs.CredentialsID(other.Certificate) {
		t.Errorf("the key is %v", got)
	}
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----"
	wantSecret := begin + base64(certs.EncodeCertificates(other.Certificate)) + end + "\n" + begin + base64(one) + end
	if got := configuration(both)["provisionDeviceSecret"]; got != wantSecret {
		t.Errorf("the secret is %v", got)
	}
	again := profileBody("three", "X509_CERTIFICATE_CHAIN", `,"provisionDeviceSecret":`+quoted(string(one)), "")
	wantError(t, w.as(apiKey).call(t, "POST /api/deviceProfile", again, 400), refusal{400, 31, "Device profile with such certificate already exists!"})
}

func TestCustomers(t *testing.T) {
	t.Parallel()
	w := start(t)
	api := w.as(apiKey)
	acme := w.do(t, "POST", "/api/customer", `{"title":"ACME & Sons","city":"Bern"}`)
	id := idOf(acme)
	if acme["name"] != "ACME & Sons" || acme["city"] != "Bern" || acme["version"] != 1.0 {
		t.Errorf("got %v", acme)
	}
	w.do(t, "POST", "/api/customer", `{"title":"Other"}`)
	if got := idOf(w.do(t, "GET", "/api/tenant/customers?customerTitle=ACME+%26+Sons", "")); got != id {
		t.Errorf("got %v", got)
	}
	if page := w.do(t, "GET", "/api/customers?pageSize=10&page=0&textSearch=acme", ""); len(page["data"].([]any)) != 1 || page["totalElements"] != 1.0 {
		t.Errorf("got %v", page)
	}
	wantError(t, api.call(t, "GET /api/tenant/customers?customerTitle=acme", "", 404), refusal{404, 32, "Customer with title [acme] is not found"})
	wantError(t, api.call(t, "POST /api/customer", `{"title":"Other"}`, 400), refusal{400, 31, "Customer with such title already exists!"})
	wantError(t, api.call(t, "POST /api/customer", `{"title":" "}`, 400), refusal{400, 31, "Customer title should be specified!"})

	device := w.find(t, "meter-1")
	if got := w.do(t, "POST", "/api/customer/"+id+"/device/"+device, ""); got["customerId"].(object)["id"] != id || got["version"] != 2.0 {
		t.Errorf("got %v", got)
	}
	infos := w.do(t, "GET", "/api/customer/"+id+"/deviceInfos?pageSize=10&page=0", "")["data"].([]any)
	if len(infos) != 1 || infos[0].(object)["customerTitle"] != "ACME & Sons" || infos[0].(object)["name"] != "meter-1" {
		t.Errorf("got %v", infos)
	}
	if devices := w.Devices(); devices[0].Customer != "ACME & Sons" || devices[1].Customer != "" {
		t.Errorf("got %v", devices)
	}
	const nobody = "00000000-0000-0000-0000-000000000000"
	wantError(t, api.call(t, "POST /api/customer/"+nobody+"/device/"+device, "", 404), refusal{404, 32, "Customer with id [" + nobody + "] is not found"})
	wantError(t, api.call(t, "POST /api/customer/"+id+"/device/"+nobody, "", 404), refusal{404, 32, "Device with id [" + nobody + "] is not found"})
	wantError(t, api.call(t, "POST /api/device", `{"name":"n","customerId":{"id":"`+nobody+`"}}`, 400), refusal{400, 31, "Can't assign device to non-existent customer!"})
	w.do(t, "DELETE", "/api/customer/device/"+device, "")
	wantError(t, api.call(t, "DELETE /api/customer/device/"+device, "", 400), refusal{400, 31, "Device isn't assigned to any customer!"})
	w.do(t, "POST", "/api/customer/"+id+"/device/"+device, "")
	api.call(t, "DELETE /api/customer/"+id, "", 200)
	if devices := w.Devices(); devices[0].Customer != "" {
		t.Errorf("got %v", devices[0])
	}
}

// TestDeviceFields: what is saved of a device is read back, and a change of what
// was changed meanwhile is refused.
func TestDeviceFields(t *testing.T) {
	t.Parallel()
	w := start(t)
	made := w.do(t, "POST", "/api/device", `{"name":"n1","additionalInfo":{"gateway":true,"description":"d","other":[1]}}`)
	info := object{"gateway": true, "description": "d", "other": []any{1.0}}
	if diff := cmp.Diff(info, w.do(t, "GET", "/api/device/"+idOf(made), "")["additionalInfo"].(object)); diff != "" || made["version"] != 1.0 {
		t.Errorf("version %v: %s", made["version"], diff)
	}
	change := func(version string) string {
		return `{"id":{"id":"` + idOf(made) + `"},"name":"n1","version":` + version + `}`
	}
	w.do(t, "POST", "/api/device", change("1"))
	w.do(t, "POST", "/api/device", change("null"))
	wantError(t, w.as(apiKey).call(t, "POST /api/device", change("1"), 409), refusal{409, 35, "Device was already changed by someone else"})
	for name, body := range map[string]string{"name": `"name":"%"`, "label": `"name":"n","label":"%"`, "type": `"name":"n","type":"%"`} {
		w.do(t, "POST", "/api/device", "{"+strings.NewReplacer(`"n"`, `"n-`+name+`"`, "%", strings.Repeat("ü", 255)).Replace(body)+"}")
		wantError(t, w.as(apiKey).call(t, "POST /api/device", "{"+strings.ReplaceAll(body, "%", strings.Repeat("ü", 256))+"}", 400),
			refusal{400, 31, "Validation error: " + name + " length must be equal or less than 255"})
	}
	if got := w.do(t, "POST", "/api/device?nameConflictPolicy=UNIQUIFY", `{"name":"n1"}`)["name"].(string); !strings.HasPrefix(got, "n1_") || len(got) != 9 {
		t.Errorf("got %q", got)
	}
	both := `{"device":{"id":{"id":"` + idOf(made) + `"},"name":"n2"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"canary0changed"}}`
	if got := w.do(t, "POST", "/api/device-with-credentials", both); got["name"] != "n2" {
		t.Errorf("got %v", got)
	}
	w.dial(t).logIn("canary0changed")
	infos := w.do(t, "GET", "/api/tenant/deviceInfos?pageSize=10&page=0&textSearch=n2", "")["data"].([]any)
	if len(infos) != 1 || infos[0].(object)["active"] != true || infos[0].(object)["deviceProfileName"] != "default" {
		t.Errorf("got %v", infos)
	}
}
