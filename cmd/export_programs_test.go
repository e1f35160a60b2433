package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/provision"
)

// A programWorld is a site with its ThingsBoard, and a device of each kind of
// credential, for the programs that tbcert writes settings and scripts for.
type programWorld struct {
	*pythonWorld
}

// programPatience bounds the wait for a program's message: the gateway takes
// long to start.
const programPatience = time.Minute

// newProgramWorld makes the world; its bundles have the formats.
func newProgramWorld(t *testing.T, formats string) programWorld {
	t.Helper()
	w := programWorld{&pythonWorld{t: t, site: filepath.Join(t.TempDir(), "site")}}
	w.run("init", "--host", "localhost")
	w.start()
	w.edit("tbcert.yaml", "mqtts-port: 8883", fmt.Sprintf("mqtts-port: %d", w.mqtts()))
	url := "http://" + w.board.HTTPAddr().String()
	for _, kind := range provision.CredentialKinds() {
		w.run("provision", deviceOfKind(kind), "--credential", string(kind), "--format", formats, "--url", url, "--user", pythonUser)
	}
	return w
}

func deviceOfKind(kind provision.CredentialKind) string { return string(kind) + "-1" }

func (w programWorld) mqtts() int { return w.board.MQTTSAddr().(*net.TCPAddr).Port }

// edit replaces a text in a file of the site.
func (w programWorld) edit(name, from, to string) {
	w.t.Helper()
	path := filepath.Join(w.site, filepath.FromSlash(name))
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte(from)) {
		w.t.Fatalf("%s holds no %q (%v)", path, from, err)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte(from), []byte(to), 1), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// arrives waits until a device has published a key.
func (w programWorld) arrives(device, key string) any {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), programPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, sample := range w.board.Telemetry(device) {
			if sample.Key == key {
				return sample.Value
			}
		}
		select {
		case <-ctx.Done():
			w.t.Errorf("%s: nothing arrived under %q", device, key)
			return nil
		case <-tick.C:
		}
	}
}

// A workplace is where a program runs, with variables besides those that there are.
type workplace struct {
	dir     string
	environ []string
}

func find(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: `make deps` installs it", err)
	}
	return path
}

// execute runs a program to its end.
func (p workplace) execute(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pythonPatience)
	defer cancel()
	process := exec.CommandContext(ctx, find(t, name), args...)
	process.Dir, process.Env, process.WaitDelay = p.dir, append(os.Environ(), p.environ...), patience
	out, err := process.CombinedOutput()
	return string(out), err
}

// background runs a program until the end of the test, and shows what it said
// when that failed.
func (p workplace) background(t *testing.T, name string, args ...string) *log {
	t.Helper()
	process := exec.CommandContext(context.WithoutCancel(t.Context()), find(t, name), args...)
	said := newLog()
	process.Dir, process.Env, process.Stdout, process.Stderr = p.dir, append(os.Environ(), p.environ...), said, said
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), said)
		}
	})
	return said
}

// A log keeps what a program says, and finds things in it.
type log struct {
	lock  chan struct{} // of text
	text  bytes.Buffer
	wrote chan struct{}
}

func newLog() *log { return &log{lock: make(chan struct{}, 1), wrote: make(chan struct{}, 1)} }

func (l *log) Write(data []byte) (int, error) {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	select {
	case l.wrote <- struct{}{}:
	default:
	}
	return l.text.Write(data)
}

func (l *log) String() string {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	return l.text.String()
}

// find waits for a match, and gives its first group.
func (l *log) find(t *testing.T, pattern string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programPatience)
	defer cancel()
	for {
		if match := regexp.MustCompile(pattern).FindStringSubmatch(l.String()); match != nil {
			return match[1]
		}
		select {
		case <-ctx.Done():
			t.Fatalf("there is no %s in what it said", pattern)
		case <-l.wrote:
		}
	}
}

