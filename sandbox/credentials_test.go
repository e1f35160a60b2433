package sandbox_test

import (
	"crypto/sha3"
	"crypto/tls"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// A factory has a device CA.
type factory struct {
	t  *testing.T
	ca *certs.Authority
}

func newFactory(t *testing.T) factory {
	t.Helper()
	root, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "Root", KeyType: certs.P256, Years: 1, PathLen: 1})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := root.NewIssuing(certs.IssuingProfile{CommonName: "Device CA", KeyType: certs.P256, Purpose: certs.PurposeDevice})
	if err != nil {
		t.Fatal(err)
	}
	return factory{t, ca}
}

// device makes a certificate for a device; chain says whether it is presented with
// its CA's.
func (f factory) device(name string, chain bool) (*tls.Certificate, []byte) {
	f.t.Helper()
	issued, err := f.ca.IssueDevice(certs.DeviceProfile{CommonName: name, KeyType: certs.P256, Days: 10})
	if err != nil {
		f.t.Fatal(err)
	}
	certificate := &tls.Certificate{PrivateKey: issued.Key}
	for _, cert := range issued.Chain {
		certificate.Certificate = append(certificate.Certificate, cert.Raw)
	}
	if !chain {
		certificate.Certificate = certificate.Certificate[:1]
	}
	return certificate, certs.EncodeCertificates(issued.Chain[0])
}

// TestCertificateCodes: what a client certificate gets, in both versions.
func TestCertificateCodes(t *testing.T) {
	t.Parallel()
	ours, theirs := newFactory(t), newFactory(t)
	known, knownPEM := ours.device("known", true)
	expired, expiredPEM := ours.device("expired", true)
	unknown, _ := ours.device("unknown", true)
	other, _ := theirs.device("known", true)
	now := time.Now
	for _, row := range []struct {
		name        string
		certificate *tls.Certificate
		now         func() time.Time
		v3, v5      byte
	}{
		{"a device's", known, now, 0, 0},
		{"of no device", unknown, now, 5, 0x87},
		{"of another CA", other, now, 5, 0x87},
		{"expired", expired, func() time.Time { return time.Now().AddDate(0, 1, 0) }, 5, 0x87},
		{"not yet valid", known, func() time.Time { return time.Now().AddDate(0, -1, 0) }, 5, 0x87},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, func(c *sandbox.Config) {
				c.Now = row.now
				c.Devices = append(c.Devices,
					sandbox.Device{Name: "known", Certificate: knownPEM}, sandbox.Device{Name: "expired", Certificate: expiredPEM})
			})
			p := w.dialTLS(t, row.certificate)
			p.send(connect(token)) // which is not looked at
			if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != row.v3 {
				t.Errorf("MQTT 3.1.1: CONNACK %d, want %d", ack.ReturnCode, row.v3)
			}
			if row.v3 == 0 {
				p.published("v1/devices/me/telemetry", `{"a":1}`)
				if got := w.Telemetry("known"); len(got) != 1 {
					t.Errorf("stored %v", got)
				}
			}
			if _, code := w.dialTLS(t, row.certificate).logInV5(connect(token)); code != row.v5 {
				t.Errorf("MQTT 5: CONNACK %#x, want %#x", code, row.v5)
			}
		})
	}
}

