package verify_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// revoking is a CA whose certificates name OpenSSL's OCSP responder, and CRLs
// that OpenSSL made.
type revoking struct {
	issuing, other *pair
	dir            string
	lists          map[string][]byte // CRLs by their path
	web            *httptest.Server

	leaves  map[string]*pair  // by what is told of them
	stapled map[string]string // files with OCSP responses
	staples map[string]*pair  // the certificates that they are for
}

func newRevoking(t *testing.T, issuing *pair) *revoking {
	t.Helper()
	p := &revoking{
		issuing: issuing, other: newRoot(t, "Site Server CA", crlSigner), dir: t.TempDir(),
		lists: map[string][]byte{}, leaves: map[string]*pair{}, stapled: map[string]string{}, staples: map[string]*pair{},
	}
	p.web = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.web.Close)
	responder, impostor, closed := freePort(t), freePort(t), freePort(t)
	at := func(port int) edit {
		return func(c *x509.Certificate) { c.OCSPServer = []string{fmt.Sprintf("http://127.0.0.1:%d", port)} }
	}
	for name, e := range map[string][]edit{
		"OCSP good": {at(responder)}, "OCSP revoked": {at(responder)}, "OCSP unknown": {at(responder)},
		"OCSP impostor": {at(impostor)}, "OCSP closed": {at(closed)},
		"OCSP second address": {func(c *x509.Certificate) {
			c.OCSPServer = []string{"ldap://ca.example.com", fmt.Sprintf("http://127.0.0.1:%d", closed), fmt.Sprintf("http://127.0.0.1:%d", responder)}
		}},
		"OCSP and CRL": {at(responder), p.list("good.crl")}, "OCSP good, CRL gone": {at(responder), p.list("gone.crl")},
		"CRL good": {p.list("good.crl")}, "CRL in PEM": {p.list("good.pem")}, "CRL revoked": {p.list("good.crl")},
		"CRL revoked, old list": {p.list("stale.crl")}, "CRL stale": {p.list("stale.crl")}, "CRL of the future": {p.list("future.crl")},
		"CRL gone": {p.list("gone.crl")}, "CRL too large": {p.list("large.crl")}, "CRL silent": {p.list("silent.crl")},
		"CRL of another key": {p.list("other.crl")}, "CRL of another CA": {p.list("stranger.crl")}, "CRL redirected": {p.list("redirect.crl")},
		"CRL in a circle": {p.list("circle.crl")}, "CRL no list": {p.list("page.html")}, "CRL partitioned": {p.list("users.crl")},
		"CRL of another partition": {p.list("elsewhere.crl")}, "CRL of CAs": {p.list("cas.crl")}, "CRL indirect": {p.list("indirect.crl")},
		"CRL critical": {p.list("critical.crl")}, "CRL damaged scope": {p.list("damaged.crl")},
		"stapled damaged": {}, "stapled bare": {}, "stapled bare, other key": {}, "stapled other key": {}, "stapled old responder": {},
		"stapled good": {}, "stapled revoked": {}, "stapled old": {}, "stapled undated": {}, "stapled undated, old": {}, "stapled old, fetched": {at(responder)}, "stapled impostor": {},
	} {
		leaf := issuing.leaf(t, e...)
		if strings.HasPrefix(name, "stapled") {
			p.staples[name] = leaf
		} else {
			p.leaves[name] = leaf
		}
	}
	p.index(t)
	p.makeLists(t)
	p.respond(t, responder, p.issuing.leaf(t, usage(x509.ExtKeyUsageOCSPSigning)))
	p.respond(t, impostor, p.issuing.leaf(t))
	p.staple(t)
	return p
}

func crlSigner(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }

// list names a CRL in a certificate.
func (p *revoking) list(path string) edit {
	return func(c *x509.Certificate) { c.CRLDistributionPoints = []string{p.web.URL + "/" + path} }
}

