package site

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// infoFile is what describes a bundle.
const infoFile = "device.json"

// A bundleInfo is device.json, as far as status looks at it.
type bundleInfo struct {
	Files   map[string]string `json:"files"` // by what they are for
	Exports []struct {
		File   string `json:"file"`
		Secret bool   `json:"secret"`
	} `json:"exports"`
	Certificate *struct {
		NotBefore time.Time `json:"not_before"`
		NotAfter  time.Time `json:"not_after"`
	} `json:"certificate"`
}

// isSecret reports whether the file that is for something holds a secret.
func isSecret(what string) bool { return !slices.Contains([]string{"root", "certificate"}, what) }

// Bundles looks at the bundles in devices/: whole, private, with the roots that
// the site has now, and with certificates that do not end soon. It gives how many
// there are; a directory that a revoked device left empty is none.
func Bundles(ws *workspace.Workspace, s *Site, now time.Time) (count int, findings []Finding, err error) {
	names, err := ws.List(workspace.DevicesDir)
	if err != nil {
		return 0, nil, err
	}
	e := &examination{ws: ws, site: s, now: now}
	roots := certs.EncodeCertificates(s.TrustRoots...)
	for _, name := range names {
		dir := path.Join(workspace.DevicesDir, name)
		if files, err := ws.List(dir); err == nil && len(files) == 0 {
			continue
		}
		count++
		e.bundle(dir, roots)
	}
	return count, e.findings, nil
}

func (e *examination) bundle(dir string, roots []byte) {
	again := "run tbcert provision " + path.Base(dir) + ": it writes the bundle again"
	data, err := e.ws.Read(path.Join(dir, infoFile))
	var info bundleInfo
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.found(path.Join(dir, infoFile), again, "the file is missing")
	case err == nil && json.Unmarshal(data, &info) != nil:
		e.found(path.Join(dir, infoFile), again, "it cannot be read")
	}
	for _, what := range []string{"token", "client_id", "username", "password", "certificate", "key"} {
		if file := info.Files[what]; file != "" {
			e.bundleFile(path.Join(dir, path.Base(file)), isSecret(what), again)
		}
	}
	for _, exported := range info.Exports {
		e.bundleFile(path.Join(dir, path.Base(exported.File)), exported.Secret, again)
	}
	held, err := e.ws.Read(path.Join(dir, workspace.RootFile))
	if err != nil || !bytes.Equal(held, roots) {
		e.found(path.Join(dir, workspace.RootFile), again, "it is not the same as the site's %s", workspace.RootFile)
	}
	if info.Certificate != nil {
		e.deviceDate(dir, info.Certificate.NotAfter)
	}
}

func (e *examination) bundleFile(name string, isSecret bool, again string) {
	mode, err := e.ws.Mode(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.found(name, again, "the file is missing")
	case err == nil && isSecret && mode.Perm()&0o077 != 0:
		e.found(name, "chmod 600 "+e.ws.Path(name), "it holds a secret and others can read it (mode %04o)", mode.Perm())
	}
}

// deviceWindow is how long before its end a device's certificate should be
// replaced: the device has to get the new one.
const deviceWindow = 30 * 24 * time.Hour

func (e *examination) deviceDate(dir string, notAfter time.Time) {
	fix := "run tbcert rotate " + path.Base(dir) + ", and bring the device its new certificate"
	switch left := notAfter.Sub(e.now); {
	case left < 0:
		e.found(dir, fix, "the device's certificate expired on %s", notAfter.UTC().Format(time.DateOnly))
	case left <= deviceWindow:
		e.found(dir, fix, "the device's certificate expires in %d days, on %s", int(left/(24*time.Hour)), notAfter.UTC().Format(time.DateOnly))
	}
}

// crlWindow is how long before its end a CRL should be made again: brokers
// refuse every device once it is over.
const crlWindow = 7 * 24 * time.Hour

// crl looks whether the list of revoked certificates, if there is one, is good
// for a while.
func (e *examination) crl() {
	data, err := e.ws.Read(workspace.DeviceCRL)
	if err != nil {
		return
	}
	const again = "run tbcert revoke --crl, and give the list to the brokers that check it"
	crls, err := certs.ParseCRLs(data)
	if err != nil {
		e.found(workspace.DeviceCRL, again, "it cannot be read")
		return
	}
	issuer := e.site.DeviceCA
	if issuer == nil && len(e.site.RootCA) > 0 {
		issuer = e.site.RootCA[0]
	}
	if issuer != nil && !slices.ContainsFunc(crls, func(crl *x509.RevocationList) bool { return bytes.Equal(crl.RawIssuer, issuer.RawSubject) }) {
		e.found(workspace.DeviceCRL, again, "it has no list of %q: brokers that check it refuse the devices of this CA", issuer.Subject.CommonName)
	}
	crl := slices.MinFunc(crls, func(a, b *x509.RevocationList) int { return a.NextUpdate.Compare(b.NextUpdate) })
	switch {
	case e.now.After(crl.NextUpdate):
		e.found(workspace.DeviceCRL, again, "the list of revoked certificates ended on %s: brokers that check it refuse every device", crl.NextUpdate.UTC().Format(time.DateOnly))
	case crl.NextUpdate.Sub(e.now) <= crlWindow:
		e.found(workspace.DeviceCRL, again, "the list of revoked certificates ends on %s: brokers that check it will refuse every device", crl.NextUpdate.UTC().Format(time.DateOnly))
	}
}
