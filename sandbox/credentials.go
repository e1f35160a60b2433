package sandbox

import (
	"crypto/rand"
	"crypto/sha3"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// The types of credentials (DeviceCredentialsType).
const (
	accessToken     = "ACCESS_TOKEN"
	mqttBasic       = "MQTT_BASIC"
	x509Certificate = "X509_CERTIFICATE"
)

// A Basic is a client id, a user name and a password, as far as a device has
// them.
type Basic struct {
	ClientID, Username, Password secret.Text
}

func (b Basic) isZero() bool {
	return b.ClientID.IsZero() && b.Username.IsZero() && b.Password.IsZero()
}

// A credential is the one that a device has, as ThingsBoard keeps it.
type credential struct {
	kind  string
	id    string // by which the device is found: a token, a hash or a user name
	value string // JSON for basic, the base64 of a certificate; "" for a token
}

// basicJSON is the value of basic credentials (BasicMqttCredentials).
type basicJSON struct {
	ClientID string `json:"clientId"`
	UserName string `json:"userName"`
	Password string `json:"password"`
}

// credentialOf is the one that a device is given; a token is made up when it is
// none.
func credentialOf(device Device) (credential, error) {
	switch {
	case len(device.Certificate) > 0:
		return certificateCredential(string(device.Certificate))
	case !device.Basic.isZero():
		return basicCredential(basicJSON{device.Basic.ClientID.Reveal(), device.Basic.Username.Reveal(), device.Basic.Password.Reveal()})
	case device.Token.IsZero():
		return credential{kind: accessToken, id: newToken()}, nil
	default:
		return credential{kind: accessToken, id: device.Token.Reveal()}, nil
	}
}

// basicCredential finds the id of basic credentials
// (DeviceCredentialsServiceImpl.processSimpleMqttCredentials).
func basicCredential(basic basicJSON) (credential, error) {
	made := credential{kind: mqttBasic, value: string(marshal(basic))}
	switch {
	case basic.ClientID == "" && basic.UserName == "":
		return credential{}, badParameter("Both mqtt client id and user name are empty!")
	case basic.ClientID != "" && basic.Password != "" && basic.UserName == "":
		return credential{}, badParameter("Password cannot be specified along with client id")
	case basic.ClientID == "":
		made.id = basic.UserName
	case basic.UserName == "":
		made.id = sha3Hex(basic.ClientID)
	default:
		made.id = sha3Hex(basic.ClientID + "|" + basic.UserName)
	}
	return made, nil
}

// certificateCredential takes a certificate as PEM or as the base64 of its DER
// (EncryptionUtil.certTrimNewLines). Of several the hash is of all, as in
// ThingsBoard.
func certificateCredential(text string) (credential, error) {
	trimmed := trimCertificate(text)
	der, err := base64.StdEncoding.DecodeString(trimmed)
	if err == nil {
		_, err = x509.ParseCertificate(der)
	}
	if err != nil {
		return credential{}, badParameter("Invalid X.509 certificate!")
	}
	return credential{kind: x509Certificate, id: sha3Hex(trimmed), value: trimmed}, nil
}

// trimCertificate drops header, footer and line breaks.
func trimCertificate(text string) string {
	for _, part := range []string{"-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "\n", "\r"} {
		text = strings.ReplaceAll(text, part, "")
	}
	return text
}

func sha3Hex(text string) string {
	sum := sha3.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// exported is a device as the caller of this package sees it.
func (r *record) exported() Device {
	device := Device{Name: r.name, Label: r.label, Type: r.kind, Description: r.description, Gateway: r.gateway}
	switch r.credential.kind {
	case accessToken:
		device.Token = secret.New(r.credential.id)
	case mqttBasic:
		var basic basicJSON
		_ = json.Unmarshal([]byte(r.credential.value), &basic) // it was made here
		device.Basic = Basic{secret.New(basic.ClientID), secret.New(basic.UserName), secret.New(basic.Password)}
	case x509Certificate:
		if chain, err := certs.ParseBase64(r.credential.value); err == nil {
			device.Certificate = certs.EncodeCertificates(chain...)
		}
	}
	return device
}

// byLogin finds the device of a user name, a password and a client id
// (DefaultTransportApiService.validateCredentials of ValidateBasicMqttCredRequestMsg). It
// needs the lock.
func (s *store) byLogin(it *login) *record {
	if it.username == "" {
		return s.basic(sha3Hex(it.clientID), it)
	}
	if r := s.byCredential[it.username]; r != nil && r.credential.kind == accessToken {
		return r // with any client id and any password
	}
	if r := s.basic(it.username, it); r != nil {
		return r
	}
	if it.clientID == "" {
		return nil
	}
	return s.basic(sha3Hex(it.clientID+"|"+it.username), it)
}

// basic finds the device with basic credentials of an id, if the password is
// right: one that has none takes any.
func (s *store) basic(id string, it *login) *record {
	r := s.byCredential[id]
	if r == nil || r.credential.kind != mqttBasic {
		return nil
	}
	var basic basicJSON
	if json.Unmarshal([]byte(r.credential.value), &basic) != nil || (basic.Password != "" && basic.Password != it.password) {
		return nil
	}
	return r
}

// newToken is a token as ThingsBoard makes one: 20 characters.
func newToken() string { return rand.Text()[:20] }