func (p *revoking) serve(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimPrefix(r.URL.Path, "/"); {
	case path == "redirect.crl":
		http.Redirect(w, r, "/good.crl", http.StatusFound)
	case path == "circle.crl":
		http.Redirect(w, r, "/circle.crl", http.StatusFound)
	case path == "silent.crl":
		<-r.Context().Done()
	case p.lists[path] != nil:
		_, _ = w.Write(p.lists[path])
	default:
		http.NotFound(w, r)
	}
}

// index writes OpenSSL's database of what the CA issued: everything is good but
// what is called revoked, and what is called unknown is not in it.
func (p *revoking) index(t *testing.T) {
	t.Helper()
	var text strings.Builder
	for _, all := range []map[string]*pair{p.leaves, p.staples} {
		for name, leaf := range all {
			state, revoked := "V", ""
			switch {
			case strings.Contains(name, "unknown"):
				continue
			case strings.Contains(name, "revoked"):
				state, revoked = "R", time.Now().Add(-2*day).UTC().Format("060102150405Z")+",keyCompromise"
			}
			fmt.Fprintf(&text, "%s\t%s\t%s\t%s\tunknown\t/CN=%s\n", state, leaf.cert.NotAfter.UTC().Format("060102150405Z"), revoked, serial(leaf), serial(leaf))
		}
	}
	write(t, p.file("index.txt"), []byte(text.String()))
}

func (p *revoking) file(name string) string { return filepath.Join(p.dir, name) }

// serial is as OpenSSL's database has it.
func serial(p *pair) string {
	text := fmt.Sprintf("%X", p.cert.SerialNumber)
	if len(text)%2 == 1 {
		text = "0" + text
	}
	return text
}

