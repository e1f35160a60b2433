package cmd_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd"
	"github.com/tbcert/tbcert/provision/inventory/postgrestest"
	"github.com/tbcert/tbcert/sandbox"
	"github.com/tbcert/tbcert/thingsboard/device"
)

const (
	atWork = 200 // devices that are connected
	idle   = 10  // devices that are not
	shared = 400 // devices that two machines share
)

// A plant is a site with a sandbox that serves its certificate, and devices at
// work there.
type plant struct {
	t        *testing.T
	dir      string
	board    *sandbox.Server
	sessions []*device.Session
	now      func() time.Time // nil: the time as it is
}

func newPlant(t *testing.T, working, resting int) *plant {
	t.Helper()
	p := &plant{t: t, dir: t.TempDir()}
	p.tbcert(0, "init", "--host", "localhost")
	server := filepath.Join(p.dir, "server", "mqttserver.pem")
	certificate, err := tls.LoadX509KeyPair(server, server)
	if err != nil {
		t.Fatal(err)
	}
	p.board, err = sandbox.Start(t.Context(), sandbox.Config{
		HTTPAddr: "127.0.0.1:0", MQTTAddr: "127.0.0.1:0", MQTTSAddr: "127.0.0.1:0", Certificate: &certificate, APIKey: secret.New(apiKeyCanary),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.board.Close() })
	var manifest strings.Builder
	manifest.WriteString("name\n")
	for i := range working + resting {
		fmt.Fprintf(&manifest, "meter-%03d\n", i)
	}
	csv := filepath.Join(t.TempDir(), "devices.csv")
	if err := os.WriteFile(csv, []byte(manifest.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if working+resting > 0 {
		p.tbcert(0, "provision", "--from", csv, "--url", p.url())
	}
	for i := range working {
		p.connect(fmt.Sprintf("meter-%03d", i))
	}
	return p
}

func (p *plant) url() string { return "http://" + p.board.HTTPAddr().String() }

// tbcert runs a command line in the site, and gives its last line of JSON.
func (p *plant) tbcert(want int, args ...string) (last map[string]any) {
	p.t.Helper()
	var out, errOut bytes.Buffer
	args = append(args, "-C", p.dir, "-o", "json")
	code := cmd.Run(p.t.Context(), args, cmd.Process{In: strings.NewReader(""), Out: &out, Err: &errOut, Environ: []string{"TBCERT_API_KEY=" + apiKeyCanary}, Now: p.now})
	if code != want {
		p.t.Fatalf("%v ends with %d, want %d:\n%s%s", args, code, want, out.String(), errOut.String())
	}
	if err := json.Unmarshal(lastLine(out.String()), &last); err != nil {
		p.t.Fatalf("%v: %v\n%s", args, err, out.String())
	}
	return last
}

func (p *plant) verify(want int, args ...string) map[string]any {
	p.t.Helper()
	port := strconv.Itoa(p.board.MQTTSAddr().(*net.TCPAddr).Port)
	return p.tbcert(want, append([]string{"verify", "--port", port}, args...)...)
}

// connect is a device that comes to work.
func (p *plant) connect(name string) {
	p.t.Helper()
	token := p.token(name)
	conn, err := net.Dial("tcp", p.board.MQTTAddr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	session, err := device.Connect(p.t.Context(), conn, device.Login{Username: secret.New(token)})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = session.Disconnect() })
	p.sessions = append(p.sessions, session)
	p.work(session)
}

func (p *plant) work(session *device.Session) {
	p.t.Helper()
	if err := session.Publish(p.t.Context(), device.TopicTelemetry, []byte(`{"temperature":25}`)); err != nil {
		p.t.Error(err)
	}
}

// standing is how many of the sessions still publish.
func (p *plant) standing() (count int) {
	p.t.Helper()
	for _, session := range p.sessions {
		if session.Publish(p.t.Context(), device.TopicTelemetry, []byte(`{"temperature":26}`)) == nil {
			count++
		}
	}
	return count
}

// A check of a fleet leaves every session standing, and with --take-over tells
// how many it closed.
func TestVerifyWithoutHarm(t *testing.T) {
	t.Parallel()
	p := newPlant(t, atWork, idle)
	summary := p.verify(0, "--all", "--url", p.url())
	if summary["passed"] != float64(atWork+idle) || summary["recorded"] != float64(atWork) || summary["closed_sessions"] != nil {
		t.Errorf("the summary is %v", summary)
	}
	if standing := p.standing(); standing != atWork {
		t.Errorf("%d of %d sessions are left", standing, atWork)
	}
	one := p.verify(0, "meter-000", "--url", p.url())
	if one["how"] != "record" || p.standing() != atWork {
		t.Errorf("one device at work is verified so: %v, and %d sessions are left", one, p.standing())
	}
	server := p.verify(0, "--server-only")
	if server["how"] != "server" || p.standing() != atWork {
		t.Errorf("the server alone is verified so: %v, and %d sessions are left", server, p.standing())
	}
	canary := p.verify(0, "--all", "--canary", fmt.Sprintf("meter-%03d", atWork))
	if canary["passed"] != float64(atWork+idle) || p.standing() != atWork {
		t.Errorf("with a canary: %v, and %d sessions are left", canary, p.standing())
	}
	taken := p.verify(0, "--all", "--take-over", "--url", p.url())
	if taken["closed_sessions"] != float64(atWork) || taken["recorded"] != 0.0 {
		t.Errorf("the summary with --take-over is %v", taken)
	}
	if standing := p.standing(); standing != 0 {
		t.Errorf("%d sessions are left, although all were taken over", standing)
	}
}

// The telemetry of an idle device is read back from ThingsBoard, and the result
// is on record.
func TestVerifyReadsBack(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, 1)
	result := p.verify(0, "meter-000", "--url", p.url(), "--round-trip")
	checks, _ := result["checks"].([]any)
	var ids []string
	for _, check := range checks {
		c, _ := check.(map[string]any)
		ids = append(ids, fmt.Sprintf("%v:%v", c["id"], c["status"]))
	}
	if want := "publish:pass stored:pass round-trip:pass"; !strings.Contains(strings.Join(ids, " "), want) {
		t.Errorf("the checks are %v, want %s at the end", ids, want)
	}
}

