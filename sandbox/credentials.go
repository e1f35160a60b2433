package sandbox

import (
	"crypto/sha3"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// The types of credentials (DeviceCredentialsType).
const (
	accessToken     = "ACCESS_TOKEN"
	mqttBasic       = "MQTT_BASIC"
	x509Certificate = "X509_CERTIFICATE"
	lwm2m           = "LWM2M_CREDENTIALS" // which the sandbox does not keep
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
	ClientID *string `json:"clientId"`
	UserName *string `json:"userName"`
	Password *string `json:"password"`
}

// parts are the client id, the user name and the password; "" for none.
func (b basicJSON) parts() (clientID, userName, password string) {
	read := func(part *string) string {
		if part == nil {
			return ""
		}
		return *part
	}
	return read(b.ClientID), read(b.UserName), read(b.Password)
}

// basicOf is the value that is made of texts.
func basicOf(clientID, userName, password string) string {
	given := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	return string(marshal(basicJSON{given(clientID), given(userName), given(password)}))
}

// basic is the value of a basic credential, which was read before.
func (c credential) basic() basicJSON {
	var it basicJSON
	_ = json.Unmarshal([]byte(c.value), &it)
	return it
}

// newCredential makes what is kept of what was sent
// (DeviceCredentialsServiceImpl.formatCredentials), and checks it
// (DeviceCredentialsDataValidator). Any text is taken for a certificate.
func newCredential(kind, id, value string) (credential, error) {
	c := credential{kind: kind, id: id, value: value}
	switch kind {
	case accessToken:
		c.value = ""
	case mqttBasic:
		if err := c.formatBasic(); err != nil {
			return credential{}, err
		}
	case x509Certificate:
		c.value = trimCertificate(value)
		c.id = sha3Hex(c.value)
	case "":
		return credential{}, badParameter("Device credentials type should be specified")
	default:
		return credential{}, badParameter("The sandbox keeps no credentials of type " + kind)
	}
	switch {
	case c.id == "":
		return credential{}, badCredential("Device credentials id should be specified!")
	case hasControl(c.id):
		return credential{}, badCredential("credentialsId must not contain control characters!")
	default:
		return c, nil
	}
}

// formatBasic finds the id of a client id and a user name: the hash of both; of
// the client id, when that is all; the user name itself, when that is all.
func (c *credential) formatBasic() error {
	var it *basicJSON
	if err := json.Unmarshal([]byte(c.value), &it); err != nil || it == nil {
		return badCredential("Invalid credentials body for simple mqtt credentials!")
	}
	clientID, userName, password := it.parts()
	switch {
	case clientID == "" && userName == "":
		return badCredential("Both mqtt client id and user name are empty!")
	case userName == "" && password != "":
		return badCredential("Password cannot be specified along with client id")
	case clientID == "":
		c.id = userName
	default:
		c.id = basicID(clientID, userName)
	}
	for _, part := range [][2]string{{"clientId", clientID}, {"userName", userName}, {"password", password}} {
		if hasControl(part[1]) {
			return badCredential(part[0] + " must not contain control characters!")
		}
	}
	c.value = string(marshal(it))
	return nil
}

// basicID is the hash of what there is of a client id and a user name
// (EncryptionUtil.getSha3Hash with a delimiter).
func basicID(clientID, userName string) string {
	if clientID == "" || userName == "" {
		return sha3Hex(clientID + userName)
	}
	return sha3Hex(clientID + "|" + userName)
}

// trimCertificate drops header, footer and line breaks
// (EncryptionUtil.certTrimNewLines).
func trimCertificate(text string) string {
	for _, part := range []string{"-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "\n", "\r"} {
		text = strings.ReplaceAll(text, part, "")
	}
	return text
}

// sha3Hex is EncryptionUtil.getSha3Hash.
func sha3Hex(text string) string {
	sum := sha3.Sum256([]byte(trimCertificate(text)))
	return hex.EncodeToString(sum[:])
}

func hasControl(text string) bool { return strings.ContainsFunc(text, unicode.IsControl) }

// credential is the one that a device of a config is given; a token is made up
// when it is none.
func (d Device) credential() (credential, error) {
	switch {
	case len(d.Certificate) > 0:
		return newCredential(x509Certificate, "", string(d.Certificate))
	case !d.Basic.isZero():
		return newCredential(mqttBasic, "", basicOf(d.Basic.ClientID.Reveal(), d.Basic.Username.Reveal(), d.Basic.Password.Reveal()))
	case d.Token.IsZero():
		return newCredential(accessToken, newToken(), "")
	default:
		return newCredential(accessToken, d.Token.Reveal(), "")
	}
}

// exported is a device as the caller of this package sees it. It needs the lock.
func (r *record) exported() Device {
	device := Device{Name: r.name, Label: r.label, Type: r.profile.name}
	var info deviceInfo
	if json.Unmarshal(r.info, &info) == nil {
		device.Gateway, device.Description = info.Gateway, info.Description
	}
	if r.customer != nil {
		device.Customer = r.customer.title
	}
	switch r.credential.kind {
	case accessToken:
		device.Token = secret.New(r.credential.id)
	case mqttBasic:
		clientID, userName, password := r.credential.basic().parts()
		device.Basic = Basic{secret.New(clientID), secret.New(userName), secret.New(password)}
	case x509Certificate:
		device.Certificate = []byte(r.credential.value)
		if chain, err := certs.ParseBase64(r.credential.value); err == nil {
			device.Certificate = certs.EncodeCertificates(chain...)
		}
	}
	return device
}
