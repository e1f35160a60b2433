package verify_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/rs/zerolog"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
	"github.com/tbcert/tbcert/thingsboard/device"
	"github.com/tbcert/tbcert/verify"
)

// blindWorld has the authorities of the site and of its devices. Every set-up
// starts endpoints of its own: a device has one session at a time.
type blindWorld struct {
	t *testing.T // of the set-up

	root, other, remade, fleet *pair
	issuing                    *pair // of root, for servers
	good                       *pair // the certificate that the server should have
}

func newBlindWorld(t *testing.T) *blindWorld {
	t.Helper()
	w := &blindWorld{
		t: t, root: newRoot(t, "Site Root CA"), other: newRoot(t, "Other Root CA"),
		remade: newRoot(t, "Site Root CA"), fleet: newRoot(t, "Fleet CA"),
	}
	w.issuing = w.root.issuing(t, "Site Server CA")
	w.good = w.issuing.leaf(t)
	return w
}

// in is the world for a set-up of its own.
func (w *blindWorld) in(t *testing.T) *blindWorld {
	t.Helper()
	own := *w
	own.t = t
	return &own
}

// host is a host with one port, 8883, as a device with the site's root and its
// token sees it.
func (w *blindWorld) host(port int, edits ...func(*blindHost)) blindHost {
	h := blindHost{
		ports: map[int]int{8883: port},
		target: verify.Target{
			Host: "broker.test", Port: 8883, TLS: true, Login: token(),
			Roots: []*x509.Certificate{w.root.cert}, RootsName: "ca-root.pem",
		},
	}
	for _, edit := range edits {
		edit(&h)
	}
	return h
}

func blindNamed(host string) func(*blindHost) { return func(h *blindHost) { h.target.Host = host } }

func blindPatient(d time.Duration) func(*blindHost) { return func(h *blindHost) { h.patient = d } }

func blindTrusts(certs ...*x509.Certificate) func(*blindHost) {
	return func(h *blindHost) { h.target.Roots = certs }
}

func blindLogin(login device.Login) func(*blindHost) {
	return func(h *blindHost) { h.target.Login = login }
}

func blindClient(p *pair) func(*blindHost) {
	return func(h *blindHost) { h.target.ClientCertificate = p.tls() }
}

func blindPayload(text string) func(*blindHost) {
	return func(h *blindHost) { h.target.Payload = []byte(text) }
}

func blindRoundTrip(h *blindHost) { h.target.RoundTrip = true }

// blindPlain verifies port 1883 without TLS.
func blindPlain(h *blindHost) {
	h.ports[1883] = h.ports[8883]
	h.target.Port, h.target.TLS, h.target.Roots, h.target.RootsName = 1883, false, nil, ""
}

func blindAlso(port, mapped int) func(*blindHost) {
	return func(h *blindHost) { h.ports[port] = mapped }
}

func blindClock(ahead time.Duration) func(*blindHost) {
	return func(h *blindHost) { h.now = func() time.Time { return time.Now().Add(ahead) } }
}

// mosquitto is a real broker with one listener; nil is for plain MQTT.
func (w *blindWorld) mosquitto(p *pair, lines ...string) int {
	w.t.Helper()
	m := &mosquitto{}
	port := m.listen(w.t, p, lines...)
	m.start(w.t)
	return port
}

// frozen is a mosquitto that was stopped where it stands: the system accepts
// connections for it, and nobody reads them.
func (w *blindWorld) frozen(p *pair) int {
	w.t.Helper()
	m := &mosquitto{}
	port := m.listen(w.t, p)
	conf := filepath.Join(w.t.TempDir(), "mosquitto.conf")
	write(w.t, conf, []byte("user root\n"+m.conf.String()))
	program := exec.Command("mosquitto", "-c", conf)
	if err := program.Start(); err != nil {
		w.t.Fatalf("mosquitto is needed by this test: %v", err)
	}
	w.t.Cleanup(func() {
		_ = program.Process.Kill() // the only signal that a stopped process obeys
		_ = program.Wait()
	})
	if !answers(port) {
		w.t.Fatal("mosquitto does not answer")
	}
	if err := program.Process.Signal(syscall.SIGSTOP); err != nil {
		w.t.Fatal(err)
	}
	return port
}

