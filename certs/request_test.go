package certs_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs"
)

// wish is a certificate request that OpenSSL is to make.
type wish struct {
	algorithm  string   // of openssl genpkey
	options    []string // its -pkeyopt
	subject    string
	extensions string // lines of the extensions section
}

// request has OpenSSL make a key and a request, in PEM.
func request(t *testing.T, w wish) (key, csr []byte) {
	t.Helper()
	args := []string{"genpkey", "-algorithm", w.algorithm}
	for _, option := range w.options {
		args = append(args, "-pkeyopt", option)
	}
	key = openssl(t, nil, args...)
	dir := t.TempDir()
	config := "[req]\ndistinguished_name=name\n[name]\n"
	if w.extensions != "" {
		config = "[req]\ndistinguished_name=name\nreq_extensions=more\n[name]\n[more]\n" + w.extensions + "\n"
	}
	write(t, dir, "key.pem", key)
	write(t, dir, "config", []byte(config))
	return key, openssl(t, nil, "req", "-new", "-key", filepath.Join(dir, "key.pem"), "-config", filepath.Join(dir, "config"), "-subj", w.subject)
}

func ecWish(curve, extensions string) wish {
	return wish{algorithm: "EC", options: []string{"ec_paramgen_curve:" + curve}, subject: "/CN=meter-1", extensions: extensions}
}

func rsaWish(bits string) wish {
	return wish{algorithm: "RSA", options: []string{"rsa_keygen_bits:" + bits}, subject: "/CN=meter-1"}
}

// Requests as OpenSSL and keytool make them are signed, and nothing of them but
// the key and the CN is in the certificate.
func TestSignDevice(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	cases := map[string]wish{
		"p256": ecWish("P-256", ""), "p384": ecWish("P-384", ""), "p521": ecWish("P-521", ""),
		"rsa2048": rsaWish("2048"), "ed25519": {algorithm: "ED25519", subject: "/CN=meter-1"},
		"with what is not given": ecWish("P-256", "subjectAltName=DNS:tb.example.com,IP:192.0.2.1\nbasicConstraints=CA:FALSE\n"+
			"keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth\ncertificatePolicies=1.2.3.4\nnameConstraints=critical,permitted;DNS:example.com"),
		"with more of a subject": {algorithm: "ED25519", subject: "/C=DE/O=Somebody/OU=Admins/CN=meter-1/emailAddress=a@example.com"},
		"with no CN":             {algorithm: "ED25519", subject: "/O=Somebody"},
	}
	for name, w := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, data := request(t, w)
			csr, err := certs.ParseRequest(data)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(data)
			if der, err := certs.ParseRequest(block.Bytes); err != nil || !bytes.Equal(der.Raw, csr.Raw) {
				t.Errorf("in DER it is another: %v", err)
			}
			chain, err := ca.SignDevice(csr, certs.DeviceProfile{CommonName: "meter-1", Organization: "Example", Days: 30})
			if err != nil {
				t.Fatal(err)
			}
			if len(chain) != 2 || !chain[1].Equal(ca.Certificate) || !bytes.Equal(chain[0].RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo) {
				t.Fatalf("%d certificates, or of another key", len(chain))
			}
			sameAsIssued(t, ca, chain[0])
		})
	}
}

