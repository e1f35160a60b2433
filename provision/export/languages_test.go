package export_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/export"
)

// showPython prints the constants of a Python file, of which nothing is run.
const showPython = `
import ast, json, sys
found = {}
for node in ast.parse(open(sys.argv[1], encoding="utf-8").read()).body:
    if isinstance(node, ast.Assign):
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            continue
        hexed = lambda v: v.hex() if isinstance(v, bytes) else [hexed(x) for x in v] if isinstance(v, tuple) else v
        found[node.targets[0].id] = hexed(value)
json.dump(found, sys.stdout)
`

// The files for Python hold just what the device has, however odd.
func TestPythonReadsConstants(t *testing.T) {
	t.Parallel()
	for _, kind := range provision.CredentialKinds() {
		d := oddDevice(t, kind)
		for _, format := range []export.Format{export.MicroPython, export.Python} {
			dir := t.TempDir()
			file := render(t, format, d, options())[0]
			put(t, dir, file.Name, file.Data)
			runs(t, dir, "python3", "-W", "error", "-m", "py_compile", file.Name)
			var got map[string]any
			if err := json.Unmarshal([]byte(runs(t, dir, "python3", "-c", showPython, file.Name)), &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"HOST": d.Info.Host, "PORT": float64(d.Info.Ports.MQTTS), "TOPIC": d.Info.Topic}
			if format == export.MicroPython {
				wantMicroPython(d, want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file.Name, diff)
			}
		}
	}
}

// wantMicroPython adds what the module for MicroPython has besides.
func wantMicroPython(d export.Device, want map[string]any) {
	orNone := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	c := d.Credential
	want["DEVICE"], want["CLIENT_ID"], want["USERNAME"], want["PASSWORD"] = odd, odd, orNone(c.Username.Reveal()), orNone(c.Password.Reveal())
	switch c.Kind {
	case provision.CredentialToken:
		want["USERNAME"] = c.Token.Reveal()
	case provision.CredentialBasic:
		want["CLIENT_ID"] = c.ClientID.Reveal()
	case provision.CredentialX509:
	}
	held := credentialsOf(d)
	want["CA_ROOTS"], want["CERTIFICATE"], want["KEY"] = []any{held["8883/1"]}, orNone(held["8883/2"]), orNone(held["8883/3"])
}

// The module's TLS context takes the roots that are in it.
func TestMicroPythonContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "tbcert_device.py", text(t, export.MicroPython, device(t, provision.CredentialToken)))
	// CPython's ssl has the same calls for roots.
	const show = `import tbcert_device, ssl; c = tbcert_device.context(); print(c.verify_mode == ssl.CERT_REQUIRED, c.check_hostname, len(c.get_ca_certs()))`
	if got := strings.TrimSpace(runs(t, dir, "python3", "-c", show)); got != "True True 1" {
		t.Errorf("it is %s", got)
	}
}

