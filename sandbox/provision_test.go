package sandbox_test

import (
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// provisioning lets devices provision themselves by three profiles.
func provisioning() func(*sandbox.Config) {
	return func(config *sandbox.Config) {
		text := secret.New
		config.Profiles = []sandbox.Profile{
			{Name: "made", Key: text("key-made"), Secret: text("canary0made")},
			{Name: "known", Key: text("key-known"), Secret: text("canary0known"), PreProvisioned: true},
			{Name: "chain", Chain: &sandbox.Chain{Certificate: []byte("certificate"), Pattern: "(.*)"}},
		}
		config.Devices = append(config.Devices,
			sandbox.Device{Name: "pre-1", Type: "known", Token: text("canary0pre1")},
			sandbox.Device{Name: "pre-2", Type: "known", Basic: sandbox.Basic{ClientID: text("c"), Username: text("u"), Password: text("canary0p")}},
		)
	}
}

// provisioner is a session for provisioning that hears the answers.
func (w *world) provisioner(t *testing.T) peer {
	t.Helper()
	p := w.dial(t).logIn("provision")
	if code := p.subscribed("/provision/response"); code > 1 {
		t.Fatalf("SUBACK %#x", code)
	}
	return p
}

// provision asks, and gives the answer.
func (p peer) provision(request string) object {
	p.t.Helper()
	p.published("/provision/request", request)
	message := receive[*paho.PublishPacket](p)
	if message.TopicName != "/provision/response" {
		p.t.Fatalf("the answer is on %q", message.TopicName)
	}
	return parse[object](p.t, message.Payload)
}

func TestProvision(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	w := start(t, provisioning())
	_, leaf := f.device("new-x509", false)
	const made = `"provisionDeviceKey":"key-made","provisionDeviceSecret":"canary0made"`
	const known = `"provisionDeviceKey":"key-known","provisionDeviceSecret":"canary0known"`
	unknown := object{"errorMsg": "Provision data was not found!", "status": "NOT_FOUND"}
	failed := object{"errorMsg": "Failed to provision device!", "status": "FAILURE"}
	good := func(kind string, value any) object {
		return object{"credentialsType": kind, "credentialsValue": value, "status": "SUCCESS"}
	}
	base64 := strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "", "\n", "").Replace(string(leaf))
	p := w.provisioner(t)
	for _, row := range []struct { // in this order
		name, request string
		want          object
	}{
		{"given token", `{"deviceName":" new-token ","credentialsType":"ACCESS_TOKEN","token":"canary0new",` + made + `}`, good("ACCESS_TOKEN", "canary0new")},
		{"type by default", `{"deviceName":"new-token2","token":"canary0new2",` + made + `}`, good("ACCESS_TOKEN", "canary0new2")},
		{"basic", `{"deviceName":"new-basic","credentialsType":"MQTT_BASIC","username":"canary0u","password":"canary0p","gateway":true,` + made + `}`,
			good("MQTT_BASIC", object{"clientId": "", "userName": "canary0u", "password": "canary0p"})},
		{"certificate", `{"deviceName":"new-x509","credentialsType":"X509_CERTIFICATE","hash":` + quoted(string(leaf)) + `,` + made + `}`,
			good("X509_CERTIFICATE", base64)},
		{"lenient", `{deviceName:'new-lenient',token:canary0lenient,` + made + `}`, good("ACCESS_TOKEN", "canary0lenient")},
		{"exists", `{"deviceName":"new-token",` + made + `}`, failed},
		{"token is taken", `{"deviceName":"new-3","token":"canary0new",` + made + `}`, failed},
		{"bad basic", `{"deviceName":"new-3","credentialsType":"MQTT_BASIC","clientId":"c","password":"p",` + made + `}`, failed},
		{"a token's type without one", `{"deviceName":"new-3","credentialsType":"ACCESS_TOKEN","username":"u",` + made + `}`, failed},
		{"name of spaces", `{"deviceName":" ",` + made + `}`, failed},
		{"long name", `{"deviceName":"` + strings.Repeat("x", 256) + `",` + made + `}`, failed},
		{"wrong key", `{"deviceName":"new-3","provisionDeviceKey":"x","provisionDeviceSecret":"canary0made"}`, unknown},
		{"wrong secret", `{"deviceName":"new-3","provisionDeviceKey":"key-made","provisionDeviceSecret":"x"}`, unknown},
		{"empty secret", `{"deviceName":"new-3","provisionDeviceKey":"key-made","provisionDeviceSecret":""}`, unknown},
		{"known", `{"deviceName":"pre-1","token":"canary0other",` + known + `}`, good("ACCESS_TOKEN", "canary0pre1")},
		{"known, again", `{"deviceName":"pre-1",` + known + `}`, failed},
		{"known, basic", `{"deviceName":"pre-2",` + known + `}`, good("MQTT_BASIC", object{"clientId": "c", "userName": "u", "password": "canary0p"})},
		{"known, but of another profile", `{"deviceName":"meter-1",` + known + `}`, failed},
		{"not known", `{"deviceName":"new-3",` + known + `}`, failed},
	} {
		if diff := cmp.Diff(row.want, p.provision(row.request)); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
	}
	w.dial(t).logIn("canary0new")
	w.dial(t).logIn("canary0pre1")
	answer := p.provision(`{"deviceName":"new-made",` + made + `}`)
	if value, _ := answer["credentialsValue"].(string); answer["credentialsType"] != "ACCESS_TOKEN" || len(value) != 20 {
		t.Errorf("got %v", answer)
	}
	p.provision(`{` + made + `}`) // gets a name
	devices := w.Devices()
	last := devices[len(devices)-1]
	if len(last.Name) != 20 || last.Type != "made" || len(devices) != 4+7 {
		t.Errorf("the last of %d devices is %q", len(devices), last.Name)
	}
	for _, device := range devices {
		if device.Gateway != (device.Name == "new-basic") {
			t.Errorf("%s: gateway is %v", device.Name, device.Gateway)
		}
	}
	for _, name := range []string{"new-token", "pre-1", "pre-2"} {
		if state := w.Attributes(name, "SERVER_SCOPE")["provisionState"]; state != "provisioned" {
			t.Errorf("%s is %v", name, state)
		}
	}
	if state := w.Attributes("meter-1", "SERVER_SCOPE")["provisionState"]; state != nil {
		t.Errorf("meter-1 is %v", state)
	}
}

