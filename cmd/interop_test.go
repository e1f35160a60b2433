package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd"
)

// interopWrite is what `make interop` sets.
var interopWrite = flag.Bool("interop", false, "TestInterop: write docs/compatibility.md")

const (
	interopDir = "testdata/interop"
	interopDoc = "../docs/compatibility.md"

	// defaultProfile is what `tbcert init` makes, and a token.
	defaultProfile = "p256, two-tier"

	// constraintsMark ends the name of a profile with name constraints.
	constraintsMark = ", name constraints"

	// buildPatience bounds what a device is built with; cargo may download.
	buildPatience = 5 * time.Minute
)

// A stack is a TLS library, and the device in testdata/interop that uses it.
type stack struct {
	name  string
	build func(t *testing.T, dir string) []string // gives the command
	// What the device says of a server whose root is another, or that has
	// another name.
	otherRoot, otherName string
}

func stacks() []stack {
	return []stack{
		{"OpenSSL", inC("openssl", "-lssl", "-lcrypto"), "unable to get local issuer certificate", "hostname mismatch"},
		{"GnuTLS", inC("gnutls", "-lgnutls"), "issuer is unknown", "name in the certificate does not match"},
		{"mbedTLS", inC("mbedtls", "-lmbedtls", "-lmbedx509", "-lmbedcrypto"), "not correctly signed by the trusted CA", "does not match with the expected CN"},
		{"wolfSSL", inC("wolfssl", "-lwolfssl"), "certificate verify failed", "peer subject name mismatch"},
		{"BearSSL", inC("bearssl", "-lbearssl"), "NOT_TRUSTED", "BAD_SERVER_NAME"},
		{"Java", inJava, "unable to find valid certification path", "No subject alternative DNS name matching localhost found"},
		{"Node.js", inNode, "unable to get local issuer certificate", "does not match certificate's altnames"},
		{"Python", inPython, "unable to get local issuer certificate", "Hostname mismatch"},
		{"Go", inGo, "certificate signed by unknown authority", "certificate is valid for tb.example.com, not localhost"},
		{"rustls", inRust, "UnknownIssuer", "not valid for name"},
	}
}

// inC compiles a device with a library from one of Debian's -dev packages.
func inC(name string, libraries ...string) func(*testing.T, string) []string {
	return func(t *testing.T, dir string) []string {
		t.Helper()
		out := filepath.Join(dir, name)
		args := []string{"-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o", out, filepath.Join(interopDir, "c", name+".c")}
		build(t, ".", "gcc", append(args, libraries...)...)
		return []string{out}
	}
}

func inJava(t *testing.T, dir string) []string {
	t.Helper()
	build(t, ".", "javac", "-Xlint:all", "-Werror", "-d", dir, filepath.Join(interopDir, "java", "Device.java"))
	return []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", dir, "Device"}
}

func inNode(_ *testing.T, _ string) []string {
	return []string{"node", filepath.Join(interopDir, "node", "device.js")}
}

func inPython(t *testing.T, _ string) []string {
	t.Helper()
	w := &pythonWorld{t: t}
	w.install(filepath.Join("..", "interop", "python", "requirements.txt"))
	return []string{w.interpreter(), filepath.Join(interopDir, "python", "device.py")}
}

func inGo(t *testing.T, dir string) []string {
	t.Helper()
	out := filepath.Join(dir, "go")
	build(t, ".", "go", "build", "-o", out, "./"+interopDir+"/go")
	return []string{out}
}

func inRust(t *testing.T, dir string) []string {
	t.Helper()
	build(t, filepath.Join(interopDir, "rustls"), "cargo", "build", "--quiet", "--locked", "--target-dir", dir)
	return []string{filepath.Join(dir, "debug", "device")}
}

func build(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildPatience)
	defer cancel()
	process := exec.CommandContext(ctx, program, args...)
	process.Dir = dir
	if out, err := process.CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v (`make deps` installs what is needed)\n%s", program, strings.Join(args, " "), err, out)
	}
}

// A profile is a site that tbcert makes, and how a device comes to it.
type profile struct {
	name        string
	init        []string
	host        string // that the device is told
	certificate bool   // of the device, in place of a token
	board       bool   // the server is the sandbox, in place of mosquitto
}

