package provision

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/templates"
	tbdevice "github.com/tbcert/tbcert/thingsboard/device"
)

// The files of a bundle.
const (
	RootFile     = "ca-root.pem" // what the device trusts
	InfoFile     = "device.json" // see Info
	ConnectFile  = "connect.sh"  // sends one message
	TokenFile    = "token"       // the access token and a newline, 0600
	ClientIDFile = "client-id"   // of CredentialBasic, each a line, 0600
	UsernameFile = "username"
	PasswordFile = "password"
	CertFile     = "cert.pem" // the certificate and its CA's
	KeyFile      = "key.pem"  // its key, PKCS#8, 0600
)

// BundleFiles are all files that a bundle may have.
func BundleFiles() []string {
	return append([]string{RootFile, InfoFile, ConnectFile}, credentialFiles()...)
}

// credentialFiles are those that depend on the kind of credential.
func credentialFiles() []string {
	return []string{TokenFile, ClientIDFile, UsernameFile, PasswordFile, CertFile, KeyFile}
}

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
	// Templates are those of connect.sh and of the formats; nil: tbcert's own.
	Templates *templates.Set
}

// A Root is one certificate that devices trust.
type Root struct {
	Fingerprint string    `json:"fingerprint"` // "sha256:" and 64 hex digits
	NotAfter    time.Time `json:"not_after"`
}

// renderer makes the files of bundles. What all devices of a site share is made
// once.
type renderer struct {
	site     Site
	exporter Exporter
	mu       sync.Mutex // guards forms
	forms    map[Files]form
}

// A form is what bundles with the same files have in common: connect.sh, and the
// text of device.json before and after the device's name.
type form struct {
	connect, before, after []byte
}