// tool runs openssl.
func tool(tb testing.TB, args ...string) {
	tb.Helper()
	if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		tb.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// respond starts OpenSSL's OCSP responder, and asks it until it answers: it
// spins on a connection that says nothing, so that answers cannot look for it.
func (p *revoking) respond(t *testing.T, port int, signer *pair) {
	t.Helper()
	issuing, _ := p.issuing.alone().files(t)
	cert, key := signer.alone().files(t)
	start(t, nil, "openssl", "ocsp", "-port", fmt.Sprint(port), "-index", p.file("index.txt"), "-CA", issuing, "-rsigner", cert, "-rkey", key, "-ndays", "1")
	request, err := ocsp.CreateRequest(signer.cert, p.issuing.cert, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d", port), "application/ocsp-request", bytes.NewReader(request))
		if err == nil {
			response.Body.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("OpenSSL's OCSP responder does not answer: %v", err)
		}
	}
}

// staple makes OCSP responses to be presented in the handshake. One without
// -nmin says nothing of a next update, one with -resp_no_certs not who signed.
func (p *revoking) staple(t *testing.T) {
	t.Helper()
	issuing, _ := p.issuing.alone().files(t)
	i := 0
	for name, leaf := range p.staples {
		i++
		request, response := p.file(fmt.Sprintf("%d.req", i)), p.file(fmt.Sprintf("%d.resp", i))
		cert, _ := leaf.alone().files(t)
		tool(t, "ocsp", "-issuer", issuing, "-cert", cert, "-no_nonce", "-reqout", request)
		signer, key := p.signer(t, name).alone().files(t)
		args := []string{"ocsp", "-index", p.file("index.txt"), "-CA", issuing, "-rsigner", signer, "-rkey", key, "-reqin", request, "-respout", response}
		if !strings.Contains(name, "undated") {
			args = append(args, "-nmin", "5")
		}
		if strings.Contains(name, "bare") {
			args = append(args, "-resp_no_certs")
		}
		tool(t, args...)
		p.stapled[name] = response
	}
	write(t, p.stapled["stapled damaged"], []byte("no response"))
}

// signer signs the response of a name.
func (p *revoking) signer(t *testing.T, name string) *pair {
	t.Helper()
	responder := usage(x509.ExtKeyUsageOCSPSigning)
	switch {
	case strings.Contains(name, "impostor"):
		return p.issuing.leaf(t)
	case strings.Contains(name, "other key"):
		return p.other.leaf(t, responder)
	case strings.Contains(name, "old responder"):
		return p.issuing.leaf(t, responder, lives(-90*day, -day))
	default:
		return p.issuing
	}
}

// makeLists makes the CRLs: with OpenSSL, and by the library those that it does
// not make.
func (p *revoking) makeLists(t *testing.T) {
	t.Helper()
	conf := fmt.Sprintf("[ca]\ndefault_ca=c\n[c]\ndatabase=%s\ndefault_md=sha256\n[users]\nissuingDistributionPoint=critical,@u\n[u]\nfullname=URI:%s/users.crl\nonlyuser=TRUE\n"+
		"[elsewhere]\nissuingDistributionPoint=critical,@e\n[e]\nfullname=URI:%s/other.crl\n[cas]\nissuingDistributionPoint=critical,@a\n[a]\nonlyCA=TRUE\n[indirect]\nissuingDistributionPoint=critical,@i\n[i]\nindirectCRL=TRUE\n",
		p.file("index.txt"), p.web.URL, p.web.URL)
	write(t, p.file("ca.conf"), []byte(conf))
	p.lists["good.pem"] = p.crl(t, p.issuing)
	p.lists["good.crl"] = p.crl(t, p.issuing, "DER")
	p.lists["other.crl"] = p.crl(t, p.other)
	p.lists["stranger.crl"] = p.crl(t, newRoot(t, "Stranger CA", crlSigner))
	for _, extension := range []string{"users", "elsewhere", "cas", "indirect"} {
		p.lists[extension+".crl"] = p.crl(t, p.issuing, "-crlexts", extension)
	}
	p.lists["large.crl"] = make([]byte, 1<<20+1)
	p.lists["page.html"] = []byte("<html>moved</html>")
	revoked := []x509.RevocationListEntry{{SerialNumber: p.leaves["CRL revoked, old list"].cert.SerialNumber, RevocationTime: time.Now().Add(-30 * day)}}
	p.lists["stale.crl"] = p.made(t, &x509.RevocationList{ThisUpdate: time.Now().Add(-10 * day), NextUpdate: time.Now().Add(-3 * day), RevokedCertificateEntries: revoked})
	p.lists["future.crl"] = p.made(t, &x509.RevocationList{ThisUpdate: time.Now().Add(day), NextUpdate: time.Now().Add(3 * day)})
	for name, extension := range map[string]pkix.Extension{
		"critical.crl": {Id: asn1.ObjectIdentifier{2, 5, 29, 99}, Critical: true, Value: []byte{5, 0}},
		"damaged.crl":  {Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{5, 0}},
	} {
		p.lists[name] = p.made(t, &x509.RevocationList{ThisUpdate: time.Now().Add(-day), NextUpdate: time.Now().Add(day), ExtraExtensions: []pkix.Extension{extension}})
	}
}

// crl has OpenSSL make a CRL of the database.
func (p *revoking) crl(t *testing.T, ca *pair, args ...string) []byte {
	t.Helper()
	cert, key := ca.alone().files(t)
	out := p.file("made.crl")
	der := len(args) == 1
	if der {
		args = nil
	}
	tool(t, append([]string{"ca", "-config", p.file("ca.conf"), "-gencrl", "-crldays", "7", "-cert", cert, "-keyfile", key, "-out", out}, args...)...)
	if der {
		tool(t, "crl", "-in", out, "-outform", "DER", "-out", out)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// made is a CRL by the library.
func (p *revoking) made(t *testing.T, list *x509.RevocationList) []byte {
	t.Helper()
	list.Number = big.NewInt(1)
	issuer := *p.issuing.cert
	issuer.SubjectKeyId = []byte{1}
	der, err := x509.CreateRevocationList(rand.Reader, list, &issuer, p.issuing.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