// The script for Node.js is one, and has just the host and the topic.
func TestNodeReadsConstants(t *testing.T) {
	t.Parallel()
	for _, kind := range provision.CredentialKinds() {
		d := oddDevice(t, kind)
		dir := t.TempDir()
		script := text(t, export.Node, d)
		runs(t, dir, "node", "--check", put(t, dir, "publish.js", script))
		from, to := bytes.Index(script, []byte("const host")), bytes.Index(script, []byte("const file"))
		if from < 0 || to < from {
			t.Fatalf("no constants in\n%s", script)
		}
		out := runs(t, dir, "node", put(t, dir, "show.js", append(script[from:to:to], "\nconsole.log(JSON.stringify([host, port, topic]));"...)))
		var got []any
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{d.Info.Host, float64(d.Info.Ports.MQTTS), d.Info.Topic}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// The gateway's settings are JSON that hold just what the device has.
func TestGatewaySettings(t *testing.T) {
	t.Parallel()
	wants := map[provision.CredentialKind]map[string]any{
		provision.CredentialToken: {"type": "tlsAccessToken", "accessToken": "token " + odd, "caCert": "ca-root.pem"},
		provision.CredentialBasic: {"type": "usernamePassword", "clientId": "client " + odd, "username": "user " + odd, "password": "password " + odd, "caCert": "ca-root.pem"},
		provision.CredentialX509: {
			"type": "tlsPrivateKey", "caCert": "ca-root.pem", "cert": "cert.pem", "privateKey": "key.pem", "certificateDaysLeft": float64(0),
		},
	}
	for kind, want := range wants {
		d := oddDevice(t, kind)
		var got struct {
			ThingsBoard struct {
				Host     string
				Port     int
				Security map[string]any
			}
		}
		if err := json.Unmarshal(text(t, export.Gateway, d), &got); err != nil {
			t.Fatal(err)
		}
		if got.ThingsBoard.Host != d.Info.Host || got.ThingsBoard.Port != 8883 {
			t.Errorf("it connects to %+v", got)
		}
		if diff := cmp.Diff(want, got.ThingsBoard.Security); diff != "" {
			t.Errorf("security (-want +got):\n%s", diff)
		}
	}
}

// The flow for Node-RED is JSON that holds just what the device has, and no two
// devices share the id of a node.
func TestNodeREDFlow(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for i, kind := range provision.CredentialKinds() {
		d := oddDevice(t, kind)
		d.Info.Device = odd + strconv.Itoa(i)
		var nodes []struct {
			ID, Type, Broker, Label, Topic, Clientid string
			Credentials                              map[string]string
		}
		if err := json.Unmarshal(text(t, export.NodeRED, d), &nodes); err != nil {
			t.Fatal(err)
		}
		held := map[string]string{}
		for _, node := range nodes {
			if ids[node.ID] || len(node.ID) != 16 {
				t.Errorf("the id %q is there twice, or is none", node.ID)
			}
			ids[node.ID] = true
			for name, value := range node.Credentials {
				held[name] = value
			}
			if node.Type == "tab" && node.Label != d.Info.Device || node.Type == "mqtt out" && node.Topic != d.Info.Topic {
				t.Errorf("a node is %+v", node)
			}
		}
		want := map[string]string{"cadata": string(d.Roots), "user": d.Credential.Username.Reveal(), "password": d.Credential.Password.Reveal()}
		if kind == provision.CredentialToken {
			want["user"] = d.Credential.Token.Reveal()
		}
		if kind == provision.CredentialX509 {
			want["certdata"], want["keydata"] = string(d.Credential.Chain), d.Credential.Key.Reveal()
		}
		if diff := cmp.Diff(want, held); diff != "" {
			t.Errorf("credentials (-want +got):\n%s", diff)
		}
	}
}

// What mosquitto's settings cannot hold is told; the error does not show it.
func TestBridgeRefuses(t *testing.T) {
	t.Parallel()
	for _, password := range []string{" canary", "canary ", "can\nary", "can\x00ary", "can\x7fary"} {
		d := device(t, provision.CredentialBasic)
		d.Credential.Password = secret.New(password)
		_, err := export.Render(export.Mosquitto, d, options())
		if err == nil || strings.Contains(err.Error(), "can") && strings.Contains(err.Error(), "ary") {
			t.Errorf("%q: error %v", password, err)
		}
	}
}

// A real scanner reads the label's code, drawn in dots or in lines; it says which
// device it is, and nothing that is secret.
func TestLabelIsRead(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"meter-1", "Zähler <1> & \"2\" 😀", strings.Repeat("long", 16)} {
		d := device(t, provision.CredentialBasic)
		d.Info.Device = name
		dir := t.TempDir()
		for _, file := range render(t, export.QR, d, options()) {
			path := put(t, dir, file.Name, file.Data)
			if strings.HasSuffix(path, ".svg") {
				if err := xml.Unmarshal(file.Data, new(struct{})); err != nil {
					t.Error(err)
				}
				runs(t, dir, "rsvg-convert", "--width", "600", "--output", "drawn.png", path)
				path = "drawn.png"
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(runs(t, dir, "zbarimg", "--nodbus", "--quiet", "--raw", "--oneshot", path)), &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"schema": "tbcert.label/v1", "device": name, "host": d.Info.Host, "port": float64(d.Info.Ports.MQTTS)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file.Name, diff)
			}
		}
	}
}

// bundleFiles are some of a bundle, for archives.
func bundleFiles() []provision.File {
	return []provision.File{
		{Name: "token", Data: []byte("A1_TEST_TOKEN\n"), Secret: true}, {Name: "ca-root.pem", Data: []byte("root\n")},
		{Name: "connect.sh", Data: []byte("#!/bin/sh\n"), Executable: true},
	}
}

// wantArchive is what an archive of them holds: below the device's directory, for
// nobody else's eyes.
func wantArchive() map[string]string {
	return map[string]string{
		"gate-1/token": "-rw------- A1_TEST_TOKEN\n", "gate-1/ca-root.pem": "-rw------- root\n", "gate-1/connect.sh": "-rwx------ #!/bin/sh\n",
	}
}

func TestArchives(t *testing.T) {
	t.Parallel()
	o := options()
	o.Bundle = bundleFiles()
	for format, list := range map[export.Format]func(*testing.T, []byte) map[string]string{export.Zip: listZip, export.TarGz: listTar} {
		data := render(t, format, device(t, provision.CredentialToken), o)[0].Data
		if diff := cmp.Diff(wantArchive(), list(t, data)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}

func listZip(t *testing.T, data []byte) map[string]string {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, file := range archive.File {
		entry, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(entry)
		if err != nil {
			t.Fatal(err)
		}
		found[file.Name] = file.Mode().String() + " " + string(text)
	}
	return found
}

func listTar(t *testing.T, data []byte) map[string]string {
	t.Helper()
	unpacked, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for archive := tar.NewReader(unpacked); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = header.FileInfo().Mode().String() + " " + string(text)
	}
}

// The real tar and unzip make of the archives what the bundle was.
func TestArchivesUnpack(t *testing.T) {
	t.Parallel()
	o := options()
	o.Bundle = bundleFiles()
	for format, unpack := range map[export.Format][]string{
		export.TarGz: {"tar", "-xzf", "bundle.tar.gz"}, export.Zip: {"unzip", "-q", "bundle.zip"},
	} {
		dir := t.TempDir()
		file := render(t, format, device(t, provision.CredentialToken), o)[0]
		put(t, dir, file.Name, file.Data)
		runs(t, dir, unpack[0], unpack[1:]...)
		got := map[string]string{}
		err := filepath.WalkDir(filepath.Join(dir, "gate-1"), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, infoErr := entry.Info()
			data, readErr := os.ReadFile(path)
			got["gate-1/"+entry.Name()] = info.Mode().String() + " " + string(data)
			return errors.Join(infoErr, readErr)
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantArchive(), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}
