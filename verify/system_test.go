package verify_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/verify"
)

// The library reads the system's roots once in a process, so a test that needs
// its own runs itself again with these.
const (
	systemFile = "SSL_CERT_FILE" // crypto/x509 reads it on Unix
	systemDir  = "SSL_CERT_DIR"
	systemPort = "TBCERT_TEST_PORT"
	systemWant = "TBCERT_TEST_WANT"
	systemSays = "TBCERT_TEST_SAYS"
)

// TestSystemRoots trusts what the system trusts, as a target without roots
// does: the site's root among it, a root that is out of date, and no roots.
func TestSystemRoots(t *testing.T) {
	t.Parallel()
	root, old := newRoot(t, "Site Root CA"), newRoot(t, "Old Root CA", lives(-700*day, -3*day))
	m := &mosquitto{}
	good := m.listen(t, root.issuing(t, "Site Server CA").leaf(t))
	outdated := m.listen(t, old.issuing(t, "Old Server CA").leaf(t))
	m.start(t)
	rootFile, _ := root.files(t)
	oldFile, _ := old.files(t)
	empty := t.TempDir() + "/none.pem"
	write(t, empty, nil)
	for name, c := range map[string]struct {
		file       string
		port       int
		want, says string
	}{
		"the site's root":    {rootFile, good, "ppppppppps", "the root is in the system's roots, sha256:"},
		"out of date":        {oldFile, outdated, "pppppFpsss", "the root \"CN=Old Root CA\" expired on"},
		"another root":       {oldFile, good, "pppFpppsss", "not in the system's roots (public CAs"},
		"an empty list":      {empty, good, "pppFpppsss", "this machine has none: its list is empty"},
		"an unreadable list": {t.TempDir(), good, "pppFpppsss", "this machine has none: read "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSystemRootsApart$", "-test.v")
			self.Env = append(os.Environ(), systemFile+"="+c.file, systemDir+"="+t.TempDir(),
				systemPort+"="+strconv.Itoa(c.port), systemWant+"="+c.want, systemSays+"="+c.says)
			out, err := self.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestSystemRootsApart") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestSystemRootsApart is the other process of TestSystemRoots; by itself it
// has nothing to do.
func TestSystemRootsApart(t *testing.T) {
	t.Parallel()
	if os.Getenv(systemPort) == "" {
		return
	}
	port, err := strconv.Atoi(os.Getenv(systemPort))
	if err != nil {
		t.Fatal(err)
	}
	report := (&verify.Verifier{Timeout: patience}).Run(t.Context(), verify.Target{Host: "127.0.0.1", Port: port, TLS: true, Login: token()})
	var texts strings.Builder
	for _, check := range report.Checks {
		texts.WriteString(check.Detail + "\n")
	}
	if got := letters(report); got != os.Getenv(systemWant) || !strings.Contains(texts.String(), os.Getenv(systemSays)) {
		t.Errorf("checks are %s, want %s with %q:\n%s", got, os.Getenv(systemWant), os.Getenv(systemSays), &texts)
	}
}
