package provision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// InfoSchema is the schema of device.json.
const InfoSchema = "tbcert.device/v1"

// Info is device.json: how a device connects, for programs. It holds no secret.
type Info struct {
	Schema     string         `json:"schema"`
	Device     string         `json:"device"`
	Host       string         `json:"host"`
	Ports      Ports          `json:"ports"`
	Topic      string         `json:"topic"`
	Credential CredentialKind `json:"credential"`
	// Certificate is what a device with a certificate has.
	Certificate *InfoCertificate `json:"certificate,omitempty"`
	Files       Files            `json:"files"`
	Exports     []Export         `json:"exports,omitempty"` // files of formats
	Roots       []Root           `json:"roots"`             // the certificates in Files.Root, with their expiry
}

// Ports are the site's MQTT ports.
type Ports struct {
	MQTT  int `json:"mqtt"`  // in clear
	MQTTS int `json:"mqtts"` // over TLS
}

// Files are the files of the bundle that a client needs, by name; "" is none.
type Files struct {
	Root        string `json:"root"`
	Token       string `json:"token,omitempty"`
	ClientID    string `json:"client_id,omitempty"`
	Username    string `json:"username,omitempty"`
	Password    string `json:"password,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"` // "" with a certificate: the device has its key itself
}

// An InfoCertificate says which certificate a device has.
type InfoCertificate struct {
	Serial        string    `json:"serial"`      // hex
	Fingerprint   string    `json:"fingerprint"` // "sha256:" and 64 hex digits
	CredentialsID string    `json:"credentials_id"`
	NotAfter      time.Time `json:"not_after"`
}

func (i Info) encode() ([]byte, error) { return encodeJSON(i) }

// encodeText gives a text as it stands in device.json.
func encodeText(text string) ([]byte, error) {
	encoded, err := encodeJSON(text)
	return bytes.TrimSuffix(encoded, []byte("\n")), err
}

func encodeJSON(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encode %s: %w", InfoFile, err)
	}
	return out.Bytes(), nil
}

// ParseInfo reads a device.json. Fields that it does not know are passed over;
// another schema than tbcert.device/v1, or a text without host, port or device,
// is an error.
func ParseInfo(data []byte) (Info, error) {
	var info Info
	if err := json.Unmarshal(data, &info); err != nil {
		return Info{}, fmt.Errorf("%s is not JSON as tbcert writes it: %w", InfoFile, err)
	}
	if info.Schema != InfoSchema {
		if strings.HasPrefix(info.Schema, "tbcert.device/") {
			return Info{}, fmt.Errorf("%s has the schema %s, and this tbcert knows %s: a newer tbcert wrote it, use that one", InfoFile, quote(info.Schema), InfoSchema)
		}
		return Info{}, fmt.Errorf("%s has no schema %s: tbcert did not write it", InfoFile, InfoSchema)
	}
	if info.Device == "" || info.Host == "" || info.Ports.MQTTS < 1 || info.Ports.MQTTS > 65535 {
		return Info{}, fmt.Errorf("%s lacks the device, the host or the port: remove it and run tbcert provision again to get it back", InfoFile)
	}
	return info, nil
}

// deviceOf gives the name of the device that a bundle on the disk says it
// belongs to; "" when it does not say.
func deviceOf(files []File) string {
	file := findFile(files, InfoFile)
	if file == nil {
		return ""
	}
	info, err := ParseInfo(file.Data)
	if err != nil {
		return ""
	}
	return info.Device
}