// npm installs the packages that a directory of testdata pins, and gives where.
func npm(t *testing.T, name string) (modules string) {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := (workplace{dir: dir}).execute(t, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return filepath.Join(dir, "node_modules")
}

// checkScript runs a script of a bundle for each kind of credential: what it is
// given arrives, and a device whose token is another's is told so.
func (w programWorld) checkScript(environ []string, program, script string) {
	w.t.Helper()
	for _, kind := range provision.CredentialKinds() {
		device := deviceOfKind(kind)
		path := w.file(device, script)
		out, err := (workplace{w.t.TempDir(), environ}).execute(w.t, program, path, `{"`+script+`":"it's \"21\" °C"}`)
		if err != nil || !strings.Contains(out, "published") {
			w.t.Fatalf("%s: %v\n%s", path, err, out)
		}
		if got := w.arrives(device, script); got != `it's "21" °C` {
			w.t.Errorf("%s: %q arrived", device, got)
		}
	}
	w.edit("devices/token-1/token", w.read("token-1", "token"), "wrongToken")
	if out, err := (workplace{w.t.TempDir(), environ}).execute(w.t, program, w.file("token-1", script)); err == nil || strings.Contains(out, "published") || strings.Contains(out, "wrongToken") {
		w.t.Errorf("with a wrong token: %v\n%s", err, out)
	}
	if err := os.WriteFile(w.file("basic-1", "ca-root.pem"), []byte(otherRoot(w.t)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if out, err := (workplace{w.t.TempDir(), environ}).execute(w.t, program, w.file("basic-1", script)); err == nil || strings.Contains(out, "published") {
		w.t.Errorf("with another root: %v\n%s", err, out)
	}
}

// otherRoot is the root of another site.
func otherRoot(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "other")
	if code, _, errOut := run(t.Context(), "init", "-q", "-C", dir, "--host", "localhost"); code != 0 {
		t.Fatal(errOut)
	}
	data, err := os.ReadFile(filepath.Join(dir, "ca-root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The script for Python runs with the real paho-mqtt.
func TestPythonScript(t *testing.T) {
	t.Parallel()
	w := newProgramWorld(t, "python")
	w.install("paho.txt")
	w.checkScript([]string{"PYTHONNOUSERSITE=1"}, w.interpreter(), "publish.py")
}

// The script for Node.js runs with the real mqtt, and MicroPython reads its
// module.
func TestNodeScript(t *testing.T) {
	t.Parallel()
	w := newProgramWorld(t, "node,micropython")
	modules := npm(t, "node")
	w.checkMicroPython(modules)
	w.checkScript([]string{"NODE_PATH=" + modules}, "node", "publish.js")
}

// checkMicroPython lets the real MicroPython show what is in the module of each
// device.
func (w programWorld) checkMicroPython(modules string) {
	w.t.Helper()
	const show = `
import binascii, json
print(json.dumps({"device": DEVICE, "host": HOST, "port": PORT, "username": USERNAME, "password": PASSWORD,
  "roots": [binascii.hexlify(r).decode() for r in CA_ROOTS],
  "certificate": CERTIFICATE and binascii.hexlify(CERTIFICATE).decode(), "key": KEY and binascii.hexlify(KEY).decode()}))
`
	for _, kind := range provision.CredentialKinds() {
		device := deviceOfKind(kind)
		dir := w.t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "main.py"), []byte(w.read(device, "tbcert_device.py")+show), 0o600); err != nil {
			w.t.Fatal(err)
		}
		interpreter := filepath.Join(modules, "@micropython", "micropython-webassembly-pyscript", "micropython.mjs")
		out, err := (workplace{dir: dir}).execute(w.t, "node", interpreter, "main.py")
		if err != nil {
			w.t.Fatalf("MicroPython: %v\n%s", err, out)
		}
		var got struct {
			Device, Host, Username, Password, Certificate, Key string
			Port                                               int
			Roots                                              []string
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			w.t.Fatalf("%v\n%s", err, out)
		}
		if got.Device != device || got.Host != "localhost" || got.Port != w.mqtts() || len(got.Roots) != 1 || got.Roots[0] != w.der(device, "ca-root.pem") {
			w.t.Errorf("%s: %+v", device, got)
		}
		token, _ := os.ReadFile(w.file(device, "token"))
		username, _ := os.ReadFile(w.file(device, "username"))
		password, _ := os.ReadFile(w.file(device, "password"))
		if got.Username+"\n" != string(token)+string(username)+map[bool]string{true: "\n"}[kind == provision.CredentialX509] || got.Password != strings.TrimSpace(string(password)) {
			w.t.Errorf("%s logs in with %q and %q", device, got.Username, got.Password)
		}
		if kind == provision.CredentialX509 && (got.Certificate != w.der(device, "cert.pem") || got.Key != w.der(device, "key.pem")) {
			w.t.Errorf("%s has the certificate %s and the key %s", device, got.Certificate, got.Key)
		}
	}
}

// der is the first object of a PEM file of a bundle, in hexadecimal, as OpenSSL
// has it.
func (w programWorld) der(device, name string) string {
	w.t.Helper()
	args := []string{"x509"}
	if name == "key.pem" {
		args = []string{"pkcs8", "-topk8", "-nocrypt"}
	}
	out, err := tool(w.t, "", "openssl", append(args, "-in", w.file(device, name), "-outform", "DER")...)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("%x", out)
}

// ThingsBoard's own gateway starts with the settings of each kind of credential,
// and its statistics arrive.
func TestGateway(t *testing.T) {
	t.Parallel()
	w := newProgramWorld(t, "gateway")
	w.install("gateway.txt")
	for _, kind := range provision.CredentialKinds() {
		dir := filepath.Join(t.TempDir(), "config") + string(filepath.Separator)
		w.run("export", deviceOfKind(kind), "--as", "gateway", "--out", dir)
		at := workplace{t.TempDir(), []string{"TB_GW_CONFIG_DIR=" + dir, "PYTHONNOUSERSITE=1", "NO_PROXY=*"}}
		at.background(t, filepath.Join(w.venv, "bin", "thingsboard-gateway"))
	}
	for _, kind := range provision.CredentialKinds() {
		w.arrives(deviceOfKind(kind), "machineStats")
	}
}

// A real mosquitto bridges to ThingsBoard with the settings of each kind of
// credential, among them a user name and a password as odd as can be.
func TestMosquittoBridge(t *testing.T) {
	t.Parallel()
	w := newProgramWorld(t, "mosquitto")
	const odd = `[{"name": "odd-1", "credential": "basic", "client_id": "#\"c'", "username": "u s\\er # ; = \"é'", "password": "p %s $HOME \\n # \"' x"}]`
	if err := os.WriteFile(filepath.Join(w.site, "odd.json"), []byte(odd), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run("provision", "--from", filepath.Join(w.site, "odd.json"), "--url", "http://"+w.board.HTTPAddr().String(), "--user", pythonUser)
	for _, device := range []string{"token-1", "basic-1", "x509-1", "odd-1"} {
		t.Run(device, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "certs")
			w.run("export", device, "--as", "mosquitto", "--out", dir+"/", "--path", dir)
			settings, err := os.ReadFile(filepath.Join(dir, "mosquitto-bridge.conf"))
			if err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(t.TempDir(), "s")
			conf := filepath.Join(dir, "mosquitto.conf")
			text := fmt.Sprintf("user root\nlistener 0 %s\nallow_anonymous true\n%s", socket, settings)
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			said := workplace{dir: dir}.background(t, "mosquitto", "-v", "-c", conf)
			said.find(t, `(Received CONNACK on connection local.*)`)
			out, err := (workplace{dir: dir}).execute(t, "mosquitto_pub", "--unix", socket, "-q", "1", "-t", "thingsboard/telemetry", "-m", `{"bridged":21.5}`)
			if err != nil {
				t.Fatalf("mosquitto_pub: %v\n%s", err, out)
			}
			if got := (programWorld{&pythonWorld{t: t, board: w.board}}).arrives(device, "bridged"); got != 21.5 {
				t.Errorf("%v arrived", got)
			}
		})
	}
}

// A real Node-RED takes the flow of each kind of credential as its editor gives
// it, and what it injects arrives.
func TestNodeRED(t *testing.T) {
	t.Parallel()
	w := newProgramWorld(t, "node-red")
	modules := npm(t, "node-red")
	user := t.TempDir()
	const settings = `module.exports = { uiHost: "127.0.0.1", uiPort: 0, disableEditor: true, telemetry: { enabled: false } };`
	if err := os.WriteFile(filepath.Join(user, "settings.js"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	said := workplace{dir: user}.background(t, "node", filepath.Join(modules, "node-red", "red.js"), "-u", user, "-s", filepath.Join(user, "settings.js"))
	var flow []map[string]any
	for _, kind := range provision.CredentialKinds() {
		var nodes []map[string]any
		if err := json.Unmarshal([]byte(w.read(deviceOfKind(kind), "node-red.json")), &nodes); err != nil {
			t.Fatal(err)
		}
		for _, node := range nodes {
			if node["type"] == "inject" { // as if somebody pressed the button
				node["once"], node["onceDelay"] = true, 1
			}
		}
		flow = append(flow, nodes...)
	}
	said.find(t, `(Started flows)`) // else it loads its own, which are none, over ours
	port := said.find(t, `Server now running at http://127\.0\.0\.1:(\d+)/`)
	deploy(t, "http://127.0.0.1:"+port+"/flows", flow)
	for _, kind := range provision.CredentialKinds() {
		if got := fmt.Sprint(w.arrives(deviceOfKind(kind), "temperature")); got != "25" {
			t.Errorf("%s arrived", got)
		}
	}
}

// deploy gives Node-RED a flow.
func deploy(t *testing.T, url string, flow []map[string]any) {
	t.Helper()
	body, err := json.Marshal(flow)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusNoContent {
		t.Fatalf("Node-RED answers %s to the flow: %s (%v)", response.Status, answer, err)
	}
}
