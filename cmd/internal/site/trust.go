package site

import (
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// Foreign reports whether devices trust a root that is not of the site's own CA.
func (s *Site) Foreign() bool { return len(s.RootCA) == 0 && len(s.TrustRoots) > 0 }

// A TrustMode says what becomes of the roots that are there.
type TrustMode int

// The modes of Trust.
const (
	TrustFirst   TrustMode = iota // there are to be no others
	TrustAdd                      // they stay
	TrustReplace                  // they go
)

// A TrustRequest is a root of somebody else's CA.
type TrustRequest struct {
	Root *x509.Certificate
	Host string // that devices use; "" is the site's
	Port int    // of MQTTS
	Mode TrustMode
}

// Trust computes what a workspace needs for devices to trust a root that was
// fetched. It writes nothing. A site with a CA of its own, and one with another
// root when that is not to be changed, are *ConflictErrors.
func Trust(ws *workspace.Workspace, request TrustRequest) (*Result, error) {
	old, err := loadOrEmpty(ws)
	if err != nil {
		return nil, err
	}
	root := request.Root
	if len(old.RootCA) > 0 && !slices.ContainsFunc(old.TrustRoots, root.Equal) {
		return nil, &ConflictError{
			Problem: fmt.Sprintf("this site has a CA of its own (%s), which its devices trust, and %s is another root", ws.Path(workspace.RootCert), certs.Fingerprint(root)),
			Fix:     "use another directory (-C DIR) for the other server",
		}
	}
	roots, err := trusted(ws, old, request)
	if err != nil {
		return nil, err
	}
	site := *old
	site.TrustRoots = roots
	site.Settings = merge(old.Settings, settings.Site{MQTTSPort: request.Port})
	if len(site.Settings.Hosts) == 0 {
		site.Settings.Hosts = []string{request.Host}
	}
	result := &Result{Site: &site}
	if len(old.RootCA) > 0 {
		return result, nil // it is the site's own
	}
	if site.Yaml, err = settings.Update(old.Yaml, old.Settings, site.Settings); err != nil {
		return nil, err
	}
	result.Files = []workspace.File{
		{Name: workspace.SettingsFile, Data: site.Yaml},
		{Name: workspace.RootFile, Data: certs.EncodeCertificates(roots...)},
	}
	return result, nil
}

// trusted gives the roots as they will be.
func trusted(ws *workspace.Workspace, old *Site, request TrustRequest) ([]*x509.Certificate, error) {
	root := request.Root
	switch {
	case request.Mode == TrustReplace, len(old.TrustRoots) == 0:
		return []*x509.Certificate{root}, nil
	case slices.ContainsFunc(old.TrustRoots, root.Equal):
		return old.TrustRoots, nil
	case request.Mode == TrustAdd:
		return append(slices.Clip(old.TrustRoots), root), nil
	default:
		return nil, &ConflictError{
			Problem: fmt.Sprintf("%s has the root %s, and this is %s", ws.Path(workspace.RootFile), certs.Fingerprint(old.TrustRoots[0]), certs.Fingerprint(root)),
			Fix:     "if the server moves to another CA, say --add, bring the devices their bundles, and say --replace when the server has moved",
		}
	}
}
