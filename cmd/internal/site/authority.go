package site

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/hsm"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// maxCommonName is the longest CN (RFC 5280, ub-common-name), in characters.
const maxCommonName = 64

// authorities keeps the CA that is there, or makes or takes one.
func (i *initializer) authorities() error {
	site := i.result.Site
	if len(i.old.RootCA) > 0 {
		if err := i.keepsCA(); err != nil {
			return err
		}
		site.RootCA, site.ServerCA, site.DeviceCA = i.old.RootCA, i.old.ServerCA, i.old.DeviceCA
		site.TrustRoots = i.old.TrustRoots
		if len(site.TrustRoots) == 0 {
			site.TrustRoots = site.Anchors()
		}
		i.add(workspace.File{Name: workspace.RootFile, Data: certs.EncodeCertificates(site.TrustRoots...)})
		return i.constraints()
	}
	if i.old.Foreign() {
		return &ConflictError{
			Problem: fmt.Sprintf("devices trust the root in %s, and its CA is not here", i.ws.Path(workspace.RootFile)),
			Fix:     "if it is this site's own, put ca/ back from your backup; if tbcert fetch found it, the server has its certificate from that CA, and a CA made here would lock the devices out (another workspace, -C DIR, can have one)",
		}
	}
	if i.result.Site.Settings.ExternalRoot {
		return i.externalCA()
	}
	return i.newCA()
}

// permittedHosts is what the CA is to be limited to; none: no limit.
func (i *initializer) permittedHosts() []string {
	if !i.result.Site.Settings.NameConstraints {
		return nil
	}
	return i.result.Site.Settings.Hosts
}

// constraints issues the server CA again, with a new key, when its name
// constraints are not those of the settings. Devices trust the root and see no
// difference. (With its old key, the old certificate would still be good for
// what the new one forbids.)
func (i *initializer) constraints() error {
	site := i.result.Site
	if site.ServerCA == nil {
		return i.constrainedRoot()
	}
	if fitsConstraints(site.ServerCA, i.permittedHosts()) {
		return nil
	}
	key, err := i.readKey(workspace.RootKey)
	if errors.Is(err, fs.ErrNotExist) {
		return &ConflictError{
			Problem: fmt.Sprintf("other name constraints need a new server CA, and the root's key that signs it, %s, is not here", i.ws.Path(workspace.RootKey)),
			Fix:     "put it back for this run",
		}
	}
	if err != nil {
		return err
	}
	root, err := certs.ImportAuthority(site.RootCA, key, i.request.Maker)
	if err != nil {
		return fmt.Errorf("%s: %w", i.ws.Path(workspace.RootCert), err)
	}
	i.generation = generationMark.FindString(site.ServerCA.Subject.CommonName)
	server, err := i.issuingCA(root, certs.PurposeServer, "Server CA")
	if err != nil {
		return err
	}
	site.ServerCA, i.issuer, i.result.NewServerCA = server.Certificate, server, true
	return i.addServerCA(server)
}

// addServerCA writes a server CA, its key with a passphrase when the root's has
// one.
func (i *initializer) addServerCA(server *certs.Authority) error {
	old, err := i.ws.ReadSecret(workspace.RootKey)
	if err != nil {
		return err
	}
	var passphrase secret.Text
	if certs.KeyIsEncrypted(old) {
		if passphrase, err = i.request.Passphrase(false, i.ws.Path(workspace.RootKey)); err != nil {
			return err
		}
	}
	key, err := encodeCAKey(server.Key, passphrase)
	if err != nil {
		return err
	}
	i.add(workspace.File{Name: workspace.ServerCACert, Data: certs.EncodeCertificates(server.Certificate)})
	i.add(workspace.File{Name: workspace.ServerCAKey, Data: key, Secret: true})
	return nil
}

// constrainedRoot refuses name constraints for a root that has none.
func (i *initializer) constrainedRoot() error {
	root := i.result.Site.RootCA[0]
	if len(i.permittedHosts()) == 0 || len(certs.PermittedHosts(root)) > 0 {
		return nil
	}
	return &ConflictError{
		Problem: "the root of this single-tier site has no name constraints, and would have to be replaced for them",
		Fix:     "a CA is never replaced by init, because every device trusts it; use another workspace (-C DIR)",
	}
}

// fitsConstraints reports whether a CA is limited to these hosts and no others.
func fitsConstraints(ca *x509.Certificate, hosts []string) bool {
	return slices.Equal(sorted(certs.PermittedHosts(ca)), sorted(canonical(hosts)))
}

