package sandbox

import (
	"encoding/json"
	"fmt"
	"strings"
)

// provisionState is the server attribute that says that a device was provisioned
// (DeviceProvisionServiceImpl).
const (
	provisionState = "provisionState"
	provisioned    = "provisioned"

	// maxName is the longest name of a device, in characters.
	maxName = 255
)

// provisionRefused and provisionUnknown are the answers that say no.
func provisionRefused() map[string]any {
	return map[string]any{"errorMsg": "Failed to provision device!", "status": "FAILURE"}
}

func provisionUnknown() map[string]any {
	return map[string]any{"errorMsg": "Provision data was not found!", "status": "NOT_FOUND"}
}

// textOf is a field of a request as Gson's getAsString gives it.
func textOf(asked map[string]any, name string) string {
	if asked[name] == nil {
		return ""
	}
	return fmt.Sprint(asked[name])
}

// provisioned does what a provision request asks for, and gives the answer
// (DeviceProvisionServiceImpl.provisionDevice).
func (s *store) provisioned(asked map[string]any) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.byKey(textOf(asked, "provisionDeviceKey"))
	if p == nil || p.secret != textOf(asked, "provisionDeviceSecret") || p.strategy == strategyDisabled {
		return provisionUnknown()
	}
	name := strings.TrimSpace(textOf(asked, "deviceName"))
	r := s.byName[name]
	switch {
	case p.strategy == strategyCheck && r != nil && r.kind == p.name:
		return s.provisionOnce(r)
	case p.strategy == strategyCreate && r == nil && len([]rune(name)) <= maxName:
		return s.provisionNew(p, name, asked)
	default:
		return provisionRefused()
	}
}

// provisionOnce answers with the credential of a device that was created before,
// whatever the request gives.
func (s *store) provisionOnce(r *record) map[string]any {
	if _, done := r.data.scopes[scopeServer][provisionState]; done {
		return provisionRefused()
	}
	s.markProvisioned(r)
	return r.credential.answer()
}

func (s *store) markProvisioned(r *record) {
	r.data.setAttribute(scopeServer, provisionState, attribute{value: provisioned, ts: s.now().UnixMilli()})
}

// provisionNew creates a device with the credential that the request gives, or
// with a token.
func (s *store) provisionNew(p *profile, name string, asked map[string]any) map[string]any {
	if name == "" {
		name = newToken()
	}
	given, err := credentialAsked(asked)
	if err != nil {
		return provisionRefused()
	}
	made, err := s.add(Device{Name: name, Type: p.name, Gateway: asked["gateway"] == true}, given)
	if err != nil {
		return provisionRefused()
	}
	s.markProvisioned(s.byID[made.id])
	return given.answer()
}

// credentialAsked is the one that a request gives.
func credentialAsked(asked map[string]any) (credential, error) {
	switch kind := textOf(asked, "credentialsType"); kind {
	case "":
		return credential{kind: accessToken, id: newToken()}, nil
	case accessToken:
		token := textOf(asked, "token")
		if token == "" {
			token = newToken()
		}
		return credential{kind: accessToken, id: token}, nil
	case mqttBasic:
		return basicCredential(basicJSON{textOf(asked, "clientId"), textOf(asked, "username"), textOf(asked, "password")})
	case x509Certificate:
		return certificateCredential(textOf(asked, "hash"))
	default:
		return credential{}, badParameter("Unknown credentials type: " + kind)
	}
}

// answer is a credential in the answer to a request.
func (c credential) answer() map[string]any {
	out := map[string]any{"credentialsType": c.kind, "status": "SUCCESS"}
	switch c.kind {
	case accessToken:
		out["credentialsValue"] = c.id
	case mqttBasic:
		out["credentialsValue"] = json.RawMessage(c.value)
	default:
		out["credentialsValue"] = c.value
	}
	return out
}
