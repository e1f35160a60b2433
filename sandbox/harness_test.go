package sandbox_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

const (
	patience = 20 * time.Second
	token    = "canary0token0000one1"
	token2   = "canary0token0000two2"
)

// identity is a certificate with its key, and its PEM.
type identity struct {
	tls *tls.Certificate
	pem []byte
}

// newIdentity makes a self-signed certificate for loopback.
func newIdentity(t *testing.T) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return identity{
		tls: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
}

// A journal is a log that may be written to by many.
type journal struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.out.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.out.String()
}

// A world is a sandbox with two devices, and what tests want to know of it.
type world struct {
	*sandbox.Server
	identity identity
	log      *journal
}

// start starts a sandbox with everything on, and checks at the end that its log
// is discreet.
func start(t *testing.T, edits ...func(*sandbox.Config)) *world {
	t.Helper()
	w := &world{identity: newIdentity(t), log: &journal{}}
	config := sandbox.Config{
		MQTTAddr: "127.0.0.1:0", MQTTSAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0",
		Certificate: w.identity.tls, RootPEM: w.identity.pem,
		Username: "tenant@thingsboard.org", Password: secret.New("canary0password"), APIKey: secret.New("tb_canary0key"),
		Devices: []sandbox.Device{
			{Name: "meter-1", Label: "Cellar", Token: secret.New(token)},
			{Name: "meter-2", Type: "water", Token: secret.New(token2)},
		},
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, edit := range edits {
		edit(&config)
	}
	server, err := sandbox.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	w.Server = server
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if log := w.log.String(); bytes.Contains([]byte(log), []byte("canary0")) {
			t.Errorf("a secret is in the log:\n%s", log)
		} else if strings.Contains(log, " packet=") || strings.Contains(log, " pk=") {
			t.Errorf("a packet is in the log:\n%s", log)
		}
	})
	return w
}

func faulty(t *testing.T, texts ...string) func(*sandbox.Config) {
	t.Helper()
	faults, err := sandbox.ParseFaults(texts...)
	if err != nil {
		t.Fatal(err)
	}
	return func(config *sandbox.Config) { config.Faults = faults }
}

func portOf(addr net.Addr) string { return strconv.Itoa(addr.(*net.TCPAddr).Port) }

// A peer speaks MQTT 3.1.1 packet by packet.
type peer struct {
	net.Conn
	t *testing.T
}

func (w *world) dial(t *testing.T) peer {
	t.Helper()
	conn, err := net.Dial("tcp", w.MQTTAddr().String())
	return newPeer(t, conn, err)
}

func (w *world) dialTLS(t *testing.T, client *tls.Certificate) peer {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.identity.pem)
	config := &tls.Config{RootCAs: roots}
	if client != nil {
		// Not Certificates: of those only one is sent whose issuer the server names,
		// and ThingsBoard names its own certificate.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client, nil }
	}
	conn, err := tls.Dial("tcp", w.MQTTSAddr().String(), config)
	return newPeer(t, conn, err)
}

func newPeer(t *testing.T, conn net.Conn, err error) peer {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return peer{Conn: conn, t: t}
}

func (p peer) send(packet paho.ControlPacket) {
	p.t.Helper()
	if err := packet.Write(p); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads a packet of type T.
func receive[T paho.ControlPacket](p peer) T {
	p.t.Helper()
	got, err := paho.ReadPacket(p)
	if err != nil {
		p.t.Fatal(err)
	}
	packet, ok := got.(T)
	if !ok {
		p.t.Fatalf("got %s", got)
	}
	return packet
}

// wantClosed fails unless the connection ends with nothing more on it.
func (p peer) wantClosed() {
	p.t.Helper()
	rest, err := io.ReadAll(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatal("the connection is still open")
	}
	if len(rest) > 0 {
		p.t.Fatalf("got % x before the connection was closed", rest)
	}
}

// wantOpen fails unless a PING is answered.
func (p peer) wantOpen() {
	p.t.Helper()
	p.send(paho.NewControlPacket(paho.Pingreq))
	receive[*paho.PingrespPacket](p)
}

// connect is a CONNECT with a user name, or without for "".
func connect(user string) *paho.ConnectPacket {
	packet := paho.NewControlPacket(paho.Connect).(*paho.ConnectPacket)
	packet.ProtocolName, packet.ProtocolVersion = "MQTT", 4
	packet.CleanSession, packet.Keepalive = true, 60
	packet.Username, packet.UsernameFlag = user, user != ""
	return packet
}

// logIn connects and wants to be let in.
func (p peer) logIn(user string) peer {
	p.t.Helper()
	p.send(connect(user))
	if ack := receive[*paho.ConnackPacket](p); ack.ReturnCode != 0 {
		p.t.Fatalf("CONNACK %d", ack.ReturnCode)
	}
	return p
}

// publish sends a PUBLISH of QoS 1, and does not wait for its PUBACK.
func (p peer) publish(topic, payload string) {
	p.t.Helper()
	p.send(publication(topic, payload))
}

func publication(topic, payload string) *paho.PublishPacket {
	packet := paho.NewControlPacket(paho.Publish).(*paho.PublishPacket)
	packet.TopicName, packet.Payload, packet.Qos, packet.MessageID = topic, []byte(payload), 1, 7
	return packet
}

// published publishes and wants the PUBACK.
func (p peer) published(topic, payload string) {
	p.t.Helper()
	p.publish(topic, payload)
	if ack := receive[*paho.PubackPacket](p); ack.MessageID != 7 {
		p.t.Fatalf("PUBACK for %d", ack.MessageID)
	}
}

// subscribed gives the answer to a SUBSCRIBE.
func (p peer) subscribed(filter string) byte {
	p.t.Helper()
	packet := paho.NewControlPacket(paho.Subscribe).(*paho.SubscribePacket)
	packet.Topics, packet.Qoss, packet.MessageID = []string{filter}, []byte{1}, 8
	p.send(packet)
	ack := receive[*paho.SubackPacket](p)
	return ack.ReturnCodes[0]
}

// tool is mosquitto_pub or mosquitto_sub, which must be there.
func tool(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: install mosquitto-clients", err)
	}
	return exec.CommandContext(t.Context(), path, args...)
}

// file writes a file for one test.
func file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
