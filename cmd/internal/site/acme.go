package site

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// An Order is what a site needs of a CA that speaks ACME: nothing, or a server
// certificate.
type Order struct {
	Site    *Site
	Stands  bool                // the certificate that is there will do
	Hosts   []string            // to be proved
	Account crypto.Signer       // the key of the account
	Key     crypto.Signer       // of the server
	Before  *x509.Certificate   // the certificate of the same CA that is replaced; nil is none
	Pending []*x509.Certificate // one that an interrupted run has got for Key; nil is none
	// Files are to be committed before the CA is asked: the keys.
	Files []workspace.File

	old *initializer
}

// PlanOrder computes what is to be ordered. It writes nothing. renew orders although
// the certificate will do. A site with a CA of its own is a *ConflictError.
func PlanOrder(ws *workspace.Workspace, request Request, renew bool) (*Order, error) {
	old, err := loadOrEmpty(ws)
	if err != nil {
		return nil, err
	}
	if len(old.RootCA) > 0 {
		return nil, &ConflictError{
			Problem: "this site has a CA of its own, which its devices trust",
			Fix:     "use another directory (-C DIR) for a server whose certificate is from an ACME CA",
		}
	}
	wanted := merge(old.Settings, request.Settings)
	if len(wanted.Hosts) == 0 {
		return nil, errors.New("say which name the certificate is to be for: --host tb.example.com")
	}
	i := &initializer{ws: ws, request: request, old: old, now: now(request.Maker), renew: renew, result: &Result{Site: &Site{Settings: wanted, TrustRoots: old.TrustRoots}}}
	if err := i.settings(); err != nil {
		return nil, err
	}
	order := &Order{Site: i.result.Site, Hosts: canonical(wanted.Hosts), old: i}
	if len(old.Server) > 0 && old.Settings.ACME == wanted.ACME {
		order.Before = old.Server[0]
	}
	if order.Account, err = order.key(ws, workspace.AccountKey, certs.P256); err != nil {
		return nil, err
	}
	if !renew && i.orderStands() {
		order.Stands = true
		order.Site.Server, order.Site.ServerKey = old.Server, old.ServerKey
		return order, nil
	}
	return order, order.serverKey(ws)
}

// orderStands reports whether the certificate that is there is the one that would
// be ordered.
func (i *initializer) orderStands() bool {
	if len(i.old.Server) == 0 || i.old.ServerKey == nil || len(i.old.TrustRoots) == 0 {
		return false
	}
	leaf, wanted := i.old.Server[0], i.result.Site.Settings
	return certs.KeyFits(i.old.ServerKey, leaf) && i.old.Settings.ACME == wanted.ACME &&
		slices.Equal(sorted(certs.Hosts(leaf)), sorted(canonical(wanted.Hosts))) &&
		string(certs.KeyTypeOf(leaf.PublicKey)) == wanted.KeyType && i.now.Before(leaf.NotAfter.Add(-RenewalWindow(leaf)))
}

// serverKey finds the server's key that waits for a certificate, or makes one.
func (o *Order) serverKey(ws *workspace.Workspace) (err error) {
	kind := certs.KeyType(o.Site.Settings.KeyType)
	if o.Key, err = o.key(ws, workspace.PendingKey, kind); err != nil {
		return err
	}
	return o.pending(ws)
}

// pending looks for a certificate that an interrupted run has got. It is that of this
// order when the same CA gave it for the same key and names, and it is not due.
func (o *Order) pending(ws *workspace.Workspace) error {
	data, err := optional(ws.Read(workspace.PendingChain))
	if err != nil || !bytes.HasPrefix(data, o.from()) {
		return err
	}
	chain, err := certs.ParseCertificates(data)
	if err != nil {
		return fmt.Errorf("%s: %w", ws.Path(workspace.PendingChain), err)
	}
	leaf := chain[0]
	if certs.KeyFits(o.Key, leaf) && slices.Equal(sorted(certs.Hosts(leaf)), sorted(o.Hosts)) && o.old.now.Before(leaf.NotAfter.Add(-RenewalWindow(leaf))) {
		o.Pending = chain
	}
	return nil
}

