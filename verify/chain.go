package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tbcert/tbcert/certs"
)

// judgeChain tells whether the chain leads to a trusted root, dates apart.
func (r *run) judgeChain(context.Context) finding {
	p := r.chain
	switch {
	case p.dated != nil:
		return pass(fmt.Sprintf("leads to %s, one of %s, which is out of date", subject(p.dated), r.target.rootsName()))
	case p.err != nil:
		return r.brokenChain(p.err)
	case p.refusal != nil && !r.explained():
		return r.brokenChain(p.refusal)
	}
	root := p.path[len(p.path)-1]
	if !selfIssued(root) {
		return r.notRoot(root)
	}
	names := make([]string, len(p.path))
	for i, cert := range p.path {
		names[i] = subject(cert)
	}
	if len(p.path) == 1 {
		return pass(fmt.Sprintf("%s is itself one of %s, %s", names[0], r.target.rootsName(), certs.Fingerprint(root)))
	}
	return pass(fmt.Sprintf("%s; the root is in %s, %s", strings.Join(names, " < "), r.target.rootsName(), certs.Fingerprint(root)))
}

// explained reports whether another check will say why the handshake refused
// the certificate.
func (r *run) explained() bool {
	if !r.chain.usable || r.chain.leaf().VerifyHostname(r.target.Host) != nil {
		return true
	}
	return slices.ContainsFunc(r.chain.dates(), func(cert *x509.Certificate) bool {
		return r.now.Before(cert.NotBefore) || r.now.After(cert.NotAfter)
	})
}

// brokenChain finds out why no path leads to a trusted root.
func (r *run) brokenChain(err error) finding {
	var unknown x509.UnknownAuthorityError
	var system x509.SystemRootsError
	switch {
	case errors.As(err, &unknown):
		return r.unknownIssuer()
	case errors.As(err, &system):
		return finding{
			id: ChainNoRoots, status: StatusFail,
			detail: fmt.Sprintf("%s; no roots to trust were given, and this machine has none: %v", r.presentedText(), system.Err),
			cause:  "Without a root nothing can be trusted. A slim container has no list of public roots, and your own CA's root is in no such list.",
			fix:    "Give the root with --cafile ca-root.pem; for a server with a public certificate, install the system's roots: 'sudo apt-get install ca-certificates'.",
		}
	default:
		return finding{
			id: ChainRule, status: StatusFail,
			detail: fmt.Sprintf("%s: %s", r.presentedText(), strings.TrimPrefix(err.Error(), "x509: ")),
			cause:  "The signatures lead to a trusted root, and a certificate on the way breaks a rule for CAs (RFC 5280, section 6): its path length, its name constraints, an extension that is critical and unknown, or a signature algorithm that is too weak.",
			fix:    "Look at each certificate with 'tbcert inspect " + r.address() + "'. A chain that tbcert makes keeps these rules: 'tbcert init', then install server/mqttserver.pem.",
		}
	}
}

// top follows the presented chain upwards as far as it goes, in whatever order
// it came.
func (p *presented) top() *x509.Certificate {
	top := p.leaf()
	for range p.certs {
		next := slices.IndexFunc(p.certs, func(cert *x509.Certificate) bool {
			return !cert.Equal(top) && bytes.Equal(cert.RawSubject, top.RawIssuer) && p.signed(cert, top)
		})
		if next < 0 || selfIssued(top) {
			break
		}
		top = p.certs[next]
	}
	return top
}

// mostSignatures is how many signatures are looked at in one chain, as many as
// the library looks at: a chain of hundreds of CAs of one name would cost minutes.
const mostSignatures = 100

// signed is the function of that name, which says no once it was asked too often.
func (p *presented) signed(parent, child *x509.Certificate) bool {
	p.signatures++
	return p.signatures <= mostSignatures && signed(parent, child)
}

// signed reports whether the parent's key made the child's signature, whether
// or not the parent may sign certificates.
func signed(parent, child *x509.Certificate) bool {
	return parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}

func selfIssued(cert *x509.Certificate) bool { return bytes.Equal(cert.RawSubject, cert.RawIssuer) }

// unknownIssuer tells apart: an issuer on the way that is no CA, a root of the
// same name with another key, an intermediate that was not sent, and another
// root altogether.
func (r *run) unknownIssuer() finding {
	top := r.chain.top()
	for _, issuer := range slices.Concat(r.target.Roots, r.chain.certs) {
		if !issuer.IsCA && bytes.Equal(issuer.RawSubject, top.RawIssuer) && !issuer.Equal(top) && r.chain.signed(issuer, top) {
			return r.notCA(issuer)
		}
	}
	for _, root := range r.target.Roots {
		if bytes.Equal(root.RawSubject, top.RawIssuer) {
			return r.otherKey(root, top)
		}
	}
	missing := r.wouldFit()
	switch {
	case r.trustsLeaf():
		return r.notRoot(r.target.Roots[0])
	case missing != nil:
		return r.missingIntermediate(top, missing)
	default:
		return r.gapOrOther(top)
	}
}