// sandbox has one device, with the token, unless others are given.
func (w *blindWorld) sandbox(fault string, devices ...sandbox.Device) *sandbox.Server {
	w.t.Helper()
	var faults sandbox.Faults
	if fault != "" {
		if err := faults.Add(fault); err != nil {
			w.t.Fatal(err)
		}
	}
	if len(devices) == 0 {
		devices = []sandbox.Device{{Name: "meter-1", Token: secret.New(theToken)}}
	}
	server, err := sandbox.Start(w.t.Context(), sandbox.Config{
		MQTTAddr: "127.0.0.1:0", MQTTSAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0",
		Certificate: w.good.tls(), Devices: devices, Faults: faults,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { server.Close() })
	return server
}

// thingsboard is the sandbox as a host: with its three ports.
func (w *blindWorld) thingsboard(server *sandbox.Server, edits ...func(*blindHost)) blindHost {
	all := []func(*blindHost){blindAlso(1883, portOf(server.MQTTAddr())), blindAlso(8080, portOf(server.HTTPAddr()))}
	return w.host(portOf(server.MQTTSAddr()), append(all, edits...)...)
}

// blindDevice is a device at work with the same token: whenever it is put out,
// it comes back.
func blindDevice(t *testing.T, port int) {
	t.Helper()
	in := make(chan struct{}, 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { stop(); <-ended })
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			blindSession(ctx, port, in)
		}
	}()
	select {
	case <-in:
	case <-time.After(patience):
		t.Fatal("the device at work does not get in")
	}
}

// blindSession is one session of a device, to its end.
func blindSession(ctx context.Context, port int, in chan<- struct{}) {
	conn, err := dialTo(port)(ctx, "tcp", "")
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.CleanSession = "MQTT", 4, true
	connect.ClientIdentifier, connect.UsernameFlag, connect.Username = "meter-1", true, theToken
	if connect.Write(conn) != nil {
		return
	}
	for {
		if _, err := packets.ReadPacket(conn); err != nil {
			return
		}
		select {
		case in <- struct{}{}:
		default:
		}
	}
}

// toxic is toxiproxy before a port, with one toxic.
func (w *blindWorld) toxic(upstream int, toxic string) int {
	w.t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "blind", "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", upstream))
	if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		w.t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(proxy.Stop)
	address, err := netip.ParseAddrPort(proxy.Listen)
	if err != nil {
		w.t.Fatal(err)
	}
	return int(address.Port())
}

// blindStreamModule is where Debian has it; elsewhere it may be built in.
const blindStreamModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

// nginx has one block, "stream" or "http", in which LISTEN is the address,
// CERTIFICATE the lines for a pair and DIR a directory.
func (w *blindWorld) nginx(kind, block string, p *pair) int {
	w.t.Helper()
	dir, port := w.t.TempDir(), freePort(w.t)
	certificate := ""
	if p != nil {
		chain, key := p.files(w.t)
		certificate = fmt.Sprintf("ssl_certificate %s; ssl_certificate_key %s;", chain, key)
	}
	conf := "daemon off;\nuser root;\nworker_processes 1;\npid DIR/pid;\nevents {}\n"
	if _, err := os.Stat(blindStreamModule); kind == "stream" && err == nil {
		conf = "load_module " + blindStreamModule + ";\n" + conf
	}
	if kind == "http" {
		block = "access_log off; client_body_temp_path DIR; proxy_temp_path DIR; fastcgi_temp_path DIR; uwsgi_temp_path DIR; scgi_temp_path DIR;\n" + block
	}
	text := strings.NewReplacer("LISTEN", fmt.Sprintf("127.0.0.1:%d", port), "CERTIFICATE", certificate, "DIR", dir).Replace(conf + kind + " {\n" + block + "\n}\n")
	path := filepath.Join(dir, "nginx.conf")
	write(w.t, path, []byte(text))
	start(w.t, []int{port}, "nginx", "-p", dir, "-e", "stderr", "-c", path)
	return port
}