// keepsCA refuses what would need another CA.
func (i *initializer) keepsCA() error {
	asked := i.request
	where := i.ws.Path(workspace.RootCert)
	if asked.Import != nil && !asked.Import.Certificates[0].Equal(i.old.RootCA[0]) {
		return &ConflictError{
			Problem: fmt.Sprintf("this site has a CA already (%s, %s) and %s is another one", where, certs.Fingerprint(i.old.RootCA[0]), asked.Import.CertFile),
			Fix:     "a CA is never replaced by init, because every device trusts it; use another workspace (-C DIR) for the other CA",
		}
	}
	if asked.Settings.SingleTier && i.old.ServerCA != nil {
		return &ConflictError{
			Problem: "this site has a server CA below its root, and --single-tier asks for none",
			Fix:     "leave --single-tier away, or use another workspace (-C DIR) for a single-tier site",
		}
	}
	if i.old.ServerCA == nil && !i.result.Site.Settings.SingleTier {
		return &ConflictError{
			Problem: fmt.Sprintf("%s is missing, and the site is not single-tier", i.ws.Path(workspace.ServerCACert)),
			Fix:     "put the file back from your backup (with its key), or say --single-tier if there never was one",
		}
	}
	return nil
}

// newCA makes the root (or takes the one that was brought) and the issuing CAs.
func (i *initializer) newCA() error {
	site := i.result.Site
	root, err := i.rootAuthority()
	if err != nil {
		return err
	}
	i.result.NewCA = true
	site.RootCA = append([]*x509.Certificate{root.Certificate}, root.Issuers...)
	site.TrustRoots = []*x509.Certificate{root.Root()}
	i.issuer = root
	cas := []caFiles{{cert: workspace.RootCert, key: workspace.RootKey, authority: root, chain: site.RootCA}}
	if !site.Settings.SingleTier {
		issuing, err := i.issuingCAs(root)
		if err != nil {
			return err
		}
		cas = append(cas, issuing...)
	}
	if err := i.addCAs(cas); err != nil {
		return err
	}
	i.add(workspace.File{Name: workspace.RootFile, Data: certs.EncodeCertificates(site.TrustRoots...)})
	return nil
}

// caFiles is a CA and the files it lies in.
type caFiles struct {
	cert, key string
	authority *certs.Authority
	chain     []*x509.Certificate
}

func (i *initializer) rootAuthority() (*certs.Authority, error) {
	wanted := i.result.Site.Settings
	if brought := i.request.Import; brought != nil {
		root, err := certs.ImportAuthority(brought.Certificates, brought.Key, i.request.Maker)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", brought.CertFile, err)
		}
		if !wanted.SingleTier {
			if err := root.AllowsIssuing(); err != nil {
				return nil, fmt.Errorf("%s: %w; with --single-tier it signs the server certificate itself", brought.CertFile, err)
			}
		}
		return root, nil
	}
	pathLen, rootHosts := 1, []string(nil) // the server CA has the constraints, and can be issued again for another host
	if wanted.SingleTier {
		pathLen, rootHosts = 0, i.permittedHosts()
	}
	root, err := i.caMaker("root").NewRoot(certs.RootProfile{
		CommonName: commonName("Root CA"+i.generation, wanted.Hosts[0]), Organization: wanted.Organization,
		KeyType: certs.KeyType(wanted.KeyType), Years: wanted.RootYears, PathLen: pathLen,
		PermittedHosts: rootHosts,
	})
	if err != nil {
		return nil, fmt.Errorf("make the root CA: %w", err)
	}
	root.Maker = i.request.Maker
	return root, nil
}

func (i *initializer) issuingCAs(root *certs.Authority) ([]caFiles, error) {
	site := i.result.Site
	server, err := i.issuingCA(root, certs.PurposeServer, "Server CA")
	if err != nil {
		return nil, err
	}
	device, err := i.issuingCA(root, certs.PurposeDevice, "Device CA")
	if err != nil {
		return nil, err
	}
	site.ServerCA, site.DeviceCA = server.Certificate, device.Certificate
	i.issuer = server
	return []caFiles{
		{cert: workspace.ServerCACert, key: workspace.ServerCAKey, authority: server, chain: []*x509.Certificate{server.Certificate}},
		{cert: workspace.DeviceCACert, key: workspace.DeviceCAKey, authority: device, chain: []*x509.Certificate{device.Certificate}},
	}, nil
}