// TestChainProfile: the certificates of a profile's CA let devices in, make them,
// and renew theirs (DeviceProvisionServiceImpl.provisionDeviceViaX509Chain).
func TestChainProfile(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	w := start(t)
	api := w.as(apiKey)
	ca := string(certs.EncodeCertificates(f.ca.Certificate))
	save := func(allow, status string) {
		t.Helper()
		body := `{"name":"factory","type":"DEFAULT","transportType":"DEFAULT","provisionType":"X509_CERTIFICATE_CHAIN","profileData":{"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"X509_CERTIFICATE_CHAIN",` +
			`"provisionDeviceSecret":` + quoted(ca) + `,"certificateRegExPattern":"(.+)","allowCreateNewDevicesByX509Certificate":` + allow + `}}}`
		api.call(t, "POST /api/deviceProfile", body, map[string]int{"ok": 200, "twice": 400}[status])
	}
	code := func(certificate *tls.Certificate) byte {
		t.Helper()
		p := w.dialTLS(t, certificate)
		p.send(connect(""))
		return receive[*paho.ConnackPacket](p).ReturnCode
	}
	first, _ := f.device("new-1", true)
	if got := code(first); got != 5 {
		t.Errorf("without the profile: CONNACK %d", got)
	}
	save("true", "ok")
	save("true", "twice")
	if got := code(first); got != 0 {
		t.Errorf("with the profile: CONNACK %d", got)
	}
	if alone, _ := f.device("new-2", false); code(alone) != 5 {
		t.Error("a leaf alone was let in")
	}
	renewed, renewedPEM := f.device("new-1", true)
	if got := code(renewed); got != 0 {
		t.Errorf("a renewed certificate: CONNACK %d", got)
	}
	for _, device := range w.Devices() {
		if device.Name == "new-1" && (device.Type != "factory" || string(device.Certificate) != string(renewedPEM)) {
			t.Errorf("the device has the profile %q, and not its new certificate", device.Type)
		}
	}
	if impostor, _ := f.device("meter-1", true); code(impostor) != 5 {
		t.Error("a device of another profile was let in")
	}
	if other, _ := newFactory(t).device("new-3", true); code(other) != 5 {
		t.Error("a device of another CA was let in")
	}
}

func quoted(s string) string {
	out := `"`
	for _, r := range s {
		if r == '\n' {
			out += `\n`
		} else {
			out += string(r)
		}
	}
	return out + `"`
}

// TestBasicCredentials: which of client id, user name and password must match
// (DefaultTransportApiService.validateCredentials).
func TestBasicCredentials(t *testing.T) {
	t.Parallel()
	text := secret.New
	w := start(t, func(c *sandbox.Config) {
		c.Devices = append(c.Devices,
			sandbox.Device{Name: "user", Basic: sandbox.Basic{Username: text("u"), Password: text("canary0p")}},
			sandbox.Device{Name: "open", Basic: sandbox.Basic{Username: text("open")}},
			sandbox.Device{Name: "client", Basic: sandbox.Basic{ClientID: text("c")}},
			sandbox.Device{Name: "both", Basic: sandbox.Basic{ClientID: text("c2"), Username: text("u2"), Password: text("canary0p")}})
	})
	for _, row := range []struct {
		name, client, user, password string
		code                         byte
	}{
		{"user name and password", "any", "u", "canary0p", 0},
		{"wrong password", "any", "u", "canary0x", 5},
		{"no password", "any", "u", "", 5},
		{"no password wanted", "any", "open", "canary0x", 0},
		{"client id alone", "c", "", "", 0},
		{"wrong client id alone", "x", "", "", 2},
		{"all three", "c2", "u2", "canary0p", 0},
		{"all three, wrong client id", "c3", "u2", "canary0p", 5},
		{"all three, wrong password", "c2", "u2", "canary0x", 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			packet := connect(row.user)
			packet.ClientIdentifier = row.client
			packet.Password, packet.PasswordFlag = []byte(row.password), row.password != ""
			p := w.dial(t)
			p.send(packet)
			if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != row.code {
				t.Errorf("CONNACK %d, want %d", ack.ReturnCode, row.code)
			}
		})
	}
}

// TestPairBeforeToken: a user name may be a token, and belong to a pair with a
// client id. The pair comes first: its wrong password is refused, whoever has the
// token; another client id is the token's.
func TestPairBeforeToken(t *testing.T) {
	t.Parallel()
	text := secret.New
	w := start(t, func(c *sandbox.Config) {
		c.Devices = append(c.Devices,
			sandbox.Device{Name: "pair", Basic: sandbox.Basic{ClientID: text("c"), Username: text(token), Password: text("canary0p")}})
	})
	for _, row := range []struct {
		client, password, device string
		code                     byte
	}{{"c", "canary0p", "pair", 0}, {"c", "canary0x", "", 5}, {"d", "canary0x", "meter-1", 0}} {
		packet := connect(token)
		packet.ClientIdentifier = row.client
		packet.Password, packet.PasswordFlag = []byte(row.password), true
		p := w.dial(t)
		p.send(packet)
		if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != row.code {
			t.Errorf("%s: CONNACK %d, want %d", row.client, ack.ReturnCode, row.code)
		}
		if row.device != "" {
			before := len(w.Telemetry(row.device))
			p.published("v2/t", `{"a":1}`)
			if len(w.Telemetry(row.device)) != before+1 {
				t.Errorf("%s: this is not %s", row.client, row.device)
			}
		}
	}
}

