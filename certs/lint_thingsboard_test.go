package certs_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs"
)

// A lintShop makes files with OpenSSL, below one root and one issuing CA.
type lintShop struct {
	t   *testing.T
	dir string
}

func newLintShop(t *testing.T) *lintShop {
	t.Helper()
	s := &lintShop{t: t, dir: t.TempDir()}
	s.sh(`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -subj '/CN=Root' -days 3650 -addext keyUsage=keyCertSign 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj '/CN=Issuing' -days 3000 -CA root.pem -CAkey root.key -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=keyCertSign 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.pem -subj '/CN=Other' -days 3650 -addext keyUsage=keyCertSign 2>/dev/null`)
	s.leaf("key.pem", "leaf.pem")
	return s
}

// leaf issues a server certificate; options come after what is usual, and take its
// place.
func (s *lintShop) leaf(key, cert string, options ...string) {
	s.t.Helper()
	usual := map[string]string{
		"-newkey": "-newkey ec -pkeyopt ec_paramgen_curve:P-256", "-days": "-days 397", "-subj": "-subj /CN=tb.example.com", "-sha": "-sha256",
		"subjectAltName": "-addext subjectAltName=DNS:tb.example.com", "extendedKeyUsage": "-addext extendedKeyUsage=serverAuth",
		"basicConstraints": "-addext basicConstraints=critical,CA:FALSE", "keyUsage": "-addext keyUsage=critical,digitalSignature", "-CA": "-CA ca.pem -CAkey ca.key",
	}
	for _, option := range options {
		for name := range usual {
			if strings.HasPrefix(option, name) || strings.HasPrefix(option, "-addext "+name+"=") || option == "no "+name {
				usual[name] = strings.TrimPrefix(option, "no "+name)
			}
		}
	}
	line := "openssl req -x509 -nodes -keyout " + key + " -out " + cert
	for _, option := range usual {
		line += " " + option
	}
	s.sh(line + " 2>/dev/null")
}

