package device_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
)

func TestConnectSaysWhatMQTTWants(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		login device.Login
		want  packets.ConnectPacket
	}{
		"nobody":  {device.Login{}, packets.ConnectPacket{}},
		"a token": {tokenLogin(), packets.ConnectPacket{UsernameFlag: true, Username: theToken}},
		"basic": {
			device.Login{ClientID: "c", Username: secret.New("u"), Password: secret.New("p\xff\x00")},
			packets.ConnectPacket{ClientIdentifier: "c", UsernameFlag: true, Username: "u", PasswordFlag: true, Password: []byte("p\xff\x00")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan *packets.ConnectPacket, 1)
			conn := serve(t, func(s *server) {
				got <- s.accept()
				expect[*packets.DisconnectPacket](s)
			})
			session, err := device.Connect(patient(t), conn, test.login)
			if err != nil {
				t.Fatal(err)
			}
			if err := session.Disconnect(); err != nil {
				t.Error(err)
			}
			test.want.ProtocolName, test.want.ProtocolVersion = "MQTT", 4
			test.want.CleanSession, test.want.Keepalive = true, 60
			connect := <-got
			connect.FixedHeader = packets.FixedHeader{}
			if connect.String() != test.want.String() || string(connect.Password) != string(test.want.Password) {
				t.Errorf("sent %s", connect)
			}
		})
	}
}

func TestConnectRefusesWhatMQTTCannotSay(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(theToken, 65_536)
	for want, login := range map[string]device.Login{
		"the MQTT user name is 1507328 bytes long":       {Username: secret.New(long)},
		"the MQTT password is 1507328 bytes long":        {Username: secret.New("u"), Password: secret.New(long)},
		"the MQTT client id is not UTF-8 text":           {ClientID: "\xff"},
		"the MQTT user name is not UTF-8 text":           {Username: secret.New(theToken + "\x00")},
		"a password without a user name cannot be sent ": {Password: secret.New(theToken)},
	} {
		// net.Pipe: a single byte written would block.
		client, _ := net.Pipe()
		_, err := device.Connect(patient(t), client, login)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), theToken) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestConnectRefused(t *testing.T) {
	t.Parallel()
	for code := range 256 {
		if code == 0 {
			continue
		}
		conn := serve(t, func(s *server) {
			expect[*packets.ConnectPacket](s)
			s.answer(0x20, 2, 0, byte(code))
		})
		_, err := device.Connect(patient(t), conn, tokenLogin())
		var refused *device.RefusedError
		if !errors.As(err, &refused) || int(refused.Code) != code {
			t.Fatalf("CONNACK %d: %v", code, err)
		}
		if meaning := device.Meaning(refused.Code); meaning == "" || !strings.Contains(err.Error(), meaning) {
			t.Errorf("CONNACK %d: %v", code, err)
		}
	}
	if device.Meaning(device.NotAuthorized) == device.Meaning(device.ServerUnavailable) {
		t.Error("two codes mean the same")
	}
}

// TestConnectGetsSomethingElse: what is not a CONNACK is refused, with what
// came as evidence.
func TestConnectGetsSomethingElse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ answer, want, looks string }{
		"a TLS alert":            {"\x15\x03\x03\x00\x02\x02\x46", "its first byte, 0x15, is not MQTT's", "TLS"},
		"a web server":           {"HTTP/1.1 400 Bad Request\r\n\r\n", "its first byte, 0x48, is not MQTT's", "HTTP"},
		"a web page":             {"<html>", "a PUBLISH of QoS 2 came", "HTTP"},
		"an SSH server":          {"SSH-2.0-OpenSSH\r\n", "its first byte, 0x53", "SSH"},
		"a type that is none":    {"\x00\x00", "its first byte, 0x00", ""},
		"a PUBACK":               {"\x40\x02\x00\x01", "a PUBACK came", ""},
		"a SUBACK":               {"\x90\x03\x00\x01\x00", "a SUBACK came", ""},
		"a PUBLISH":              {"\x30\x03\x00\x01a", "a PUBLISH came", ""},
		"what a client sends":    {"\x82\x05\x00\x01\x00\x00\x01", "its first byte, 0x82", ""},
		"a PINGREQ":              {"\xc0\x00", "a PINGREQ came, which a server does not send here", ""},
		"flags":                  {"\x21\x02\x00\x00", "its first byte, 0x21", ""},
		"flags in the body":      {"\x20\x02\x02\x00", "the CONNACK's flags are 0x02", ""},
		"a short CONNACK":        {"\x20\x01\x00", "a CONNACK has a body of 1 bytes and not 2", ""},
		"a long CONNACK":         {"\x20\x03\x00\x00\x00", "a CONNACK has a body of 3 bytes and not 2", ""},
		"a length without end":   {"\x20\xff\xff\xff\xff\x01", "the packet's length is not a length", ""},
		"256 MiB announced":      {"\x30\xff\xff\xff\x7f", "a packet of 268435455 bytes was announced", ""},
		"a byte over the limit":  {"\x30\x81\x80\x40", "a packet of 1048577 bytes was announced", ""},
		"a PUBLISH of QoS 2":     {"\x34\x05\x00\x01a\x00\x01", "a PUBLISH of QoS 2 came", ""},
		"a PUBLISH of QoS 3":     {"\x36\x05\x00\x01a\x00\x01", "a PUBLISH of QoS 3 came", ""},
		"a topic beyond its end": {"\x30\x03\x00\x05a", "a PUBLISH has a body of 3 bytes, and its topic and number need 7", ""},
		"a PUBLISH of nothing":   {"\x30\x00", "a PUBLISH has a body of 0 bytes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := serve(t, func(s *server) {
				expect[*packets.ConnectPacket](s)
				s.answer([]byte(test.answer)...)
				s.untilClosed()
			})
			_, err := device.Connect(patient(t), conn, tokenLogin())
			var protocol *device.ProtocolError
			if !errors.As(err, &protocol) || !strings.Contains(err.Error(), test.want) || protocol.Expected != "CONNACK" {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if got := protocol.LooksLike(); got != test.looks {
				t.Errorf("looks like %q, want %q", got, test.looks)
			}
			if first := string(protocol.First); first != "" && first != test.answer {
				t.Errorf("the evidence is %q", first)
			}
		})
	}
}

