package provision_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

const (
	rightKey    = "canary-key-0123456789"
	rightSecret = "canary-secret-0123456789"
)

// A fault is what goes wrong with a provision request.
type fault int

const (
	faultNone        fault = iota
	faultBefore            // the connection is closed, and nothing done
	faultAfter             // done, and the connection closed before PUBACK
	faultAcked             // done and acknowledged, and the connection closed
	faultMute              // done, and no answer
	faultGarbage           // done, and answered with something else
	faultBreak             // answered, and then the connection closed
	faultUnavailable       // faultAfter, and then nobody gets in as a device
)

// A fakeDevice is a device in the fake ThingsBoard.
type fakeDevice struct {
	kind                  string
	token, id, user, pass string
	der                   []byte
	gateway               bool
	provisioned           bool
}

// A mqttBoard is a ThingsBoard with one device profile, as far as MQTT over TLS
// goes.
type mqttBoard struct {
	t        *testing.T
	listener net.Listener
	roots    *x509.CertPool
	device   *certs.Authority // issues to devices

	mu          sync.Mutex
	devices     map[string]*fakeDevice
	pre         bool           // its strategy is CHECK_PRE_PROVISIONED_DEVICES
	faults      []fault        // of the requests to come, one each
	requests    int            // that were read
	logins      map[string]int // by what they are for: provision, device, refused
	shown       int            // certificates that the last device showed
	unavailable bool
	muted       chan struct{}     // gets one for each faultMute
	open        map[net.Conn]bool // sessions for provisioning
}

func newMQTTBoard(t *testing.T) *mqttBoard {
	t.Helper()
	root, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "root", KeyType: certs.P256, Years: 1, PathLen: 1})
	if err != nil {
		t.Fatal(err)
	}
	issuing := func(purpose certs.Purpose) *certs.Authority {
		ca, err := root.NewIssuing(certs.IssuingProfile{CommonName: string(purpose), KeyType: certs.P256, Purpose: purpose})
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	issued, err := issuing(certs.PurposeServer).IssueServer(certs.ServerProfile{Hosts: []string{"127.0.0.1"}, KeyType: certs.P256, Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{ClientAuth: tls.RequestClientCert}
	config.Certificates = []tls.Certificate{{PrivateKey: issued.Key}}
	for _, cert := range issued.Chain {
		config.Certificates[0].Certificate = append(config.Certificates[0].Certificate, cert.Raw)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	b := &mqttBoard{
		t: t, listener: listener, roots: x509.NewCertPool(), device: issuing(certs.PurposeDevice),
		devices: map[string]*fakeDevice{}, logins: map[string]int{}, open: map[net.Conn]bool{}, muted: make(chan struct{}, 1),
	}
	b.roots.AddCert(root.Certificate)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		b.closeAll()
		running.Wait()
	})
	return b
}

// closeAll ends the sessions for provisioning.
func (b *mqttBoard) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.open {
		_ = conn.Close()
	}
}

// registrar is one for this ThingsBoard; it is closed at the test's end.
func (b *mqttBoard) registrar() *provision.MQTT {
	m := &provision.MQTT{
		Dial:   func(ctx context.Context) (net.Conn, error) { return b.dial(ctx, nil) },
		DialAs: b.dial,
		Key:    secret.New(rightKey), Secret: secret.New(rightSecret),
		Timeout: patience,
	}
	b.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return m
}

func (b *mqttBoard) dial(ctx context.Context, certificate *tls.Certificate) (net.Conn, error) {
	config := &tls.Config{RootCAs: b.roots}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if certificate == nil {
			return new(tls.Certificate), nil
		}
		return certificate, nil
	}
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", b.listener.Addr().String())
}

// serve is one connection.
func (b *mqttBoard) serve(conn net.Conn) {
	defer conn.Close()
	packet, err := packets.ReadPacket(conn)
	connect, ok := packet.(*packets.ConnectPacket)
	if err != nil || !ok {
		return
	}
	if connect.Username == "provision" {
		b.count("provision")
		b.provisionOnly(conn)
		return
	}
	code := b.code(connect, conn.(*tls.Conn).ConnectionState().PeerCertificates)
	if code == 0 {
		b.count("device")
	} else {
		b.count("refused")
	}
	_, _ = conn.Write([]byte{0x20, 2, 0, code})
	if code == 0 {
		_, _ = packets.ReadPacket(conn)
	}
}

// seen is what the board saw so far.
func (b *mqttBoard) seen() (logins map[string]int, requests int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.logins), b.requests
}

// fail makes the next requests go wrong.
func (b *mqttBoard) fail(faults ...fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = faults
}

// names are the devices' names.
func (b *mqttBoard) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.devices))
}

// known gives a copy of a device.
func (b *mqttBoard) known(name string) fakeDevice {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *b.devices[name]
}

func (b *mqttBoard) count(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logins[what]++
}

// code is the CONNACK's for a device.
func (b *mqttBoard) code(connect *packets.ConnectPacket, shown []*x509.Certificate) byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unavailable {
		return 3
	}
	if b.shown = len(shown); b.shown > 0 {
		connect.Username = ""
	}
	for _, device := range b.devices {
		if device.lets(connect, shown) {
			return 0
		}
	}
	return 5
}

