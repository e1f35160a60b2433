package cmd

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/verify"
)

// deviceName is the name of the device whose bundle lies in a directory; the
// directory itself where it is none of ours.
func deviceName(directory string) string {
	if name, err := provision.DecodeName(directory); err == nil {
		return name
	}
	return directory
}

// bundleTarget is the target that a device's bundle describes. Flags that were
// given win over the bundle.
func (o *verifyOptions) bundleTarget(ws *workspace.Workspace, base verify.Target, name string) (namedTarget, error) {
	target := namedTarget{device: name, Target: base}
	directory, err := provision.EncodeName(name)
	if err != nil {
		return target, err
	}
	dir := path.Join(workspace.DevicesDir, directory)
	data, err := ws.Read(path.Join(dir, provision.InfoFile))
	if errors.Is(err, fs.ErrNotExist) {
		return target, fmt.Errorf("there is no bundle of a device %q: %w; run `tbcert provision %s`", name, err, name)
	}
	if err != nil {
		return target, err
	}
	info, err := provision.ParseInfo(data)
	if err != nil {
		return target, fmt.Errorf("%s: %w", ws.Path(dir), err)
	}
	token, err := ws.ReadSecret(path.Join(dir, info.Files.Token))
	if err != nil {
		return target, err
	}
	if target.Login.Username, err = provision.ParseToken(strings.TrimRight(string(token), "\r\n")); err != nil {
		return target, fmt.Errorf("%s: %w", ws.Path(path.Join(dir, info.Files.Token)), err)
	}
	o.connectAs(&target, info)
	if o.plain || o.caFile != "" {
		return target, nil
	}
	target.RootsName = ws.Path(path.Join(dir, info.Files.Root))
	target.Roots, err = bundleRoots(ws, path.Join(dir, info.Files.Root))
	return target, err
}

// connectAs takes host and port from a bundle, unless flags say otherwise.
func (o *verifyOptions) connectAs(target *namedTarget, info provision.Info) {
	if !o.hostGiven {
		target.Host = info.Host
	}
	if o.port != 0 {
		return
	}
	target.Port = info.Ports.MQTTS
	if o.plain {
		target.Port = info.Ports.MQTT
	}
}

func bundleRoots(ws *workspace.Workspace, name string) (roots []*x509.Certificate, err error) {
	data, err := ws.Read(name)
	if err != nil {
		return nil, err
	}
	if roots, err = certs.ParseCertificates(data); err != nil {
		return nil, fmt.Errorf("%s: %w", ws.Path(name), err)
	}
	return roots, nil
}