// profiles lists what is tried.
func profiles() []profile {
	var list []profile
	for _, key := range certs.KeyTypes() {
		for _, tier := range []string{"two-tier", "single-tier"} {
			p := profile{name: fmt.Sprintf("%s, %s", key, tier), init: []string{"--host", "localhost", "--key-type", string(key)}, host: "localhost"}
			if tier == "single-tier" {
				p.init = append(p.init, "--single-tier")
			}
			constrained := p
			constrained.name += constraintsMark
			constrained.init = append(slices.Clone(p.init), "--name-constraints")
			list = append(list, p, constrained)
		}
	}
	for _, key := range certs.KeyTypes() {
		list = append(list, profile{
			name: fmt.Sprintf("%s, two-tier, device certificate", key),
			init: []string{"--host", "localhost", "--key-type", string(key)}, host: "localhost", certificate: true,
		})
	}
	both := []string{"--host", "localhost", "--host", "127.0.0.1"}
	return append(list,
		profile{name: "p256, two-tier, ThingsBoard's rules", init: []string{"--host", "localhost"}, host: "localhost", board: true},
		profile{name: "p256, two-tier, ThingsBoard's rules, device certificate", init: []string{"--host", "localhost"}, host: "localhost", board: true, certificate: true},
		profile{name: "p256, two-tier, by address", init: both, host: "127.0.0.1"},
		profile{name: "p256, two-tier, name and address" + constraintsMark, init: append(slices.Clone(both), "--name-constraints"), host: "localhost"},
		profile{name: "p256, two-tier, address only" + constraintsMark, init: []string{"--host", "127.0.0.1", "--name-constraints"}, host: "127.0.0.1"})
}

// A sight is what a device said.
type sight struct {
	version      string
	step, reason string // "" when it published
}

func (s sight) ok() bool { return s.step == "" }

// An interop is a run of all stacks against all profiles.
type interop struct {
	stacks   []stack
	commands map[string][]string // by stack
	profiles []profile
	lock     sync.Mutex
	seen     map[string]map[string]sight // by profile and stack
	refused  map[string][2]sight         // by stack: another root, another name
}

// TestInterop lets devices with real TLS libraries publish through a real
// mosquitto that has a server certificate of tbcert's, each with its bundle,
// and holds what came of it against docs/compatibility.md. With
// -interop it writes that page.
func TestInterop(t *testing.T) {
	t.Parallel()
	w := &interop{stacks: stacks(), commands: map[string][]string{}, profiles: profiles(), seen: map[string]map[string]sight{}, refused: map[string][2]sight{}}
	w.build(t)
	t.Run("refusals", w.refusals)
	t.Run("profiles", func(t *testing.T) {
		for _, p := range w.profiles {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				w.profile(t, p)
			})
		}
	})
	if t.Failed() {
		return
	}
	seen := w.page(t)
	if *interopWrite && !t.Failed() {
		seen.write(t)
	}
	seen.compare(t)
}

