package verify_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/sandbox"
)

const (
	theToken    = "canaryToken0123456789"
	thePassword = "canaryPassword01234"
)

// world is every certificate and endpoint of the matrix.
type world struct {
	root, other, sameName, falseRoot, oldRoot *pair
	flatOther                                 *pair // a root that signs leaves itself
	pinned                                    *pair // a server's certificate that is its own anchor

	plain, good, guarded, demanding int            // mosquitto: open, open with TLS, with a password file, with client certificates demanded
	presents                        map[string]int // mosquitto with TLS and something wrong, by what
	s                               map[string]int // openssl s_server
	silent, closed, dropped         int            // accepts and says nothing; nobody listens; answers no SYN
	says                            map[string]int // listeners that say something
	scripts                         map[string]int // MQTT over TLS by script
	sandbox                         map[string]*sandbox.Server
	client, expiredClient, stranger *pair
	fleetCA                         *pair
}

func (w *world) roots(pairs ...*pair) []*x509.Certificate {
	var certs []*x509.Certificate
	for _, p := range pairs {
		certs = append(certs, p.cert)
	}
	return certs
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		root: newRoot(t, "Site Root CA"), other: newRoot(t, "Other CA"), sameName: newRoot(t, "Site Root CA"),
		falseRoot: newRoot(t, "False Root CA", notCA), oldRoot: newRoot(t, "Old Root CA", lives(-700*day, -3*day)),
		flatOther: newRoot(t, "Flat Root CA", leavesOnly), fleetCA: newRoot(t, "Fleet CA"),
	}
	w.pinned = sign(t, selfSigned(), nil)
	w.client = w.fleetCA.leaf(t, usage(x509.ExtKeyUsageClientAuth))
	w.stranger = w.other.leaf(t, usage(x509.ExtKeyUsageClientAuth))
	w.expiredClient = w.fleetCA.leaf(t, usage(x509.ExtKeyUsageClientAuth), lives(-90*day, -30*day))
	w.mosquitto(t)
	issuing := w.root.issuing(t, "Site Server CA")
	fleet, _ := w.fleetCA.files(t)
	w.s = map[string]int{
		"leaf alone":      openssl(t, issuing.leaf(t).alone()),
		"clientAuth only": openssl(t, w.root.leaf(t, usage(x509.ExtKeyUsageClientAuth))),
		"TLS 1.1":         openssl(t, w.root.leaf(t), "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
		"TLS 1.2":         openssl(t, w.root.leaf(t), "-tls1_2"),
		"demands in 1.2":  openssl(t, w.root.leaf(t), "-tls1_2", "-Verify", "1", "-verify_return_error", "-CAfile", fleet),
		"no cipher":       openssl(t, w.root.leaf(t), "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
	}
	w.silent, w.closed, w.dropped = listener(t, nil), freePort(t), dropping(t)
	w.says = map[string]int{
		"MQTT":            listener(t, says("\x20\x02\x00\x00\x00")),
		"HTTP":            listener(t, says("HTTP/1.1 400 Bad Request\r\n\r\n")),
		"SSH":             listener(t, says("SSH-2.0-OpenSSH_9.2\r\n")),
		"CONNACK 5":       listener(t, says("\x20\x02\x00\x05")),
		"close":           listener(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 100)) }),
		"alert":           listener(t, says("\x15\x03\x03\x00\x02\x02\x50")),
		"old ServerHello": listener(t, says("\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02"+strings.Repeat("r", 32)+"\x00\xc0\x13\x00")),
		"half a hello":    listener(t, says("\x16\x03\x03\x00\x04\x02\x00\x00\x00")),
		"other":           listener(t, says("\x15\x03\x03\x00\x02\x02\x0a")),
	}
	w.script(t)
	w.startSandbox(t)
	return w
}

// mosquitto starts the real broker, with a listener for each certificate.
func (w *world) mosquitto(t *testing.T) {
	t.Helper()
	issuing := w.root.issuing(t, "Site Server CA")
	good := issuing.leaf(t)
	fleet, _ := w.fleetCA.files(t)
	// The issuing CA's key in three certificates, so that there are several paths.
	crossed := issuing.leaf(t)
	outdated := issuing.again(t, w.root, lives(-100*day, -2*day))
	forDevices := issuing.again(t, w.root, usage(x509.ExtKeyUsageClientAuth))
	m := &mosquitto{}
	w.plain = m.listen(t, nil)
	w.good = m.listen(t, good)
	w.guarded = m.listen(t, good, "allow_anonymous false", "password_file "+passwordFile(t, theToken, thePassword))
	w.demanding = m.listen(t, good, "allow_anonymous true", "require_certificate true", "cafile "+fleet)
	w.presents = map[string]int{}
	for name, p := range map[string]*pair{
		"root in chain":    {cert: good.cert, key: good.key, with: append(good.with[:1:1], w.root.cert)},
		"other site":       w.other.issuing(t, "Other Server CA").leaf(t),
		"other flat":       w.flatOther.leaf(t),
		"false root":       w.falseRoot.leaf(t),
		"old root":         w.oldRoot.leaf(t),
		"self-signed":      w.pinned,
		"wrong name":       issuing.leaf(t, names("tb.example.com", "mqtt.example.com")),
		"wildcard":         issuing.leaf(t, names("*.example.com")),
		"CN only":          issuing.leaf(t, names()),
		"expired":          issuing.leaf(t, lives(-100*day, -10*day)),
		"not yet":          issuing.leaf(t, lives(5*day, 100*day)),
		"old issuing CA":   w.root.issuing(t, "Old Server CA", lives(-100*day, -2*day)).leaf(t),
		"ends soon":        issuing.leaf(t, lives(-360*day, 10*day)),
		"short, not yet":   issuing.leaf(t, lives(-day, 8*day)), // more than a third of its life is left
		"device CA":        w.root.issuing(t, "Device CA", usage(x509.ExtKeyUsageClientAuth)).leaf(t),
		"path too long":    w.root.issuing(t, "Middle CA", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false }).issuing(t, "Low CA").leaf(t),
		"everything wrong": w.flatOther.leaf(t, names("tb.example.com"), lives(-100*day, -10*day), usage(x509.ExtKeyUsageClientAuth)),
		"old and new CA":   {cert: crossed.cert, key: crossed.key, with: []*x509.Certificate{outdated.cert, issuing.cert}},
		"two usages":       {cert: crossed.cert, key: crossed.key, with: []*x509.Certificate{forDevices.cert, outdated.cert}},
		"ends today":       issuing.leaf(t, lives(-360*day, day/2)),
		"ended today":      issuing.leaf(t, lives(-360*day, -day/2)),
		"many names":       issuing.leaf(t, names(manyNames()...)),
		"no names at all":  w.other.leaf(t, names(), func(c *x509.Certificate) { c.Subject = pkix.Name{} }),
		"name and date":    issuing.leaf(t, names("tb.example.com"), lives(-100*day, -10*day)),
	} {
		w.presents[name] = m.listen(t, p)
	}
	m.start(t)
}

