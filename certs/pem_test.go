package certs_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

func password() secret.Text { return secret.New("correct horse ü") }
func wrong() secret.Text    { return secret.New("battery staple") }

func TestKeysRoundTrip(t *testing.T) {
	t.Parallel()
	for _, kind := range []certs.KeyType{certs.P256, certs.P384, certs.RSA2048, certs.Ed25519} {
		key := newRoot(t, kind, 0).Key
		data, err := certs.EncodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := certs.ParseKey(data, secret.Text{})
		if err != nil || !sameKey(got, key) {
			t.Errorf("%s: another key comes back (%v)", kind, err)
		}
		if certs.KeyIsEncrypted(data) {
			t.Errorf("%s: taken for encrypted", kind)
		}
	}
}

func sameKey(a, b crypto.Signer) bool {
	type equal interface{ Equal(crypto.PrivateKey) bool }
	e, ok := a.(equal)
	return ok && e.Equal(b)
}

func TestEncryptedKey(t *testing.T) {
	t.Parallel()
	key := newRoot(t, certs.P256, 0).Key
	data, err := certs.EncryptKey(key, password())
	if err != nil {
		t.Fatal(err)
	}
	if !certs.KeyIsEncrypted(data) || !bytes.HasPrefix(data, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")) {
		t.Errorf("not encrypted:\n%s", data[:40])
	}
	got, err := certs.ParseKey(data, password())
	if err != nil || !sameKey(got, key) {
		t.Errorf("another key comes back (%v)", err)
	}
	if _, err := certs.ParseKey(data, wrong()); !errors.Is(err, certs.ErrWrongPassphrase) {
		t.Errorf("a wrong passphrase gives %v", err)
	}
	if _, err := certs.ParseKey(data, secret.Text{}); !errors.Is(err, certs.ErrPassphraseNeeded) {
		t.Errorf("no passphrase gives %v", err)
	}
	if _, err := certs.EncryptKey(key, secret.Text{}); !errors.Is(err, certs.ErrPassphraseNeeded) {
		t.Errorf("encrypting with no passphrase gives %v", err)
	}
	fromOpenSSL := openssl(t, data, "pkey", "-passin", "env:PASS")
	if got, err := certs.ParseKey(fromOpenSSL, secret.Text{}); err != nil || !sameKey(got, key) {
		t.Errorf("OpenSSL reads another key (%v)", err)
	}
}

// openssl runs OpenSSL with a key or certificate on stdin; its passphrase is in
// the environment.
func openssl(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	command := exec.Command("openssl", args...)
	command.Stdin = bytes.NewReader(stdin)
	command.Env = append(os.Environ(), "PASS="+password().Reveal())
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, stderr.Bytes())
	}
	return out
}

// Keys as OpenSSL writes them in all the ways that people have them.
func TestKeysOfOpenSSL(t *testing.T) {
	t.Parallel()
	key := newRoot(t, certs.RSA2048, 0).Key
	plain, err := certs.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		args    []string
		problem string
	}{
		"PKCS#1":                   {[]string{"rsa", "-traditional"}, ""},
		"PKCS#8":                   {[]string{"pkcs8", "-topk8", "-nocrypt"}, ""},
		"PBES2 and PBKDF2":         {[]string{"pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-passout", "env:PASS"}, ""},
		"PBES2 with many rounds":   {[]string{"pkcs8", "-topk8", "-v2", "aes-128-cbc", "-iter", "100000", "-passout", "env:PASS"}, ""},
		"PBES2 and scrypt":         {[]string{"pkcs8", "-topk8", "-scrypt", "-passout", "env:PASS"}, ""},
		"RFC 1423, the old manner": {[]string{"rsa", "-traditional", "-aes128", "-passout", "env:PASS"}, "openssl pkcs8 -topk8"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := openssl(t, plain, test.args...)
			got, err := certs.ParseKey(data, password())
			switch {
			case test.problem == "" && (err != nil || !sameKey(got, key)):
				t.Errorf("another key is read (%v)", err)
			case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
				t.Errorf("error is %v", err)
			}
		})
	}
	t.Run("SEC 1", func(t *testing.T) {
		t.Parallel()
		ec := openssl(t, nil, "ecparam", "-genkey", "-name", "prime256v1") // with EC PARAMETERS before it
		if _, err := certs.ParseKey(ec, secret.Text{}); err != nil {
			t.Error(err)
		}
	})
}

