package site

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// A subordinate is an issuing CA that an external root signs.
type subordinate struct {
	name, cert, key, request string
	purpose                  certs.Purpose
}

func subordinates() []subordinate {
	return []subordinate{
		{"Server CA", workspace.ServerCACert, workspace.ServerCAKey, workspace.ServerCARequest, certs.PurposeServer},
		{"Device CA", workspace.DeviceCACert, workspace.DeviceCAKey, workspace.DeviceCARequest, certs.PurposeDevice},
	}
}

// externalCA makes the keys of the issuing CAs and the requests for their
// certificates, and takes the certificates when they come.
func (i *initializer) externalCA() error {
	wanted := i.result.Site.Settings
	switch {
	case wanted.SingleTier || i.request.Import != nil:
		return &ConflictError{Problem: "the root is kept elsewhere", Fix: "leave --single-tier, --ca-cert and --ca-key away"}
	case wanted.NameConstraints:
		return &ConflictError{Problem: "name constraints are for whoever keeps the root to put into the server CA", Fix: "leave --name-constraints away"}
	case i.old.Yaml != nil && i.old.Settings.ExternalRoot && i.old.Settings.WithDefaults().KeyType != wanted.KeyType:
		return &ConflictError{Problem: fmt.Sprintf("the requests are for %s keys, and %s is asked for", i.old.Settings.WithDefaults().KeyType, wanted.KeyType), Fix: "leave --key-type as it was, or begin again in another directory"}
	case len(i.request.Signed) > 0:
		return i.answered()
	}
	i.result.Waiting = true
	return i.requests()
}

// keepsExternalCA is what there is to do for a site whose CAs an external root has
// signed: nothing, or their renewal.
func (i *initializer) keepsExternalCA() error {
	switch {
	case len(i.request.Signed) > 0:
		i.renew = true // the server sends the new certificate of its CA
		return i.answered()
	case i.request.Settings.ExternalRoot:
		return i.requests()
	default:
		return nil
	}
}

// requests writes the requests that are not there.
func (i *initializer) requests() error {
	for _, ca := range subordinates() {
		there, err := i.ws.Exists(ca.request)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		if err := i.ask(ca); err != nil {
			return err
		}
	}
	return nil
}

// ask makes the request for a CA's certificate, and its key unless that is there: it is
// never made again, as a request for it may be on its way.
func (i *initializer) ask(ca subordinate) error {
	wanted := i.result.Site.Settings
	there, err := i.ws.Exists(ca.key)
	if err != nil {
		return err
	}
	var key crypto.Signer
	if there {
		key, err = i.readKey(ca.key)
	} else {
		key, err = i.newSubordinateKey(ca)
	}
	if err != nil {
		return err
	}
	if kind := certs.KeyTypeOf(key.Public()); string(kind) != wanted.KeyType {
		return &ConflictError{Problem: fmt.Sprintf("%s is a %s key, and %s is asked for", i.ws.Path(ca.key), kind, wanted.KeyType), Fix: "leave --key-type as it was"}
	}
	request, err := certs.RequestCA(certs.IssuingProfile{CommonName: commonName(ca.name, wanted.Hosts[0]), Organization: wanted.Organization}, key)
	if err != nil {
		return err
	}
	i.add(workspace.File{Name: ca.request, Data: request})
	return nil
}

func (i *initializer) newSubordinateKey(ca subordinate) (crypto.Signer, error) {
	key, err := i.caMaker(caObject(ca.name)).NewKeyOf(certs.KeyType(i.result.Site.Settings.KeyType))
	if err != nil {
		return nil, err
	}
	passphrase, err := i.newPassphrase()
	if err != nil {
		return nil, err
	}
	encoded, err := encodeCAKey(key, passphrase)
	if err != nil {
		return nil, err
	}
	i.add(workspace.File{Name: ca.key, Data: encoded, Secret: true})
	i.result.NewCA, i.result.KeysEncrypted = true, !passphrase.IsZero() || i.request.NewCAKey != nil
	return key, nil
}

// answered takes the certificates of both CAs, and their root.
func (i *initializer) answered() error {
	site, old := i.result.Site, i.old.Anchors()
	site.RootCA = nil
	for _, ca := range subordinates() {
		key, err := i.readKey(ca.key)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("--signed: %s is missing: put it back from your backup, or begin again with init --external-root", i.ws.Path(ca.key))
		}
		if err != nil {
			return err
		}
		chain, err := certs.AnswerCA(key.Public(), i.request.Signed, ca.purpose)
		if err != nil {
			return fmt.Errorf("--signed: for %s: %w", i.ws.Path(ca.key), err)
		}
		authority, err := certs.ImportAuthority(chain, key, i.request.Maker)
		if err != nil {
			return fmt.Errorf("--signed: for %s: %w", i.ws.Path(ca.key), err)
		}
		if site.RootCA != nil && !site.RootCA[len(site.RootCA)-1].Equal(authority.Root()) {
			return errors.New("--signed: the server CA and the device CA are of two roots")
		}
		i.take(ca, authority, chain)
	}
	root := site.RootCA[len(site.RootCA)-1]
	if len(old) > 0 && !slices.ContainsFunc(old, root.Equal) {
		return &ConflictError{Problem: fmt.Sprintf("they are of the root %q, and devices trust another one", root.Subject), Fix: "have the root sign that signed the CAs before"}
	}
	if len(old) == 0 {
		site.TrustRoots = []*x509.Certificate{root}
		i.result.NewCA, i.result.KeysEncrypted = true, true // how the keys are kept was told when they were made
	}
	i.add(workspace.File{Name: workspace.RootCert, Data: certs.EncodeCertificates(site.RootCA...)})
	i.add(workspace.File{Name: workspace.RootFile, Data: certs.EncodeCertificates(site.TrustRoots...)})
	return nil
}

func (i *initializer) take(ca subordinate, authority *certs.Authority, chain []*x509.Certificate) {
	site := i.result.Site
	if ca.purpose == certs.PurposeServer {
		site.ServerCA, site.RootCA, i.issuer = authority.Certificate, chain[1:], authority
	} else {
		site.DeviceCA = authority.Certificate
	}
	i.add(workspace.File{Name: ca.cert, Data: certs.EncodeCertificates(authority.Certificate)})
	i.add(workspace.File{Name: ca.request, Remove: true})
}

// waitsForRoot reports whether a site has asked its external root, and has no answer.
func (s *Site) waitsForRoot() bool { return s.Settings.ExternalRoot && len(s.RootCA) == 0 }

// waiting says so.
func (e *examination) waiting() {
	e.found("ca", "have the root sign "+e.ws.Path(workspace.ServerCARequest)+" and "+e.ws.Path(workspace.DeviceCARequest)+", and run tbcert init --signed FILE",
		"the issuing CAs wait for their certificates")
}
