package provision

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unicode"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/templates"
	tbdevice "github.com/tbcert/tbcert/thingsboard/device"
)

// The files of a bundle.
const (
	RootFile    = "ca-root.pem" // what the device trusts
	TokenFile   = "token"       // the access token and a newline, 0600
	InfoFile    = "device.json" // see Info
	ConnectFile = "connect.sh"  // sends one message
)

// The ports of MQTT when a Site names none.
const (
	DefaultMQTTPort  = 1883
	DefaultMQTTSPort = 8883
)

// A Site is what every bundle says of the ThingsBoard that its device is for.
type Site struct {
	Host      string // the name or address that devices connect to
	MQTTPort  int    // 0 is DefaultMQTTPort
	MQTTSPort int    // 0 is DefaultMQTTSPort
	RootPEM   []byte // ca-root.pem, byte for byte
	Roots     []Root // the certificates in RootPEM
}

// A Root is one certificate that devices trust.
type Root struct {
	Fingerprint string    `json:"fingerprint"` // "sha256:" and 64 hex digits
	NotAfter    time.Time `json:"not_after"`
}

// renderer makes the files of bundles. What all devices of a site share is made
// once.
type renderer struct {
	site    Site
	connect []byte
}

func newRenderer(site Site) (*renderer, error) {
	if site.MQTTPort == 0 {
		site.MQTTPort = DefaultMQTTPort
	}
	if site.MQTTSPort == 0 {
		site.MQTTSPort = DefaultMQTTSPort
	}
	if err := site.validate(); err != nil {
		return nil, err
	}
	connect, err := templates.Render("device/"+ConnectFile, struct {
		Host      string
		MQTTSPort int
		Topic     string
	}{site.Host, site.MQTTSPort, tbdevice.TopicTelemetry})
	if err != nil {
		return nil, err
	}
	return &renderer{site: site, connect: connect}, nil
}

// validate refuses a site that would make bundles with which no device can
// connect.
func (s Site) validate() error {
	if s.Host == "" {
		return errors.New("the site has no host: devices would not know where to connect")
	}
	for _, r := range s.Host {
		if !unicode.IsPrint(r) || r == ' ' {
			return fmt.Errorf("the site's host %s is not a name or an address", quote(s.Host))
		}
	}
	for _, port := range []int{s.MQTTPort, s.MQTTSPort} {
		if port < 1 || port > 65535 {
			return fmt.Errorf("the site's port %d is not between 1 and 65535", port)
		}
	}
	if len(s.RootPEM) == 0 || len(s.Roots) == 0 {
		return errors.New("the site has no root certificate: devices would not know whom to trust")
	}
	return nil
}

// bundle gives the files of one device.
func (r *renderer) bundle(device, directory string, token secret.Text) (Bundle, error) {
	info, err := r.info(device).encode()
	if err != nil {
		return Bundle{}, fmt.Errorf("device %s: %w", quote(device), err)
	}
	return Bundle{
		Device:    device,
		Directory: directory,
		Files: []File{
			{Name: RootFile, Data: r.site.RootPEM},
			{Name: TokenFile, Data: []byte(token.Reveal() + "\n"), Secret: true},
			{Name: InfoFile, Data: info},
			{Name: ConnectFile, Data: r.connect, Executable: true},
		},
	}, nil
}

// info is what device.json says.
func (r *renderer) info(device string) Info {
	return Info{
		Schema:     InfoSchema,
		Device:     device,
		Host:       r.site.Host,
		Ports:      Ports{MQTT: r.site.MQTTPort, MQTTS: r.site.MQTTSPort},
		Topic:      tbdevice.TopicTelemetry,
		Credential: CredentialToken,
		Files:      Files{Root: RootFile, Token: TokenFile},
		Roots:      r.site.Roots,
	}
}

// sameFiles reports whether every file of a bundle is among those on the disk,
// with its bytes and its mode. Other files there are the user's.
func sameFiles(want, have []File) bool {
	for _, file := range want {
		found := findFile(have, file.Name)
		if found == nil || found.Secret != file.Secret || found.Executable != file.Executable || !bytes.Equal(found.Data, file.Data) {
			return false
		}
	}
	return true
}

func findFile(files []File, name string) *File {
	for i := range files {
		if files[i].Name == name {
			return &files[i]
		}
	}
	return nil
}

// tokenIn gives the token of a bundle on the disk; zero when there is none that
// can be used.
func tokenIn(files []File) secret.Text {
	file := findFile(files, TokenFile)
	if file == nil {
		return secret.Text{}
	}
	token, err := ParseToken(string(bytes.TrimRight(file.Data, "\r\n")))
	if err != nil {
		return secret.Text{}
	}
	return token
}
