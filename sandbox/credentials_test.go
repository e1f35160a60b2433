package sandbox_test

import (
	"crypto/tls"
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
