package device_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
)

const (
	theKey    = "canary-key-0123456789"
	theSecret = "canary-secret-0123456789"
	theMade   = "canary-made-0123456789" // a token that ThingsBoard makes
)

func request() device.ProvisionRequest {
	return device.ProvisionRequest{Name: "Pump 1", Key: secret.New(theKey), Secret: secret.New(theSecret)}
}

// granted lets the client in and grants it the answers.
func (s *server) granted() {
	if subscribe := s.grant(); subscribe != nil && (len(subscribe.Topics) != 1 || subscribe.Topics[0] != "/provision/response") {
		s.t.Errorf("subscribed to %v", subscribe.Topics)
	}
}

// provisions acknowledges a request, as ThingsBoard does, and then answers.
func (s *server) provisions(payload string) *packets.PublishPacket {
	publish := s.acknowledge()
	if publish != nil && publish.TopicName != "/provision/request" {
		s.t.Errorf("published to %s", publish.TopicName)
	}
	s.message(device.TopicProvisionResponse, payload, 1)
	return publish
}

func TestProvisionRequests(t *testing.T) {
	t.Parallel()
	der := []byte("a certificate")
	inPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	login := map[string]any{"deviceName": "Pump 1", "provisionDeviceKey": theKey, "provisionDeviceSecret": theSecret}
	for name, test := range map[string]struct {
		given  device.Credential
		fields map[string]any // beside those of every request
		answer string
		want   device.Credential
	}{
		"made by the server": {
			answer: `{"credentialsValue":"` + theMade + `","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}`,
			want:   device.Credential{Type: device.TypeAccessToken, Token: secret.New(theMade)},
		},
		"token": {
			given:  device.Credential{Type: device.TypeAccessToken, Token: secret.New(theToken)},
			fields: map[string]any{"credentialsType": "ACCESS_TOKEN", "token": theToken},
			answer: `{"credentialsValue":"` + theToken + `","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}`,
			want:   device.Credential{Type: device.TypeAccessToken, Token: secret.New(theToken)},
		},
		"basic": {
			given:  device.Credential{Type: device.TypeMQTTBasic, ClientID: secret.New("c"), Username: secret.New("u"), Password: secret.New("p")},
			fields: map[string]any{"credentialsType": "MQTT_BASIC", "clientId": "c", "username": "u", "password": "p"},
			answer: `{"credentialsValue":{"clientId":"c","userName":"u","password":"p"},"credentialsType":"MQTT_BASIC","status":"SUCCESS"}`,
			want:   device.Credential{Type: device.TypeMQTTBasic, ClientID: secret.New("c"), Username: secret.New("u"), Password: secret.New("p")},
		},
		"client id alone": {
			given:  device.Credential{Type: device.TypeMQTTBasic, ClientID: secret.New("c")},
			fields: map[string]any{"credentialsType": "MQTT_BASIC", "clientId": "c"},
			answer: `{"credentialsValue":{"clientId":"c","userName":"","password":null},"credentialsType":"MQTT_BASIC","status":"SUCCESS"}`,
			want:   device.Credential{Type: device.TypeMQTTBasic, ClientID: secret.New("c")},
		},
		"certificate": {
			given:  device.Credential{Type: device.TypeCertificate, Certificate: der},
			fields: map[string]any{"credentialsType": "X509_CERTIFICATE", "hash": inPEM},
			answer: `{"credentialsValue":"` + base64.StdEncoding.EncodeToString(der) + `","credentialsType":"X509_CERTIFICATE","status":"SUCCESS"}`,
			want:   device.Credential{Type: device.TypeCertificate, Certificate: der},
		},
		"certificate of a device that was there": {
			answer: fmt.Sprintf(`{"credentialsValue":%q,"credentialsType":"X509_CERTIFICATE","status":"SUCCESS"}`, inPEM),
			want:   device.Credential{Type: device.TypeCertificate, Certificate: der},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := make(chan *packets.PublishPacket, 1)
			session := connected(t, func(s *server) {
				s.granted()
				sent <- s.provisions(test.answer)
			})
			asked := request()
			asked.Credential = test.given
			got, err := device.Provision(patient(t), session, asked)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(shown(test.want), shown(got.Credential)); diff != "" {
				t.Error(diff)
			}
			want := map[string]any{}
			for _, fields := range []map[string]any{login, test.fields} {
				for name, value := range fields {
					want[name] = value
				}
			}
			if diff := cmp.Diff(want, decoded(t, (<-sent).Payload)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func decoded(t *testing.T, payload []byte) (fields map[string]any) {
	t.Helper()
	if err := json.Unmarshal(payload, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

// shown makes a credential comparable.
func shown(c device.Credential) []string {
	return []string{string(c.Type), c.Token.Reveal(), c.ClientID.Reveal(), c.Username.Reveal(), c.Password.Reveal(), string(c.Certificate)}
}

// TestProvisionMany has one session for several devices, whatever the answers.
func TestProvisionMany(t *testing.T) {
	t.Parallel()
	const good = `{"credentialsValue":"` + theMade + `","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}`
	gateway := make(chan *packets.PublishPacket, 1)
	session := connected(t, func(s *server) {
		s.granted() // once
		s.provisions(good)
		s.provisions(`{"errorMsg":"Failed to provision device!","status":"FAILURE"}`)
		s.provisions(`{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}`)
		gateway <- s.provisions(good)
		expect[*packets.DisconnectPacket](s)
	})
	for _, want := range []error{nil, device.ErrProvisionFailed, device.ErrProvisionNotFound} {
		_, err := device.Provision(patient(t), session, request())
		if !errors.Is(err, want) || errors.Is(err, device.ErrProvisionUncertain) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	asked := request()
	asked.Gateway = true
	if _, err := device.Provision(patient(t), session, asked); err != nil {
		t.Fatal(err)
	}
	if fields := decoded(t, (<-gateway).Payload); fields["gateway"] != true {
		t.Errorf("sent %v", fields)
	}
	if err := session.Disconnect(); err != nil {
		t.Error(err)
	}
	if _, err := device.Provision(patient(t), session, request()); !errors.Is(err, net.ErrClosed) || errors.Is(err, device.ErrProvisionUncertain) {
		t.Errorf("after Disconnect: %v", err)
	}
}

// TestProvisionBreaks ends each step with something else than its answer.
func TestProvisionBreaks(t *testing.T) {
	t.Parallel()
	answers := func(topic, payload string) func(*server) {
		return func(s *server) {
			s.granted()
			s.acknowledge()
			s.message(topic, payload, 1)
			s.untilClosed()
		}
	}
	says := func(payload string) func(*server) { return answers(device.TopicProvisionResponse, payload) }
	for name, test := range map[string]struct {
		script    func(*server)
		want      string
		uncertain bool
	}{
		"not subscribed": {func(s *server) { expect[*packets.SubscribePacket](s) }, "waiting for SUBACK: the server closed", false},
		"subscription denied": {func(s *server) {
			p := expect[*packets.SubscribePacket](s)
			s.answer(0x90, 3, 0, byte(p.MessageID), 0x80)
		}, "refused the subscription", false},
		"asked for nothing":  {func(s *server) { s.publish(device.TopicProvisionResponse, "{}", 1); s.granted(); s.untilClosed() }, "a message came", false},
		"not acknowledged":   {func(s *server) { s.granted(); expect[*packets.PublishPacket](s) }, "waiting for PUBACK: the server closed", true},
		"a field is missing": {func(s *server) { s.granted(); s.acknowledge() }, "waiting for a message: the server closed", true},
		"garbage": {func(s *server) {
			s.granted()
			s.acknowledge()
			s.answer([]byte("HTTP/1.1 400\r\n")...)
			s.untilClosed()
		}, "expected a message", true},
		"an echo": {func(s *server) {
			s.granted()
			s.acknowledge()
			s.answer([]byte("\xff" + theKey + theSecret)...)
			s.untilClosed()
		}, "expected a message", true},
		"another topic":   {answers("v1/devices/me/attributes", `{"status":"SUCCESS"}`), "on another topic", true},
		"not JSON":        {says(theMade), "not the JSON", true},
		"an array":        {says(`[]`), "not the JSON", true},
		"status a number": {says(`{"status":1}`), "not the JSON", true},
		"no status":       {says(`{"credentialsType":"ACCESS_TOKEN","credentialsValue":"` + theMade + `"}`), "its status", true},
		"a new status":    {says(`{"status":"` + theMade + `"}`), "its status", true},
		"no type":         {says(`{"status":"SUCCESS","credentialsValue":"` + theMade + `"}`), "not for MQTT", true},
		"LWM2M":           {says(`{"status":"SUCCESS","credentialsType":"LWM2M_CREDENTIALS"}`), "not for MQTT", true},
		"no token":        {says(`{"status":"SUCCESS","credentialsType":"ACCESS_TOKEN"}`), "access token is missing", true},
		"empty token":     {says(`{"status":"SUCCESS","credentialsType":"ACCESS_TOKEN","credentialsValue":""}`), "access token is missing", true},
		"token an object": {says(`{"status":"SUCCESS","credentialsType":"ACCESS_TOKEN","credentialsValue":{"a":"` + theMade + `"}}`), "access token is missing", true},
		"basic a text":    {says(`{"status":"SUCCESS","credentialsType":"MQTT_BASIC","credentialsValue":"` + theMade + `"}`), "are missing", true},
		"basic empty":     {says(`{"status":"SUCCESS","credentialsType":"MQTT_BASIC","credentialsValue":{"password":"` + theMade + `"}}`), "neither a client id", true},
		"no certificate":  {says(`{"status":"SUCCESS","credentialsType":"X509_CERTIFICATE"}`), "certificate is missing", true},
		"bad certificate": {says(`{"status":"SUCCESS","credentialsType":"X509_CERTIFICATE","credentialsValue":"` + theMade + `"}`), "neither PEM nor base64", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session := connected(t, test.script)
			asked := request()
			asked.Credential = device.Credential{Type: device.TypeAccessToken, Token: secret.New(theToken)}
			_, err := device.Provision(patient(t), session, asked)
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, device.ErrProvisionUncertain) != test.uncertain {
				t.Fatalf("got %v, want %q, uncertain %t", err, test.want, test.uncertain)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "canary") {
				t.Errorf("a secret shows: %v", err)
			}
			var protocol *device.ProtocolError
			if !errors.Is(err, device.ErrClosed) && !errors.As(err, &protocol) && !errors.Is(err, device.ErrSubscriptionRefused) {
				t.Errorf("of no type: %v", err)
			}
			_ = session.Disconnect()
		})
	}
}

// TestProvisionTimesOut does not take a late answer for that of the next
// request.
func TestProvisionTimesOut(t *testing.T) {
	t.Parallel()
	session := connected(t, func(s *server) {
		s.granted()
		s.acknowledge()
		s.untilClosed()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := device.Provision(ctx, session, request())
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, device.ErrProvisionUncertain) {
		t.Errorf("no answer: %v", err)
	}
	if _, err := device.Provision(patient(t), session, request()); err == nil {
		t.Error("the session goes on")
	}
}

// TestProvisionUnsent has requests that are not for ThingsBoard.
func TestProvisionUnsent(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*device.ProvisionRequest){
		"no name":        func(r *device.ProvisionRequest) { r.Name = "" },
		"no key":         func(r *device.ProvisionRequest) { r.Key = secret.Text{} },
		"no secret":      func(r *device.ProvisionRequest) { r.Secret = secret.Text{} },
		"an empty token": func(r *device.ProvisionRequest) { r.Credential.Type = device.TypeAccessToken },
		"an empty basic": func(r *device.ProvisionRequest) { r.Credential.Type = device.TypeMQTTBasic },
		"no certificate": func(r *device.ProvisionRequest) { r.Credential.Type = device.TypeCertificate },
		"an unknown type": func(r *device.ProvisionRequest) {
			r.Credential = device.Credential{Type: "LWM2M", Token: secret.New(theToken)}
		},
		"more than it takes": func(r *device.ProvisionRequest) { r.Name = strings.Repeat("x", device.MaxPayload) },
	} {
		session := connected(t, func(s *server) { expect[*packets.DisconnectPacket](s) })
		asked := request()
		change(&asked)
		if _, err := device.Provision(patient(t), session, asked); err == nil || errors.Is(err, device.ErrProvisionUncertain) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
		if err := session.Disconnect(); err != nil {
			t.Error(err)
		}
	}
}