func newRenderer(site Site, exporter Exporter) (*renderer, error) {
	if site.MQTTPort == 0 {
		site.MQTTPort = DefaultMQTTPort
	}
	if site.MQTTSPort == 0 {
		site.MQTTSPort = DefaultMQTTSPort
	}
	if err := site.validate(); err != nil {
		return nil, err
	}
	r := &renderer{site: site, exporter: exporter, forms: make(map[Files]form)}
	// A template of the user's that is wrong is told before anything is done.
	for _, files := range []Files{
		{Root: RootFile, Token: TokenFile},
		{Root: RootFile, ClientID: ClientIDFile, Username: UsernameFile, Password: PasswordFile},
		{Root: RootFile, Certificate: CertFile, Key: KeyFile},
	} {
		if _, err := r.connect(files); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// connect gives the connect.sh of bundles with these files.
func (r *renderer) connect(files Files) ([]byte, error) {
	return r.site.Templates.Render("device/"+ConnectFile, struct {
		Host      string
		MQTTSPort int
		Topic     string
		Files     Files
	}{r.site.Host, r.site.MQTTSPort, tbdevice.TopicTelemetry, files})
}

// formOf gives the form of a device.json.
func (r *renderer) formOf(info Info) (form, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.forms[info.Files]; ok {
		return known, nil
	}
	var made form
	var err error
	made.connect, err = r.connect(info.Files)
	if err != nil {
		return form{}, err
	}
	const place = "\x00" // no host, file or topic has it
	info.Device = place
	text, err := info.encode()
	if err != nil {
		return form{}, err
	}
	name, err := encodeText(place)
	if err != nil {
		return form{}, err
	}
	made.before, made.after, _ = bytes.Cut(text, name)
	r.forms[info.Files] = made
	return made, nil
}

// describe gives a device's device.json.
func (f form) describe(info Info) ([]byte, error) {
	if info.Certificate != nil || len(info.Exports) > 0 { // which are the device's own
		return info.encode()
	}
	name, err := encodeText(info.Device)
	if err != nil {
		return nil, err
	}
	return slices.Concat(f.before, name, f.after), nil
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
func (r *renderer) bundle(o rendering) (Bundle, error) {
	bundle := Bundle{Device: o.device, Directory: o.directory}
	if err := r.fill(o, &bundle); err != nil {
		return Bundle{}, fmt.Errorf("device %s: %w", quote(o.device), err)
	}
	for _, name := range append(credentialFiles(), AllFiles(o.shelved)...) {
		if findFile(bundle.Files, name) == nil && !slices.Contains(bundle.Remove, name) {
			bundle.Remove = append(bundle.Remove, name)
		}
	}
	return bundle, nil
}

// fill puts the files into the bundle.
func (r *renderer) fill(o rendering, bundle *Bundle) error {
	info := r.info(o.device)
	info.Credential = o.credential.Kind
	info.Files, bundle.Files = filesOf(o.credential)
	if err := info.describe(o.credential); err != nil {
		return err
	}
	form, err := r.formOf(info)
	if err != nil {
		return err
	}
	bundle.Files = append(bundle.Files,
		File{Name: RootFile, Data: r.site.RootPEM},
		File{Name: ConnectFile, Data: form.connect, Executable: true})
	if len(o.formats) > 0 {
		if r.exporter == nil {
			return errors.New("its bundle has formats, and there is nothing to write them")
		}
		if err := r.addFormats(o, &info, bundle); err != nil {
			return err
		}
	}
	described, err := form.describe(info)
	if err != nil {
		return err
	}
	bundle.Files = append(bundle.Files, File{Name: InfoFile, Data: described})
	return r.addArchives(o, info, bundle)
}

// filesOf gives the files that hold a credential, and what a client needs of
// them.
func filesOf(c Credential) (needed Files, files []File) {
	needed.Root = RootFile
	add := func(name *string, file string, data []byte, isSecret bool) {
		if len(data) > 0 {
			*name = file
			files = append(files, File{Name: file, Data: data, Secret: isSecret})
		}
	}
	add(&needed.Token, TokenFile, line(c.Token), true)
	add(&needed.ClientID, ClientIDFile, line(c.ClientID), true)
	add(&needed.Username, UsernameFile, line(c.Username), true)
	add(&needed.Password, PasswordFile, line(c.Password), true)
	add(&needed.Certificate, CertFile, c.Chain, false)
	add(&needed.Key, KeyFile, []byte(c.Key.Reveal()), true)
	return needed, files
}

func line(s secret.Text) []byte {
	if s.IsZero() {
		return nil
	}
	return []byte(s.Reveal() + "\n")
}

// info is what device.json says of every device of the site.
func (r *renderer) info(device string) Info {
	return Info{
		Schema: InfoSchema,
		Device: device,
		Host:   r.site.Host,
		Ports:  Ports{MQTT: r.site.MQTTPort, MQTTS: r.site.MQTTSPort},
		Topic:  tbdevice.TopicTelemetry,
		Roots:  r.site.Roots,
	}
}

// describe says which certificate the credential is, if it is one.
func (i *Info) describe(c Credential) error {
	if c.Kind != CredentialX509 {
		return nil
	}
	leaf, err := c.Leaf()
	if err != nil {
		return err
	}
	i.Certificate = &InfoCertificate{
		Serial: leaf.SerialNumber.Text(16), Fingerprint: certs.Fingerprint(leaf),
		CredentialsID: certs.CredentialsID(leaf), NotAfter: leaf.NotAfter.UTC(),
	}
	return nil
}

// sameFiles reports whether every file of a bundle is among those on the disk,
// with its bytes and its mode, and none that must not be there. Other files
// there are the user's.
func sameFiles(want Bundle, have []File) bool {
	for _, file := range want.Files {
		found := findFile(have, file.Name)
		if found == nil || found.Secret != file.Secret || found.Executable != file.Executable || !bytes.Equal(found.Data, file.Data) {
			return false
		}
	}
	for _, name := range want.Remove {
		if findFile(have, name) != nil {
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

// CredentialOf gives the credential of a bundle on the disk; zero when there is
// none that can be used.
func CredentialOf(files []File) Credential {
	text := func(name string) secret.Text {
		if file := findFile(files, name); file != nil {
			return secret.New(string(bytes.TrimRight(file.Data, "\r\n")))
		}
		return secret.Text{}
	}
	credential := Credential{Token: text(TokenFile), ClientID: text(ClientIDFile), Username: text(UsernameFile), Password: text(PasswordFile)}
	if file := findFile(files, CertFile); file != nil {
		credential.Chain = file.Data
	}
	if file := findFile(files, KeyFile); file != nil {
		credential.Key = secret.New(string(file.Data))
	}
	switch {
	case len(credential.Chain) > 0:
		credential.Kind = CredentialX509
	case !credential.Token.IsZero():
		credential.Kind = CredentialToken
	case !credential.ClientID.IsZero(), !credential.Username.IsZero():
		credential.Kind = CredentialBasic
	}
	if err := credential.validate(); err != nil {
		return Credential{}
	}
	return credential
}

// RootOf describes a certificate that devices trust.
func RootOf(root *x509.Certificate) Root {
	return Root{Fingerprint: certs.Fingerprint(root), NotAfter: root.NotAfter.UTC().Truncate(time.Second)}
}