func (s *lintShop) sh(script string) {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), "bash", "-euc", script)
	command.Dir = s.dir
	if out, err := command.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func (s *lintShop) read(name string) []byte {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// lint looks at files, and gives the findings and their ids.
func (s *lintShop) lint(options certs.LintOptions, names ...string) (findings []certs.LintFinding, ids []string) {
	s.t.Helper()
	var files []certs.LintFile
	for _, name := range names {
		files = append(files, certs.LintFile{Name: name, Data: s.read(name)})
	}
	findings, err := certs.Lint(files, options)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, finding := range findings {
		ids = append(ids, finding.ID)
	}
	return findings, ids
}

// lintCases are files and what is found in them. What makes the fault is script or
// leaf; the rest of a server's file is as it should be.
func lintCases() []struct {
	name   string
	leaf   []string // options of the server's certificate
	script string   // makes the file "server", else it is key, leaf and CA
	files  []string // else "server"
	fixed  bool     // the fix is a command that takes the finding away
	want   string   // ids
	line   int
} {
	const days = "-days "
	return []struct {
		name   string
		leaf   []string
		script string
		files  []string
		fixed  bool
		want   string
		line   int
	}{
		{name: "good"},
		{name: "good, in two files", files: []string{"leafchain.pem", "key.pem"}, script: "cat leaf.pem ca.pem > leafchain.pem"},
		{name: "good, with the root", script: "cat key.pem leaf.pem ca.pem root.pem > server"},
		{name: "good, with text and CRLF", script: `(echo "Subject: x"; cat key.pem leaf.pem ca.pem) | sed 's/$/\r/' > server`},
		{name: "good, with EC parameters", script: "openssl ec -in key.pem -out sec1.pem 2>/dev/null; (openssl ecparam -name prime256v1; cat sec1.pem leaf.pem ca.pem) > server"},
		{name: "good, an unused encrypted key beside", script: "openssl pkcs8 -topk8 -in key.pem -passout pass:secret -out enc.pem; cat enc.pem key.pem leaf.pem ca.pem > server"},
		{name: "byte order mark", script: `printf '\xef\xbb\xbf' > server; cat key.pem leaf.pem ca.pem >> server`, want: "bom", line: 1, fixed: true},
		{name: "indented", script: "sed 's/^/  /' key.pem > server; cat leaf.pem ca.pem >> server", want: "indented", line: 1, fixed: true},
		{name: "unknown block", script: "(cat key.pem leaf.pem ca.pem; echo -----BEGIN FOO-----; echo AAAA; echo -----END FOO-----) > server", want: "block-unknown"},
		{name: "trusted certificate", script: "openssl x509 -in ca.pem -trustout -out t.pem; cat key.pem leaf.pem t.pem > server", want: "certificate-trusted chain-incomplete"},
		{name: "encrypted PKCS#8", script: "openssl pkcs8 -topk8 -in key.pem -passout pass:secret -out enc.pem; cat enc.pem leaf.pem ca.pem > server", want: "key-encrypted", line: 1},
		{name: "RFC 1423", script: "openssl ec -in key.pem -aes256 -passout pass:secret -out enc.pem 2>/dev/null; cat enc.pem leaf.pem ca.pem > server", want: "key-password", line: 1},
		{name: "no key", script: "cat leaf.pem ca.pem > server", want: "key-missing"},
		{name: "several keys, the right one last", script: "cat ca.key key.pem leaf.pem ca.pem > server", want: "key-several"},
		{name: "several keys, the right one first", script: "cat key.pem ca.key leaf.pem ca.pem > server", want: "key-several key-mismatch"},
		{name: "another's key", script: "cat ca.key leaf.pem ca.pem > server", want: "key-mismatch", line: 1},
		{name: "another's key in its own file", files: []string{"leafchain.pem", "ca.key"}, script: "cat leaf.pem ca.pem > leafchain.pem", want: "key-mismatch"},
		{
			name: "several keys in their own file, an older form first", files: []string{"leafchain.pem", "keys.pem"}, want: "key-several",
			script: "cat leaf.pem ca.pem > leafchain.pem; openssl ec -in key.pem -out sec1.pem 2>/dev/null; cat sec1.pem ca.key > keys.pem",
		},
		{name: "several keys in their own file, the right one last", files: []string{"leafchain.pem", "keys.pem"}, script: "cat leaf.pem ca.pem > leafchain.pem; cat ca.key key.pem > keys.pem", want: "key-several"},
		{name: "CA first", script: "cat key.pem ca.pem leaf.pem > server", want: "key-mismatch chain-order names-cn-only usage-unsaid usage-key usage-ca too-long"},
		{name: "root before the CA", script: "cat key.pem leaf.pem root.pem ca.pem > server", want: "chain-order"},
		{name: "another CA behind", script: "cat key.pem leaf.pem ca.pem other.pem > server", want: "chain-order"},
		{name: "the CA twice", script: "cat key.pem leaf.pem ca.pem ca.pem > server", want: "chain-duplicate"},
		{name: "no CA", script: "cat key.pem leaf.pem > server", want: "chain-incomplete"},
		{name: "leaf as root", files: []string{"leaf.pem"}, want: "leaf-as-root"},
		{name: "intermediate as root", files: []string{"ca.pem"}, want: "intermediate-as-root"},
		{name: "root as root", files: []string{"root.pem"}},
		{name: "two roots", files: []string{"roots.pem"}, script: "cat root.pem other.pem > roots.pem"},
		{name: "CN only", leaf: []string{"no subjectAltName"}, want: "names-cn-only"},
		{name: "address as a name", leaf: []string{"-addext subjectAltName=DNS:192.0.2.1"}, want: "name-ip"},
		{name: "address as CN alone", leaf: []string{"-subj /CN=192.0.2.1"}, want: "name-ip"},
		{name: "address as an address", leaf: []string{"-subj /CN=192.0.2.1", "-addext subjectAltName=IP:192.0.2.1"}},
		{name: "for clients", leaf: []string{"-addext extendedKeyUsage=clientAuth"}, want: "usage-not-server"},
		{name: "for both", leaf: []string{"-addext extendedKeyUsage=clientAuth,serverAuth"}},
		{name: "for anything, said", leaf: []string{"-addext extendedKeyUsage=anyExtendedKeyUsage"}},
		{name: "for anything, not said", leaf: []string{"no extendedKeyUsage", "no keyUsage"}, want: "usage-unsaid"},
		{name: "cannot sign", leaf: []string{"-addext keyUsage=keyAgreement"}, want: "usage-key"},
		{name: "a CA", leaf: []string{"-addext basicConstraints=critical,CA:TRUE"}, want: "usage-ca"},
		{name: "825 days", leaf: []string{days + "825"}},
		{name: "826 days", leaf: []string{days + "826"}, want: "too-long"},
		{name: "RSA of 1024 bits", leaf: []string{"-newkey rsa:1024"}, want: "weak-key"},
		{name: "RSA of 2048 bits", leaf: []string{"-newkey rsa:2048"}},
		{name: "P-224", leaf: []string{"-newkey ec -pkeyopt ec_paramgen_curve:P-224"}, want: "weak-key"},
		{name: "SHA-1", leaf: []string{"-sha1"}, want: "weak-signature"},
		{name: "short", leaf: []string{days + "90"}},
	}
}

// Every rule finds what it is for, and nothing in what is well.
func TestLint(t *testing.T) {
	t.Parallel()
	shop := newLintShop(t)
	roots, err := certs.ParseCertificates(shop.read("root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range lintCases() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &lintShop{t: t, dir: t.TempDir()}
			s.sh("cp " + shop.dir + "/* .")
			if test.leaf != nil {
				s.leaf("key.pem", "leaf.pem", test.leaf...)
			}
			s.sh("cat key.pem leaf.pem ca.pem > server; " + test.script)
			files := test.files
			if files == nil {
				files = []string{"server"}
			}
			options := certs.LintOptions{Roots: roots, Now: time.Now()}
			findings, ids := s.lint(options, files...)
			if got := strings.Join(ids, " "); got != test.want {
				t.Fatalf("got %q, want %q: %+v", got, test.want, findings)
			}
			if test.line != 0 && (findings[0].Line != test.line || findings[0].File != files[0]) {
				t.Errorf("it is found at %s:%d", findings[0].File, findings[0].Line)
			}
			for _, finding := range findings {
				if finding.What == "" || finding.Why == "" || finding.Fix == "" {
					t.Errorf("%+v leaves something open", finding)
				}
			}
			if test.fixed {
				s.sh(findings[0].Fix)
				if _, ids := s.lint(options, files...); len(ids) > 0 {
					t.Errorf("after the fix: %v", ids)
				}
			}
		})
	}
}