// TestConnectEcho: a service that sends back what it gets does not bring the
// token into an error.
func TestConnectEcho(t *testing.T) {
	t.Parallel()
	conn := serve(t, func(s *server) {
		_, _ = io.CopyN(s.conn, s.conn, 39)
		s.untilClosed()
	})
	_, err := device.Connect(patient(t), conn, tokenLogin())
	var protocol *device.ProtocolError
	if !errors.As(err, &protocol) {
		t.Fatal(err)
	}
	if text := err.Error(); strings.Contains(text, "canar") || !strings.Contains(text, "MQTT") || !strings.Contains(text, "***") {
		t.Errorf("the error is %q", text)
	}
}

func TestConnectClosed(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(*server){
		"before CONNACK":  func(s *server) { expect[*packets.ConnectPacket](s) },
		"at once":         func(*server) {},
		"with a reset":    func(s *server) { _ = s.conn.(*net.TCPConn).SetLinger(0) },
		"in the CONNACK":  func(s *server) { expect[*packets.ConnectPacket](s); s.answer(0x20, 2, 0) },
		"in the length":   func(s *server) { expect[*packets.ConnectPacket](s); s.answer(0x20) },
		"in its 2nd byte": func(s *server) { expect[*packets.ConnectPacket](s); s.answer(0x20, 0x80) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := device.Connect(patient(t), serve(t, script), tokenLogin())
			if !errors.Is(err, device.ErrClosed) {
				t.Error(err)
			}
		})
	}
}

// TestConnectRefusedBeforeTheLogin: a server that says no and closes before it
// reads is heard, though the write may fail.
func TestConnectRefusedBeforeTheLogin(t *testing.T) {
	t.Parallel()
	client, far := net.Pipe()
	broken := &brokenWriter{Conn: client}
	play(t, client, &server{t: t, conn: far}, func(s *server) { s.answer(0x20, 2, 0, 3) })
	_, err := device.Connect(patient(t), broken, tokenLogin())
	var refused *device.RefusedError
	if !errors.As(err, &refused) || refused.Code != device.ServerUnavailable {
		t.Error(err)
	}
}

// A brokenWriter is a connection whose other end reads no more.
type brokenWriter struct{ net.Conn }

func (*brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestConnectInTime(t *testing.T) {
	t.Parallel()
	silent := func(t *testing.T) net.Conn {
		t.Helper()
		return serve(t, (*server).untilClosed)
	}
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := device.Connect(ctx, silent(t), tokenLogin())
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, device.ErrClosed) {
			t.Error(err)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		why := errors.New("the user pressed a key")
		ctx, cancel := context.WithCancelCause(t.Context())
		conn := serve(t, func(s *server) {
			expect[*packets.ConnectPacket](s)
			cancel(why)
			s.untilClosed()
		})
		_, err := device.Connect(ctx, conn, tokenLogin())
		if !errors.Is(err, context.Canceled) || !errors.Is(err, why) || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
	t.Run("ended before", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		conn := serve(t, func(s *server) {
			if n, _ := io.Copy(io.Discard, s.conn); n > 0 {
				s.t.Errorf("%d bytes of a login were sent", n)
			}
		})
		if _, err := device.Connect(ctx, conn, tokenLogin()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("nobody reads", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		client, far := net.Pipe()
		defer far.Close()
		if _, err := device.Connect(ctx, client, tokenLogin()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
	t.Run("in the middle of a CONNACK", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		conn := serve(t, func(s *server) {
			expect[*packets.ConnectPacket](s)
			s.answer(0x20, 2)
			s.untilClosed()
		})
		if _, err := device.Connect(ctx, conn, tokenLogin()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestConnectWithoutClientCertificate: TLS 1.3 tells a client at its first read
// that its certificate is not taken, and the alert stays in the chain.
func TestConnectWithoutClientCertificate(t *testing.T) {
	t.Parallel()
	certificate, pool := selfSigned(t)
	conn := serve(t, func(s *server) {
		secured := tls.Server(s.conn, &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert,
		})
		_ = secured.Handshake()
	})
	client := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "localhost"})
	if err := client.HandshakeContext(patient(t)); err != nil {
		t.Fatalf("the handshake fails, and with TLS 1.3 it does not: %v", err)
	}
	_, err := device.Connect(patient(t), client, tokenLogin())
	var alert *net.OpError
	if !errors.As(err, &alert) || alert.Op != "remote error" || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("the alert is lost: %v", err)
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
