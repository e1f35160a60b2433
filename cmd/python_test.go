package cmd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd"
	"github.com/tbcert/tbcert/sandbox"
)

const (
	pythonUser = "tenant@example.com"

	// pythonPatience bounds each run of Python; the first one of pip downloads.
	pythonPatience = 2 * time.Minute

	// sourceOnly are the packages, of the gateway and for HOCON, that have no wheel.
	sourceOnly = "jsonpath-rw,pyhocon"
)

// A pythonDevice is what the script is told of a device.
type pythonDevice struct {
	Name        string         `json:"name"`
	Root        string         `json:"root"`
	Token       string         `json:"token,omitempty"`
	Certificate string         `json:"certificate,omitempty"`
	Key         string         `json:"key,omitempty"`
	Telemetry   map[string]any `json:"telemetry"`
}

// A pythonView is what a REST client sees.
type pythonView struct {
	Devices []struct {
		Name             string `json:"name"`
		CredentialsType  string `json:"credentials_type"`
		CredentialsID    string `json:"credentials_id"`
		CredentialsValue string `json:"credentials_value"`
	} `json:"devices"`
	Listed []string `json:"listed"`
}

// A pythonWorld is a site, its ThingsBoard, and a Python with ThingsBoard's
// own packages.
type pythonWorld struct {
	t     *testing.T
	site  string
	board *sandbox.Server
	venv  string
}

// TestPython lets ThingsBoard's own packages for Python work with what tbcert
// made: devices publish with the files of their bundles, and REST clients see
// the devices with the credentials that the bundles have.
func TestPython(t *testing.T) {
	t.Parallel()
	w := &pythonWorld{t: t, site: filepath.Join(t.TempDir(), "site")}
	w.install("requirements.txt")
	w.run("init", "--host", "localhost")
	w.start()
	url := "http://" + w.board.HTTPAddr().String()
	w.run("provision", "meter-1", "--url", url, "--user", pythonUser)
	w.run("provision", "gate-1", "--credential", "x509", "--url", url, "--user", pythonUser)

	devices := []pythonDevice{
		{
			Name: "meter-1", Root: w.file("meter-1", "ca-root.pem"), Token: w.read("meter-1", "token"),
			Telemetry: map[string]any{"temperature": 21.5, "open": true},
		},
		{
			Name: "gate-1", Root: w.file("gate-1", "ca-root.pem"), Certificate: w.file("gate-1", "cert.pem"), Key: w.file("gate-1", "key.pem"),
			Telemetry: map[string]any{"moves": int64(42), "state": "shut"},
		},
	}
	views := w.script(url, devices)
	for _, device := range devices {
		w.checkTelemetry(device)
	}
	for _, client := range []string{"tb-rest-client", "tb-ce-client"} {
		w.checkView(client, views[client])
	}
}

// install makes a venv with the packages that a file pins.
func (w *pythonWorld) install(file string) {
	w.t.Helper()
	w.venv = filepath.Join(w.t.TempDir(), "venv")
	if _, err := exec.LookPath("python3"); err != nil {
		w.t.Fatalf("%v: install Debian's packages python3 and python3-venv", err)
	}
	if out, err := w.python("python3", nil, "-m", "venv", w.venv); err != nil {
		w.t.Fatalf("no venv: %v: install Debian's package python3-venv\n%s", err, out)
	}
	// Wheels only: what is installed runs no code before the script does. Two
	// packages have none.
	requirements := filepath.Join("testdata", "python", file)
	if out, err := w.python(w.interpreter(), nil, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
		"--only-binary", ":all:", "--no-binary", sourceOnly, "--no-deps", "-r", requirements); err != nil {
		w.t.Fatalf("pip cannot install %s: %v\n%s", requirements, err, out)
	}
	if out, err := w.python(w.interpreter(), nil, "-m", "pip", "--disable-pip-version-check", "check"); err != nil {
		w.t.Fatalf("%s pins not all: %v\n%s", requirements, err, out)
	}
}

func (w *pythonWorld) interpreter() string {
	return filepath.Join(w.venv, "bin", "python")
}

// python runs a Python until it ends, and gives its standard output; after an
// error, all of its output.
func (w *pythonWorld) python(interpreter string, input []byte, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), pythonPatience)
	defer cancel()
	process := exec.CommandContext(ctx, interpreter, args...)
	process.WaitDelay = patience
	process.Env = append(os.Environ(), "PYTHONNOUSERSITE=1", "PYTHONPATH=", "PYTHONUTF8=1")
	if input != nil { // all that it talks to is here, and it is to install nothing by itself
		process.Env = append(process.Env, "NO_PROXY=*", "no_proxy=*", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=")
	}
	process.Stdin = bytes.NewReader(input)
	var out, all bytes.Buffer
	process.Stdout, process.Stderr = &out, &all
	if err := process.Run(); err != nil {
		return out.String() + all.String(), err
	}
	return out.String(), nil
}

