package certs_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs"
)

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// newCRL makes the CRL of a CA, for 30 days.
func newCRL(tb testing.TB, ca *certs.Authority, number int64, revoked ...certs.RevokedCertificate) []byte {
	tb.Helper()
	crl, err := ca.NewCRL(certs.CRLProfile{Number: big.NewInt(number), Days: 30, Revoked: revoked})
	if err != nil {
		tb.Fatal(err)
	}
	return certs.EncodeCRLs(crl)
}

func revoked(serial int64, reason int) certs.RevokedCertificate {
	return certs.RevokedCertificate{Serial: big.NewInt(serial), Time: now().Add(-time.Hour), Reason: reason}
}

// OpenSSL finds the CRL's signature good, refuses the certificate on it, and
// takes the one that is not.
func TestPeersReadTheCRL(t *testing.T) {
	t.Parallel()
	for _, kind := range []certs.KeyType{certs.P256, certs.P384, certs.RSA2048, certs.Ed25519} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ca := newDeviceCA(t, kind)
			stolen, kept := issueDevice(t, ca, "meter-1"), issueDevice(t, ca, "meter-2")
			dir := t.TempDir()
			path := func(name string) string { return filepath.Join(dir, name) }
			write(t, dir, "root.pem", certs.EncodeCertificates(ca.Root()))
			write(t, dir, "ca.pem", certs.EncodeCertificates(ca.Certificate))
			write(t, dir, "other.pem", certs.EncodeCertificates(newDeviceCA(t, certs.P256).Certificate))
			write(t, dir, "crl.pem", newCRL(t, ca, 7, certs.RevokedCertificate{Serial: stolen.Chain[0].SerialNumber, Time: now(), Reason: 1}))
			for file, want := range map[string]bool{"ca.pem": true, "other.pem": false} {
				out, err := exec.Command("openssl", "crl", "-in", path("crl.pem"), "-noout", "-verify", "-CAfile", path(file)).CombinedOutput()
				if good := err == nil && strings.Contains(string(out), "verify OK"); good != want {
					t.Errorf("openssl crl with %s: %v\n%s", file, err, out)
				}
			}
			text := string(openssl(t, nil, "crl", "-in", path("crl.pem"), "-noout", "-text"))
			for _, want := range []string{"Version 2", "Key Compromise", "X509v3 CRL Number: \n                7", "Next Update: Dec 23 12:00:00 2026"} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			for issued, want := range map[*certs.Issued]string{stolen: "certificate revoked", kept: ": OK"} {
				write(t, dir, "leaf.pem", certs.EncodeCertificates(issued.Chain[0]))
				out, _ := exec.Command("openssl", "verify", "-x509_strict", "-attime", attime, "-purpose", "sslclient", "-crl_check",
					"-CAfile", path("root.pem"), "-untrusted", path("ca.pem"), "-CRLfile", path("crl.pem"), path("leaf.pem")).CombinedOutput()
				if !strings.Contains(string(out), want) {
					t.Errorf("openssl verify of %s, want %q:\n%s", issued.Chain[0].Subject, want, out)
				}
			}
		})
	}
}

func TestCRLHoldsWhatIsRevoked(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	early := certs.RevokedCertificate{Serial: big.NewInt(5), Time: now().Add(-48 * time.Hour), Reason: 4}
	first, err := certs.ParseCRL(newCRL(t, ca, 1, revoked(9, 0), revoked(5, 1), early, revoked(3, 5)))
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Serial int64
		Time   time.Time
		Reason int
	}
	var got []entry
	for _, one := range first.RevokedCertificateEntries {
		got = append(got, entry{one.SerialNumber.Int64(), one.RevocationTime.UTC(), one.ReasonCode})
	}
	want := []entry{{3, now().Add(-time.Hour), 5}, {5, now().Add(-48 * time.Hour), 4}, {9, now().Add(-time.Hour), 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if first.Number.Int64() != 1 || !first.ThisUpdate.Equal(now()) || !first.NextUpdate.Equal(now().AddDate(0, 0, 30)) || !bytes.Equal(first.AuthorityKeyId, ca.Certificate.SubjectKeyId) {
		t.Errorf("number %v, from %v to %v", first.Number, first.ThisUpdate, first.NextUpdate)
	}
	if err := first.CheckSignatureFrom(ca.Certificate); err != nil {
		t.Error(err)
	}
	other, err := certs.ParseCRL(newCRL(t, ca, 1, revoked(3, 5), early, revoked(9, 0)))
	if err != nil || !bytes.Equal(other.RawTBSRevocationList, first.RawTBSRevocationList) {
		t.Errorf("in another order it is another list (%v)", err)
	}
	if len(first.RevokedCertificateEntries[2].Extensions) != 0 {
		t.Error("an unspecified reason is written down (RFC 5280, 5.3.1)")
	}
}

func TestCRLEndsWithItsCA(t *testing.T) {
	t.Parallel()
	root, err := maker().NewRoot(certs.RootProfile{CommonName: "short", KeyType: certs.P256, Years: 1})
	if err != nil {
		t.Fatal(err)
	}
	crl, err := root.NewCRL(certs.CRLProfile{Number: big.NewInt(1), Days: 4000})
	if err != nil || !crl.NextUpdate.Equal(root.Certificate.NotAfter) {
		t.Errorf("next update %v (%v)", crl.NextUpdate, err)
	}
	root.Maker.Now = func() time.Time { return now().AddDate(1, 0, 1) }
	if _, err := root.NewCRL(certs.CRLProfile{Number: big.NewInt(2), Days: 30}); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("an expired CA: %v", err)
	}
}