// What is published is found in ThingsBoard in whatever form it is written; of what
// cannot be looked for nothing is said.
func TestVerifyReadsBackAnyPayload(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, 1)
	for payload, want := range map[string]string{
		`{"temperature":25}`:                      "pass",
		`{"temperature":25.50}`:                   "pass",
		`{temperature:1e3}`:                       "pass",
		`{"text":"a\/b \u00e9"}`:                  "pass",
		`{"number":"25","on":true,"none":null}`:   "pass",
		`{"list":[1, {"a" : "b"}]}`:               "pass",
		`[{"a":1},{"a":2,"b":3}]`:                 "pass",
		`{"ts":1700000000000,"values":{"old":1}}`: "warn",
		`{}`: "warn",
	} {
		result := p.verify(0, "meter-000", "--url", p.url(), "--payload", payload)
		checks, _ := result["checks"].([]any)
		for _, check := range checks {
			if c, _ := check.(map[string]any); c["id"] == "stored" && c["status"] != want {
				t.Errorf("%s is %v: %v, want %s", payload, c["status"], c["detail"], want)
			}
		}
	}
}

// Machines that share an inventory share the devices: each is verified once.
func TestVerifyShared(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, shared)
	url := postgrestest.Start(t)
	other := p.copy()
	var machines sync.WaitGroup
	var verified atomic.Int64
	for _, machine := range []*plant{p, other} {
		machines.Go(func() {
			summary := machine.verify(0, "--all", "--inventory", url, "--yes", "--jobs", "1") // slowly, so that both have their part
			passed, _ := summary["passed"].(float64)
			elsewhere, _ := summary["elsewhere"].(float64)
			if passed+elsewhere != shared {
				t.Errorf("one machine tells %v", summary)
			}
			verified.Add(int64(passed))
		})
	}
	machines.Wait()
	if got := verified.Load(); got != shared {
		t.Errorf("%d devices were verified, want each of %d once", got, shared)
	}
	status := p.tbcert(0, "status", "--inventory", url)
	if proofs, _ := status["proofs"].([]any); len(proofs) != shared {
		t.Errorf("status has the proofs of %d devices, want those of all machines, %d", len(proofs), shared)
	}
	if alone := p.tbcert(0, "status"); alone["proofs"] != nil {
		t.Errorf("without the shared inventory status has the proofs %v", alone["proofs"])
	}
	p.tbcert(1, "verify", "--all", "--inventory", "postgres://nobody@127.0.0.1:1/none")
	gone := p.tbcert(5, "status", "--inventory", "postgres://nobody@127.0.0.1:1/none")
	if gone["certificates"] == nil || !strings.Contains(fmt.Sprint(gone["attention"]), "inventory in PostgreSQL") {
		t.Errorf("without its database status tells %v", gone)
	}
}

// copy is the site on another machine.
func (p *plant) copy() *plant {
	p.t.Helper()
	other := *p
	other.dir = p.t.TempDir()
	if out, err := exec.Command("cp", "-a", p.dir+"/.", other.dir).CombinedOutput(); err != nil { // with the modes
		p.t.Fatalf("%v\n%s", err, out)
	}
	return &other
}

