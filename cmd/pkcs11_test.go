package cmd_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// softHSM is the library of SoftHSM, a token in software.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// A tokenSite is a site whose CA keys are in a token.
type tokenSite struct {
	t       *testing.T
	program string // tbcert with PKCS#11
	dir     string
	environ []string
}

func newTokenSite(t *testing.T) *tokenSite {
	t.Helper()
	s := &tokenSite{t: t, dir: t.TempDir()}
	s.program = filepath.Join(s.dir, "tbcert")
	conf := filepath.Join(s.dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+s.dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.environ = append(os.Environ(), "SOFTHSM2_CONF="+conf, "NO_COLOR=1")
	build := exec.Command("go", "build", "-tags", "pkcs11", "-o", s.program, "github.com/tbcert/tbcert/cmd/tbcert")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	s.must(build)
	s.tool("softhsm2-util", "--init-token", "--free", "--label", "Company CA", "--so-pin", "87654321", "--pin", "1234")
	return s
}

func (s *tokenSite) must(command *exec.Cmd) string {
	s.t.Helper()
	out, err := command.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %v\n%s", command.Args, err, out)
	}
	return string(out)
}

func (s *tokenSite) tool(name string, args ...string) string {
	s.t.Helper()
	command := exec.Command(name, args...)
	command.Dir, command.Env = s.dir, s.environ
	return s.must(command)
}

// tbcert runs a command line with a PIN, and gives what it says.
func (s *tokenSite) tbcert(want int, pin string, args ...string) string {
	s.t.Helper()
	command := exec.Command(s.program, args...)
	command.Dir, command.Env = s.dir, append(s.environ, "TBCERT_PKCS11_PIN="+pin)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if code != want {
		s.t.Fatalf("%v ends with %d (%v), want %d:\n%s", args, code, err, want, out.String())
	}
	if pin != "" && strings.Contains(out.String(), pin) {
		s.t.Errorf("%v shows the PIN:\n%s", args, out.String())
	}
	return out.String()
}

// The CA's keys are made in a token and never leave it; all that signs does so there.
func TestPKCS11(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(softHSM); err != nil {
		t.Fatalf("%v: install Debian's package softhsm2", err)
	}
	s := newTokenSite(t)
	const pin, uri = "1234", "pkcs11:token=Company%20CA;object=tb?module-path=" + softHSM
	for _, row := range []struct{ uri, pin, want string }{
		{uri, "9999", "the PIN of the token \"Company CA\" is wrong; it was tried once"},
		{"pkcs11:token=Another;object=tb?module-path=" + softHSM, pin, "the token \"Another\""},
		{"pkcs11:token=Company%20CA;object=tb?module-path=/no/such.so", pin, "see that the library is the token's"},
		{"pkcs11:token=Company%20CA;object=tb", pin, "it says no module-path"},
		{uri + "&pin-value=1234", "", "it holds a PIN"},
	} {
		if said := s.tbcert(2, row.pin, "init", "-C", "site", "--host", "localhost", "--ca-key-uri", row.uri); !strings.Contains(said, row.want) {
			t.Errorf("%s: it says %s, want %q", row.uri, said, row.want)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "site", "tbcert.yaml")); err == nil {
		t.Error("there is a site after all were refused")
	}
	s.tbcert(2, pin, "init", "-C", "site", "--host", "localhost", "--key-type", "ed25519", "--ca-key-uri", uri)

	s.tbcert(0, pin, "init", "-C", "site", "--host", "localhost", "--ca-key-uri", uri)
	for _, name := range []string{"root", "server-ca", "device-ca"} {
		file := filepath.Join(s.dir, "site", "ca", name+".key")
		data, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(data), "pkcs11:token=Company%20CA;object=tb-"+name+"?") {
			t.Errorf("%s holds %q, %v", file, data, err)
		}
	}
	listed := s.tool("pkcs11-tool", "--module", softHSM, "--login", "--pin", pin, "--list-objects", "--type", "privkey")
	if strings.Count(listed, "Private Key Object") != 3 || strings.Count(listed, "never extractable") != 3 {
		t.Errorf("the token has:\n%s", listed)
	}
	s.tool("openssl", "verify", "-CAfile", "site/ca-root.pem", "-untrusted", "site/server/cert.pem", "site/server/cert.pem")
	if said := s.tbcert(0, "", "init", "-C", "site"); !strings.Contains(said, "Nothing to do") {
		t.Errorf("again, it says %s", said)
	}
	s.tbcert(0, pin, "init", "-C", "site", "--host", "tb.example.com")
	s.tbcert(0, pin, "renew", "-C", "site", "--force")
	s.tool("openssl", "verify", "-CAfile", "site/ca-root.pem", "-untrusted", "site/server/cert.pem", "-verify_hostname", "tb.example.com", "site/server/cert.pem")
	s.tbcert(0, pin, "provision", "-C", "site", "--credential", "x509", "meter-1", "meter-2")
	s.tool("openssl", "verify", "-CAfile", "site/ca-root.pem", "-untrusted", "site/ca/device-ca.pem", "site/devices/meter-1/cert.pem")
	s.tbcert(0, pin, "rotate", "-C", "site", "meter-2", "--yes")
	s.tbcert(0, pin, "revoke", "-C", "site", "meter-1", "--yes")
	if said := s.tool("sh", "-c", "cat site/ca/device-ca.pem site/ca-root.pem > both.pem; openssl crl -in site/ca/device-ca.crl -CAfile both.pem -noout"); !strings.Contains(said, "verify OK") {
		t.Errorf("openssl says of the CRL: %s", said)
	}
	s.tbcert(0, pin, "status", "-C", "site")

	// Another root, in the token as well.
	s.tbcert(0, pin, "renew", "-C", "site", "root", "start", "--ca-key-uri", uri)
	s.tbcert(0, pin, "renew", "-C", "site", "root", "delivered", "--all")
	s.tbcert(0, pin, "renew", "-C", "site", "root", "move")
	s.tool("openssl", "verify", "-CAfile", "site/ca/root.pem", "-untrusted", "site/server/cert.pem", "site/server/cert.pem")

	// The key is gone; and a tbcert that knows no tokens says so.
	s.tool("pkcs11-tool", "--module", softHSM, "--login", "--pin", pin, "--delete-object", "--type", "privkey", "--label", "tb-server-ca-G2")
	if said := s.tbcert(2, pin, "renew", "-C", "site", "--force"); !strings.Contains(said, `has no key with the label "tb-server-ca-G2"`) {
		t.Errorf("without the key it says %s", said)
	}
	plain := exec.Command("go", "build", "-o", s.program, "github.com/tbcert/tbcert/cmd/tbcert")
	plain.Env = append(os.Environ(), "CGO_ENABLED=0")
	s.must(plain)
	if said := s.tbcert(2, pin, "renew", "-C", "site", "--force"); !strings.Contains(said, "built without PKCS#11: build it with") {
		t.Errorf("without PKCS#11 it says %s", said)
	}
}
