//go:build bench

package cmd_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What `make bench` runs: whole processes, ours and the peer's in turn, so that
// a machine whose speed drifts slows both.

var write = flag.Bool("write", false, "write docs/benchmarks.md")

const (
	pairs   = 60
	warmups = 3
)

// opensslScript makes a root and a server certificate and nothing else: the
// shortest of the scripts that tbcert init takes the place of.
const opensslScript = `set -e
rm -rf "$1"; mkdir "$1"; cd "$1"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out root.key
openssl req -x509 -new -key root.key -subj "/CN=Root CA" -days 7300 -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -out root.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out server.key
openssl req -new -key server.key -subj "/CN=tb.example.com" -out server.csr
printf 'subjectAltName=DNS:tb.example.com\nextendedKeyUsage=serverAuth\n' >ext
openssl x509 -req -in server.csr -CA root.pem -CAkey root.key -CAcreateserial -days 397 -extfile ext -out server.pem
`

// measure is one comparison.
type measure struct {
	name, ours, peer string
	limit            float64 // of the ratio; 0 for none
	our, their       []time.Duration
}

func TestBenchmarks(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "tbcert")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "./tbcert")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	results := []measure{benchHelp(t, binary), benchInit(t, binary, dir), benchVerify(t, binary, dir)}
	fleets := benchFleet(t, binary)
	verified := benchVerifyFleet(t, binary)
	table := report(results) + reportFleet(fleets) + reportVerifyFleet(verified)
	checkFleet(t, fleets)
	checkVerifyFleet(t, verified)
	t.Log("\n" + table)
	for _, m := range results {
		if m.limit > 0 && ratio(m) > m.limit {
			t.Errorf("%s: the ratio is %.2f, and the limit is %.2f", m.name, ratio(m), m.limit)
		}
	}
	if *write {
		if err := os.WriteFile("../docs/benchmarks.md", []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func benchHelp(t *testing.T, binary string) measure {
	help := func() *exec.Cmd { return exec.Command(binary, "--help") }
	empty := func() *exec.Cmd { return exec.Command("mosquitto_pub", "--help") }
	m := measure{name: "help", ours: "tbcert --help", peer: "mosquitto_pub --help"}
	m.our, m.their = compare(t, help, empty)
	return m
}

func benchInit(t *testing.T, binary, dir string) measure {
	script := filepath.Join(dir, "ca.sh")
	if err := os.WriteFile(script, []byte(opensslScript), 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	ours := func() *exec.Cmd {
		n++
		return exec.Command(binary, "init", "-q", "--host", "tb.example.com", "-C", filepath.Join(dir, "init"+strconv.Itoa(n)))
	}
	theirs := func() *exec.Cmd { return exec.Command("sh", script, filepath.Join(dir, "openssl"+strconv.Itoa(n))) }
	m := measure{name: "init", ours: "tbcert init --host tb.example.com", peer: "openssl script, a root and a server certificate only", limit: 0.6}
	m.our, m.their = compare(t, ours, theirs)
	return m
}

func benchVerify(t *testing.T, binary, dir string) measure {
	site := filepath.Join(dir, "site")
	measuredTool(t, binary, "init", "-q", "-C", site, "--host", "localhost")
	measuredTool(t, binary, "provision", "-q", "-C", site, "meter-1")
	port := benchBroker(t, site)
	root, token := filepath.Join(site, "ca-root.pem"), filepath.Join(site, "devices", "meter-1", "token")
	secret, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	const payload = `{"temperature":25}`
	ours := func() *exec.Cmd {
		return exec.Command(binary, "verify", "--host", "localhost", "--port", port, "--cafile", root, "--token-file", token, "--payload", payload)
	}
	theirs := func() *exec.Cmd {
		return exec.Command("mosquitto_pub", "--cafile", root, "-q", "1", "-h", "localhost", "-p", port,
			"-t", "v1/devices/me/telemetry", "-u", strings.TrimSpace(string(secret)), "-m", payload)
	}
	m := measure{name: "verify", ours: "tbcert verify --token-file token", peer: "mosquitto_pub --cafile ca-root.pem -q 1, the same message", limit: 1.2}
	m.our, m.their = compare(t, ours, theirs)
	return m
}

// benchBroker starts a mosquitto that answers at once (set_tcp_nodelay).
func benchBroker(t *testing.T, site string) string {
	t.Helper()
	return benchBrokerWith(t, site, "")
}

// benchBrokerWith starts a mosquitto with other lines in place of
// set_tcp_nodelay true.
func benchBrokerWith(t *testing.T, site, lines string) string {
	t.Helper()
	return strconv.Itoa(brokerAt(t, site, strings.Replace(mosquittoConf, "set_tcp_nodelay true\n", cmp.Or(lines, "set_tcp_nodelay true\n"), 1)))
}

func measuredTool(t *testing.T, binary string, args ...string) {
	t.Helper()
	if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		t.Fatalf("tbcert %s: %v\n%s", args[0], err, out)
	}
}

// compare runs both commands in turn and gives their wall times.
func compare(t *testing.T, ours, theirs func() *exec.Cmd) (our, their []time.Duration) {
	t.Helper()
	for i := range warmups + pairs {
		a, b := wall(t, ours()), wall(t, theirs())
		if i >= warmups {
			our, their = append(our, a), append(their, b)
		}
	}
	return our, their
}

func wall(t *testing.T, command *exec.Cmd) time.Duration {
	t.Helper()
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	begin := time.Now()
	err := command.Run()
	took := time.Since(begin)
	if err != nil && !strings.Contains(strings.Join(command.Args, " "), "--help") {
		t.Fatalf("%s: %v\n%s", command.Path, err, output.Bytes())
	}
	return took
}

// ratio is the median of the pairs' ratios.
func ratio(m measure) float64 {
	var all []float64
	for i := range m.our {
		all = append(all, float64(m.our[i])/float64(m.their[i]))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

func report(results []measure) string {
	var text strings.Builder
	text.WriteString("# Benchmarks\n\n")
	fmt.Fprintf(&text, "Written by `make bench` on %s, %s/%s, %d cores, %s.\n\n", time.Now().UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	fmt.Fprintf(&text, "Wall times of whole processes, ours and the peer's in turn, %d pairs after %d that are not counted.\n", pairs, warmups)
	text.WriteString("The ratio is the median of the pairs' ratios; below 1 tbcert is the faster one.\n\n")
	text.WriteString("| | tbcert | median | peer | median | ratio | limit |\n|---|---|---|---|---|---|---|\n")
	for _, m := range results {
		limit := "20 ms on an idle machine"
		if m.limit > 0 {
			limit = fmt.Sprintf("%.2f", m.limit)
		}
		fmt.Fprintf(&text, "| %s | `%s` | %.1f ms | %s | %.1f ms | %.2f | %s |\n", m.name, m.ours, millis(median(m.our)), m.peer, millis(median(m.their)), ratio(m), limit)
	}
	text.WriteString("\n`init` brings its files to the disk before it returns (fsync of every file and directory); the openssl\n" +
		"script does not. It makes a root, two issuing CAs, the server certificate and a PKCS#12 keystore in that time.\n" +
		"`verify` and `mosquitto_pub` publish the same message with QoS 1 over TLS 1.3 to the same mosquitto\n" +
		"(`set_tcp_nodelay true`) on loopback.\n\n" +
		"The openssl script:\n\n```sh\n" + opensslScript + "```\n")
	return text.String()
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