// TestCredentialsOfEveryKind has what is asked for by REST, and refused, and read
// back as ThingsBoard keeps it.
func TestCredentialsOfEveryKind(t *testing.T) {
	t.Parallel()
	w := start(t)
	api := w.as(apiKey)
	_, pem := newFactory(t).device("x", false)
	parsed, err := certs.ParseCertificates(pem)
	if err != nil {
		t.Fatal(err)
	}
	base64 := strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "", "\n", "").Replace(string(pem))
	sum := func(text string) string { h := sha3.Sum256([]byte(text)); return hex.EncodeToString(h[:]) }
	body := func(name, credentials string) string {
		return `{"device":{"name":"` + name + `"},"credentials":{` + credentials + `}}`
	}
	basic := func(value string) string {
		return `"credentialsType":"MQTT_BASIC","credentialsId":"not looked at","credentialsValue":` + quoted(value)
	}
	for name, row := range map[string]struct{ sent, id, value string }{
		"token":  {`"credentialsType":"ACCESS_TOKEN","credentialsId":"canary0t"`, "canary0t", ""},
		"x509":   {`"credentialsType":"X509_CERTIFICATE","credentialsValue":` + quoted(string(pem)), certs.CredentialsID(parsed[0]), base64},
		"client": {basic(`{\"clientId\":\"c\"}`), sum("c"), `{"clientId":"c","userName":null,"password":null}`},
		"user":   {basic(`{\"userName\":\"u\",\"password\":\"canary0p\"}`), "u", `{"clientId":null,"userName":"u","password":"canary0p"}`},
		"both":   {basic(`{\"clientId\":\"c\",\"userName\":\"u\"}`), sum("c|u"), `{"clientId":"c","userName":"u","password":null}`},
	} {
		made := w.do(t, "POST", "/api/device-with-credentials", body(name, row.sent))
		got := w.do(t, "GET", "/api/device/"+idOf(made)+"/credentials", "")
		value, _ := got["credentialsValue"].(string)
		if got["credentialsId"] != row.id || value != row.value {
			t.Errorf("%s: got %v", name, got)
		}
		wantError(t, api.call(t, "POST /api/device-with-credentials", body("again", row.sent), 400),
			refusal{400, 31, "Device credentials are already assigned to another device!"})
	}
	for sent, message := range map[string]string{
		`"credentialsType":"ACCESS_TOKEN","credentialsId":"a\u0007"`: "credentialsId must not contain control characters!",
		`"credentialsId":"a"`: "Device credentials type should be specified",
		basic(`{`):            "Invalid credentials body for simple mqtt credentials!",
		basic(`{}`):           "Both mqtt client id and user name are empty!",
		basic(`{\"clientId\":\"d\",\"password\":\"p\"}`):                "Password cannot be specified along with client id",
		basic(`{\"userName\":\"v\",\"password\":\"\\u0007\"}`):          "password must not contain control characters!",
		`"credentialsType":"LWM2M_CREDENTIALS","credentialsValue":"{}"`: "The sandbox keeps no credentials of type LWM2M_CREDENTIALS",
	} {
		wantError(t, api.call(t, "POST /api/device-with-credentials", body("refused", sent), 400), refusal{400, 31, message})
	}
	wantError(t, api.call(t, "POST /api/device-with-credentials", `{}`, 400),
		refusal{400, 31, "Validation error: credentials must not be null, device must not be null"})
	wantError(t, api.call(t, "GET /api/tenant/devices?deviceName=refused", "", 404), refusal{404, 32, "Requested item wasn't found!"})
}
