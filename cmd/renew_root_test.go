package cmd_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// A root is changed below 200 devices that are connected, and while others come:
// who has both roots always gets in. One with a single root gets in at the steps
// where it should, and not at the others.
func TestRolloverUnderLoad(t *testing.T) {
	t.Parallel()
	l := newRush(t)
	l.tbcert(0, "provision", "meter-000")
	yaml, err := os.OpenFile(filepath.Join(l.dir, "tbcert.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := yaml.WriteString("hook: " + strconv.Quote(l.hook) + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Close(); err != nil {
		t.Fatal(err)
	}
	roots := t.TempDir()
	keep := func(name, file string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(l.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(roots, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good, refused = 0, 13
	with := func(name string, want int) {
		t.Helper()
		l.tbcert(want, "verify", "--host", "localhost", "--port", strconv.Itoa(l.port),
			"--cafile", filepath.Join(roots, name), "--token-file", filepath.Join(l.dir, "devices/meter-000/token"))
	}
	keep("old.pem", "ca-root.pem")
	with("old.pem", good)

	l.tbcert(0, "renew", "root", "start")
	keep("both.pem", "ca-root.pem")
	keep("new.pem", "ca/next/root.pem")
	l.begin(rootsOf(t, l.dir))
	l.tbcert(0, "renew", "root", "delivered", "--all")
	with("old.pem", good)
	with("both.pem", good)
	with("new.pem", refused)
	l.tbcert(0, "renew", "--force") // the server certificate may end meanwhile
	l.more()

	l.tbcert(0, "renew", "root", "move")
	l.tbcert(1, "renew", "root", "finish") // mosquitto has the old certificate
	if result := l.tbcert(0, "renew", "--wait", patience.String()); result["served"] != "new" || result["hook"] != "ran" {
		t.Errorf("renew tells %v", result)
	}
	l.more()
	with("old.pem", refused)
	with("both.pem", good)
	with("new.pem", good)

	l.tbcert(0, "renew", "root", "finish")
	l.more()
	with("both.pem", good)
	with("new.pem", good)
	l.tbcert(0, "verify", "meter-000")
	l.end()
}

// A besieged is a site whose rollovers are killed.
type besieged struct {
	*siege
	*plant
	tokens map[string][]byte
}

// Whenever a step of a rollover is killed, the server's file has a key and a chain
// that belong together, and every bundle is whole and has a root for them; run
// again, the step comes to its end, and nothing is lost.
func TestRolloverKilled(t *testing.T) {
	t.Parallel()
	b := &besieged{siege: newSiege(t), plant: &plant{t: t, dir: t.TempDir()}, tokens: make(map[string][]byte)}
	b.tbcert(0, "init", "--host", "localhost", "--mqtts-port", "1")
	b.tbcert(0, "provision", "meter-1", "meter-2", "meter-3", "meter-4", "meter-5")
	b.tbcert(0, "provision", "--credential", "x509", "meter-6")
	for _, name := range b.bundles() {
		b.tokens[name] = b.read("devices", name, "token")
	}
	counts := make(map[string]int)
	for killed := 0; killed < kills; {
		for _, step := range []string{"start", "move", "finish"} {
			for most := 50 * time.Millisecond; b.kill(b.soon(most), "renew", "root", step, "-q", "-C", b.dir); most += most / 20 {
				b.check()
				killed++
				counts[step]++
			}
			b.check()
			b.passOn(step)
		}
		b.finished()
		if t.Failed() {
			break
		}
	}
	t.Logf("killed: %v", counts)
	if len(counts) < 3 {
		t.Errorf("not every step was killed: %v", counts)
	}
}

// passOn does what the next step wants.
func (b *besieged) passOn(step string) {
	switch step {
	case "start":
		b.tbcert(0, "renew", "root", "delivered", "--all")
	case "move":
		b.tbcert(0, "rotate", "meter-6", "--yes")
	}
}

func (b *besieged) bundles() (names []string) {
	b.plant.t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.dir, "devices"))
	if err != nil || len(entries) != 6 {
		b.plant.t.Fatalf("%d bundles, %v", len(entries), err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// read gives a file; nil when there is none.
func (b *besieged) read(names ...string) []byte {
	b.plant.t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{b.dir}, names...)...))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.plant.t.Fatal(err)
	}
	return data
}

// check looks at what servers and devices read.
func (b *besieged) check() {
	t := b.plant.t
	t.Helper()
	heldPair(t, b.dir, rootsOf(t, b.dir), "server/mqttserver.pem")
	for _, name := range b.bundles() {
		heldPair(t, b.dir, rootsOf(t, filepath.Join(b.dir, "devices", name)), "server/mqttserver.pem")
		if token := b.read("devices", name, "token"); !bytes.Equal(token, b.tokens[name]) {
			t.Fatalf("the token of %s has changed", name)
		}
	}
	// A broker that checks certificates lets the device in.
	device, err := tls.LoadX509KeyPair(filepath.Join(b.dir, "devices/meter-6/cert.pem"), filepath.Join(b.dir, "devices/meter-6/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	intermediates := x509.NewCertPool()
	intermediates.AppendCertsFromPEM(b.read("devices/meter-6/cert.pem"))
	options := x509.VerifyOptions{Roots: rootsOf(t, b.dir), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := device.Leaf.Verify(options); err != nil {
		t.Fatalf("the certificate of meter-6: %v", err)
	}
}

// finished looks at what a rollover has come to: one root, everywhere, and keys
// that are its CA's.
func (b *besieged) finished() {
	t := b.plant.t
	t.Helper()
	root := b.read("ca-root.pem")
	if !bytes.Equal(root, b.read("ca/root.pem")) {
		t.Error("ca-root.pem is not the root")
	}
	for _, name := range b.bundles() {
		if !bytes.Equal(b.read("devices", name, "ca-root.pem"), root) {
			t.Errorf("%s has other roots", name)
		}
	}
	for _, ca := range []string{"ca/root", "ca/server-ca", "ca/device-ca", "ca/previous/root", "ca/previous/server-ca", "ca/previous/device-ca"} {
		if _, err := tls.LoadX509KeyPair(filepath.Join(b.dir, ca+".pem"), filepath.Join(b.dir, ca+".key")); err != nil {
			t.Errorf("%s: %v", ca, err)
		}
	}
	heldPair(t, b.dir, rootsOf(t, b.dir), "server/cert.pem", "server/key.pem")
	b.tbcert(0, "status")
	b.tbcert(0, "renew", "--force") // with the keys that there are
	leftovers, err := filepath.Glob(filepath.Join(b.dir, ".*"))
	if err != nil || len(leftovers) != 0 {
		t.Errorf("left behind: %v (%v)", leftovers, err)
	}
}
