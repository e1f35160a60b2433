package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a real component.
const patience = 10 * time.Second

// Ports for programs that cannot be told to take a free one lie below the range
// that the system gives to connections and to port 0 (32768 and up), so that
// nothing takes one between its choice and its use.
const (
	firstPort = 12000
	lastPort  = 32000
)

// nextPort goes round the range from a random start, so that runs beside each
// other do not meet.
var nextPort = func() *atomic.Int32 {
	start := &atomic.Int32{}
	start.Store(rand.Int32N(lastPort - firstPort))
	return start
}()

// freePort finds a port that nobody uses and that no other call gives.
func freePort(tb testing.TB) int {
	tb.Helper()
	for range lastPort - firstPort {
		port := firstPort + int(nextPort.Add(1))%(lastPort-firstPort)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			listener.Close()
			return port
		}
	}
	tb.Fatal("no port is free")
	return 0
}

func portOf(address net.Addr) int { return address.(*net.TCPAddr).Port }

// start runs a program until the test's end and waits until it listens.
func start(tb testing.TB, ports []int, name string, args ...string) {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Fatalf("%s is needed by this test: %v", name, err)
	}
	program := exec.Command(path, args...)
	var log bytes.Buffer
	program.Stdout, program.Stderr = &log, &log
	input, err := program.StdinPipe() // openssl s_server ends with its input
	if err != nil {
		tb.Fatal(err)
	}
	if err := program.Start(); err != nil {
		tb.Fatal(err)
	}
	stop := func() {
		_ = input.Close()
		_ = program.Process.Signal(syscall.SIGTERM)
		_ = program.Wait()
	}
	for _, port := range ports {
		if !answers(port) {
			stop()
			tb.Fatalf("%s does not answer on port %d:\n%s", name, port, &log)
		}
	}
	tb.Cleanup(stop)
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
			conn.Close()
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// mosquitto is one real broker with a listener for each thing that can be
// right or wrong.
type mosquitto struct {
	conf  strings.Builder
	ports []int
}

// listen adds a listener; with a pair it speaks TLS.
func (m *mosquitto) listen(tb testing.TB, p *pair, lines ...string) int {
	tb.Helper()
	port := freePort(tb)
	m.ports = append(m.ports, port)
	fmt.Fprintf(&m.conf, "listener %d 127.0.0.1\n", port)
	if p != nil {
		chain, key := p.files(tb)
		fmt.Fprintf(&m.conf, "certfile %s\nkeyfile %s\n", chain, key)
	}
	if len(lines) == 0 {
		lines = []string{"allow_anonymous true"}
	}
	fmt.Fprintln(&m.conf, strings.Join(lines, "\n"))
	return port
}

func (m *mosquitto) start(tb testing.TB) {
	tb.Helper()
	conf := filepath.Join(tb.TempDir(), "mosquitto.conf")
	write(tb, conf, []byte("user root\nset_tcp_nodelay true\nper_listener_settings true\n"+m.conf.String()))
	start(tb, m.ports, "mosquitto", "-c", conf)
}

// passwordFile lets one user in.
func passwordFile(tb testing.TB, user, password string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "passwords")
	if out, err := exec.Command("mosquitto_passwd", "-b", "-c", path, user, password).CombinedOutput(); err != nil {
		tb.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	return path
}

// openssl is an s_server that presents a pair.
func openssl(tb testing.TB, p *pair, args ...string) int {
	tb.Helper()
	port := freePort(tb)
	_, key := p.files(tb)
	leaf, _ := p.alone().files(tb)
	start(tb, []int{port}, "openssl", append([]string{"s_server", "-quiet", "-accept", fmt.Sprintf("127.0.0.1:%d", port), "-cert", leaf, "-key", key}, args...)...)
	return port
}

// listener hands every connection to serve; nil leaves them unanswered.
func listener(tb testing.TB, serve func(net.Conn)) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	if serve != nil {
		go accept(l, serve)
	}
	return portOf(l.Addr())
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			serve(conn)
		}()
	}
}

// says writes text once the client has said something, and closes when the
// client does.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		buffer := make([]byte, 4096)
		if _, err := conn.Read(buffer); err != nil {
			return
		}
		_, _ = conn.Write([]byte(text))
		for {
			if _, err := conn.Read(buffer); err != nil {
				return
			}
		}
	}
}

// dropping is a port that answers no SYN, as behind a firewall that drops: a
// listener whose queue is full, and that nobody takes connections from.
func dropping(tb testing.TB) int {
	tb.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = syscall.Close(socket) })
	if err := errors.Join(syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(socket, 0)); err != nil {
		tb.Fatal(err)
	}
	bound, err := syscall.Getsockname(socket)
	if err != nil {
		tb.Fatal(err)
	}
	port := bound.(*syscall.SockaddrInet4).Port
	for range 16 {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), short)
		if err != nil {
			return port
		}
		tb.Cleanup(func() { conn.Close() })
	}
	tb.Fatal("the queue of the listener never fills")
	return 0
}
