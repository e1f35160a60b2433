package site

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// Finding is something about a site that needs attention.
type Finding struct {
	File    string `json:"file"` // in the workspace
	Problem string `json:"problem"`
	Fix     string `json:"fix"`
}

// examination collects what is wrong with a site.
type examination struct {
	ws       *workspace.Workspace
	site     *Site
	now      time.Time
	findings []Finding
}

// Examine tells what about a site needs attention, most urgent first within
// each part. It reads only; a file that cannot be read is a finding.
func Examine(ws *workspace.Workspace, s *Site, now time.Time) []Finding {
	e := &examination{ws: ws, site: s, now: now}
	e.interrupted()
	e.hook()
	e.files()
	e.dates()
	e.serverFits()
	e.constraints()
	e.keyStore()
	e.crl()
	return e.findings
}

func (e *examination) found(file, fix, format string, args ...any) {
	e.findings = append(e.findings, Finding{File: file, Problem: fmt.Sprintf(format, args...), Fix: fix})
}

// interrupted looks for a change that a crash left half carried out.
func (e *examination) interrupted() {
	if pending, err := e.ws.Interrupted(); err == nil && pending {
		e.found(".", "run tbcert init: it finishes the change first", "a change was interrupted and is not finished")
	}
}

// hook looks for a renewal whose hook has not succeeded yet.
func (e *examination) hook() {
	if owed, err := e.ws.Exists(workspace.HookOwed); err == nil && owed {
		e.found(workspace.HookOwed, "run tbcert renew with the same --hook", "the server certificate was renewed, and its hook did not succeed: the server may have the old one")
	}
}

// wantedFile is a file of the layout.
type wantedFile struct {
	name   string
	secret bool
}

// layout lists the files that a complete site has.
func (e *examination) layout() []wantedFile {
	if e.site.waitsForRoot() {
		e.waiting()
		return []wantedFile{
			{workspace.SettingsFile, false}, {workspace.ServerCAKey, true}, {workspace.DeviceCAKey, true},
			{workspace.ServerCARequest, false}, {workspace.DeviceCARequest, false},
		}
	}
	if e.site.Foreign() {
		files := []wantedFile{{workspace.SettingsFile, false}, {workspace.RootFile, false}}
		if e.site.Settings.ACME == "" {
			return files
		}
		return append(append(files, serverLayout()...), wantedFile{workspace.AccountKey, true})
	}
	files := append([]wantedFile{{workspace.SettingsFile, false}, {workspace.RootFile, false}, {workspace.RootCert, false}}, serverLayout()...)
	if e.site.Settings.SingleTier {
		return append(files, wantedFile{workspace.RootKey, true})
	}
	return append(files, wantedFile{workspace.ServerCACert, false}, wantedFile{workspace.ServerCAKey, true},
		wantedFile{workspace.DeviceCACert, false}, wantedFile{workspace.DeviceCAKey, true})
}

// serverLayout lists the files of the server.
func serverLayout() []wantedFile {
	return []wantedFile{
		{workspace.ServerPEM, true}, {workspace.ServerCert, false}, {workspace.ServerKey, true},
		{workspace.ServerPKCS12, true}, {workspace.ServerConf, true},
	}
}

// files looks for what is missing, and for secrets that others can read.
func (e *examination) files() {
	for _, file := range e.layout() {
		e.file(file)
	}
	for _, file := range deploymentFiles(e.site.Settings.Deploy) {
		e.file(wantedFile{file.name, file.secret})
	}
	// The root's key may be kept elsewhere once the issuing CAs exist.
	if there, err := e.ws.Exists(workspace.RootKey); err == nil && there && !e.site.Settings.SingleTier {
		e.file(wantedFile{workspace.RootKey, true})
	}
	for _, dir := range []string{"ca", "server", workspace.DevicesDir} {
		mode, err := e.ws.Mode(dir)
		if err == nil && mode.Perm()&0o077 != 0 {
			e.found(dir, "chmod 700 "+e.ws.Path(dir), "others can look into this directory (mode %04o)", mode.Perm())
		}
	}
}

func (e *examination) file(file wantedFile) {
	mode, err := e.ws.Mode(file.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fix := "run tbcert init: it writes what is missing"
		if path.Dir(file.name) == "ca" {
			fix = "put it back from your backup; init does not replace a CA"
		}
		e.found(file.name, fix, "the file is missing")
	case err != nil:
		e.found(file.name, "make it readable for the user that runs tbcert", "it cannot be looked at: %v", err)
	case file.secret && mode.Perm()&0o077 != 0:
		e.found(file.name, "chmod 600 "+e.ws.Path(file.name), "it holds a secret and others can read it (mode %04o)", mode.Perm())
	}
}

