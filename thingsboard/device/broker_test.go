package device_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
)

// patience bounds every wait for something that has to come.
const patience = 10 * time.Second

const theToken = "canary-token-0123456789"

func tokenLogin() device.Login { return device.Login{Username: secret.New(theToken)} }

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A server is the other end of a connection, played by a test's script.
type server struct {
	t    *testing.T
	conn net.Conn
}

// serve plays script on a loopback connection and gives the client's end. The
// test waits for the script to end.
func serve(t *testing.T, script func(*server)) net.Conn {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	play(t, client, &server{t: t, conn: conn}, script)
	return client
}

// play runs script as the other end of client until the test's end.
func play(t *testing.T, client net.Conn, s *server, script func(*server)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.conn.Close()
		script(s)
	}()
	t.Cleanup(func() {
		_ = client.Close()
		<-done
	})
}

// expect reads the client's next packet, which is of this type.
func expect[P packets.ControlPacket](s *server) P {
	packet, err := packets.ReadPacket(s.conn)
	if err != nil {
		s.t.Errorf("the server waits for %T: %v", *new(P), err)
		return *new(P)
	}
	p, ok := packet.(P)
	if !ok {
		s.t.Errorf("the server got %s, not %T", packet, *new(P))
	}
	return p
}

// answer sends bytes as they are.
func (s *server) answer(data ...byte) {
	if _, err := s.conn.Write(data); err != nil {
		s.t.Errorf("the server writes: %v", err)
	}
}

// send sends a packet.
func (s *server) send(packet packets.ControlPacket) {
	if err := packet.Write(s.conn); err != nil {
		s.t.Errorf("the server sends %s: %v", packet, err)
	}
}

// accept lets the client in.
func (s *server) accept() *packets.ConnectPacket {
	connect := expect[*packets.ConnectPacket](s)
	s.answer(0x20, 2, 1, 0) // session present, as ThingsBoard says it
	return connect
}

// acknowledge answers a PUBLISH of QoS 1.
func (s *server) acknowledge() *packets.PublishPacket {
	publish := expect[*packets.PublishPacket](s)
	if publish != nil {
		s.answer(0x40, 2, byte(publish.MessageID>>8), byte(publish.MessageID))
	}
	return publish
}

// grant answers a SUBSCRIBE.
func (s *server) grant() *packets.SubscribePacket {
	subscribe := expect[*packets.SubscribePacket](s)
	if subscribe != nil {
		s.answer(0x90, 3, byte(subscribe.MessageID>>8), byte(subscribe.MessageID), 1)
	}
	return subscribe
}

// message sends a PUBLISH of QoS 1 and takes its PUBACK.
func (s *server) message(topic, payload string, id uint16) {
	s.publish(topic, payload, id)
	if ack := expect[*packets.PubackPacket](s); ack != nil && ack.MessageID != id {
		s.t.Errorf("PUBACK for %d, want %d", ack.MessageID, id)
	}
}

func (s *server) publish(topic, payload string, id uint16) {
	packet := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	packet.Qos, packet.TopicName, packet.Payload, packet.MessageID = 1, topic, []byte(payload), id
	s.send(packet)
}

// untilClosed reads until the client is gone.
func (s *server) untilClosed() { _, _ = io.Copy(io.Discard, s.conn) }

// connected is a session with a server that plays script after the login.
func connected(t *testing.T, script func(*server)) *device.Session {
	t.Helper()
	conn := serve(t, func(s *server) {
		s.accept()
		script(s)
	})
	session, err := device.Connect(patient(t), conn, tokenLogin())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// mosquitto starts a real broker and gives its address.
func mosquitto(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if errors.Is(err, exec.ErrNotFound) {
		program, err = exec.LookPath("/usr/sbin/mosquitto") // Debian's place, not in every PATH
	}
	if err != nil {
		t.Fatalf("mosquitto is needed: %v", err)
	}
	port := freePort(t)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := exec.CommandContext(t.Context(), program, "-c", conf)
	var log bytes.Buffer
	broker.Stdout, broker.Stderr = &log, &log
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = broker.Process.Kill()
		_ = broker.Wait()
		if t.Failed() {
			t.Logf("mosquitto said:\n%s", log.String())
		}
	})
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// dial connects as soon as somebody listens.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	ctx := patient(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
			return conn
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nobody listens on %s: %v", address, err)
		}
	}
}