func TestCRLRefusals(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	one := big.NewInt(1)
	cases := map[string]struct {
		profile certs.CRLProfile
		problem string
	}{
		"no days":           {certs.CRLProfile{Number: one}, "0 days"},
		"no number":         {certs.CRLProfile{Days: 1}, "needs a number"},
		"a negative number": {certs.CRLProfile{Days: 1, Number: big.NewInt(-1)}, "needs a number"},
		"21 octets":         {certs.CRLProfile{Days: 1, Number: new(big.Int).Lsh(one, 160)}, "20 octets"},
		"no serial number":  {certs.CRLProfile{Days: 1, Number: one, Revoked: []certs.RevokedCertificate{{Time: now()}}}, "serial number"},
		"a serial of 0":     {certs.CRLProfile{Days: 1, Number: one, Revoked: []certs.RevokedCertificate{revoked(0, 0)}}, "serial number"},
		"no time":           {certs.CRLProfile{Days: 1, Number: one, Revoked: []certs.RevokedCertificate{{Serial: one}}}, "at no time"},
		"no such reason":    {certs.CRLProfile{Days: 1, Number: one, Revoked: []certs.RevokedCertificate{revoked(1, 7)}}, "reason 7"},
		"a delta's reason":  {certs.CRLProfile{Days: 1, Number: one, Revoked: []certs.RevokedCertificate{revoked(1, 8)}}, "reason 8"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crl, err := ca.NewCRL(test.profile)
			if crl != nil || err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error is %v, want one with %q", err, test.problem)
			}
		})
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	want := map[string]int{"unspecified": 0, "keyCompromise": 1, "affiliationChanged": 3, "superseded": 4, "cessationOfOperation": 5, "privilegeWithdrawn": 9}
	if len(certs.ReasonNames()) != len(want) {
		t.Errorf("the reasons are %v", certs.ReasonNames())
	}
	for name, code := range want {
		for _, text := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got, err := certs.ParseReason(text); err != nil || got != code {
				t.Errorf("%q is %d (%v)", text, got, err)
			}
		}
		if got := certs.ReasonName(code); got != name {
			t.Errorf("%d is %q", code, got)
		}
	}
	for _, name := range []string{"", "cACompromise", "removeFromCRL", "other"} {
		if _, err := certs.ParseReason(name); err == nil || !strings.Contains(err.Error(), "keyCompromise") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if certs.ReasonName(2) != "cACompromise" || certs.ReasonName(7) != "reason 7" {
		t.Error("names of other CAs' reasons")
	}
}

func TestParseCRL(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	data := newCRL(t, ca, 1, revoked(5, 1))
	block, _ := pem.Decode(data)
	for name, test := range map[string]struct {
		data    []byte
		problem string // "" for success
	}{
		"PEM":           {data, ""},
		"DER":           {block.Bytes, ""},
		"below another": {append(certs.EncodeCertificates(ca.Certificate), data...), ""},
		"a certificate": {certs.EncodeCertificates(ca.Certificate), "no revocation list in it: it holds a certificate"},
		"cut off":       {data[:len(data)-40], "line 1: the PEM block"},
		"DER cut off":   {block.Bytes[:len(block.Bytes)-1], "not a certificate revocation list"},
		"nothing":       {nil, "not a certificate revocation list"},
	} {
		crl, err := certs.ParseCRL(test.data)
		switch {
		case test.problem == "" && (err != nil || !bytes.Equal(crl.Raw, block.Bytes)):
			t.Errorf("%s: %v", name, err)
		case test.problem != "" && (crl != nil || err == nil || !strings.Contains(err.Error(), test.problem)):
			t.Errorf("%s: error is %v, want one with %q", name, err, test.problem)
		}
	}
}