func (i *initializer) issuingCA(root *certs.Authority, purpose certs.Purpose, name string) (*certs.Authority, error) {
	wanted := i.result.Site.Settings
	var permitted []string
	if purpose == certs.PurposeServer {
		permitted = i.permittedHosts()
	}
	maker := root.Maker
	root.Maker = i.caMaker(caObject(name))
	ca, err := root.NewIssuing(certs.IssuingProfile{
		CommonName: commonName(name+i.generation, wanted.Hosts[0]), Organization: wanted.Organization,
		KeyType: certs.KeyType(wanted.KeyType), Purpose: purpose, PermittedHosts: permitted,
	})
	if err != nil {
		return nil, fmt.Errorf("make the %s: %w", name, err)
	}
	root.Maker, ca.Maker = maker, maker // leaves' keys are files
	return ca, nil
}

// caObject is what the key of a CA is called in a token, such as server-ca.
func caObject(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "-")) }

// caMaker makes the key of a CA: in a token, when there is one.
func (i *initializer) caMaker(name string) certs.Maker {
	maker := i.request.Maker
	if i.request.NewCAKey != nil {
		maker.NewKey = func(kind certs.KeyType) (crypto.Signer, error) {
			return i.request.NewCAKey(name+strings.ReplaceAll(i.generation, " ", "-"), kind)
		}
	}
	return maker
}

// commonName names a CA after its site, so that two sites' roots can be told
// apart in a trust store.
func commonName(kind, host string) string {
	name := []rune(host + " " + kind)
	if len(name) <= maxCommonName {
		return string(name)
	}
	return string(name[:maxCommonName-len(kind)-4]) + "... " + kind
}

// addCAs writes certificates and keys; keys are encrypted side by side, since
// 600,000 rounds each are meant to be slow.
func (i *initializer) addCAs(cas []caFiles) error {
	passphrase, err := i.newPassphrase()
	if err != nil {
		return err
	}
	keys := make([][]byte, len(cas))
	var group errgroup.Group
	for n, ca := range cas {
		group.Go(func() (err error) {
			keys[n], err = encodeCAKey(ca.authority.Key, passphrase)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for n, ca := range cas {
		i.add(workspace.File{Name: ca.cert, Data: certs.EncodeCertificates(ca.chain...)})
		i.add(workspace.File{Name: ca.key, Data: keys[n], Secret: true})
	}
	i.result.KeysEncrypted = !passphrase.IsZero() || i.request.NewCAKey != nil
	return nil
}

// newPassphrase is that of new CA keys; those in a token need none.
func (i *initializer) newPassphrase() (secret.Text, error) {
	if i.request.NewCAKey != nil {
		return secret.Text{}, nil
	}
	return i.request.Passphrase(true, "")
}

// encodeCAKey is what a key's file holds: the key, or where in a token it is.
func encodeCAKey(key crypto.Signer, passphrase secret.Text) ([]byte, error) {
	if kept, ok := key.(interface{ URI() string }); ok {
		return []byte(kept.URI() + "\n"), nil
	}
	if passphrase.IsZero() {
		return certs.EncodeKey(key)
	}
	return certs.EncryptKey(key, passphrase)
}

// serverIssuer is the CA that signs the server certificate, with its key: the
// one just made, or the one on the disk.
func (i *initializer) serverIssuer() (*certs.Authority, error) {
	if i.issuer != nil {
		return i.issuer, nil
	}
	site := i.result.Site
	certFile, keyFile, chain := workspace.RootCert, workspace.RootKey, site.RootCA
	if site.ServerCA != nil {
		certFile, keyFile = workspace.ServerCACert, workspace.ServerCAKey
		chain = append([]*x509.Certificate{site.ServerCA}, site.RootCA...)
	}
	if i.keyDir != "" {
		keyFile = in(i.keyDir, keyFile)
	}
	key, err := i.readKey(keyFile)
	if err != nil {
		return nil, err
	}
	authority, err := certs.ImportAuthority(chain, key, i.request.Maker)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.ws.Path(certFile), err)
	}
	return authority, nil
}

// readKey reads a CA key, asking for its passphrase when it needs one.
func (i *initializer) readKey(name string) (crypto.Signer, error) {
	data, err := i.ws.ReadSecret(name)
	if err != nil {
		return nil, err
	}
	if hsm.IsURI(data) {
		key, err := i.request.OpenKey(string(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.ws.Path(name), err)
		}
		return key, nil
	}
	var passphrase secret.Text
	if certs.KeyIsEncrypted(data) {
		if passphrase, err = i.request.Passphrase(false, i.ws.Path(name)); err != nil {
			return nil, err
		}
	}
	key, err := certs.ParseKey(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.ws.Path(name), err)
	}
	return key, nil
}