// run runs tbcert.
func (w *pythonWorld) run(command string, args ...string) {
	w.t.Helper()
	var out bytes.Buffer
	process := cmd.Process{In: strings.NewReader(""), Out: &out, Err: &out, Environ: []string{"TBCERT_PASSWORD=" + passwordCanary, "NO_COLOR=1"}}
	if code := cmd.Run(w.t.Context(), append([]string{command, "-q", "-C", w.site}, args...), process); code != 0 {
		w.t.Fatalf("%s ends with %d: %s", command, code, out.String())
	}
}

// start starts a sandbox with the server certificate and the root of the site.
func (w *pythonWorld) start() {
	w.t.Helper()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(w.site, "server", "cert.pem"), filepath.Join(w.site, "server", "key.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	root, err := os.ReadFile(filepath.Join(w.site, "ca-root.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.board, err = sandbox.Start(w.t.Context(), sandbox.Config{
		HTTPAddr: "127.0.0.1:0", MQTTSAddr: "127.0.0.1:0", Certificate: &certificate, RootPEM: root,
		Username: pythonUser, Password: secret.New(passwordCanary),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = w.board.Close() })
}

func (w *pythonWorld) file(device, name string) string {
	return filepath.Join(w.site, "devices", device, name)
}

func (w *pythonWorld) read(device, name string) string {
	w.t.Helper()
	data, err := os.ReadFile(w.file(device, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// script runs the script, and gives by client what it saw.
func (w *pythonWorld) script(url string, devices []pythonDevice) map[string]pythonView {
	w.t.Helper()
	input, err := json.Marshal(map[string]any{
		"host": "localhost", "mqtts_port": w.board.MQTTSAddr().(*net.TCPAddr).Port, "url": url,
		"user": pythonUser, "password": passwordCanary, "patience": patience.Seconds(), "devices": devices,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := w.python(w.interpreter(), input, filepath.Join("testdata", "python", "thingsboard.py"))
	if err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	var views map[string]pythonView
	if err := json.Unmarshal([]byte(out), &views); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	return views
}

// checkTelemetry wants the values of a device in the sandbox, and no others.
func (w *pythonWorld) checkTelemetry(device pythonDevice) {
	w.t.Helper()
	got := make(map[string]any)
	for _, sample := range w.board.Telemetry(device.Name) {
		if _, isThere := got[sample.Key]; isThere {
			w.t.Errorf("%s: %s is there twice", device.Name, sample.Key)
		}
		got[sample.Key] = sample.Value
	}
	if !maps.Equal(got, device.Telemetry) {
		w.t.Errorf("%s: the sandbox holds %v, want %v", device.Name, got, device.Telemetry)
	}
}

// checkView wants both devices with the credentials of their bundles.
func (w *pythonWorld) checkView(client string, view pythonView) {
	w.t.Helper()
	slices.Sort(view.Listed)
	if !slices.Equal(view.Listed, []string{"gate-1", "meter-1"}) {
		w.t.Errorf("%s lists %q", client, view.Listed)
	}
	if len(view.Devices) != 2 {
		w.t.Fatalf("%s finds %+v", client, view.Devices)
	}
	meter, gate := view.Devices[0], view.Devices[1]
	if meter.Name != "meter-1" || meter.CredentialsType != "ACCESS_TOKEN" || meter.CredentialsID != w.read("meter-1", "token") {
		w.t.Errorf("%s does not see the token of meter-1: %+v", client, meter)
	}
	var description struct {
		Certificate struct {
			CredentialsID string `json:"credentials_id"`
		} `json:"certificate"`
	}
	if err := json.Unmarshal([]byte(w.read("gate-1", "device.json")), &description); err != nil {
		w.t.Fatal(err)
	}
	if gate.Name != "gate-1" || gate.CredentialsType != "X509_CERTIFICATE" || gate.CredentialsID != description.Certificate.CredentialsID {
		w.t.Errorf("%s does not see the certificate of gate-1, %s: %+v", client, description.Certificate.CredentialsID, gate)
	}
	leaf, _ := pem.Decode([]byte(w.read("gate-1", "cert.pem")))
	if leaf == nil || gate.CredentialsValue != base64.StdEncoding.EncodeToString(leaf.Bytes) {
		w.t.Errorf("%s sees another certificate of gate-1: %s", client, gate.CredentialsValue)
	}
}