// dates looks for certificates near or past their end.
func (e *examination) dates() {
	const issue = "run tbcert renew; then give the new certificate to ThingsBoard"
	const replace = "plan a new CA: every device has to get the new root before this one ends (tbcert runbook rollover)"
	if len(e.site.RootCA) > 0 {
		e.date(workspace.RootCert, replace, e.site.RootCA[0])
	}
	if e.site.Foreign() {
		for _, root := range e.site.TrustRoots {
			e.date(workspace.RootFile, "see with tbcert fetch HOST --add whether the server has a newer root, and bring it to every device", root)
		}
	}
	e.date(workspace.ServerCACert, replace, e.site.ServerCA)
	e.date(workspace.DeviceCACert, replace, e.site.DeviceCA)
	if len(e.site.Server) > 0 {
		e.date(workspace.ServerPEM, issue, e.site.Server[0])
	}
}

func (e *examination) date(file, fix string, cert *x509.Certificate) {
	if cert == nil {
		return
	}
	left := cert.NotAfter.Sub(e.now)
	days := int(left / (24 * time.Hour))
	switch {
	case left < 0:
		e.found(file, fix, "the certificate expired on %s", cert.NotAfter.UTC().Format(time.DateTime+" MST"))
	case e.now.Before(cert.NotBefore):
		e.found(file, "set this machine's clock", "the certificate is valid only from %s", cert.NotBefore.UTC().Format(time.DateTime+" MST"))
	case left <= RenewalWindow(cert):
		e.found(file, fix, "the certificate expires in %d days, on %s", days, cert.NotAfter.UTC().Format(time.DateOnly))
	}
}

// serverFits looks whether the server certificate is one that devices accept,
// with the key beside it and the names of tbcert.yaml.
func (e *examination) serverFits() {
	if len(e.site.Server) == 0 {
		return
	}
	const reissue = "run tbcert init: it issues the certificate again"
	leaf := e.site.Server[0]
	if !certs.KeyFits(e.site.ServerKey, leaf) {
		e.found(workspace.ServerPEM, reissue, "the key does not belong to the certificate, so every handshake will fail")
	}
	if err := e.verifyServer(leaf); err != nil {
		e.found(workspace.ServerPEM, reissue, "devices will refuse the certificate: it does not lead to a root in %s (%v)", workspace.RootFile, err)
	}
	wanted := sorted(canonical(e.site.Settings.Hosts))
	if held := sorted(certs.Hosts(leaf)); !slices.Equal(held, wanted) {
		e.found(workspace.ServerPEM, reissue, "the certificate is for %v, and %s says %v", held, workspace.SettingsFile, wanted)
	}
}

// constraints looks whether the server CA has the name constraints that the
// settings ask for.
func (e *examination) constraints() {
	ca, wanted := e.site.ServerCA, e.site.Settings
	if ca == nil || !wanted.NameConstraints || fitsConstraints(ca, wanted.Hosts) {
		return
	}
	e.found(workspace.ServerCACert, "run tbcert init: it issues the server CA again", "its name constraints are for %v, and %s says %v",
		certs.PermittedHosts(ca), workspace.SettingsFile, wanted.Hosts)
}

// verifyServer builds the chain as a device does, at a moment when the leaf is
// valid: its dates are judged apart.
func (e *examination) verifyServer(leaf *x509.Certificate) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range e.site.TrustRoots {
		roots.AddCert(root)
	}
	for _, cert := range e.site.Server[1:] {
		intermediates.AddCert(cert)
	}
	at := e.now
	if at.After(leaf.NotAfter) || at.Before(leaf.NotBefore) {
		at = leaf.NotBefore.Add(time.Second)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: at})
	return err
}

// keyStore looks whether server/mqttserver.p12 opens and holds the same
// certificate as the PEM file.
func (e *examination) keyStore() {
	const again = "run tbcert init: it writes the keystore again"
	store, err := e.ws.ReadSecret(workspace.ServerPKCS12)
	if err != nil || len(e.site.Server) == 0 {
		return // told with the files
	}
	conf, err := e.ws.ReadSecret(workspace.ServerConf)
	if err != nil {
		return
	}
	held, err := openKeyStore(store, conf)
	switch {
	case err != nil:
		e.found(workspace.ServerPKCS12, again, "it does not open with the password in %s", workspace.ServerConf)
	case !bytes.Equal(held.Chain[0].Raw, e.site.Server[0].Raw):
		e.found(workspace.ServerPKCS12, again, "it holds another certificate than %s", workspace.ServerPEM)
	}
}