// gapOrOther tells an intermediate that was not sent from another root
// altogether, where nothing known proves either.
func (r *run) gapOrOther(top *x509.Certificate) finding {
	if selfIssued(top) || len(r.chain.certs) > 1 || r.rootsSignLeaves() || callsItselfRoot(top.Issuer) {
		return r.wrongRoot(top)
	}
	return r.missingIntermediate(top, nil)
}

// trustsLeaf reports whether all that is trusted is one certificate that can be
// no root: neither a CA nor signed by itself.
func (r *run) trustsLeaf() bool {
	return len(r.target.Roots) == 1 && !r.target.Roots[0].IsCA && !selfIssued(r.target.Roots[0])
}

// wouldFit gives the certificate that was not sent and with which the chain would
// lead to a trusted root; nil when none of the known ones does.
func (r *run) wouldFit() *x509.Certificate {
	for _, known := range r.target.Intermediates {
		if p := r.present(append(slices.Clone(r.chain.certs), known), nil); p.path != nil {
			return known
		}
	}
	return nil
}

// notRoot is a trusted certificate that did not sign itself. Go, Java and mbedTLS
// stop there; OpenSSL, and so mosquitto_pub, goes on looking for its issuer
// (X509_V_FLAG_PARTIAL_CHAIN is off).
func (r *run) notRoot(trusted *x509.Certificate) finding {
	found := finding{
		id:     ChainRootIsLeaf,
		status: StatusFail,
		detail: fmt.Sprintf("%s in %s is not a root: %s signed it (%s)", subject(trusted), r.target.rootsName(), issuerName(trusted), certs.Fingerprint(trusted)),
		cause: fmt.Sprintf("%s holds an intermediate certificate in place of the root. Some TLS stacks stop at it; OpenSSL, and so mosquitto_pub and many devices, look for the one that signed it and refuse.",
			r.target.rootsName()),
		fix: fmt.Sprintf("Give devices the root itself, %s: 'tbcert inspect %s' shows what the server sends, and the ca-root.pem of the workspace that made the certificate is right.", issuerName(trusted), r.address()),
	}
	if !trusted.IsCA {
		found.detail = fmt.Sprintf("%s in %s is a server's certificate, not a root: %s signed it (%s)", subject(trusted), r.target.rootsName(), issuerName(trusted), certs.Fingerprint(trusted))
		found.cause = fmt.Sprintf("%s holds the server's own certificate in place of its root. OpenSSL, and so mosquitto_pub, refuses that, and the devices would lose the server at its next renewal.", r.target.rootsName())
	}
	return found
}

// callsItselfRoot reports whether a name is that of a root, as people and
// public CAs name theirs. A server is not to send its root, so a leaf that came
// alone shows by nothing else whether its issuer is one.
func callsItselfRoot(name pkix.Name) bool {
	return strings.Contains(strings.ToLower(name.CommonName), "root")
}

// rootsSignLeaves reports whether every trusted root allows no CA below it, so
// that an intermediate cannot be what is missing.
func (r *run) rootsSignLeaves() bool {
	return len(r.target.Roots) > 0 && !slices.ContainsFunc(r.target.Roots, func(root *x509.Certificate) bool {
		return root.IsCA && (root.MaxPathLen != 0 || !root.MaxPathLenZero)
	})
}

func (r *run) notCA(issuer *x509.Certificate) finding {
	return finding{
		id: ChainRootIsLeaf, status: StatusFail,
		detail: fmt.Sprintf("%s signed the server's certificate, and is not a CA: its basic constraints do not say CA:TRUE (%s)", subject(issuer), certs.Fingerprint(issuer)),
		cause: fmt.Sprintf("The certificate in %s was made like a server's (an openssl line without the CA extensions, or keytool without -ext bc:c), so nothing it signs is trusted. mosquitto_pub and most devices refuse it too.",
			r.target.rootsName()),
		fix: "Make a root that is a CA: 'tbcert init --host " + r.target.Host + "' in a new directory, install its server/mqttserver.pem on the server, and give its ca-root.pem to the devices.",
	}
}

// otherKey is a root that was made again under its old name.
func (r *run) otherKey(root, top *x509.Certificate) finding {
	return finding{
		id: ChainRootRemade, status: StatusFail,
		detail: fmt.Sprintf("%s; it was signed by a root named %s, and the root of that name in %s has another key (%s)", r.presentedText(), subject(root), r.target.rootsName(), certs.Fingerprint(root)),
		cause:  fmt.Sprintf("The root was made again under the same name: the server's %s comes from one of the two, the devices trust the other.", subject(top)),
		fix: "Bring both from one place: either install the workspace's server/mqttserver.pem on the server and restart ThingsBoard, or copy the ca-root.pem that belongs to the server's certificate to the devices. " +
			"Compare fingerprints: 'tbcert inspect ca-root.pem'.",
	}
}