func (d *fakeDevice) lets(connect *packets.ConnectPacket, shown []*x509.Certificate) bool {
	switch d.kind {
	case "X509_CERTIFICATE":
		return len(shown) > 0 && bytes.Equal(shown[0].Raw, d.der)
	case "MQTT_BASIC":
		return (d.id == "" || d.id == connect.ClientIdentifier) && d.user == connect.Username && d.pass == string(connect.Password)
	default:
		return d.token == connect.Username
	}
}

// provisionOnly is a session for provisioning.
func (b *mqttBoard) provisionOnly(conn net.Conn) {
	b.mu.Lock()
	b.open[conn] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.open, conn)
	}()
	_, _ = conn.Write([]byte{0x20, 2, 1, 0})
	for {
		packet, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		switch packet := packet.(type) {
		case *packets.SubscribePacket:
			_, _ = conn.Write([]byte{0x90, 3, byte(packet.MessageID >> 8), byte(packet.MessageID), 1})
		case *packets.PublishPacket:
			if !b.request(conn, packet) {
				return
			}
		case *packets.DisconnectPacket:
			return
		}
	}
}

// request does a request and answers it; false closes the connection.
func (b *mqttBoard) request(conn net.Conn, packet *packets.PublishPacket) bool {
	f := b.fault()
	if f == faultBefore {
		return false
	}
	var fields map[string]any
	if err := json.Unmarshal(packet.Payload, &fields); err != nil {
		b.t.Errorf("a request cannot be read: %v", err)
		return false
	}
	answer := b.provision(fields)
	if f == faultAfter || f == faultUnavailable {
		return false
	}
	_, _ = conn.Write([]byte{0x40, 2, byte(packet.MessageID >> 8), byte(packet.MessageID)})
	switch f {
	case faultAcked:
		return false
	case faultMute:
		b.muted <- struct{}{}
		return true
	case faultGarbage:
		answer = []byte("<html>")
	default:
	}
	publish := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	publish.Qos, publish.MessageID, publish.TopicName, publish.Payload = 1, 1, "/provision/response", answer
	return publish.Write(conn) == nil && f != faultBreak
}

func (b *mqttBoard) fault() (f fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	if len(b.faults) > 0 {
		f, b.faults = b.faults[0], b.faults[1:]
	}
	b.unavailable = f == faultUnavailable
	return f
}

// provision does what DeviceProvisionServiceImpl does with a request.
func (b *mqttBoard) provision(fields map[string]any) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := func(name string) string { s, _ := fields[name].(string); return s }
	name := text("deviceName")
	device, exists := b.devices[name]
	switch {
	case text("provisionDeviceKey") != rightKey || text("provisionDeviceSecret") != rightSecret:
		return []byte(`{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}`)
	case b.pre && exists && !device.provisioned:
		device.provisioned = true
		return device.answer()
	case b.pre || exists || len(name) > 255:
		return []byte(`{"errorMsg":"Failed to provision device!","status":"FAILURE"}`)
	}
	device = &fakeDevice{
		kind: text("credentialsType"), token: text("token"), id: text("clientId"), user: text("username"), pass: text("password"),
		gateway: fields["gateway"] == true, provisioned: true,
	}
	if block, _ := pem.Decode([]byte(text("hash"))); block != nil {
		device.der = block.Bytes
	}
	if device.kind == "" {
		device.kind, device.token = "ACCESS_TOKEN", "made-for-"+name
	}
	for _, other := range b.devices {
		if other.kind == device.kind && other.token == device.token && other.user == device.user && other.id == device.id && bytes.Equal(other.der, device.der) {
			return []byte(`{"errorMsg":"Failed to provision device!","status":"FAILURE"}`)
		}
	}
	b.devices[name] = device
	return device.answer()
}

func (d *fakeDevice) answer() []byte {
	var value any = d.token
	switch d.kind {
	case "MQTT_BASIC":
		value = map[string]string{"clientId": d.id, "userName": d.user, "password": d.pass}
	case "X509_CERTIFICATE":
		value = base64.StdEncoding.EncodeToString(d.der)
	}
	answer, err := json.Marshal(map[string]any{"credentialsValue": value, "credentialsType": d.kind, "status": "SUCCESS"})
	if err != nil {
		panic(err)
	}
	return answer
}

// credential makes one of a kind.
func (b *mqttBoard) credential(name string, kind provision.CredentialKind) provision.Credential {
	b.t.Helper()
	o := provision.Onboarder{Issuer: &provision.Issuer{CA: b.device, Days: 1}}
	credential, err := o.Make(name, provision.Credential{Kind: kind})
	if err != nil {
		b.t.Fatal(err)
	}
	return credential
}

// order asks for a new device of a kind.
func (b *mqttBoard) order(name string, kind provision.CredentialKind) provision.Order {
	b.t.Helper()
	return provision.Order{Device: provision.Device{Name: name}, Credential: b.credential(name, kind)}
}

// within gives a test time, and no longer.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("the test has waited enough"))
	t.Cleanup(cancel)
	return ctx
}