// TestProvisionThatIsNoRequest ends the session, after a PUBACK where the JSON can
// be read.
func TestProvisionThatIsNoRequest(t *testing.T) {
	t.Parallel()
	w := start(t, provisioning())
	id := func(name string) string {
		page := w.do(t, "GET", "/api/deviceProfileInfos?pageSize=1&page=0&textSearch="+name, "")
		return page["data"].([]any)[0].(object)["id"].(object)["id"].(string)
	}
	chainKey := w.do(t, "GET", "/api/deviceProfile/"+id("chain"), "")["provisionDeviceKey"].(string)
	for name, row := range map[string]struct {
		request string
		isAcked bool
	}{
		"no JSON":          {`{`, false},
		"no object":        {`[]`, false},
		"no key":           {`{"deviceName":"x","provisionDeviceSecret":"s"}`, true},
		"no secret":        {`{"deviceName":"x","provisionDeviceKey":"s"}`, true},
		"name is an array": {`{"deviceName":{},"provisionDeviceKey":"s","provisionDeviceSecret":"s"}`, true},
		"unknown type":     {`{"credentialsType":"X","provisionDeviceKey":"s","provisionDeviceSecret":"s"}`, true},
		"chain profile":    {`{"deviceName":"x","provisionDeviceKey":"` + chainKey + `","provisionDeviceSecret":"certificate"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := w.provisioner(t)
			p.publish("/provision/request", row.request)
			if row.isAcked {
				receive[*paho.PubackPacket](p)
			}
			p.wantClosed()
		})
	}
	if n := len(w.Devices()); n != 4 {
		t.Errorf("there are %d devices", n)
	}
}
