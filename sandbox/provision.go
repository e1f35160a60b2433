package sandbox

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// A provisionRequest asks for a device.
type provisionRequest struct {
	name       string // "" for one that is made up
	gateway    bool
	credential *credential // nil for a token that is made up
}

// provisionState is the server attribute that says that a device has been
// provisioned (DeviceProvisionServiceImpl).
const (
	provisionState = "provisionState"
	provisionDone  = "provisioned"
)

// The two refusals, as JsonConverter writes them.
const (
	provisionNotFound = `{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}`
	provisionFailure  = `{"errorMsg":"Failed to provision device!","status":"FAILURE"}`
)

// provision takes a provision request, to be answered after the PUBACK.
func (b *broker) provision(l *link, payload []byte) error {
	asked, err := device.ParseObject(payload)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadPayload, err)
	}
	it, err := readProvision(asked)
	if err != nil {
		return err
	}
	answer, err := b.store.provision(it)
	if err != nil {
		return err
	}
	l.after = func() {
		b.send(l, device.TopicProvisionResponse, packets.Packet{TopicName: device.TopicProvisionResponse, Payload: answer})
		l.retire()
	}
	return nil
}

// readProvision reads the fields (JsonConverter.buildProvisionRequestMsg).
func readProvision(asked map[string]any) (map[string]string, error) {
	fields := map[string]string{}
	for _, name := range []string{
		"deviceName", "credentialsType", "token", "clientId", "username", "password", "hash",
		"provisionDeviceKey", "provisionDeviceSecret", "gateway",
	} {
		switch value := asked[name].(type) { // each of these has a text for Gson
		case string:
			fields[name] = value
		case json.Number:
			fields[name] = value.String()
		case bool:
			fields[name] = fmt.Sprint(value)
		default:
			_, isThere := asked[name]
			if isThere || strings.HasPrefix(name, "provision") {
				return nil, fmt.Errorf("%w: %q", errNoField, name)
			}
		}
	}
	switch fields["credentialsType"] {
	case "", accessToken, mqttBasic, x509Certificate, lwm2m:
		return fields, nil
	default:
		return nil, fmt.Errorf("%w: %q", errNoField, "credentialsType")
	}
}

// provision does what a request asks for, and gives the answer
// (DeviceProvisionServiceImpl.provisionDevice).
func (s *store) provision(asked map[string]string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.TrimSpace(asked["deviceName"])
	key := asked["provisionDeviceKey"]
	p := s.profiles.byKey[key]
	switch {
	case name == "" && asked["deviceName"] != "":
		return []byte(provisionFailure), nil
	case key == "" || asked["provisionDeviceSecret"] == "" || p == nil || p.secret == "":
		return []byte(provisionNotFound), nil
	case p.strategy == strategyChain: // an exception, which is no answer
		return nil, fmt.Errorf("%w: the profile is for certificate chains", errNoField)
	case p.secret != asked["provisionDeviceSecret"]:
		return []byte(provisionNotFound), nil
	}
	return s.byStrategy(p, name, asked), nil
}

// byStrategy is provision with a key and a secret that are right.
func (s *store) byStrategy(p *profile, name string, asked map[string]string) []byte {
	var r *record
	var err error
	switch p.strategy {
	case strategyCreate:
		r, err = s.byRequest(p, name, asked)
	case strategyCheck:
		r, err = s.preProvisioned(p, name)
	default:
		return []byte(provisionNotFound)
	}
	if err != nil { // which is all that is told of it
		return []byte(provisionFailure)
	}
	return marshal(map[string]any{
		"credentialsValue": r.credential.shown(), "credentialsType": r.credential.kind, "status": "SUCCESS",
	})
}

// byRequest creates a device. Credentials that are empty count as none, whatever
// their type (DeviceServiceImpl.saveDevice of a ProvisionRequest).
func (s *store) byRequest(p *profile, name string, asked map[string]string) (*record, error) {
	it := provisionRequest{name: name, gateway: strings.EqualFold(asked["gateway"], "true")}
	if asked["token"]+asked["hash"]+asked["username"]+asked["password"]+asked["clientId"] != "" {
		kind, value := asked["credentialsType"], asked["hash"]
		switch kind {
		case "":
			kind = accessToken
		case mqttBasic:
			clientID, username, password := asked["clientId"], asked["username"], asked["password"]
			value = string(marshal(basicJSON{&clientID, &username, &password})) // "" for what was not given
		}
		c, err := newCredential(kind, asked["token"], value)
		if err != nil {
			return nil, err
		}
		it.credential = &c
	}
	return s.provisioned(p, it)
}

// provisioned creates a device (DeviceProvisionServiceImpl.processCreateDevice).
// It needs the lock.
func (s *store) provisioned(p *profile, it provisionRequest) (*record, error) {
	if it.name == "" {
		it.name = newToken()
	}
	c := credential{kind: accessToken, id: newToken()}
	if it.credential != nil {
		c = *it.credential
	}
	made := spec{name: it.name, profileID: p.id}
	if it.gateway {
		made.info = json.RawMessage(`{"gateway":true}`)
	}
	r, err := s.add(made, c)
	if err != nil {
		return nil, err
	}
	s.markProvisioned(r)
	return r, nil
}

// preProvisioned gives a device that was created before, once
// (DeviceProvisionServiceImpl.processProvision). It keeps the credential that it
// has.
func (s *store) preProvisioned(p *profile, name string) (*record, error) {
	r := s.byName[name]
	if r == nil || r.profile != p {
		return nil, errProvision
	}
	if _, isDone := r.data.scopes[scopeServer][provisionState]; isDone {
		return nil, errProvision
	}
	s.markProvisioned(r)
	return r, nil
}

func (s *store) markProvisioned(r *record) {
	r.data.set(scopeServer, provisionState, attribute{value: provisionDone, ts: s.now().UnixMilli()})
}

// shown is what a device that was provisioned is told.
func (c credential) shown() any {
	switch c.kind {
	case accessToken:
		return c.id
	case mqttBasic:
		return json.RawMessage(c.value)
	default:
		return c.value
	}
}
