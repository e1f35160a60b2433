//go:build bench

package cmd_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

const (
	verifySize    = 20_000
	verifyPairs   = 3
	verifyAtLeast = 0.85 // of the bare loop's rate
	verifyProcess = 5.0  // times the rate of mosquitto_pub
	processSize   = 1_000
	// maxVerifyMemory is the limit of tbcert's peak memory, in KiB.
	maxVerifyMemory = 200 << 10
)

// benchVerifyFleet compares tbcert verify --all with the shortest program that
// connects, publishes and leaves as each device, at the concurrency that is best
// for it, and with a process of mosquitto_pub for each.
func benchVerifyFleet(t *testing.T, binary string) []fleetMeasure {
	dir, err := os.MkdirTemp("/dev/shm", "tbcert-bench-")
	if err != nil {
		t.Fatalf("the benchmark needs a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	site := filepath.Join(dir, "site")
	measuredTool(t, binary, "init", "-q", "-C", site, "--host", "localhost")
	manifest := (&fleetBench{t: t, dir: dir}).manifest(verifySize)
	measuredTool(t, binary, "provision", "-q", "-C", site, "--from", manifest)
	root, err := os.ReadFile(filepath.Join(site, "ca-root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	var measures []fleetMeasure
	for _, nodelay := range []bool{true, false} {
		port := benchBrokerWith(t, site, fmt.Sprintf("set_tcp_nodelay %t\n", nodelay))
		address := "localhost:" + port
		best := bestConcurrency(t, address, root)
		m := fleetMeasure{
			name:  fmt.Sprintf("verify --all, set_tcp_nodelay %t", nodelay),
			where: "loopback", peer: fmt.Sprintf("a loop over raw sockets, %d at once, which is best for it", best), limit: verifyAtLeast, devices: verifySize,
		}
		for range verifyPairs {
			begin := time.Now()
			bareVerify(t, address, root, verifySize, best)
			m.their = append(m.their, time.Since(begin))
			verifyAll(t, &m, binary, site, port, "--all")
		}
		measures = append(measures, m)
		if nodelay {
			measures = append(measures, benchProcesses(t, binary, dir, site, port))
		}
	}
	return measures
}

func verifyAll(t *testing.T, m *fleetMeasure, binary, site, port string, which ...string) {
	t.Helper()
	command := exec.Command(binary, append([]string{"verify", "-q", "-C", site, "--port", port}, which...)...)
	m.our = append(m.our, wall(t, command))
	if usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.memory = max(m.memory, usage.Maxrss)
	}
}

// benchProcesses compares with what a script would do.
func benchProcesses(t *testing.T, binary, dir, site, port string) fleetMeasure {
	t.Helper()
	m := fleetMeasure{
		name: "verify --from, set_tcp_nodelay true", where: "loopback", peer: "xargs -P16 mosquitto_pub", limit: verifyProcess, devices: processSize,
	}
	some := (&fleetBench{t: t, dir: dir}).manifest(processSize)
	var tokens bytes.Buffer
	for i := range processSize {
		token, err := os.ReadFile(filepath.Join(site, "devices", fmt.Sprintf("meter-%06d", i), "token"))
		if err != nil {
			t.Fatal(err)
		}
		tokens.Write(token)
	}
	for range verifyPairs {
		script := exec.Command("xargs", "-P16", "-I{}", "mosquitto_pub", "--cafile", filepath.Join(site, "ca-root.pem"), "-q", "1",
			"-h", "localhost", "-p", port, "-t", "v1/devices/me/telemetry", "-u", "{}", "-m", `{"tbcert_verify":1}`)
		script.Stdin = bytes.NewReader(tokens.Bytes())
		m.their = append(m.their, wall(t, script))
		verifyAll(t, &m, binary, site, port, "--from", some)
	}
	return m
}

// bestConcurrency is at how many at once the bare loop is fastest.
func bestConcurrency(t *testing.T, address string, root []byte) int {
	t.Helper()
	best, least := 0, time.Duration(0)
	for _, workers := range []int{4, 16, 64, 128, 256, 512} {
		begin := time.Now()
		bareVerify(t, address, root, verifySize/10, workers)
		if took := time.Since(begin); best == 0 || took < least {
			best, least = workers, took
		}
	}
	return best
}

// bareVerify dials, shakes hands, and sends and reads the bytes of CONNECT,
// PUBLISH and DISCONNECT, for each device.
func bareVerify(t *testing.T, address string, root []byte, devices, workers int) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	var publish, disconnect bytes.Buffer
	message := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	message.Qos, message.TopicName, message.Payload, message.MessageID = 1, "v1/devices/me/telemetry", []byte(`{"tbcert_verify":1763900000000}`), 1
	if err := errors.Join(message.Write(&publish), packets.NewControlPacket(packets.Disconnect).Write(&disconnect)); err != nil {
		t.Fatal(err)
	}
	parallel(devices, workers, func(i int) {
		login := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
		login.ProtocolName, login.ProtocolVersion, login.CleanSession, login.Keepalive = "MQTT", 4, true, 60
		login.UsernameFlag, login.Username = true, fmt.Sprintf("token%015d", i)
		var connect bytes.Buffer
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		secure := tls.Client(conn, config)
		defer secure.Close()
		answer := make([]byte, 4)
		for _, send := range [][]byte{nil, publish.Bytes()} {
			if send == nil {
				if err := login.Write(&connect); err != nil {
					t.Error(err)
				}
				send = connect.Bytes()
			}
			if _, err := secure.Write(send); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.ReadFull(secure, answer); err != nil {
				t.Error(err)
				return
			}
		}
		_, _ = secure.Write(disconnect.Bytes())
	})
}

func checkVerifyFleet(t *testing.T, measures []fleetMeasure) {
	t.Helper()
	for _, m := range measures {
		if m.ratio() < m.limit {
			t.Errorf("%s: the ratio is %.2f, and the limit is %.2f", m.name, m.ratio(), m.limit)
		}
		if m.memory > maxVerifyMemory {
			t.Errorf("%s: the peak memory is %d KiB, and the limit is %d", m.name, m.memory, maxVerifyMemory)
		}
	}
}

func reportVerifyFleet(measures []fleetMeasure) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n## Verifying a fleet\n\nWhole processes of `tbcert verify --all` against a mosquitto on loopback, and peers, in turn, %d pairs. The loop\n"+
		"over raw sockets dials, shakes hands, and sends and reads the bytes of CONNECT, PUBLISH (QoS 1) and DISCONNECT; it judges\n"+
		"nothing, and reads no bundle. tbcert's devices with tokens may resume the TLS session that one of them began. The ratio\n"+
		"is the median of the pairs' ratios of the rates; above 1 tbcert is the faster one.\n\n"+
		"| | devices | tbcert, a second | peer | a second | ratio | at least | peak memory |\n|---|---|---|---|---|---|---|---|\n", verifyPairs)
	for _, m := range measures {
		fmt.Fprintf(&text, "| %s | %d | %.0f | %s | %.0f | %.2f | %.2f | %d MiB |\n", m.name, m.devices,
			1/perDevice(m.our, m.devices).Seconds(), m.peer, 1/perDevice(m.their, m.devices).Seconds(), m.ratio(), m.limit, m.memory>>10)
	}
	fmt.Fprintf(&text, "\nThe limit of the peak memory is %d MiB.\n", maxVerifyMemory>>10)
	return text.String()
}
