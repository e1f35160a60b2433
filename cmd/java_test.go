package cmd_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// javaPatience bounds a run of Java or OpenSSL.
const javaPatience = 2 * time.Minute

// A storeSite is a site, a device of it with a certificate, and all keystores
// that tbcert writes for them.
type storeSite struct {
	t   *testing.T
	dir string
}

// storeSites are those of which Java and OpenSSL load all keystores.
func storeSites() map[string][]string {
	return map[string][]string{
		"p256": nil, "p384": {"--key-type", "p384"}, "rsa2048": {"--key-type", "rsa2048"}, "ed25519": {"--key-type", "ed25519"},
		"single": {"--single-tier"},
	}
}

func newStoreSite(t *testing.T, options []string) storeSite {
	t.Helper()
	s := storeSite{t: t, dir: filepath.Join(t.TempDir(), "site")}
	for _, args := range [][]string{
		append([]string{"init", "--host", "localhost", "--host", "127.0.0.1"}, options...),
		{"provision", "gate-1", "--credential", "x509"},
		{"export", "gate-1", "--as", "p12,p12-legacy,jks,truststore"},
	} {
		if code, out, errOut := run(t.Context(), append([]string{"-q", "-C", s.dir}, args...)...); code != 0 {
			t.Fatalf("tbcert %s ends with %d: %s%s", args[0], code, out, errOut)
		}
	}
	return s
}

// A store is a keystore on the disk.
type store struct {
	name, kind, path string
	passwordFile     string
	hasKey           bool
	openssl          []string // options with which OpenSSL reads it; nil: it does not know the form
}

func (s store) password(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(s.passwordFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

var keyStorePassword = regexp.MustCompile(`MQTT_SSL_KEY_STORE_PASSWORD=(\S+)`)

// stores are all keystores of the site: the server's first, then the
// truststores, then the device's.
func (s storeSite) stores() []store {
	s.t.Helper()
	conf, err := os.ReadFile(filepath.Join(s.dir, "server", "thingsboard.conf"))
	if err != nil {
		s.t.Fatal(err)
	}
	match := keyStorePassword.FindSubmatch(conf)
	if match == nil {
		s.t.Fatal("thingsboard.conf has no password of the keystore")
	}
	server := filepath.Join(s.dir, "server-password")
	if err := os.WriteFile(server, match[1], 0o600); err != nil {
		s.t.Fatal(err)
	}
	bundle := filepath.Join(s.dir, "devices", "gate-1")
	password := filepath.Join(bundle, "keystore.password")
	return []store{
		{"server", "PKCS12", filepath.Join(s.dir, "server", "mqttserver.p12"), server, true, []string{}},
		{"truststore.p12", "PKCS12", filepath.Join(bundle, "truststore.p12"), password, false, []string{}},
		{"truststore.jks", "JKS", filepath.Join(bundle, "truststore.jks"), password, false, nil},
		{"keystore.p12", "PKCS12", filepath.Join(bundle, "keystore.p12"), password, true, []string{}},
		{"keystore-legacy.p12", "PKCS12", filepath.Join(bundle, "keystore-legacy.p12"), password, true, []string{"-legacy"}},
		{"keystore.jks", "JKS", filepath.Join(bundle, "keystore.jks"), password, true, nil},
	}
}

// tool runs a program to its end.
func tool(t *testing.T, input, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: `make deps` installs it", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), javaPatience)
	defer cancel()
	process := exec.CommandContext(ctx, path, args...)
	process.Stdin = strings.NewReader(input)
	var out, errOut bytes.Buffer
	process.Stdout, process.Stderr = &out, &errOut
	if err := process.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String(), nil
}

// keytool lists every keystore that tbcert writes, and finds in each what is to
// be there. With a wrong password it finds nothing.
func TestKeytoolReadsKeyStores(t *testing.T) {
	t.Parallel()
	s := newStoreSite(t, nil)
	for _, store := range s.stores() {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			out, err := tool(t, "", "keytool", "-list", "-v", "-keystore", store.path, "-storetype", store.kind, "-storepass:file", store.passwordFile)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"Entry type": "trustedCertEntry", "Your keystore contains": "1 entry", "Alias name": "ca-root"}
			if store.hasKey {
				want = map[string]string{"Entry type": "PrivateKeyEntry", "Your keystore contains": "1 entry", "Certificate chain length": "2"}
			}
			for name, value := range want {
				if !regexp.MustCompile(name + ":? " + value).MatchString(out) {
					t.Errorf("no %q of %q:\n%s", name, value, out)
				}
			}
			wrong := filepath.Join(t.TempDir(), "wrong")
			if err := os.WriteFile(wrong, []byte("canary-wrong\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := tool(t, "", "keytool", "-list", "-keystore", store.path, "-storetype", store.kind, "-storepass:file", wrong); err == nil {
				t.Errorf("with a wrong password:\n%s", out)
			}
		})
	}
}

