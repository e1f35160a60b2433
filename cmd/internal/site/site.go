// Package site is a site's certificates and settings as they lie in its
// workspace: what there is ([Load]), what init makes of it ([Init]), and what
// is wrong with it ([Examine]).
//
// It reads through the workspace and computes in memory; the caller commits
// what it returns, in one step.
package site

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// ErrNoSite says that the workspace holds no site yet.
var ErrNoSite = errors.New("there is no site here")

// Site is what lies in a workspace. A certificate that is not there is nil.
type Site struct {
	Settings   settings.Site       // as the file has them; WithDefaults fills the rest
	Yaml       []byte              // tbcert.yaml as it is; nil when it is not there
	RootCA     []*x509.Certificate // ca/root.pem: the CA, then its issuers when it was brought and is no root
	ServerCA   *x509.Certificate
	DeviceCA   *x509.Certificate
	Server     []*x509.Certificate // server/mqttserver.pem: leaf first
	ServerKey  crypto.Signer
	TrustRoots []*x509.Certificate // ca-root.pem
}

// Host is the name under which devices reach the server.
func (s *Site) Host() string {
	if len(s.Settings.Hosts) == 0 {
		return ""
	}
	return s.Settings.Hosts[0]
}

// Intermediates are the CA certificates between the server's and the root.
func (s *Site) Intermediates() []*x509.Certificate {
	if s.ServerCA == nil {
		return nil
	}
	return []*x509.Certificate{s.ServerCA}
}

// PermittedHosts are the names and addresses that name constraints limit the
// server's CA to; none when they do not.
func (s *Site) PermittedHosts() []string {
	if s.ServerCA == nil && len(s.RootCA) == 0 {
		return nil
	}
	return certs.PermittedHosts(s.signer())
}

// signer is the CA that signs the server certificate.
func (s *Site) signer() *x509.Certificate {
	if s.ServerCA != nil {
		return s.ServerCA
	}
	return s.RootCA[0]
}

// Load reads the site in a workspace. Without tbcert.yaml and without a CA it
// gives ErrNoSite. A file that is there and cannot be read is an error that
// names it.
func Load(ws *workspace.Workspace) (*Site, error) {
	site := &Site{}
	var err error
	if site.Yaml, err = optional(ws.Read(workspace.SettingsFile)); err != nil {
		return nil, err
	}
	if site.Settings, err = settings.ParseSite(site.Yaml, ws.Path(workspace.SettingsFile)); err != nil {
		return nil, err
	}
	chains := []struct {
		name string
		into *[]*x509.Certificate
	}{
		{workspace.RootCert, &site.RootCA},
		{workspace.RootFile, &site.TrustRoots},
	}
	for _, chain := range chains {
		if *chain.into, err = readCertificates(ws, chain.name); err != nil {
			return nil, err
		}
	}
	if site.ServerCA, err = readOne(ws, workspace.ServerCACert); err != nil {
		return nil, err
	}
	if site.DeviceCA, err = readOne(ws, workspace.DeviceCACert); err != nil {
		return nil, err
	}
	if err := site.loadServer(ws); err != nil {
		return nil, err
	}
	if site.Yaml == nil && site.RootCA == nil {
		return nil, fmt.Errorf("%w: %s has no %s", ErrNoSite, ws.Dir(), workspace.SettingsFile)
	}
	return site, nil
}

// loadServer reads the key and the chain that the server uses, from the file
// that holds both.
func (s *Site) loadServer(ws *workspace.Workspace) error {
	data, err := optional(ws.ReadSecret(workspace.ServerPEM))
	if err != nil || data == nil {
		return err
	}
	path := ws.Path(workspace.ServerPEM)
	const again = "move it away and run `tbcert init`, which issues it again"
	if s.Server, err = certs.ParseCertificates(data); err != nil {
		return fmt.Errorf("%s: %w; %s", path, err, again)
	}
	if s.ServerKey, err = certs.ParseKey(data, secret.Text{}); err != nil {
		return fmt.Errorf("%s: %w; %s", path, err, again)
	}
	return nil
}

func readCertificates(ws *workspace.Workspace, name string) ([]*x509.Certificate, error) {
	data, err := optional(ws.Read(name))
	if err != nil || data == nil {
		return nil, err
	}
	chain, err := certs.ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ws.Path(name), err)
	}
	return chain, nil
}

func readOne(ws *workspace.Workspace, name string) (*x509.Certificate, error) {
	chain, err := readCertificates(ws, name)
	if err != nil || len(chain) == 0 {
		return nil, err
	}
	return chain[0], nil
}

// optional turns the absence of a file into nil.
func optional(data []byte, err error) ([]byte, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Anchors are the certificates that devices must trust.
func (s *Site) Anchors() []*x509.Certificate {
	if len(s.TrustRoots) > 0 {
		return s.TrustRoots
	}
	if len(s.RootCA) > 0 {
		return s.RootCA[len(s.RootCA)-1:]
	}
	return nil
}

// RenewalWindow is how long before its end a certificate should be replaced:
// 30 days, or a third of its life when that is less.
func RenewalWindow(cert *x509.Certificate) time.Duration {
	const most = 30 * 24 * time.Hour
	return min(most, cert.NotAfter.Sub(cert.NotBefore)/3)
}
