package provision_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/tbcert/tbcert/provision"
)

// patience is how long a test waits for another program.
const patience = 30 * time.Second

// makeBundle writes a device's bundle to a directory, as a workspace would.
func makeBundle(t *testing.T, site provision.Site, token string) (dir string) {
	t.Helper()
	w := newWorld()
	batch := w.batch(provision.Offline{})
	batch.Site = site
	if result := one(t, batch, device("meter-1", "", "", token)); result.Err != nil {
		t.Fatal(result.Err)
	}
	dir = filepath.Join(t.TempDir(), "a device's directory")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range w.bundles["meter-1"] {
		mode := fs.FileMode(0o644)
		if file.Secret {
			mode = 0o600
		}
		if err := os.WriteFile(filepath.Join(dir, file.Name), file.Data, mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// script runs connect.sh from another directory.
func script(t *testing.T, dir, path string, args ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{filepath.Join(dir, provision.ConnectFile)}, args...)...)
	cmd.Env = []string{"PATH=" + path, "HOME=" + t.TempDir(), "CDPATH=/"}
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func program(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: this test needs it (make test installs it)", name)
	return ""
}

func TestConnectScriptIsAShellScript(t *testing.T) {
	t.Parallel()
	path := filepath.Join(makeBundle(t, testSite(), "TOKEN"), provision.ConnectFile)
	if out, err := exec.CommandContext(t.Context(), "/bin/sh", "-n", path).CombinedOutput(); err != nil {
		t.Errorf("sh -n: %v\n%s", err, out)
	}
}

func TestConnectScriptSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := makeBundle(t, testSite(), "TOKEN")
	bin := t.TempDir() // with all that the script needs but mosquitto_pub
	for _, name := range []string{"dirname", "cat"} {
		if err := os.Symlink(program(t, name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := script(t, dir, bin)
	if code := exitCode(err); code != 127 || !strings.Contains(out, "mosquitto_pub is not installed") || !strings.Contains(out, "apt install mosquitto-clients") {
		t.Errorf("without mosquitto_pub: exit %d\n%s", code, out)
	}
	if err := os.Remove(filepath.Join(dir, provision.TokenFile)); err != nil {
		t.Fatal(err)
	}
	out, err = script(t, dir, filepath.Dir(program(t, "mosquitto_pub"))+":"+bin)
	if code := exitCode(err); code != 1 || !strings.Contains(out, "cannot read "+dir+"/token") {
		t.Errorf("without a token: exit %d\n%s", code, out)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// With nothing but its bundle a device reaches a real broker over TLS, and only
// with its token.
func TestConnectScriptDelivers(t *testing.T) {
	t.Parallel()
	pub := program(t, "mosquitto_pub")
	const token = "A1-TEST-TOKEN"
	broker := startBroker(t, token)
	messages := broker.subscribe(t)
	site := testSite()
	site.Host, site.MQTTSPort, site.RootPEM = "127.0.0.1", broker.port, broker.root

	stranger := makeBundle(t, site, "ANOTHER-TOKEN") // the broker drops what it says
	dir := makeBundle(t, site, token)
	for _, step := range []struct {
		dir  string
		args []string
		want string
	}{
		{stranger, []string{`{"stranger":1}`}, ""},
		{dir, nil, `{"temperature":25}`},
		{dir, []string{`{"text":"it's \"$HOME\""}`}, `{"text":"it's \"$HOME\""}`},
	} {
		out, err := script(t, step.dir, filepath.Dir(pub)+":/usr/bin:/bin", step.args...)
		if err != nil || !strings.Contains(out, "PUBACK") {
			t.Fatalf("connect.sh %q: %v\n%s", step.args, err, out)
		}
		if strings.Contains(out, token) {
			t.Errorf("connect.sh shows the token:\n%s", out)
		}
		if step.want == "" {
			continue
		}
		select {
		case got := <-messages:
			if got != step.want {
				t.Errorf("the subscriber got %q, want %q", got, step.want)
			}
		case <-time.After(patience):
			t.Fatalf("the subscriber got nothing, want %q", step.want)
		}
	}

	site.RootPEM = testRoot(t).pem
	if out, err := script(t, makeBundle(t, site, token), filepath.Dir(pub)+":/usr/bin:/bin"); err == nil {
		t.Errorf("with another root it connects:\n%s", out)
	}
}

// A broker is mosquitto with TLS: whoever has the token may publish telemetry,
// and the user "reader" may read it.
type broker struct {
	port int
	root []byte
}

func startBroker(t *testing.T, token string) *broker {
	t.Helper()
	path := program(t, "mosquitto")
	root := testRoot(t)
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := root.server(t)
	acl := put("acl", fmt.Appendf(nil, "user %s\ntopic write v1/devices/me/telemetry\nuser reader\ntopic read #\n", token))
	certFile, keyFile := put("cert.pem", cert), put("key.pem", key)
	for range 10 {
		b := &broker{port: freePort(t), root: root.pem}
		conf := put("mosquitto.conf", fmt.Appendf(nil,
			"user root\nlistener %d 127.0.0.1\ncertfile %s\nkeyfile %s\nallow_anonymous true\nacl_file %s\nset_tcp_nodelay true\n",
			b.port, certFile, keyFile, acl))
		if b.start(t, path, conf) {
			return b
		}
	}
	t.Fatal("mosquitto found no free port in ten tries")
	return nil
}

// start runs mosquitto until the end of the test; false is a port that is taken.
func (b *broker) start(t *testing.T, path, conf string) bool {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, "-v", "-c", conf)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running := make(chan bool, 1)
	ended := make(chan struct{})
	var log bytes.Buffer
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&log, lines.Text())
			if strings.HasSuffix(lines.Text(), " running") {
				running <- true
			}
		}
	}()
	select {
	case <-running:
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-ended
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("mosquitto said:\n%s", log.String())
			}
		})
		return true
	case <-ended:
		_ = cmd.Wait()
		if !strings.Contains(log.String(), "Address already in use") {
			t.Fatalf("mosquitto ended:\n%s", log.String())
		}
		return false
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Fatal("mosquitto does not start")
		return false
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// subscribe gives the telemetry that arrives from now on.
func (b *broker) subscribe(t *testing.T) <-chan string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.root)
	messages := make(chan string, 10)
	client := mqtt.NewClient(mqtt.NewClientOptions().
		AddBroker(fmt.Sprintf("ssl://127.0.0.1:%d", b.port)).
		SetTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}).
		SetUsername("reader").SetProtocolVersion(4))
	wait := func(token mqtt.Token) {
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("the subscriber: %v", token.Error())
		}
	}
	wait(client.Connect())
	t.Cleanup(func() { client.Disconnect(0) })
	wait(client.Subscribe("v1/devices/me/telemetry", 1, func(_ mqtt.Client, m mqtt.Message) { messages <- string(m.Payload()) }))
	return messages
}

// root is a CA for a test.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func testRoot(t *testing.T) root {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := testKey(t)
	der := sign(t, template, root{cert: template, key: key}, key)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return root{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func testKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template *x509.Certificate, by root, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// server makes a certificate for 127.0.0.1.
func (r root) server(t *testing.T) (cert, key []byte) {
	t.Helper()
	private := testKey(t)
	der := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, r, private)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}