// The dates are judged by the clock that is given.
func TestLintDates(t *testing.T) {
	t.Parallel()
	s := newLintShop(t)
	s.sh("cat key.pem leaf.pem ca.pem > server")
	chain, err := certs.ParseCertificates(s.read("leaf.pem"))
	if err != nil {
		t.Fatal(err)
	}
	from, to := chain[0].NotBefore, chain[0].NotAfter
	for name, test := range map[string]struct {
		now  time.Time
		want []string
	}{
		"before":      {from.Add(-time.Minute), []string{"chain-alone", "not-yet"}},
		"at first":    {from.Add(time.Minute), []string{"chain-alone"}},
		"31 days":     {to.Add(-31 * 24 * time.Hour), []string{"chain-alone"}},
		"29 days":     {to.Add(-29 * 24 * time.Hour), []string{"chain-alone", "expiring"}},
		"a day after": {to.Add(24 * time.Hour), []string{"chain-alone", "expired"}},
	} {
		var ids []string
		for _, finding := range certs.LintChain([]*x509.Certificate{chain[0]}, certs.LintOptions{Now: test.now}) {
			ids = append(ids, finding.ID)
		}
		if !slices.Equal(ids, test.want) {
			t.Errorf("%s: got %v, want %v", name, ids, test.want)
		}
	}
}

// The key that is written decrypted is the key.
func TestLintFixOfAnEncryptedKey(t *testing.T) {
	t.Parallel()
	s := newLintShop(t)
	s.sh("openssl pkcs8 -topk8 -in key.pem -passout pass:secret -out enc.pem; cat leaf.pem ca.pem > cert.pem")
	findings, _ := s.lint(certs.LintOptions{Now: time.Now()}, "cert.pem", "enc.pem")
	if len(findings) != 1 || findings[0].ID != "key-encrypted" || findings[0].File != "enc.pem" {
		t.Fatalf("got %+v", findings)
	}
	s.sh(strings.Replace(findings[0].Fix, " -out", " -passin pass:secret -out", 1))
	if _, ids := s.lint(certs.LintOptions{Now: time.Now()}, "cert.pem", "key-plain.pem"); len(ids) > 0 {
		t.Errorf("after the fix: %v", ids)
	}
}

// What is damaged, or holds nothing, is an error and no finding.
func TestLintOfWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{"empty": "", "text": "hello\n", "cut": "-----BEGIN CERTIFICATE-----\nAAAA\n", "no certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if findings, err := certs.Lint([]certs.LintFile{{Name: "f", Data: []byte(data)}}, certs.LintOptions{}); err == nil || !strings.HasPrefix(err.Error(), "f: ") {
			t.Errorf("%s: got %v and %v", name, findings, err)
		}
	}
}

// docs/lint.md lists the rules as they are.
func TestLintIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/lint.md")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	for _, rule := range certs.LintRules() {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", rule.ID, rule.Severity, rule.Why)
	}
	if !bytes.Contains(text, table.Bytes()) {
		t.Errorf("docs/lint.md should have this table:\n%s", table.Bytes())
	}
}

func FuzzLint(f *testing.F) {
	f.Add([]byte("\ufeff-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("  -----BEGIN FOO-----\nAAAA\n-----END FOO-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		findings, err := certs.Lint([]certs.LintFile{{Name: "f", Data: data}}, certs.LintOptions{Now: time.Unix(0, 0)})
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, finding := range findings {
			if err != nil || finding.Line < 1 || finding.Line > lines || finding.Fix == "" {
				t.Errorf("%+v, %v", finding, err)
			}
		}
	})
}
