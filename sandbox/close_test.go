package sandbox_test

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// ours are the stacks of goroutines that run code of the sandbox or of its MQTT
// server in a sandbox of this test alone.
func ours() string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var found []string
	for _, stack := range strings.Split(string(stacks), "\n\n") {
		if strings.Contains(stack, "mochi-mqtt") || strings.Contains(stack, "tbcert/sandbox.(") || strings.Contains(stack, "net/http.(*Server)") || strings.Contains(stack, "net/http.(*conn)") {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}

// TestCloseLeavesNothing runs by itself, before the parallel tests: it looks at
// all goroutines.
func TestCloseLeavesNothing(t *testing.T) {
	w := start(t)
	peers := []peer{w.dial(t).logIn(token), w.dialTLS(t, nil).logIn(token2), w.dial(t).logIn("provision")}
	silent := w.dial(t)
	noHandshake, err := net.Dial("tcp", w.MQTTSAddr().String())
	peers = append(peers, silent, newPeer(t, noHandshake, err))
	halfway, err := net.Dial("tcp", w.HTTPAddr().String())
	half := newPeer(t, halfway, err)
	if _, err := half.Write([]byte("POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")); err != nil {
		t.Fatal(err)
	}
	peers = append(peers, half)
	w.as(apiKey).call(t, "GET /api/system/info", "", http.StatusOK)

	started := time.Now()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > patience/2 {
		t.Errorf("it took %s", took)
	}
	for i, p := range peers {
		if _, err := p.Read(make([]byte, 1)); err == nil {
			t.Errorf("connection %d got a byte", i)
		}
	}
	for _, addr := range []net.Addr{w.MQTTAddr(), w.MQTTSAddr(), w.HTTPAddr()} {
		if conn, err := net.Dial("tcp", addr.String()); err == nil {
			conn.Close()
			t.Errorf("%s still listens", addr)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	deadline := time.Now().Add(patience)
	for left := ours(); left != ""; left = ours() {
		if time.Now().After(deadline) {
			t.Fatalf("these goroutines are left:\n%s", left)
		}
		runtime.Gosched()
	}
	if err := w.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

// TestCloseWaitsForCalls has a call that runs, and that Close cannot interrupt:
// it asks for the time.
func TestCloseWaitsForCalls(t *testing.T) {
	t.Parallel()
	var isArmed, isDone atomic.Bool
	entered, release := make(chan struct{}), make(chan struct{})
	w := start(t, func(config *sandbox.Config) {
		config.Now = func() time.Time {
			if isArmed.CompareAndSwap(true, false) {
				close(entered)
				<-release
				isDone.Store(true)
			}
			return time.Now()
		}
	})
	isArmed.Store(true)
	conn, err := net.Dial("tcp", w.HTTPAddr().String())
	p := newPeer(t, conn, err)
	if _, err := p.Write([]byte("GET /api/system/info HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-entered
	closed := make(chan bool)
	go func() {
		w.Close()
		closed <- isDone.Load()
	}()
	for err := error(nil); err == nil; { // until Close has begun
		var conn net.Conn
		if conn, err = net.Dial("tcp", w.HTTPAddr().String()); err == nil {
			conn.Close()
		}
	}
	for range 100 { // MQTT is closed after it
		conn, err := net.Dial("tcp", w.MQTTAddr().String())
		if err != nil {
			t.Error("Close goes on while a call runs")
			break
		}
		conn.Close()
	}
	close(release)
	if !<-closed {
		t.Error("Close was done before the call")
	}
}

// TestCloseTellsV5 has the server say goodbye.
func TestCloseTellsV5(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.dial(t)
	p.logInV5(connect(token))
	p.wantOpen()
	w.Close()
	if got := p.bytes(4); !bytes.Equal(got, []byte{0xe0, 2, 0x8b, 0}) {
		t.Errorf("got % x, want DISCONNECT 8b", got)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	taken := start(t)
	one := sandbox.Device{Name: "a", Token: secret.New("canary0a")}
	for _, row := range []struct {
		name   string
		config sandbox.Config
		want   string
	}{
		{"MQTT taken", sandbox.Config{MQTTAddr: taken.MQTTAddr().String()}, "MQTT cannot listen on " + taken.MQTTAddr().String()},
		{"HTTP taken", sandbox.Config{MQTTAddr: "127.0.0.1:0", HTTPAddr: taken.HTTPAddr().String()}, "REST API cannot listen on"},
		{"no certificate", sandbox.Config{MQTTSAddr: "127.0.0.1:0"}, "needs a server certificate"},
		{"nothing on", sandbox.Config{}, "every address is off"},
		{"same name", sandbox.Config{MQTTAddr: "127.0.0.1:0", Devices: []sandbox.Device{one, {Name: "a"}}}, `device "a": Device with such name`},
		{"same token", sandbox.Config{MQTTAddr: "127.0.0.1:0", Devices: []sandbox.Device{one, {Name: "b", Token: one.Token}}}, `device "b": Device credentials`},
		{"no name", sandbox.Config{MQTTAddr: "127.0.0.1:0", Devices: []sandbox.Device{{}}}, "name should be specified"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			server, err := sandbox.Start(t.Context(), row.config)
			if err == nil {
				server.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "canary0") {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if isTaken := strings.Contains(row.name, "taken"); isTaken != errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhatIsOffHasNoAddress(t *testing.T) {
	t.Parallel()
	w := start(t, func(config *sandbox.Config) {
		config.MQTTSAddr, config.HTTPAddr, config.Log, config.Certificate = "", "", nil, nil
	})
	if w.MQTTAddr() == nil || w.MQTTSAddr() != nil || w.HTTPAddr() != nil {
		t.Errorf("got %v, %v, %v", w.MQTTAddr(), w.MQTTSAddr(), w.HTTPAddr())
	}
	if w.Telemetry("nobody") != nil {
		t.Error("a device that does not exist has telemetry")
	}
	var names []string
	for _, device := range w.Devices() {
		names = append(names, device.Name+" "+device.Label+" "+device.Type+" "+device.Token.Reveal())
	}
	if diff := cmp.Diff([]string{"meter-1 Cellar default " + token, "meter-2  water " + token2}, names); diff != "" {
		t.Error(diff)
	}
}

func TestFaultTexts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "connack", "connack=", "connack=0", "connack=256", "connack=x", "connack=-1", "no-puback=1", "no-such"} {
		faults, err := sandbox.ParseFaults("no-puback", text)
		if err == nil || !strings.Contains(err.Error(), "connack=") || faults != (sandbox.Faults{}) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, name := range sandbox.FaultNames() {
		var faults sandbox.Faults
		if err := faults.Add(strings.NewReplacer("CODE", "3", "PERCENT", "3", "SECONDS", "3").Replace(name)); err != nil || faults == (sandbox.Faults{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
