package export_test

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/export"
	"github.com/tbcert/tbcert/templates"
)

var update = flag.Bool("update", false, "write the golden files")

// storePassword protects the keystores of the tests.
const storePassword = "canary-store-password"

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// device is one with a credential of the kind. Its certificate is that of
// testdata, whatever its name.
func device(t *testing.T, kind provision.CredentialKind) export.Device {
	t.Helper()
	d := export.Device{
		Info: provision.Info{
			Device: "gate-1", Host: "tb.example.com", Ports: provision.Ports{MQTT: 1883, MQTTS: 8883}, Topic: "v1/devices/me/telemetry",
			Credential: kind, Files: provision.Files{Root: "ca-root.pem"},
		},
		Directory: "gate-1", Roots: read(t, "ca-root.pem"), Credential: provision.Credential{Kind: kind},
	}
	switch kind {
	case provision.CredentialToken:
		d.Info.Files.Token = "token"
		d.Credential.Token = secret.New("A1_TEST_TOKEN")
	case provision.CredentialBasic:
		d.Info.Files.ClientID, d.Info.Files.Username, d.Info.Files.Password = "client-id", "username", "password"
		d.Credential.ClientID, d.Credential.Username, d.Credential.Password = secret.New("gate-1"), secret.New("user-1"), secret.New("pass-1")
	case provision.CredentialX509:
		d.Info.Files.Certificate, d.Info.Files.Key = "cert.pem", "key.pem"
		d.Credential.Chain, d.Credential.Key = read(t, "cert.pem"), secret.New(string(read(t, "key.pem")))
	}
	return d
}

func options() export.Options { return export.Options{Password: secret.New(storePassword)} }

func render(t *testing.T, format export.Format, d export.Device, o export.Options) []provision.File {
	t.Helper()
	files, err := export.Render(format, d, o)
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return files
}

// text is the one file of a format.
func text(t *testing.T, format export.Format, d export.Device) []byte {
	t.Helper()
	files := render(t, format, d, options())
	if len(files) != 1 {
		t.Fatalf("%s has %d files", format, len(files))
	}
	return files[0].Data
}

// templated are the formats that are filled in from a template.
func templated() []export.Format {
	return []export.Format{
		export.ESP32, export.Arduino, export.ESP8266, export.MicroPython, export.Zephyr, export.Gateway, export.Python, export.Node,
		export.NodeRED, export.Mosquitto,
	}
}

// Every template is as it was, for every kind of credential.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, format := range append(templated(), export.QR) {
		for _, kind := range provision.CredentialKinds() {
			for _, file := range render(t, format, device(t, kind), options()) {
				golden(t, filepath.Join("golden", string(kind), file.Name), file.Data)
			}
		}
	}
}

