package inventory

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// Credentials and devices are encoded, before they are sealed, as fields: a tag
// byte, the length as a uvarint, and the bytes. Fields that are empty are left
// out. Tags are never used for anything else.
const (
	tagKind     = 1
	tagToken    = 2
	tagClientID = 3
	tagUsername = 4
	tagPassword = 5
	tagChain    = 6
	tagKey      = 7
	tagRequest  = 8

	tagName       = 33
	tagLabel      = 34
	tagProfile    = 35
	tagExtra      = 36
	tagCredential = 37
)

var errCodec = errors.New("a record is not encoded in a way that this tbcert knows")

func appendField[T string | []byte](to []byte, tag byte, value T) []byte {
	if len(value) == 0 {
		return to
	}
	to = append(to, tag)
	to = binary.AppendUvarint(to, uint64(len(value)))
	return append(to, value...)
}

// fields calls each for every field of data.
func fields(data []byte, each func(tag byte, value []byte) error) error {
	for len(data) > 0 {
		tag := data[0]
		length, n := binary.Uvarint(data[1:])
		if n <= 0 {
			return errCodec
		}
		data = data[1+n:]
		if length > uint64(len(data)) {
			return errCodec
		}
		if err := each(tag, data[:length]); err != nil {
			return err
		}
		data = data[length:]
	}
	return nil
}

// appendCredential encodes all of a credential, secrets included.
func appendCredential(to []byte, c provision.Credential) []byte {
	to = appendField(to, tagKind, string(c.Kind))
	to = appendField(to, tagToken, c.Token.Reveal())
	to = appendField(to, tagClientID, c.ClientID.Reveal())
	to = appendField(to, tagUsername, c.Username.Reveal())
	to = appendField(to, tagPassword, c.Password.Reveal())
	to = appendField(to, tagChain, c.Chain)
	to = appendField(to, tagKey, c.Key.Reveal())
	return appendField(to, tagRequest, c.Request)
}

func decodeCredential(data []byte) (c provision.Credential, err error) {
	err = fields(data, func(tag byte, value []byte) error {
		switch tag {
		case tagKind:
			c.Kind = provision.CredentialKind(value)
		case tagToken:
			c.Token = secret.New(string(value))
		case tagClientID:
			c.ClientID = secret.New(string(value))
		case tagUsername:
			c.Username = secret.New(string(value))
		case tagPassword:
			c.Password = secret.New(string(value))
		case tagChain:
			c.Chain = bytes.Clone(value)
		case tagKey:
			c.Key = secret.New(string(value))
		case tagRequest:
			c.Request = bytes.Clone(value)
		default:
			return errCodec
		}
		return nil
	})
	if err != nil {
		return provision.Credential{}, err
	}
	return c, nil
}

// bare reports whether nothing but the kind of a credential is known.
func bare(c provision.Credential) bool {
	return c.Token.IsZero() && c.ClientID.IsZero() && c.Username.IsZero() && c.Password.IsZero() &&
		len(c.Chain) == 0 && c.Key.IsZero() && len(c.Request) == 0
}

// encodeDevice encodes all of a device, secrets included.
func encodeDevice(d provision.Device) ([]byte, error) {
	extra, err := encodeExtra(d.Extra, nil)
	if err != nil {
		return nil, err
	}
	credential := appendCredential(make([]byte, 0, 64), d.Credential)
	data := make([]byte, 0, 64+len(d.Name)+len(extra)+len(credential))
	data = appendField(data, tagName, d.Name)
	data = appendField(data, tagLabel, d.Label)
	data = appendField(data, tagProfile, d.Profile)
	data = appendField(data, tagExtra, extra)
	return appendField(data, tagCredential, credential), nil
}

func decodeDevice(data []byte) (d provision.Device, err error) {
	err = fields(data, func(tag byte, value []byte) (err error) {
		switch tag {
		case tagName:
			d.Name = string(value)
		case tagLabel:
			d.Label = string(value)
		case tagProfile:
			d.Profile = string(value)
		case tagExtra:
			d.Extra, _, err = decodeExtra(string(value))
		case tagCredential:
			d.Credential, err = decodeCredential(value)
		default:
			err = errCodec
		}
		return err
	})
	if err != nil {
		return provision.Device{}, err
	}
	return d, nil
}

// storedExtra is the JSON of a provision.Extra, and of what else is on record of
// a device.
type storedExtra struct {
	Formats     []string              `json:"formats,omitempty"`
	Customer    string                `json:"customer,omitempty"`
	Description string                `json:"description,omitempty"`
	Gateway     bool                  `json:"gateway,omitempty"`
	Attributes  []provision.Attribute `json:"attributes,omitempty"`
}

// encodeExtra gives "" where there is nothing.
func encodeExtra(e provision.Extra, formats []string) (string, error) {
	if e.Customer == "" && e.Description == "" && !e.Gateway && len(e.Attributes) == 0 && len(formats) == 0 {
		return "", nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // values stay as they are
	if err := encoder.Encode(storedExtra{formats, e.Customer, e.Description, e.Gateway, e.Attributes}); err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil
}

func decodeExtra(text string) (extra provision.Extra, formats []string, err error) {
	if text == "" {
		return extra, nil, nil
	}
	var e storedExtra
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return extra, nil, errCodec
	}
	return provision.Extra{Customer: e.Customer, Description: e.Description, Gateway: e.Gateway, Attributes: e.Attributes}, e.Formats, nil
}