func TestFilesThatAreSomethingElse(t *testing.T) {
	t.Parallel()
	root := newRoot(t, certs.P256, 0)
	cert := certs.EncodeCertificates(root.Certificate)
	key, err := certs.EncodeKey(root.Key)
	if err != nil {
		t.Fatal(err)
	}
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no certificate")})
	badKey := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("no key")})
	readCerts := func(data []byte) error { _, err := certs.ParseCertificates(data); return err }
	readKey := func(data []byte) error { _, err := certs.ParseKey(data, secret.Text{}); return err }
	inspect := func(data []byte) error { _, err := certs.Inspect(data); return err }
	cases := map[string]struct {
		read    func([]byte) error
		data    []byte
		problem string
	}{
		"a key for a certificate":   {readCerts, key, "no certificate in it: it holds a private key"},
		"a certificate for a key":   {readKey, cert, "no private key in it: it holds a certificate"},
		"no PEM for a certificate":  {readCerts, []byte("hello"), "not a PEM file"},
		"nothing for a key":         {readKey, nil, "not a PEM file"},
		"a damaged certificate":     {readCerts, append(slices.Clone(cert), damaged...), "line " + lineAfter(cert)},
		"a damaged key":             {readKey, badKey, "line 1"},
		"a certificate cut off":     {readCerts, cert[:len(cert)-40], "line 1: the PEM block that begins here is damaged or cut off"},
		"one cut off before a good": {readCerts, append(slices.Clone(cert[:len(cert)-40]), cert...), "line 1: the PEM block"},
		"one cut off after a good":  {readCerts, append(slices.Clone(cert), cert[:80]...), "line " + lineAfter(cert)},
		"neither PEM nor DER":       {inspect, []byte("hello"), "neither PEM"},
		"a damaged one for inspect": {inspect, damaged, "line 1"},
		"a damaged key for inspect": {inspect, badKey, "line 1"},
		"both, asked for a request": {readKey, append(slices.Clone(cert), damaged...), "it holds a certificate"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.read(test.data)
			if err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error is %v, want one with %q", err, test.problem)
			}
		})
	}
}

// lineAfter is the number of the line after a text.
func lineAfter(data []byte) string {
	return string(rune('0'+(bytes.Count(data, []byte("\n"))+1)/10)) + string(rune('0'+(bytes.Count(data, []byte("\n"))+1)%10))
}

func TestCertificatesBetweenOtherThings(t *testing.T) {
	t.Parallel()
	issued := issueServer(t, newIssuing(t, newRoot(t, certs.P256, 1), certs.PurposeServer), "tb.example.com")
	key, err := certs.EncodeKey(issued.Key)
	if err != nil {
		t.Fatal(err)
	}
	file := slices.Concat([]byte("# a comment\r\n"), key, []byte("subject=x\n"), certs.EncodeCertificates(issued.Chain...))
	for name, data := range map[string][]byte{
		"as it is":  file,
		"with CRLF": bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n")),
	} {
		chain, err := certs.ParseCertificates(data)
		if err != nil || len(chain) != 2 || !chain[0].Equal(issued.Chain[0]) {
			t.Errorf("%s: %d certificates, %v", name, len(chain), err)
		}
		if got, err := certs.ParseKey(data, secret.Text{}); err != nil || !sameKey(got, issued.Key) {
			t.Errorf("%s: the key: %v", name, err)
		}
		objects, err := certs.Inspect(data)
		if err != nil || len(objects) != 3 || objects[0].Kind != "private key" || objects[0].Line != 2 ||
			objects[0].Key.PublicKey != objects[1].Certificate.PublicKey {
			t.Errorf("%s: Inspect gives %+v, %v", name, objects, err)
		}
	}
}