func golden(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, name)), string(data)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// Which files each format has for each kind of credential, and which of them are
// secret; "-" is that the format cannot carry the kind.
func TestFiles(t *testing.T) {
	t.Parallel()
	tests := map[export.Format][3]string{ // token, basic, x509
		export.P12:         {"-", "-", "keystore.p12!"},
		export.P12Legacy:   {"-", "-", "keystore-legacy.p12!"},
		export.Truststore:  {"truststore.p12", "truststore.p12", "truststore.p12"},
		export.JKS:         {"truststore.jks", "truststore.jks", "truststore.jks keystore.jks!"},
		export.DER:         {"ca-root.der", "ca-root.der", "ca-root.der cert.der cert-2.der key.der!"},
		export.ESP32:       {"tbcert_esp32.h!", "tbcert_esp32.h!", "tbcert_esp32.h!"},
		export.Arduino:     {"tbcert_arduino.h!", "tbcert_arduino.h!", "tbcert_arduino.h!"},
		export.ESP8266:     {"tbcert_esp8266.h!", "tbcert_esp8266.h!", "tbcert_esp8266.h!"},
		export.MicroPython: {"tbcert_device.py!", "tbcert_device.py!", "tbcert_device.py!"},
		export.Zephyr:      {"tbcert_zephyr.h!", "tbcert_zephyr.h!", "tbcert_zephyr.h!"},
		export.Gateway:     {"tb_gateway.json!", "tb_gateway.json!", "tb_gateway.json"},
		export.Python:      {"publish.py", "publish.py", "publish.py"},
		export.Node:        {"publish.js", "publish.js", "publish.js"},
		export.NodeRED:     {"node-red.json!", "node-red.json!", "node-red.json!"},
		export.Mosquitto:   {"mosquitto-bridge.conf!", "mosquitto-bridge.conf!", "mosquitto-bridge.conf"},
		export.Zip:         {"bundle.zip!", "bundle.zip!", "bundle.zip!"},
		export.TarGz:       {"bundle.tar.gz!", "bundle.tar.gz!", "bundle.tar.gz!"},
		export.QR:          {"label.png label.svg", "label.png label.svg", "label.png label.svg"},
	}
	if len(tests) != len(export.Formats()) {
		t.Errorf("%d formats are tested, and there are %d", len(tests), len(export.Formats()))
	}
	for format, wants := range tests {
		for i, kind := range provision.CredentialKinds() {
			t.Run(string(format)+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				files, err := export.Render(format, device(t, kind), options())
				var unfit *export.UnfitError
				if (wants[i] == "-") != errors.As(err, &unfit) || err != nil && unfit == nil {
					t.Fatalf("error %v", err)
				}
				checkFiles(t, files, wants[i])
				checkSecrets(t, device(t, kind).Credential, files)
				for _, file := range files {
					if !slices.Contains(format.Names(), file.Name) {
						t.Errorf("%s is not among the names that the format says", file.Name)
					}
				}
			})
		}
	}
}

// checkSecrets wants no secret in a file that others may read.
func checkSecrets(t *testing.T, c provision.Credential, files []provision.File) {
	t.Helper()
	for _, file := range files {
		for _, hidden := range []secret.Text{c.Token, c.Password, c.Key} {
			if !hidden.IsZero() && !file.Secret && bytes.Contains(file.Data, []byte(hidden.Reveal())) {
				t.Errorf("%s holds a secret and others may read it", file.Name)
			}
		}
	}
}

// checkFiles wants just these files.
func checkFiles(t *testing.T, files []provision.File, want string) {
	t.Helper()
	var got []string
	for _, file := range files {
		mark := ""
		if file.Secret {
			mark = "!"
		}
		got = append(got, file.Name+mark)
	}
	if want == "-" {
		want = ""
	}
	if strings.Join(got, " ") != want {
		t.Errorf("the files are %q, want %q", got, want)
	}
}

// The same device gives the same bytes, and another password others.
func TestRenderIsRepeatable(t *testing.T) {
	t.Parallel()
	d := device(t, provision.CredentialX509)
	o := options()
	o.Bundle = []provision.File{{Name: "b", Data: []byte("2")}, {Name: "a", Data: []byte("1"), Secret: true}}
	other := o
	other.Password = secret.New("another password")
	for _, format := range export.Formats() {
		first := render(t, format, d, o)
		if diff := cmp.Diff(first, render(t, format, d, o)); diff != "" {
			t.Errorf("%s differs:\n%s", format, diff)
		}
		same := cmp.Equal(first, render(t, format, d, other))
		if same == format.UsesPassword() {
			t.Errorf("%s with another password: the same %v", format, same)
		}
	}
}

// The salts depend on the password: without it nobody can tell which they are.
func TestSaltsDependOnThePassword(t *testing.T) {
	t.Parallel()
	salt := func(password string) []byte {
		o := options()
		o.Password = secret.New(password)
		var pfx struct { // RFC 7292, 4
			Version  int
			AuthSafe asn1.RawValue
			MacData  struct {
				Mac        asn1.RawValue
				Salt       []byte
				Iterations int
			}
		}
		if _, err := asn1.Unmarshal(render(t, export.P12, device(t, provision.CredentialX509), o)[0].Data, &pfx); err != nil {
			t.Fatal(err)
		}
		return pfx.MacData.Salt
	}
	first, other := salt("a password"), salt("another password")
	if len(first) < 8 || bytes.Equal(first, other) {
		t.Errorf("the salts are %x and %x", first, other)
	}
}

