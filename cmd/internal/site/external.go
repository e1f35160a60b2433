package site

import (
	"crypto/x509"
	"errors"
	"fmt"

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
	if i.result.Site.Settings.SingleTier || i.request.Import != nil {
		return &ConflictError{Problem: "the root is kept elsewhere", Fix: "leave --single-tier, --ca-cert and --ca-key away"}
	}
	if len(i.request.Signed) > 0 {
		return i.answered()
	}
	i.result.Waiting = true
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

// ask makes the key of a CA, and the request for its certificate.
func (i *initializer) ask(ca subordinate) error {
	wanted := i.result.Site.Settings
	key, err := i.caMaker(caObject(ca.name)).NewKeyOf(certs.KeyType(wanted.KeyType))
	if err != nil {
		return err
	}
	request, err := certs.RequestCA(certs.IssuingProfile{CommonName: commonName(ca.name, wanted.Hosts[0]), Organization: wanted.Organization}, key)
	if err != nil {
		return err
	}
	passphrase, err := i.newPassphrase()
	if err != nil {
		return err
	}
	encoded, err := encodeCAKey(key, passphrase)
	if err != nil {
		return err
	}
	i.add(workspace.File{Name: ca.key, Data: encoded, Secret: true})
	i.add(workspace.File{Name: ca.request, Data: request})
	return nil
}

// answered takes the certificates of both CAs, and their root.
func (i *initializer) answered() error {
	site := i.result.Site
	for _, ca := range subordinates() {
		request, err := i.ws.Read(ca.request)
		if err != nil {
			return fmt.Errorf("there is no request that these certificates would answer: %w", err)
		}
		chain, err := certs.AnswerCA(request, i.request.Signed, ca.purpose)
		if err != nil {
			return fmt.Errorf("--signed: for %s: %w", i.ws.Path(ca.request), err)
		}
		key, err := i.readKey(ca.key)
		if err != nil {
			return err
		}
		authority, err := certs.ImportAuthority(chain, key, i.request.Maker)
		if err != nil {
			return fmt.Errorf("--signed: for %s: %w", i.ws.Path(ca.request), err)
		}
		if site.RootCA != nil && !site.RootCA[len(site.RootCA)-1].Equal(authority.Root()) {
			return errors.New("--signed: the server CA and the device CA are of two roots")
		}
		i.take(ca, authority, chain)
	}
	site.TrustRoots = []*x509.Certificate{site.RootCA[len(site.RootCA)-1]}
	i.result.NewCA, i.result.KeysEncrypted = true, true // how they are kept was told when they were made
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