// haproxy passes TCP on to a port. bind follows the address, with PEM for the
// file of a pair; lines are the frontend's.
func (w *blindWorld) haproxy(upstream int, p *pair, bind string, lines ...string) int {
	w.t.Helper()
	dir, port := w.t.TempDir(), freePort(w.t)
	if p != nil {
		chain, key := p.files(w.t)
		path := filepath.Join(dir, "server.pem")
		write(w.t, path, append(blindFile(w.t, chain), blindFile(w.t, key)...))
		bind = strings.ReplaceAll(bind, "PEM", path)
	}
	conf := filepath.Join(dir, "haproxy.cfg")
	write(w.t, conf, fmt.Appendf(nil, `defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend mqtts
  bind 127.0.0.1:%d %s
  %s
  default_backend mqtt
backend mqtt
  server thingsboard 127.0.0.1:%d
`, port, bind, strings.Join(lines, "\n  "), upstream))
	start(w.t, []int{port}, "haproxy", "-db", "-f", conf)
	return port
}

func blindFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// stunnel ends TLS before a port.
func (w *blindWorld) stunnel(upstream int, lines ...string) int {
	w.t.Helper()
	dir, port := w.t.TempDir(), freePort(w.t)
	chain, key := w.good.files(w.t)
	conf := filepath.Join(dir, "stunnel.conf")
	write(w.t, conf, fmt.Appendf(nil, "foreground = yes\npid =\nsyslog = no\n[mqtts]\naccept = 127.0.0.1:%d\nconnect = 127.0.0.1:%d\ncert = %s\nkey = %s\n%s\n",
		port, upstream, chain, key, strings.Join(lines, "\n")))
	start(w.t, []int{port}, "stunnel4", conf)
	return port
}

// dropbear is an SSH server.
func (w *blindWorld) dropbear() int {
	w.t.Helper()
	dir, port := w.t.TempDir(), freePort(w.t)
	key := filepath.Join(dir, "hostkey")
	if out, err := exec.Command("dropbearkey", "-t", "ed25519", "-f", key).CombinedOutput(); err != nil {
		w.t.Fatalf("dropbearkey: %v\n%s", err, out)
	}
	start(w.t, []int{port}, "dropbear", "-F", "-E", "-r", key, "-P", filepath.Join(dir, "pid"), "-p", fmt.Sprintf("127.0.0.1:%d", port))
	return port
}

// dnsmasq knows some names under site.test, and has nobody to ask for others.
func (w *blindWorld) dnsmasq() int {
	w.t.Helper()
	port := freePort(w.t)
	start(w.t, []int{port}, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=", "--user=root",
		"--listen-address=127.0.0.1", "--bind-interfaces", fmt.Sprintf("--port=%d", port), "--local=/site.test/",
		"--host-record=mqtt.site.test,127.0.0.1", "--host-record=six.site.test,2001:db8::883")
	return port
}

// blindAsks resolves by the name server on a port. The name is asked for as it
// is, whatever this machine would append.
func blindAsks(port int) func(*blindHost) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", port))
	}}
	return func(h *blindHost) {
		h.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return resolver.LookupNetIP(ctx, "ip", host+".")
		}
	}
}

// blindMute is a name server that takes questions and answers none.
func blindMute(t *testing.T) int {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// transport refuses every CONNECT as ThingsBoard does, which has one code for
// MQTT 3.1.1 and another for MQTT 5.
func (w *blindWorld) transport(v3, v5 byte) int {
	w.t.Helper()
	return w.byVersion(func(conn net.Conn, isV5 bool) {
		answer := []byte{0x20, 2, 0, v3}
		if isV5 {
			answer = []byte{0x20, 3, 0, v5, 0}
		}
		_, _ = conn.Write(answer)
	})
}

// byVersion answers a CONNECT over TLS by the version of MQTT that it is of, and
// closes.
func (w *blindWorld) byVersion(answer func(conn net.Conn, isV5 bool)) int {
	w.t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{*w.good.tls()}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	return listener(w.t, func(conn net.Conn) {
		secure := tls.Server(conn, config)
		said := make([]byte, 4096)
		n, err := secure.Read(said)
		_, level, isMQTT := bytes.Cut(said[:n], []byte("MQTT"))
		if err != nil || !isMQTT || len(level) == 0 {
			return
		}
		answer(secure, level[0] == 5)
		_ = secure.Close()
	})
}

// scripted is an endpoint with a good certificate that follows a script.
func (w *blindWorld) scripted(s script) int {
	w.t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{*w.good.tls()}, MinVersion: tls.VersionTLS12}
	return listener(w.t, func(conn net.Conn) { s.serve(tls.Server(conn, config)) })
}

// blindPEM is the PEM of a certificate.
func blindPEM(p *pair) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}
