package cmd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait for a real component.
const patience = 10 * time.Second

// mosquittoConf serves the files of a workspace, as an operator would who uses
// mosquitto in ThingsBoard's place.
const mosquittoConf = `per_listener_settings false
allow_anonymous true
set_tcp_nodelay true
user root
listener %d 127.0.0.1
listener %d 127.0.0.1
certfile %s/server/cert.pem
keyfile %s/server/key.pem
`

// startMosquitto DIR: a real mosquitto with the server certificate of the
// workspace DIR until the script's end; sets MQTT and MQTTS to its ports.
func startMosquitto(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mosquitto DIR")
	}
	dir := ts.MkAbs(args[0])
	plain, secure := freePort(ts), freePort(ts)
	conf := filepath.Join(ts.Getenv("TMPDIR"), "mosquitto.conf")
	ts.Check(os.WriteFile(conf, fmt.Appendf(nil, mosquittoConf, plain, secure, dir, dir), 0o600))
	broker := exec.Command("mosquitto", "-c", conf)
	log := &strings.Builder{}
	broker.Stdout, broker.Stderr = log, log
	ts.Check(broker.Start())
	ts.Defer(func() {
		_ = broker.Process.Signal(syscall.SIGTERM)
		_ = broker.Wait()
	})
	for _, port := range []int{plain, secure} {
		if !answers(port) {
			_ = broker.Process.Kill()
			_ = broker.Wait()
			ts.Fatalf("mosquitto does not answer on port %d:\n%s", port, log)
		}
	}
	ts.Setenv("MQTT", strconv.Itoa(plain))
	ts.Setenv("MQTTS", strconv.Itoa(secure))
}

// brokerAt starts a real mosquitto until the test's end, with mosquittoConf or
// one like it for the files of a site, and gives its port for MQTTS.
func brokerAt(t *testing.T, site, conf string) int {
	t.Helper()
	plain, secure := unusedPort(t), unusedPort(t)
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, conf, plain, secure, site, site), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := exec.Command("mosquitto", "-c", file)
	log := &strings.Builder{}
	broker.Stdout, broker.Stderr = log, log
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		_ = broker.Process.Signal(syscall.SIGTERM)
		_ = broker.Wait()
	}
	if !answers(secure) {
		stop()
		t.Fatalf("mosquitto does not answer:\n%s", log)
	}
	t.Cleanup(stop)
	return secure
}

// freePort finds a port that nobody uses at the moment.
func freePort(ts *testscript.TestScript) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// answers dials until somebody listens.
func answers(port int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = conn.Close()
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// subscription is a real mosquitto_sub and what it has printed.
type subscription struct{ lines chan string }

// subscribe TOPIC: a real subscriber at the script's broker, ready when this
// returns; received TEXT then waits for a message with TEXT in it.
func (s *subscription) subscribe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: subscribe TOPIC")
	}
	client := exec.Command("stdbuf", "-oL", "mosquitto_sub", "-d", "-h", "127.0.0.1", "-p", ts.Getenv("MQTT"), "-q", "1", "-t", args[0])
	output, err := client.StdoutPipe()
	ts.Check(err)
	ts.Check(client.Start())
	s.lines = make(chan string, 100)
	go copyLines(output, s.lines)
	ts.Defer(func() {
		_ = client.Process.Kill()
		_ = client.Wait()
	})
	s.await(ts, "Subscribed")
}

func copyLines(from io.Reader, to chan<- string) {
	defer close(to)
	for scanner := bufio.NewScanner(from); scanner.Scan(); {
		to <- scanner.Text()
	}
}

func (s *subscription) received(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: received TEXT")
	}
	s.await(ts, args[0])
}

func (s *subscription) await(ts *testscript.TestScript, text string) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var seen []string
	for {
		select {
		case line, open := <-s.lines:
			if strings.Contains(line, text) {
				return
			}
			if seen = append(seen, line); !open {
				ts.Fatalf("mosquitto_sub ended; it printed:\n%s", strings.Join(seen, "\n"))
			}
		case <-deadline.C:
			ts.Fatalf("no %q; mosquitto_sub printed:\n%s", text, strings.Join(seen, "\n"))
		}
	}
}