// build builds the devices, side by side.
func (w *interop) build(t *testing.T) {
	t.Helper()
	var group sync.WaitGroup
	for _, s := range w.stacks {
		dir := t.TempDir()
		group.Go(func() {
			command := s.build(t, dir)
			w.lock.Lock()
			defer w.lock.Unlock()
			w.commands[s.name] = command
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// deviceCertificates is a listener that wants a certificate of the device CA.
const deviceCertificates = `require_certificate true
cafile %[3]s/ca-root.pem
`

// profile makes a site, serves it, and lets a device of each stack publish.
func (w *interop) profile(t *testing.T, p profile) {
	t.Helper()
	site := filepath.Join(t.TempDir(), "site")
	(&pythonWorld{t: t, site: site}).run("init", p.init...)
	serve := servedByMosquitto
	if p.board {
		serve = servedBySandbox
	}
	port := serve(t, site, p.certificate)
	seen := map[string]sight{}
	for _, s := range w.stacks {
		seen[s.name] = w.device(t, s, visit{p.host, port, site, site, p.certificate})
	}
	if p.host == "localhost" && strings.HasPrefix(p.name, "p256") {
		checkRefusers(t, site, seen)
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	w.seen[p.name] = seen
}

// servedByMosquitto starts a mosquitto for a site with one device, and gives its
// port. It takes any user name.
func servedByMosquitto(t *testing.T, site string, certificate bool) int {
	t.Helper()
	conf, credential := mosquittoConf, "token"
	if certificate {
		conf, credential = mosquittoConf+deviceCertificates, "x509"
	}
	(&pythonWorld{t: t, site: site}).run("provision", "meter-1", "--credential", credential)
	return brokerAt(t, site, conf)
}

// servedBySandbox starts a sandbox for a site with one device, and gives its
// port. It knows the device's credential, and takes no other; in the end it has
// to have a value from each stack.
func servedBySandbox(t *testing.T, site string, certificate bool) int {
	t.Helper()
	w := &pythonWorld{t: t, site: site}
	w.start()
	credential := "token"
	if certificate {
		credential = "x509"
	}
	w.run("provision", "meter-1", "--credential", credential, "--url", "http://"+w.board.HTTPAddr().String(), "--user", pythonUser)
	t.Cleanup(func() {
		if got := len(w.board.Telemetry("meter-1")); got != len(stacks()) {
			t.Errorf("the sandbox has %d values, of %d stacks", got, len(stacks()))
		}
	})
	return w.board.MQTTSAddr().(*net.TCPAddr).Port
}

// checkRefusers holds what status says of name constraints against what was
// seen.
func checkRefusers(t *testing.T, site string, seen map[string]sight) {
	t.Helper()
	var out bytes.Buffer
	if code := cmd.Run(t.Context(), []string{"status", "-C", site, "-o", "json"}, cmd.Process{In: strings.NewReader(""), Out: &out, Err: &out}); code != 0 {
		t.Fatalf("status ends with %d: %s", code, &out)
	}
	var status struct {
		Constraints struct {
			RefusedBy []string `json:"refused_by"`
		} `json:"name_constraints"`
	}
	if err := json.Unmarshal(out.Bytes(), &status); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	var told, refused []string
	for _, library := range status.Constraints.RefusedBy {
		name, _, _ := strings.Cut(library, " ")
		told = append(told, name)
	}
	for name, s := range seen {
		if !s.ok() {
			refused = append(refused, name)
		}
	}
	slices.Sort(told)
	slices.Sort(refused)
	if !slices.Equal(told, refused) {
		t.Errorf("status says that %q refuse the server, and %q do", told, refused)
	}
}

// refusals holds that each device looks at the server: it refuses one whose
// root is another's, and one with another name.
func (w *interop) refusals(t *testing.T) {
	here, elsewhere := filepath.Join(t.TempDir(), "here"), filepath.Join(t.TempDir(), "elsewhere")
	(&pythonWorld{t: t, site: here}).run("init", "--host", "localhost")
	(&pythonWorld{t: t, site: elsewhere}).run("init", "--host", "tb.example.com")
	for _, site := range []string{here, elsewhere} {
		(&pythonWorld{t: t, site: site}).run("provision", "meter-1")
	}
	port, otherPort := brokerAt(t, here, mosquittoConf), brokerAt(t, elsewhere, mosquittoConf)
	for _, s := range w.stacks {
		got := [2]sight{
			w.device(t, s, visit{"localhost", port, here, elsewhere, false}),
			w.device(t, s, visit{"localhost", otherPort, elsewhere, elsewhere, false}),
		}
		for i, want := range []string{s.otherRoot, s.otherName} {
			if got[i].step != "tls" || !strings.Contains(got[i].reason, want) {
				t.Errorf("%s fails at %q with %q; want %q", s.name, got[i].step, got[i].reason, want)
			}
		}
		w.refused[s.name] = got
	}
}

// A visit is a device's way to a server, with a bundle of a site and the root
// of a bundle that may be another's.
type visit struct {
	host         string
	port         int
	site, rootOf string
	certificate  bool // in place of the token
}

// device runs a device of a stack.
func (w *interop) device(t *testing.T, s stack, v visit) sight {
	t.Helper()
	bundle := filepath.Join(v.site, "devices", "meter-1")
	command := slices.Clone(w.commands[s.name])
	command = append(command, v.host, strconv.Itoa(v.port), filepath.Join(v.rootOf, "devices", "meter-1", "ca-root.pem"))
	if v.certificate {
		command = append(command, filepath.Join(bundle, "cert.pem"), filepath.Join(bundle, "key.pem"))
	} else {
		command = append(command, filepath.Join(bundle, "token"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	var out, all bytes.Buffer
	process := exec.CommandContext(ctx, command[0], command[1:]...)
	process.Stdout, process.Stderr = &out, &all
	err := process.Run()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var exit *exec.ExitError
	if len(lines) != 2 || (err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1)) {
		t.Fatalf("%s: %v\n%s%s", s.name, err, &out, &all)
	}
	if (err == nil) != (lines[1] == "ok") {
		t.Fatalf("%s says %q and ends with %v", s.name, lines[1], err)
	}
	if err == nil {
		return sight{version: lines[0]}
	}
	step, reason, _ := strings.Cut(lines[1], ": ")
	return sight{version: lines[0], step: step, reason: strings.TrimSpace(reason)}
}

// A cause says, for people, why a stack says what it says.
type cause struct{ stack, said, why string }

var causes = []cause{
	{"mbedTLS", "extension tag or value is invalid", "This version does not know name constraints, and they are critical."},
	{"BearSSL", "BR_ERR_X509_CRITICAL_EXTENSION", "BearSSL does not know name constraints, and they are critical. (Of a root it looks at the name and the key alone, so that a single-tier site works.)"},
	{"wolfSSL", "Name Constraint error", "This version refuses an address in a certificate under name constraints, whatever they permit."},
	{"mbedTLS", "Signature algorithm (oid) is unsupported", "This version has no Ed25519, and cannot even read the root."},
	{"BearSSL", "BR_ERR_X509_UNSUPPORTED", "BearSSL has no Ed25519, and cannot even read the root."},
	{"mbedTLS", "does not match with the expected CN", "This version compares names (`dNSName`) only, and no addresses. Give the server a name, and let devices use it."},
	{"BearSSL", "BR_ERR_X509_BAD_SERVER_NAME", "BearSSL compares names (`dNSName`) only, and no addresses. Give the server a name, and let devices use it."},
}

// why finds the cause of a failure; 0 for none, else its number.
func why(stack string, s sight) int {
	return 1 + slices.IndexFunc(causes, func(c cause) bool { return c.stack == stack && strings.Contains(s.reason, c.said) })
}

// A page is what docs/compatibility.md is made of.
type page struct {
	Stacks, Versions, OtherRoot, OtherName []string
	Profiles                               []pageRow
	Causes                                 []pageCause
}

type pageRow struct {
	Name  string
	Cells []string
}

type pageCause struct {
	Number                 int
	Stack, Step, Said, Why string
}

// page lays out what was seen. Every failure has to have a cause.
func (w *interop) page(t *testing.T) page {
	t.Helper()
	var result page
	numbers := map[int]int{} // of causes, in the order of the page
	for _, s := range w.stacks {
		result.Stacks = append(result.Stacks, s.name)
		result.Versions = append(result.Versions, w.seen[w.profiles[0].name][s.name].version)
		result.OtherRoot = append(result.OtherRoot, w.refused[s.name][0].reason)
		result.OtherName = append(result.OtherName, w.refused[s.name][1].reason)
	}
	for _, p := range w.profiles {
		row := pageRow{Name: p.name}
		for _, s := range w.stacks {
			got := w.seen[p.name][s.name]
			if got.ok() {
				row.Cells = append(row.Cells, "ok")
				continue
			}
			n := why(s.name, got)
			if n == 0 {
				t.Errorf("%s, %s: it fails at %s, and no cause is known: %s", p.name, s.name, got.step, got.reason)
				continue
			}
			if numbers[n] == 0 {
				numbers[n] = len(numbers) + 1
				result.Causes = append(result.Causes, pageCause{numbers[n], s.name, got.step, got.reason, causes[n-1].why})
			}
			row.Cells = append(row.Cells, fmt.Sprintf("no (%d)", numbers[n]))
		}
		result.Profiles = append(result.Profiles, row)
	}
	return result
}

func (p page) write(t *testing.T) {
	t.Helper()
	source := template.Must(template.New("compatibility.md").Funcs(template.FuncMap{
		"cells": func(cells []string) string { return strings.Join(cells, " | ") },
		"text":  func(text string) string { return strings.ReplaceAll(text, "|", "\\|") },
	}).ParseFiles(filepath.Join(interopDir, "compatibility.md")))
	var text bytes.Buffer
	if err := source.Execute(&text, p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(interopDoc, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// compare holds what was seen against the committed page. What works there has
// to work here; another version of a library may do better than the page says.
func (p page) compare(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(interopDoc)
	if err != nil {
		t.Fatal(err)
	}
	written := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		written[cells[0]] = cells[1:]
	}
	if !slices.Equal(written["profile"], p.Stacks) {
		t.Fatalf("%s has the stacks %q, and the test %q: run `make interop`", interopDoc, written["profile"], p.Stacks)
	}
	for _, row := range p.Profiles {
		cells := written[row.Name]
		if len(cells) != len(row.Cells) {
			t.Errorf("%s has no row %q with %d cells: run `make interop`", interopDoc, row.Name, len(row.Cells))
			continue
		}
		for i, cell := range row.Cells {
			switch {
			case cells[i] == "ok" && cell != "ok":
				t.Errorf("%s, %s: %s says that it works, and it does not", row.Name, p.Stacks[i], interopDoc)
			case cells[i] != "ok" && cell == "ok":
				t.Logf("%s, %s: it works with this version, and %s says that it does not", row.Name, p.Stacks[i], interopDoc)
			}
		}
	}
	if i := slices.IndexFunc(p.Profiles, func(row pageRow) bool { return row.Name == defaultProfile }); i < 0 || slices.ContainsFunc(p.Profiles[i].Cells, func(cell string) bool { return cell != "ok" }) {
		t.Errorf("the default, %s, has to work on all", defaultProfile)
	}
}