// from is the first line of a chain that waits: a rehearsal's is not to be taken for
// the real CA's.
func (o *Order) from() []byte { return fmt.Appendf(nil, "# from %s\n", o.Site.Settings.ACME) }

func (o *Order) key(ws *workspace.Workspace, name string, kind certs.KeyType) (crypto.Signer, error) {
	data, err := optional(ws.ReadSecret(name))
	if err != nil {
		return nil, err
	}
	if data != nil {
		key, err := certs.ParseKey(data, secret.Text{})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ws.Path(name), err)
		}
		if name != workspace.PendingKey || certs.KeyTypeOf(key.Public()) == kind {
			return key, nil
		}
	}
	key, err := o.old.request.Maker.NewKeyOf(kind)
	if err != nil {
		return nil, err
	}
	if data, err = certs.EncodeKey(key); err != nil {
		return nil, err
	}
	o.Files = append(o.Files, workspace.File{Name: name, Data: data, Secret: true})
	return key, nil
}

// Got is the chain that the CA gave, to be kept until all is in its place.
func (o *Order) Got(chain []*x509.Certificate) workspace.File {
	return workspace.File{Name: workspace.PendingChain, Data: append(o.from(), certs.EncodeCertificates(chain...)...)}
}

// Fulfill computes the site with the certificate that was ordered and the root that
// devices need for it. It writes nothing. The certificate is proved as by Renew; where
// the root is another than before, devices have to get it first, which is a
// *ConflictError when there are bundles.
func (o *Order) Fulfill(chain []*x509.Certificate, root *x509.Certificate) (*Result, error) {
	i, site := o.old, o.Site
	site.Server, site.ServerKey = withoutRoot(chain, root), o.Key
	devices, err := i.ws.List(workspace.DevicesDir)
	if err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(site.TrustRoots, root.Equal)
	switch {
	case known:
	case len(site.TrustRoots) == 0, len(devices) == 0:
		site.TrustRoots = []*x509.Certificate{root}
	default:
		return nil, &ConflictError{
			Problem: fmt.Sprintf("the CA's root is now %q (%s), and devices trust another one", root.Subject, certs.Fingerprint(root)),
			Fix:     "run `tbcert fetch --add --file FILE` with the new root, bring the devices their bundles, and run this again: the certificate waits in " + workspace.PendingChain,
		}
	}
	if err := i.proved(); err != nil {
		return nil, err
	}
	if i.old.ServerKey != nil {
		if err := i.previous(); err != nil {
			return nil, err
		}
	}
	i.result.NewServer = true
	if err := errors.Join(i.serverFiles(), i.forThingsBoard()); err != nil {
		return nil, err
	}
	i.add(workspace.File{Name: workspace.RootFile, Data: certs.EncodeCertificates(site.TrustRoots...)})
	for _, name := range []string{workspace.PendingKey, workspace.PendingChain} {
		i.add(workspace.File{Name: name, Remove: true})
	}
	return i.result, nil
}

// Keep computes the files of a site whose certificate stands: what is missing, and
// what its settings say.
func (o *Order) Keep() (*Result, error) {
	i := o.old
	i.result.Site = o.Site
	for _, file := range o.Files {
		i.add(file)
	}
	if err := errors.Join(i.serverFiles(), i.forThingsBoard()); err != nil {
		return nil, err
	}
	i.add(workspace.File{Name: workspace.RootFile, Data: certs.EncodeCertificates(o.Site.TrustRoots...)})
	return i.result, nil
}

// withoutRoot is a chain as a server sends it: up to below the root.
func withoutRoot(chain []*x509.Certificate, root *x509.Certificate) []*x509.Certificate {
	if at := slices.IndexFunc(chain, root.Equal); at > 0 {
		return chain[:at]
	}
	return chain
}