// A device that made its key itself has formats that do without it.
func TestKeyElsewhere(t *testing.T) {
	t.Parallel()
	d := device(t, provision.CredentialX509)
	d.Credential.Key, d.Info.Files.Key = secret.Text{}, ""
	fits := []export.Format{export.Truststore, export.DER, export.Zip, export.TarGz, export.QR}
	for _, format := range export.Formats() {
		_, err := export.Render(format, d, options())
		var unfit *export.UnfitError
		if want := slices.Contains(fits, format); want != (err == nil) || !want && (!errors.As(err, &unfit) || !strings.Contains(err.Error(), "made it itself")) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		format export.Format
		change func(*export.Device, *export.Options)
		want   string
	}{
		"no host":             {export.ESP32, func(d *export.Device, _ *export.Options) { d.Info.Host = "" }, "no host"},
		"no root":             {export.ESP32, func(d *export.Device, _ *export.Options) { d.Roots = nil }, "no root"},
		"a broken root":       {export.ESP32, func(d *export.Device, _ *export.Options) { d.Roots = []byte("-----") }, "the roots"},
		"a broken chain":      {export.ESP32, func(d *export.Device, _ *export.Options) { d.Credential.Chain = []byte("x") }, "the certificate"},
		"a broken key":        {export.P12, func(d *export.Device, _ *export.Options) { d.Credential.Key = secret.New("canary") }, "the key"},
		"no password":         {export.P12, func(_ *export.Device, o *export.Options) { o.Password = secret.Text{} }, "0 characters"},
		"a short password":    {export.JKS, func(_ *export.Device, o *export.Options) { o.Password = secret.New("short") }, "5 characters"},
		"a password not ours": {export.P12, func(_ *export.Device, o *export.Options) { o.Password = secret.New("canary\u00e9canary") }, "position 7"},
		"five roots":          {export.DER, func(d *export.Device, _ *export.Options) { d.Roots = bytes.Repeat(d.Roots, 5) }, "at most"},
		"no such format":      {"floppy", func(*export.Device, *export.Options) {}, "does not exist"},
		"a bridge to IPv6":    {export.Mosquitto, func(d *export.Device, _ *export.Options) { d.Info.Host = "2001:db8::1" }, "the site's host is 2001:db8::1"},
		"a path of two lines": {export.Mosquitto, func(_ *export.Device, o *export.Options) { o.Path = "/a\nb" }, "control character"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, o := device(t, provision.CredentialX509), options()
			test.change(&d, &o)
			files, err := export.Render(test.format, d, o)
			if err == nil || files != nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, format := range export.Formats() {
		if got, err := export.Parse(string(format)); got != format || err != nil || format.About() == "" {
			t.Errorf("Parse(%q) = %q, %v", format, got, err)
		}
	}
	if _, err := export.Parse("floppy"); err == nil || !strings.Contains(err.Error(), "node-red") {
		t.Errorf("error %v", err)
	}
}

// A user's own template takes the place of tbcert's, and is blamed for its
// faults.
func TestOwnTemplate(t *testing.T) {
	t.Parallel()
	own := map[string]string{
		"device/esp32.h.tmpl":    "#define WHERE {{c .Host}}\n",
		"device/arduino.h.tmpl":  "{{.Nothing}}",
		"device/zephyr.h.tmpl":   "line 1\n{{if}}",
		"device/publish.js.tmpl": "{{json .Device}}",
	}
	o := options()
	o.Templates = templates.NewSet(func(file string) ([]byte, error) {
		if text, ok := own[file]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	})
	d := device(t, provision.CredentialToken)
	if got := string(render(t, export.ESP32, d, o)[0].Data); got != "#define WHERE \"tb.example.com\"\n" {
		t.Errorf("it is %q", got)
	}
	if got := render(t, export.Python, d, o)[0].Data; !bytes.Equal(got, text(t, export.Python, d)) {
		t.Errorf("another template changed:\n%s", got)
	}
	for format, want := range map[export.Format]string{export.Arduino: "arduino.h.tmpl", export.Zephyr: "zephyr.h:2"} {
		_, err := export.Render(format, d, o)
		var fault *templates.OverrideError
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", format, err)
		}
	}
}

// runs runs a program that has to be there, and gives what it writes.
func runs(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: `make deps` installs it", err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func put(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}