// Machines that share an inventory share a rotation: each device changes once, and
// the machine that did it has its bundle.
func TestRotateShared(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, 0)
	url := postgrestest.Start(t)
	names := make([]string, shared)
	for i := range names {
		names[i] = fmt.Sprintf("meter-%03d", i)
	}
	p.tbcert(0, append([]string{"provision", "--url", p.url(), "--inventory", url}, names...)...)
	before := p.board.Devices()
	p.now = func() time.Time { return time.Now().AddDate(0, 0, 2) }
	other := p.copy()
	var machines sync.WaitGroup
	var rotated atomic.Int64
	for _, machine := range []*plant{p, other} {
		machines.Go(func() {
			summary := machine.tbcert(0, "rotate", "--older-than", "1d", "--url", p.url(), "--inventory", url, "--yes", "--jobs", "1", "--wave", "20")
			did, _ := summary["rotated"].(float64)
			rotated.Add(int64(did))
		})
	}
	machines.Wait()
	if got := rotated.Load(); got != shared {
		t.Errorf("%d devices were rotated, want each of %d once", got, shared)
	}
	for i, device := range p.board.Devices() {
		has := device.Token.Reveal()
		if has == before[i].Token.Reveal() {
			t.Errorf("%s kept its token", device.Name)
		}
		if p.token(device.Name) != has && other.token(device.Name) != has {
			t.Errorf("neither machine has the token that %s has", device.Name)
		}
	}
}

// Waves stop on all machines when a device fails on one.
func TestRotateSharedStops(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, 0)
	url := postgrestest.Start(t)
	names := make([]string, shared)
	for i := range names {
		names[i] = fmt.Sprintf("meter-%03d", i)
	}
	p.tbcert(0, append([]string{"provision", "--url", p.url(), "--inventory", url}, names...)...)
	p.tbcert(0, "provision", "a-device-that-was-never-imported", "--inventory", url)
	other := p.copy()
	var machines sync.WaitGroup
	var changed atomic.Int64
	for _, machine := range []*plant{p, other} {
		machines.Go(func() {
			summary := machine.tbcert(1, "rotate", "--all", "--url", p.url(), "--inventory", url, "--yes", "--wave", "10")
			rotated, _ := summary["rotated"].(float64)
			changed.Add(int64(rotated))
		})
	}
	machines.Wait()
	if got := changed.Load(); got > shared/2 {
		t.Errorf("%d of %d devices were rotated after one had failed", got, shared)
	}
}

// token is what a device's bundle has.
func (p *plant) token(name string) string {
	p.t.Helper()
	token, err := os.ReadFile(filepath.Join(p.dir, "devices", name, "token"))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(token))
}

// When ThingsBoard cannot be asked whether a device is at work, nobody connects
// as it, unless it may be taken over.
func TestVerifyAsksFirst(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 1, 1)
	const nobody = "http://127.0.0.1:1"
	if one := p.verify(1, "meter-000", "--url", nobody); one["diagnosis"] != "record-unknown" {
		t.Errorf("one device: %v", one)
	}
	if all := p.verify(3, "--all", "--url", nobody); all["failed"] != 2.0 {
		t.Errorf("all: %v", all)
	}
	if p.standing() != 1 {
		t.Error("the device at work lost its session")
	}
	if taken := p.verify(0, "meter-000", "--take-over", "--url", p.url()); taken["closed_session"] != true {
		t.Errorf("one device at work: %v", taken)
	}
	p.verify(0, "--all", "--take-over", "--url", nobody, "--call-timeout", "1s", "--payload", `{"a":1}`)
}

// A server that lets the new credential in and takes no test message, as one does
// whose profile expects another form, leaves a rotated device with the new one.
func TestRotateProvesTheLogin(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, 1)
	faults, err := sandbox.ParseFaults("close-after-publish")
	if err != nil {
		t.Fatal(err)
	}
	p.board.SetFaults(faults)
	file := filepath.Join(p.dir, "tbcert.yaml")
	settings, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprintf("mqtts-port: %d", p.board.MQTTSAddr().(*net.TCPAddr).Port)
	settings = bytes.Replace(settings, []byte("mqtts-port: 8883"), []byte(port), 1)
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	p.verify(17, "meter-000")
	token := filepath.Join(p.dir, "devices", "meter-000", "token")
	before, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	p.tbcert(0, "rotate", "meter-000", "--url", p.url(), "--verify")
	if after, err := os.ReadFile(token); err != nil || bytes.Equal(before, after) {
		t.Errorf("the device has its old token again (%v), although the new one was let in", err)
	}
}
