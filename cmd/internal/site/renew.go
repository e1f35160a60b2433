package site

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// ErrNoServer says that there is no server certificate to be renewed.
var ErrNoServer = errors.New("the site has no server certificate; run `tbcert init`")

// UnprovedError says why a new server certificate was not put in the place of the
// old one.
type UnprovedError struct{ Problem, Fix string }

func (e *UnprovedError) Error() string {
	return "the new server certificate was not put in place: " + e.Problem + "; " + e.Fix
}

// A Due says when a certificate is to be renewed: when less than Left of its life
// is left, or less than that Share of it. The zero Due is RenewalWindow.
type Due struct {
	Left  time.Duration
	Share float64 // from 0 to 1
}

// At is when a certificate is due.
func (d Due) At(cert *x509.Certificate) time.Time {
	switch {
	case d.Share > 0:
		return cert.NotAfter.Add(-time.Duration(float64(cert.NotAfter.Sub(cert.NotBefore)) * d.Share))
	case d.Left > 0:
		return cert.NotAfter.Add(-d.Left)
	default:
		return cert.NotAfter.Add(-RenewalWindow(cert))
	}
}

// ParseDue reads "30d", "36h" or "25%".
func ParseDue(text string) (Due, error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || percent <= 0 || percent >= 100 {
			return Due{}, fmt.Errorf("%q is no share of a life; say for instance 25%%", text)
		}
		return Due{Share: percent / 100}, nil
	}
	left, err := settings.ParseAge(text)
	if err != nil || left <= 0 {
		return Due{}, fmt.Errorf("%q is neither a time nor a share of a life; say for instance 30d, 36h or 25%%", text)
	}
	return Due{Left: left}, nil
}

// Renew computes what a workspace needs for a new server certificate with the
// names, the kind of key and the life that tbcert.yaml says. It writes nothing.
//
// The certificate is proved first: its key fits, it leads to a root that every
// bundle has, under every name, today, and it ends later than the old one. One
// that is not is an *UnprovedError. The old key and chain go to
// server/previous.
func Renew(ws *workspace.Workspace, request Request) (*Result, error) {
	old, err := Load(ws)
	if err != nil {
		return nil, err
	}
	if len(old.Server) == 0 {
		return nil, ErrNoServer
	}
	i := &initializer{ws: ws, request: request, old: old, now: now(request.Maker), renew: true}
	wanted := *old
	wanted.Settings = old.Settings.WithDefaults()
	i.result = &Result{Site: &wanted}
	for _, step := range []func() error{i.server, i.proved, i.previous, i.forThingsBoard} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return i.result, nil
}

// previous keeps the key and chain that are replaced, for one generation.
func (i *initializer) previous() error {
	data, err := i.ws.ReadSecret(workspace.ServerPEM)
	if err != nil {
		return err
	}
	i.add(workspace.File{Name: workspace.PreviousPEM, Data: data, Secret: true})
	return nil
}

// proved judges the new certificate as devices will.
func (i *initializer) proved() error {
	site := i.result.Site
	leaf := site.Server[0]
	if !certs.KeyFits(site.ServerKey, leaf) {
		return &UnprovedError{Problem: "its key is another certificate's", Fix: "this should not happen; run this again"}
	}
	if i.capped(leaf) {
		return &UnprovedError{
			Problem: fmt.Sprintf("it would end on %s, no later than the old one, because its CA ends then", leaf.NotAfter.UTC().Format(time.DateOnly)),
			Fix:     "the CA has to be replaced: see `tbcert runbook rollover`",
		}
	}
	if err := i.trusted(site.Anchors()); err != nil {
		return &UnprovedError{Problem: fmt.Sprintf("devices that have %s would refuse it: %v", workspace.RootFile, err), Fix: "see what is in that file with `tbcert inspect`"}
	}
	return i.provedForBundles()
}

// capped reports whether a certificate of the own CA ends with it, no later than the
// one before.
func (i *initializer) capped(leaf *x509.Certificate) bool {
	if len(i.result.Site.RootCA) == 0 || len(i.old.Server) == 0 {
		return false
	}
	return !leaf.NotAfter.After(i.old.Server[0].NotAfter) && leaf.NotAfter.Equal(i.result.Site.signer().NotAfter)
}

// provedForBundles looks at each root file that a bundle has.
func (i *initializer) provedForBundles() error {
	directories, err := i.ws.List(workspace.DevicesDir)
	if err != nil {
		return err
	}
	devices := i.ws.Directory(workspace.DevicesDir)
	defer func() { _ = devices.Close() }() // it was read only
	good := certs.EncodeCertificates(i.result.Site.Anchors()...)
	for _, directory := range directories {
		files, err := devices.ReadFiles(directory, []string{workspace.RootFile})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(files) == 0 || bytes.Equal(files[0].Data, good) {
			continue
		}
		roots, err := certs.ParseCertificates(files[0].Data)
		if err == nil {
			err = i.trusted(roots)
		}
		if err != nil {
			return &UnprovedError{
				Problem: fmt.Sprintf("the device with %s would refuse it: %v", i.ws.Path(path.Join(workspace.DevicesDir, directory, workspace.RootFile)), err),
				Fix:     "run `tbcert provision --repair` and bring the device its bundle, then run this again",
			}
		}
	}
	return nil
}

// clockSkew is how far the clock of a CA may be ahead of ours.
const clockSkew = time.Minute

// trusted verifies the new certificate with some roots, for every name.
func (i *initializer) trusted(anchors []*x509.Certificate) error {
	site := i.result.Site
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: i.now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ahead := site.Server[0].NotBefore.Sub(i.now); ahead > 0 && ahead < clockSkew {
		options.CurrentTime = site.Server[0].NotBefore
	}
	for _, root := range anchors {
		options.Roots.AddCert(root)
	}
	for _, cert := range site.Server[1:] {
		options.Intermediates.AddCert(cert)
	}
	for _, host := range canonical(site.Settings.Hosts) {
		options.DNSName = host
		if _, err := site.Server[0].Verify(options); err != nil {
			return err
		}
	}
	return nil
}