// sameAsIssued compares a signed certificate with one that the CA made whole.
func sameAsIssued(t *testing.T, ca *certs.Authority, leaf *x509.Certificate) {
	t.Helper()
	issued, err := ca.IssueDevice(certs.DeviceProfile{CommonName: "meter-1", Organization: "Example", KeyType: certs.P256, Days: 30})
	if err != nil {
		t.Fatal(err)
	}
	ids := func(cert *x509.Certificate) []string {
		var all []string
		for _, extension := range cert.Extensions {
			all = append(all, extension.Id.String())
		}
		return all
	}
	if diff := cmp.Diff(ids(issued.Chain[0]), ids(leaf)); diff != "" {
		t.Error(diff)
	}
	got, want := certs.Describe(leaf), certs.Describe(issued.Chain[0])
	for _, d := range []*certs.Certificate{&got, &want} {
		d.Serial, d.KeyType, d.SubjectKeyID, d.Fingerprint, d.PublicKey, d.CredentialsID = "", "", "", "", "", ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// keytool writes an older label.
func TestRequestOfKeytool(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "store.p12")
	common := []string{"-alias", "device", "-storetype", "PKCS12", "-keystore", store, "-storepass", "store-password"}
	for _, args := range [][]string{{"-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=meter-1"}, {"-certreq", "-file", store + ".csr"}} {
		if out, err := exec.Command("keytool", append(args, common...)...).CombinedOutput(); err != nil {
			t.Fatalf("keytool: %v\n%s", err, out)
		}
	}
	csr, err := certs.ParseRequest(read(t, store+".csr"))
	if err != nil || csr.Subject.CommonName != "meter-1" {
		t.Errorf("keytool's request: %v", err)
	}
}

func TestSignDeviceNames(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	_, named := request(t, ecWish("P-256", ""))
	_, nameless := request(t, wish{algorithm: "ED25519", subject: "/O=Example"})
	for _, test := range []struct {
		csr           []byte
		name, problem string
		want          string // the CN
	}{
		{named, "meter-1", "", "meter-1"}, {named, "", "", "meter-1"}, {nameless, "meter-2", "", "meter-2"},
		{named, "meter-2", `for the CN "meter-1", and the device is "meter-2"`, ""}, {nameless, "", "it is empty", ""},
	} {
		csr, err := certs.ParseRequest(test.csr)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := ca.SignDevice(csr, certs.DeviceProfile{CommonName: test.name, Days: 30})
		switch {
		case test.problem == "" && (err != nil || chain[0].Subject.CommonName != test.want):
			t.Errorf("%q: %v", test.name, err)
		case test.problem != "" && (chain != nil || err == nil || !strings.Contains(err.Error(), test.problem)):
			t.Errorf("%q: error is %v, want one with %q", test.name, err, test.problem)
		}
	}
	serverCA := newIssuing(t, newRoot(t, certs.P256, 1), certs.PurposeServer)
	csr, err := certs.ParseRequest(named)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := serverCA.SignDevice(csr, certs.DeviceProfile{Days: 30}); err == nil || !strings.Contains(err.Error(), "not for device certificates") {
		t.Errorf("a CA for servers signs a device's: %v", err)
	}
}

// Requests that are refused, by ParseRequest, and by SignDevice when somebody
// else parsed them.
func TestRequestsRefused(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	cases := map[string]struct {
		wish    wish
		problem string
	}{
		"a weak RSA key":       {rsaWish("1024"), "RSA of 1024 bits"},
		"P-224":                {ecWish("P-224", ""), "the curve P-224"},
		"Ed448":                {wish{algorithm: "ED448", subject: "/CN=meter-1"}, "a kind that is not known"},
		"CA:TRUE":              {ecWish("P-256", "basicConstraints=critical,CA:TRUE"), "asks for a CA"},
		"CA:TRUE with a path":  {ecWish("P-256", "basicConstraints=CA:TRUE,pathlen:0"), "asks for a CA"},
		"keyCertSign":          {ecWish("P-256", "keyUsage=digitalSignature,keyCertSign"), "asks for a CA"},
		"odd basicConstraints": {ecWish("P-256", "basicConstraints=DER:30030101ff00"), "asks for a CA"},
		"odd keyUsage":         {ecWish("P-256", "keyUsage=DER:0500"), "asks for a CA"},
		"two CNs":              {wish{algorithm: "ED25519", subject: "/CN=meter-2/CN=meter-1"}, "has 2 CNs"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, data := request(t, test.wish)
			csr, err := certs.ParseRequest(data)
			if csr != nil || err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error is %v, want one with %q", err, test.problem)
			}
			block, _ := pem.Decode(data)
			if csr, err = x509.ParseCertificateRequest(block.Bytes); err != nil {
				t.Fatal(err)
			}
			chain, err := ca.SignDevice(csr, certs.DeviceProfile{CommonName: "meter-1", Days: 30})
			if chain != nil || err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("SignDevice: error is %v, want one with %q", err, test.problem)
			}
			objects, err := certs.Inspect(data)
			if err != nil || len(objects) != 1 || !strings.Contains(objects[0].Request.Problem, test.problem) ||
				objects[0].Request.AsksForCA != (test.problem == "asks for a CA") {
				t.Errorf("Inspect: %+v, %v", objects, err)
			}
		})
	}
}

func TestFilesThatAreNoRequest(t *testing.T) {
	t.Parallel()
	key, csr := request(t, ecWish("P-256", ""))
	_, unknownCurve := request(t, ecWish("secp256k1", ""))
	block, _ := pem.Decode(csr)
	forged := slices.Clone(block.Bytes)
	at := bytes.Index(forged, []byte("meter-1"))
	forged[at+len("meter-")] = '2'
	cert := certs.EncodeCertificates(newRoot(t, certs.P256, 0).Certificate)
	cases := map[string]struct {
		data    []byte
		problem string
	}{
		"a forged name":          {forged, "not signed with its own key"},
		"a curve unknown to TLS": {unknownCurve, "unsupported elliptic curve"},
		"a certificate":          {cert, "no certificate request in it: it holds a certificate"},
		"a key":                  {key, "no certificate request in it: it holds a private key"},
		"two":                    {slices.Concat(csr, csr), "2 certificate requests"},
		"one cut off":            {csr[:len(csr)-40], "line 1: the PEM block"},
		"DER cut off":            {block.Bytes[:len(block.Bytes)-1], "cannot be read"},
		"more after DER":         {append(slices.Clone(block.Bytes), 0), "cannot be read"},
		"text":                   {[]byte("hello"), "cannot be read"},
		"nothing":                {nil, "cannot be read"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := certs.ParseRequest(test.data)
			if got != nil || err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error is %v, want one with %q", err, test.problem)
			}
		})
	}
	if got, err := certs.ParseRequest(slices.Concat(key, csr)); err != nil || got.Subject.CommonName != "meter-1" {
		t.Errorf("a request below its key: %v", err)
	}
}

func FuzzParseRequest(f *testing.F) {
	ca := newDeviceCA(f, certs.P256)
	for _, name := range []string{"request.pem", "request-ca.pem"} {
		data := read(f, filepath.Join("testdata", name))
		block, _ := pem.Decode(data)
		f.Add(data)
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = certs.Inspect(data) // must not panic
		csr, err := certs.ParseRequest(data)
		if (err == nil) == (csr == nil) {
			t.Fatalf("request %v and %v", csr != nil, err)
		}
		if err != nil {
			return
		}
		chain, err := ca.SignDevice(csr, certs.DeviceProfile{CommonName: csr.Subject.CommonName, Days: 30})
		if err == nil && (chain[0].IsCA || chain[0].Subject.CommonName != csr.Subject.CommonName) {
			t.Fatal("a certificate for something else")
		}
		again, err := certs.ParseRequest(csr.Raw)
		if err != nil || !bytes.Equal(again.Raw, csr.Raw) {
			t.Fatalf("another request comes back: %v", err)
		}
	})
}
