//go:build bench

package cmd_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	fleetSize  = 100_000
	fleetSmall = 1_000
	fleetPairs = 3
	fleetJobs  = 64
	// maxMemory is the limit of tbcert's peak memory, in KiB.
	maxMemory = 150 << 10
)

// A fleetMeasure compares tbcert with a bare loop that does the same for the same
// number of devices. The ratio is of the rates: above 1 tbcert is the faster one.
type fleetMeasure struct {
	name, where, peer string
	limit             float64 // of the ratio, at least; 0 for none
	devices           int
	our, their        []time.Duration
	memory            int64 // KiB, the highest
}

func (m fleetMeasure) ratio() float64 {
	var all []float64
	for i := range m.our {
		all = append(all, float64(m.their[i])/float64(m.our[i]))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// perDevice is the median cost of a device.
func perDevice(times []time.Duration, devices int) time.Duration {
	return median(times) / time.Duration(devices)
}

// A fleetBench is what the comparisons have in common.
type fleetBench struct {
	t      *testing.T
	binary string
	dir    string // where workspaces and the bare loops' files are
	pairs  int
}

func benchFleet(t *testing.T, binary string) []fleetMeasure {
	memory, err := os.MkdirTemp("/dev/shm", "tbcert-bench-")
	if err != nil {
		t.Fatalf("the benchmark needs a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	fast, disk := &fleetBench{t, binary, memory, fleetPairs}, &fleetBench{t, binary, t.TempDir(), 1}
	return []fleetMeasure{
		fast.offline("tokens, offline", "tmpfs", fleetSmall, 0),
		fast.offline("tokens, offline", "tmpfs", fleetSize, 0.6),
		fast.certificates("certificates, offline", "tmpfs", fleetSize, 0.6),
		fast.byREST("tokens, by REST", "tmpfs", fleetSize, 0.7),
		disk.offline("tokens, offline", "disk", fleetSize, 0),
		disk.certificates("certificates, offline", "disk", fleetSize, 0),
	}
}

// manifest writes the devices' file.
func (b *fleetBench) manifest(devices int) string {
	b.t.Helper()
	var rows strings.Builder
	rows.WriteString("name,label\n")
	for i := range devices {
		fmt.Fprintf(&rows, "meter-%06d,Hall %d\n", i, i%10)
	}
	name := filepath.Join(b.dir, fmt.Sprintf("devices-%d.csv", devices))
	if err := os.WriteFile(name, []byte(rows.String()), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return name
}

// provision times tbcert, in a new workspace, and removes that.
func (b *fleetBench) provision(m *fleetMeasure, args ...string) {
	b.t.Helper()
	site := filepath.Join(b.dir, "site")
	tool(b.t, b.binary, "init", "-q", "-C", site, "--host", "localhost")
	command := exec.Command(b.binary, append([]string{"provision", "-q", "-C", site, "--from", b.manifest(m.devices)}, args...)...)
	command.Env = append(os.Environ(), "TBCERT_API_KEY="+apiKeyCanary)
	m.our = append(m.our, wall(b.t, command))
	if usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.memory = max(m.memory, usage.Maxrss)
	}
	entries, err := os.ReadDir(filepath.Join(site, "devices"))
	if err != nil || len(entries) != m.devices {
		b.t.Fatalf("%d bundles, want %d (%v)", len(entries), m.devices, err)
	}
	if err := os.RemoveAll(site); err != nil {
		b.t.Fatal(err)
	}
}

// bundle are the files of a bundle that the bare loops write, as tbcert writes
// them.
func (b *fleetBench) bundle(credential string) map[string][]byte {
	b.t.Helper()
	site := filepath.Join(b.dir, "sample")
	tool(b.t, b.binary, "init", "-q", "-C", site, "--host", "localhost")
	tool(b.t, b.binary, "provision", "-q", "-C", site, "meter-1", "--credential", credential)
	files := make(map[string][]byte)
	entries, err := os.ReadDir(filepath.Join(site, "devices", "meter-1"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(site, "devices", "meter-1", entry.Name())); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := os.RemoveAll(site); err != nil {
		b.t.Fatal(err)
	}
	return files
}

// bare times a loop, and removes what it wrote.
func (b *fleetBench) bare(m *fleetMeasure, loop func(dir string)) {
	b.t.Helper()
	dir := filepath.Join(b.dir, "bare")
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	begin := time.Now()
	loop(dir)
	m.their = append(m.their, time.Since(begin))
	if err := os.RemoveAll(dir); err != nil {
		b.t.Fatal(err)
	}
}

// writeBundle writes a bundle as the shortest program would.
func writeBundle(t *testing.T, dir string, files map[string][]byte) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Error(err)
	}
	for name, data := range files {
		mode := os.FileMode(0o644)
		if name == "token" || name == "key.pem" {
			mode = 0o600
		}
		if err := os.WriteFile(dir+"/"+name, data, mode); err != nil {
			t.Error(err)
		}
	}
}

func (b *fleetBench) offline(name, where string, devices int, limit float64) fleetMeasure {
	m := fleetMeasure{name: name, where: where, peer: "a loop that writes the same files, without syncing", limit: limit, devices: devices}
	files := b.bundle("token")
	for range b.pairs {
		b.bare(&m, func(dir string) {
			for i := range devices {
				writeBundle(b.t, fmt.Sprintf("%s/meter-%06d", dir, i), files)
			}
		})
		b.provision(&m)
	}
	return m
}

func (b *fleetBench) certificates(name, where string, devices int, limit float64) fleetMeasure {
	m := fleetMeasure{name: name, where: where, peer: "a loop on all cores: key, signature, the same files, without syncing", limit: limit, devices: devices}
	files := b.bundle("x509")
	ca, key := benchCA(b.t)
	for range b.pairs {
		b.bare(&m, func(dir string) {
			parallel(devices, runtime.GOMAXPROCS(0), func(i int) {
				own := make(map[string][]byte, len(files))
				for name, data := range files {
					own[name] = data
				}
				own["cert.pem"], own["key.pem"] = benchLeaf(b.t, ca, key, i)
				own["cert.pem"] = append(own["cert.pem"], ca.Raw...)
				writeBundle(b.t, fmt.Sprintf("%s/meter-%06d", dir, i), own)
			})
		})
		b.provision(&m, "--credential", "x509")
	}
	return m
}

func benchCA(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca, key
}

func benchLeaf(t *testing.T, ca *x509.Certificate, caKey *ecdsa.PrivateKey, i int) (chain, key []byte) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Error(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: fmt.Sprintf("meter-%06d", i)},
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(2, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, own.Public(), caKey)
	if err != nil {
		t.Error(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Error(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// parallel does something n times, so many at once.
func parallel(n, workers int, do func(i int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	group.Wait()
}

func (b *fleetBench) byREST(name, where string, devices int, limit float64) fleetMeasure {
	m := fleetMeasure{name: name, where: where, peer: fmt.Sprintf("an HTTP client that makes the same calls, %d at once", fleetJobs), limit: limit, devices: devices}
	for range b.pairs {
		url, stop := b.sandbox()
		begin := time.Now()
		bareREST(b.t, url, devices)
		m.their = append(m.their, time.Since(begin))
		stop()
		url, stop = b.sandbox()
		b.provision(&m, "--url", url, "--jobs", fmt.Sprint(fleetJobs))
		stop()
	}
	return m
}

// sandbox runs one as a process of its own.
func (b *fleetBench) sandbox() (url string, stop func()) {
	b.t.Helper()
	board := filepath.Join(b.dir, "board")
	tool(b.t, b.binary, "init", "-q", "-C", board, "--host", "localhost")
	command := exec.Command(b.binary, "sandbox", "-o", "json", "-C", board, "--mqtt-port", "-1", "--mqtts-port", "-1", "--http-port", "0")
	command.Env = append(os.Environ(), "TBCERT_API_KEY="+apiKeyCanary)
	out, err := command.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.t.Fatal(err)
	}
	var ready struct {
		HTTP int `json:"http_port"`
	}
	if err := json.NewDecoder(out).Decode(&ready); err != nil || ready.HTTP == 0 {
		b.t.Fatalf("the sandbox does not start: %v", err)
	}
	return fmt.Sprintf("http://127.0.0.1:%d", ready.HTTP), func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
	}
}

// bareREST makes the calls that provision makes.
func bareREST(t *testing.T, url string, devices int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: fleetJobs}}
	call := func(method, path string, body []byte) map[string]any {
		request, err := http.NewRequestWithContext(t.Context(), method, url+path, bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return nil
		}
		request.Header.Set("X-Authorization", "ApiKey "+apiKeyCanary)
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer response.Body.Close()
		var answer map[string]any
		data, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || json.Unmarshal(data, &answer) != nil {
			t.Errorf("%s %s: %s %s %v", method, path, response.Status, data, err)
		}
		return answer
	}
	parallel(devices, fleetJobs, func(i int) {
		body := fmt.Appendf(nil, `{"device":{"name":"meter-%06d","label":"Hall %d"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"%s"}}`, i, i%10, rand.Text())
		id, _ := call(http.MethodPost, "/api/device-with-credentials", body)["id"].(map[string]any)
		call(http.MethodGet, fmt.Sprintf("/api/device/%v/credentials", id["id"]), nil)
	})
}

// checkFleet holds the measures against their limits.
func checkFleet(t *testing.T, measures []fleetMeasure) {
	t.Helper()
	for _, m := range measures {
		if m.limit > 0 && m.ratio() < m.limit {
			t.Errorf("%s: the ratio is %.2f, and the limit is %.2f", m.name, m.ratio(), m.limit)
		}
		if m.memory > maxMemory {
			t.Errorf("%s: the peak memory is %d KiB, and the limit is %d", m.name, m.memory, maxMemory)
		}
	}
	if growth := fleetGrowth(measures); growth > 1.25 {
		t.Errorf("a device of %d costs %.2f of one of %d, and the limit is 1.25", fleetSize, growth, fleetSmall)
	}
}

// fleetGrowth is what a device of a large fleet costs, by one of a small.
func fleetGrowth(measures []fleetMeasure) float64 {
	return float64(perDevice(measures[1].our, fleetSize)) / float64(perDevice(measures[0].our, fleetSmall))
}

func reportFleet(measures []fleetMeasure) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n## Fleets\n\nWhole processes of `tbcert provision --from devices.csv`, and bare loops that do the same, in turn, %d pairs (on disk one).\n", fleetPairs)
	text.WriteString("The ratio is the median of the pairs' ratios of the rates; above 1 tbcert is the faster one. tbcert checks the\n" +
		"file as a whole first, keeps a record of every device in SQLite, writes each bundle by one rename, brings all of it to\n" +
		"the disk, and writes the import file; the loops do none of that.\n\n" +
		"| | on | devices | tbcert, a device | peer | a device | ratio | at least | peak memory |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, m := range measures {
		limit := ""
		if m.limit > 0 {
			limit = fmt.Sprintf("%.2f", m.limit)
		}
		fmt.Fprintf(&text, "| %s | %s | %d | %.0f µs | %s | %.0f µs | %.2f | %s | %d MiB |\n", m.name, m.where, m.devices,
			micros(perDevice(m.our, m.devices)), m.peer, micros(perDevice(m.their, m.devices)), m.ratio(), limit, m.memory>>10)
	}
	fmt.Fprintf(&text, "\nA device of %d costs %.2f of one of %d (the limit is 1.25); the limit of the peak memory is %d MiB.\n",
		fleetSize, fleetGrowth(measures), fleetSmall, maxMemory>>10)
	return text.String()
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