func (r *run) wrongRoot(top *x509.Certificate) finding {
	signer := issuerName(top)
	if root := r.publicRoot(); root != nil {
		signer = fmt.Sprintf("the public CA %s (%s)", subject(root), certs.Fingerprint(root))
	} else if selfIssued(top) {
		signer += fmt.Sprintf(" (%s)", certs.Fingerprint(top))
	}
	id := ChainOtherCA
	if selfIssued(top) && top.Equal(r.chain.leaf()) {
		id = ChainSelfSigned
	}
	return finding{
		id: id, status: StatusFail,
		detail: fmt.Sprintf("%s; signed in the end by %s, which is not in %s (%s)", r.presentedText(), signer, r.target.rootsName(), r.trustedText()),
		cause:  fmt.Sprintf("The server's certificate comes from another CA than the one that is trusted here: %s is not the root of this server, or the server still has an older certificate.", r.target.rootsName()),
		fix: fmt.Sprintf("If the server has the right certificate, give the root %s: --cafile FILE, and copy that file to the devices. "+
			"If not, install the workspace's server/mqttserver.pem on the server, then 'sudo systemctl restart thingsboard'. 'openssl s_client -connect %s -showcerts' shows what it presents.", signer, r.address()),
	}
}

// publicRoot gives the root that this machine trusts and that the chain leads to;
// nil when there is none.
func (r *run) publicRoot() *x509.Certificate {
	if r.target.Roots == nil {
		return nil
	}
	public := *r
	public.target.Roots = nil
	p := public.present(r.chain.certs, nil)
	if p.path == nil {
		return nil
	}
	return p.path[len(p.path)-1]
}

// missingIntermediate is a chain with a gap; missing is what fills it, if that is
// known.
func (r *run) missingIntermediate(top, missing *x509.Certificate) finding {
	signer := issuerName(top)
	if missing != nil {
		return finding{
			id:     ChainMissingIntermediate,
			status: StatusFail,
			detail: fmt.Sprintf("%s without %s (%s); with it the chain leads to %s", r.presentedText(), subject(missing), certs.Fingerprint(missing), r.target.rootsName()),
			cause:  fmt.Sprintf("An intermediate certificate is missing: the file of MQTT_SSL_PEM_CERT does not hold %s. Browsers fetch it themselves, devices do not.", subject(missing)),
			fix: "Install server/mqttserver.pem of the workspace, which holds the whole chain, as MQTT_SSL_PEM_CERT, then 'sudo systemctl restart thingsboard'. " +
				"By hand: the server's certificate first, then the intermediate, in one file.",
		}
	}
	return finding{
		id: ChainMissingIntermediate, status: StatusFail,
		detail: fmt.Sprintf("%s alone; it was signed by %s%s, which was not sent and is not in %s (%s)", r.presentedText(), signer, keyIDText(top), r.target.rootsName(), r.trustedText()),
		cause: fmt.Sprintf("An intermediate certificate is missing: the file of MQTT_SSL_PEM_CERT holds the server's own certificate only, and not %s that signed it. Browsers fetch it themselves, devices do not.",
			signer),
		fix: fmt.Sprintf("Put the whole chain into that file, the server's certificate first, then %s: 'cat server.pem intermediate.pem > mqttserver.pem' (tbcert's server/mqttserver.pem is whole), then 'sudo systemctl restart thingsboard'. "+
			"If %s is a root itself, then this is another CA than the trusted one: give its certificate with --cafile.", signer, signer),
	}
}

// presentedText names what the server presented.
func (r *run) presentedText() string {
	leaf := r.chain.leaf()
	return fmt.Sprintf("the server presented %s (%s)", subject(leaf), certs.Fingerprint(leaf))
}

// trustedText names the roots that are trusted.
func (r *run) trustedText() string {
	const most = 3
	if r.target.Roots == nil {
		return "public CAs, unless somebody added one"
	}
	var names []string
	for i, root := range r.target.Roots {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(r.target.Roots)-most))
			break
		}
		names = append(names, subject(root)+" "+certs.Fingerprint(root))
	}
	if len(names) == 0 {
		return "no certificate at all"
	}
	return strings.Join(names, ", ")
}

func keyIDText(cert *x509.Certificate) string {
	if len(cert.AuthorityKeyId) == 0 {
		return ""
	}
	return fmt.Sprintf(" (key %X)", cert.AuthorityKeyId)
}

// subject names a certificate for people. Quoted, because a server may send
// any characters.
func subject(cert *x509.Certificate) string {
	if text := cert.Subject.String(); text != "" {
		return fmt.Sprintf("%q", text)
	}
	if hosts := certs.Hosts(cert); len(hosts) > 0 {
		return fmt.Sprintf("%q", hosts[0])
	}
	return "a certificate without a subject"
}

func issuerName(cert *x509.Certificate) string {
	if selfIssued(cert) {
		return subject(cert) + " itself"
	}
	return fmt.Sprintf("%q", cert.Issuer.String())
}