// What inspect tells of requests, lists and device certificates, in JSON.
func TestInspectRequestsAndLists(t *testing.T) {
	t.Parallel()
	ca := newDeviceCA(t, certs.P256)
	_, csr := request(t, ecWish("P-256", "subjectAltName=DNS:tb.example.com,IP:192.0.2.1"))
	csrBlock, _ := pem.Decode(csr)
	crl := newCRL(t, ca, 7, revoked(5, 1), revoked(6, 0))
	crlBlock, _ := pem.Decode(crl)
	for name, test := range map[string]struct {
		data []byte
		want string // JSON, with … for what differs each time
	}{
		"request": {csr, `[{"kind":"certificate request","line":1,"request":{"subject":"CN=meter-1","hosts":["tb.example.com","192.0.2.1"],"key_type":"p256","signature_algorithm":"ECDSA-SHA256","asks_for_ca":false,"public_key_fingerprint":"…"}}]`},
		"list":    {crl, `[{"kind":"revocation list","line":1,"crl":{"issuer":"CN=tb.example.com CA","number":"7","this_update":"2026-11-23T12:00:00Z","next_update":"2026-12-23T12:00:00Z","entries":2,"signature_algorithm":"ECDSA-SHA256","authority_key_id":"…","fingerprint":"…"}}]`},
	} {
		objects, err := certs.Inspect(test.data)
		if err != nil {
			t.Fatal(err)
		}
		if len(objects) == 1 && objects[0].Request != nil {
			objects[0].Request.PublicKey = "…"
		}
		if len(objects) == 1 && objects[0].CRL != nil {
			objects[0].CRL.AuthorityKeyID, objects[0].CRL.Fingerprint = "…", "…"
		}
		got, err := json.Marshal(objects)
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %s (%v)", name, got, err)
		}
	}
	for _, der := range [][]byte{csrBlock.Bytes, crlBlock.Bytes} {
		objects, err := certs.Inspect(der)
		if err != nil || len(objects) != 1 || (objects[0].Request == nil) == (objects[0].CRL == nil) || objects[0].Line != 0 {
			t.Errorf("DER: %+v (%v)", objects, err)
		}
	}
}

// ThingsBoard's id is told of what may be a device's: also of the self-signed
// certificate that OpenSSL makes, which says CA:TRUE; and not of a CA.
func TestInspectCredentialsID(t *testing.T) {
	t.Parallel()
	device, err := certs.Inspect(read(t, filepath.Join("testdata", "device.pem")))
	if err != nil {
		t.Fatal(err)
	}
	if got := device[0].Certificate; !got.IsCA || got.CredentialsID != knownCredentialsID {
		t.Errorf("%+v", got)
	}
	if got := certs.Describe(newDeviceCA(t, certs.P256).Certificate).CredentialsID; got != "" {
		t.Errorf("a CA has the id %s", got)
	}
}

func TestParseCRLs(t *testing.T) {
	t.Parallel()
	first, second := newCRL(t, newDeviceCA(t, certs.P256), 1, revoked(5, 1)), newCRL(t, newDeviceCA(t, certs.P256), 2)
	crls, err := certs.ParseCRLs(slices.Concat(first, second))
	if err != nil || len(crls) != 2 || !bytes.Equal(certs.EncodeCRLs(crls...), slices.Concat(first, second)) {
		t.Fatalf("%d lists, %v", len(crls), err)
	}
	if crls, err := certs.ParseCRLs(slices.Concat(first, second[:len(second)-40])); crls != nil || err == nil {
		t.Errorf("the second is cut off: %d lists, %v", len(crls), err)
	}
}

func FuzzParseCRL(f *testing.F) {
	ca := newDeviceCA(f, certs.P256)
	data := newCRL(f, ca, 1, revoked(5, 1), revoked(6, 0))
	block, _ := pem.Decode(data)
	f.Add(data)
	f.Add(block.Bytes)
	f.Add(newCRL(f, ca, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		crl, err := certs.ParseCRL(data)
		if (err == nil) == (crl == nil) {
			t.Fatalf("list %v and %v", crl != nil, err)
		}
		if err != nil {
			return
		}
		if again, err := certs.ParseCRL(certs.EncodeCRLs(crl)); err != nil || !bytes.Equal(again.Raw, crl.Raw) {
			t.Fatalf("another list comes back: %v", err)
		}
		if objects, err := certs.Inspect(certs.EncodeCRLs(crl)); err != nil || objects[0].CRL.Entries != len(crl.RevokedCertificateEntries) {
			t.Fatalf("%+v, %v", objects, err)
		}
	})
}