// A TLS server and a TLS client in Java work with every keystore that tbcert
// writes, for each kind of key.
func TestJavaUsesKeyStores(t *testing.T) {
	t.Parallel()
	var cases, names []string
	for name, options := range storeSites() {
		stores := newStoreSite(t, options).stores()
		for _, trust := range stores[1:3] {
			for _, client := range stores[3:] {
				names = append(names, name+" "+trust.name+" "+client.name)
				var fields []string
				for _, store := range []store{stores[0], trust, client} {
					fields = append(fields, store.kind, store.path, store.password(t))
				}
				cases = append(cases, strings.Join(fields, "\t"))
			}
		}
	}
	out, err := tool(t, strings.Join(cases, "\n")+"\n", "java", filepath.Join("testdata", "java", "Stores.java"))
	if err != nil {
		t.Fatalf("%v\n(default-jdk-headless has the compiler that this needs)", err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(cases) || len(cases) != 6*len(storeSites()) {
		t.Fatalf("%d lines for %d cases:\n%s", len(lines), len(cases), out)
	}
	for i, line := range lines {
		if want := "TLSv1.3\tCN=gate-1\tCN=localhost"; line != want {
			t.Errorf("%s: %s, want %s", names[i], line, want)
		}
	}
}

// OpenSSL finds in each PKCS#12 the certificates and the key of the bundle.
func TestOpenSSLReadsKeyStores(t *testing.T) {
	t.Parallel()
	for name, options := range storeSites() {
		s := newStoreSite(t, options)
		for _, store := range s.stores() {
			if store.openssl == nil {
				continue
			}
			t.Run(name+" "+store.name, func(t *testing.T) {
				t.Parallel()
				args := append([]string{"pkcs12", "-in", store.path, "-passin", "file:" + store.passwordFile, "-nodes"}, store.openssl...)
				out, err := tool(t, "", "openssl", args...)
				if err != nil {
					t.Fatal(err)
				}
				s.checkContents(t, store, out)
				checkEncryption(t, store)
			})
		}
	}
}

// checkEncryption wants everything in a file to be encrypted as its kind says.
func checkEncryption(t *testing.T, store store) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "openssl", append([]string{
		"pkcs12", "-info", "-noout", "-in", store.path, "-passin", "file:" + store.passwordFile,
	}, store.openssl...)...)
	said, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	want, mac := "PBES2, PBKDF2, AES-256-CBC, Iteration 2048, PRF hmacWithSHA256", "MAC: sha256"
	if store.name == "keystore-legacy.p12" {
		want, mac = "pbeWithSHA1And3-KeyTripleDES-CBC", "MAC: sha1"
	}
	bags := 1
	if store.hasKey {
		bags = 2 // the certificates together, and the key
	}
	if got := strings.Count(string(said), want); got != bags || !strings.Contains(string(said), mac) {
		t.Errorf("%s and %s are not how it is encrypted:\n%s", want, mac, said)
	}
}

// checkContents compares what OpenSSL shows with the site's own files.
func (s storeSite) checkContents(t *testing.T, store store, out string) {
	t.Helper()
	certFile, keyFile := filepath.Join("devices", "gate-1", "cert.pem"), filepath.Join("devices", "gate-1", "key.pem")
	switch {
	case store.name == "server":
		certFile, keyFile = filepath.Join("server", "cert.pem"), filepath.Join("server", "key.pem")
	case !store.hasKey:
		certFile = "ca-root.pem"
	}
	want, err := os.ReadFile(filepath.Join(s.dir, certFile))
	if err != nil {
		t.Fatal(err)
	}
	got, err := certs.ParseCertificates([]byte(out))
	if err != nil || !bytes.Equal(certs.EncodeCertificates(got...), want) {
		t.Errorf("its certificates are not those of %s: %v\n%s", certFile, err, out)
	}
	if !store.hasKey {
		return
	}
	text, err := os.ReadFile(filepath.Join(s.dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := certs.ParseKey([]byte(out), secret.Text{})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := certs.EncodeKey(key)
	if err != nil || !bytes.Equal(encoded, text) {
		t.Errorf("its key is not that of %s (%v)", keyFile, err)
	}
}