// manyNames are more than a text tells.
func manyNames() []string {
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("tb-%d.example.com", i))
	}
	return all
}

// selfSigned is what ThingsBoard's own key script makes: a certificate that is
// no CA and signs itself.
func selfSigned() *x509.Certificate {
	tmpl := template("broker.test")
	tmpl.DNSNames = []string{"broker.test", "localhost"}
	return tmpl
}

// script starts endpoints that follow a script over verified TLS, for what a
// real server cannot be made to do.
func (w *world) script(t *testing.T) {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{*w.root.leaf(t).tls()}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	w.scripts = map[string]int{}
	for name, answer := range map[string]script{
		"CONNACK 1":   {connack: "\x20\x02\x00\x01"},
		"CONNACK 2":   {connack: "\x20\x02\x00\x02"},
		"CONNACK 3":   {connack: "\x20\x02\x00\x03"},
		"CONNACK 4":   {connack: "\x20\x02\x00\x04"},
		"CONNACK 5":   {connack: "\x20\x02\x00\x05"},
		"CONNACK 200": {connack: "\x20\x02\x00\xc8"},
		"HTTP":        {connack: "HTTP/1.1 400 Bad Request\r\n\r\n"},
		"close":       {},
		"no CONNACK":  {mute: true},
		"close after": {connack: "\x20\x02\x00\x00", closes: packets.Publish},
		"no PUBACK":   {connack: "\x20\x02\x00\x00", mute: true},
		"thingsboard": {connack: "\x20\x02\x01\x00"}, // session present: the inverse of clean session, as ThingsBoard has it
		"close later": {connack: "\x20\x02\x00\x00", closes: packets.Subscribe},
		"no MQTT":     {connack: "\x20\x02\x00\x00", puback: "HTTP/1.1 400 Bad Request\r\n\r\n"},
	} {
		w.scripts[name] = listener(t, func(conn net.Conn) { answer.serve(tls.Server(conn, config)) })
	}
	// A key that is not the certificate's, which ThingsBoard loads and openssl does not.
	mixed := *w.root.leaf(t).tls()
	mixed.PrivateKey = w.root.leaf(t).key
	for name, version := range map[string]uint16{"other key, TLS 1.2": tls.VersionTLS12, "other key, TLS 1.3": tls.VersionTLS13} {
		config := &tls.Config{Certificates: []tls.Certificate{mixed}, MinVersion: version, MaxVersion: version}
		w.scripts[name] = listener(t, func(conn net.Conn) { script{}.serve(tls.Server(conn, config)) })
	}
}

// script is how an endpoint answers.
type script struct {
	connack string // "" closes instead, unless mute
	puback  string // instead of a PUBACK
	closes  byte   // the packet type at which the connection ends
	mute    bool   // reads what comes after the CONNACK and answers nothing
}

func (s script) serve(conn net.Conn) {
	defer conn.Close()
	for attributes := []byte("{}"); ; {
		packet, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		switch p := packet.(type) {
		case *packets.ConnectPacket:
			if s.connack == "" && !s.mute {
				return
			}
			_, _ = conn.Write([]byte(s.connack))
		case *packets.PublishPacket:
			if s.closes == packets.Publish {
				return
			}
			attributes = s.publish(conn, p, attributes)
		case *packets.SubscribePacket:
			if s.closes == packets.Subscribe {
				return
			}
			_, _ = conn.Write([]byte{0x90, 3, byte(p.MessageID >> 8), byte(p.MessageID), 1})
		}
	}
}

// publish acknowledges, keeps attributes, and answers a request for them.
func (s script) publish(conn net.Conn, p *packets.PublishPacket, attributes []byte) []byte {
	if s.mute {
		return attributes
	}
	if s.puback != "" {
		_, _ = conn.Write([]byte(s.puback))
		return attributes
	}
	_, _ = conn.Write([]byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
	number, request := strings.CutPrefix(p.TopicName, "v1/devices/me/attributes/request/")
	switch {
	case p.TopicName == "v1/devices/me/attributes":
		return bytes.Clone(p.Payload)
	case request:
		answer := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		answer.TopicName, answer.Payload = "v1/devices/me/attributes/response/"+number, fmt.Appendf(nil, `{"client":%s}`, attributes)
		_ = answer.Write(conn)
	}
	return attributes
}