func TestInspectNeverShowsAKey(t *testing.T) {
	t.Parallel()
	root := newRoot(t, certs.P256, 0)
	encrypted, err := certs.EncryptKey(root.Key, password())
	if err != nil {
		t.Fatal(err)
	}
	objects, err := certs.Inspect(slices.Concat(encrypted, certs.EncodeCertificates(root.Certificate)))
	if err != nil || len(objects) != 2 || !objects[0].Key.Encrypted || objects[0].Kind != "encrypted private key" {
		t.Errorf("%+v, %v", objects, err)
	}
	objects, err = certs.Inspect(root.Certificate.Raw)
	if err != nil || len(objects) != 1 || objects[0].Certificate.Fingerprint != certs.Fingerprint(root.Certificate) {
		t.Errorf("DER: %+v, %v", objects, err)
	}
}

// OpenSSL and Java accept what is issued, and refuse it for another name.
func TestPeersAcceptWhatIsIssued(t *testing.T) {
	t.Parallel()
	for _, kind := range []certs.KeyType{certs.P256, certs.P384, certs.RSA2048, certs.Ed25519} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			root := newRoot(t, kind, 1)
			issued := issueServer(t, newIssuing(t, root, certs.PurposeServer), "tb.example.com")
			dir := t.TempDir()
			write(t, dir, "root.pem", certs.EncodeCertificates(root.Certificate))
			write(t, dir, "chain.pem", certs.EncodeCertificates(issued.Chain...))
			verify := func(host string) error {
				return exec.Command("openssl", "verify", "-x509_strict", "-attime", "1795435200", "-purpose", "sslserver", "-verify_hostname", host,
					"-CAfile", filepath.Join(dir, "root.pem"), "-untrusted", filepath.Join(dir, "chain.pem"), filepath.Join(dir, "chain.pem")).Run()
			}
			if err := verify("tb.example.com"); err != nil {
				t.Errorf("openssl verify refuses it: %v", err)
			}
			if err := verify("other.example.com"); err == nil {
				t.Error("openssl verify takes it for another name")
			}
			store, err := certs.EncodePKCS12(issued, secret.New("store-password"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, "store.p12", store)
			write(t, dir, "pass", []byte("store-password\n"))
			list, err := exec.Command("keytool", "-list", "-storetype", "PKCS12", "-keystore", filepath.Join(dir, "store.p12"), "-storepass:file", filepath.Join(dir, "pass")).CombinedOutput()
			if err != nil || !strings.Contains(string(list), "PrivateKeyEntry") {
				t.Errorf("keytool: %v\n%s", err, list)
			}
			info, err := exec.Command("openssl", "pkcs12", "-in", filepath.Join(dir, "store.p12"), "-passin", "file:"+filepath.Join(dir, "pass"), "-nodes").CombinedOutput()
			if err != nil || strings.Count(string(info), "BEGIN CERTIFICATE") != 2 {
				t.Errorf("openssl pkcs12: %v\n%s", err, info)
			}
		})
	}
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	root := newRoot(f, certs.P256, 0)
	key, err := certs.EncodeKey(root.Key)
	if err != nil {
		f.Fatal(err)
	}
	cert := certs.EncodeCertificates(root.Certificate)
	f.Add(cert)
	f.Add(slices.Concat(key, cert))
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Add(root.Certificate.Raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		chain, err := certs.ParseCertificates(data)
		if (err == nil) == (len(chain) == 0) {
			t.Fatalf("%d certificates and %v", len(chain), err)
		}
		if err == nil {
			again, err := certs.ParseCertificates(certs.EncodeCertificates(chain...))
			if err != nil || !slices.EqualFunc(again, chain, (*x509.Certificate).Equal) {
				t.Fatalf("other certificates come back: %v", err)
			}
		}
		if key, err := certs.ParseKey(data, secret.Text{}); (err == nil) == (key == nil) {
			t.Fatalf("key %v and %v", key != nil, err)
		}
		if objects, err := certs.Inspect(data); (err == nil) == (len(objects) == 0) {
			t.Fatalf("%d objects and %v", len(objects), err)
		}
	})
}
