package cmd

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/thingsboard/device"
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
	credential, err := readCredential(ws, dir, info.Files)
	if err != nil {
		return target, err
	}
	if o.plain && credential.Kind == provision.CredentialX509 {
		return target, fmt.Errorf("device %q has a certificate, and --plain has no TLS to show it in", name)
	}
	if err := connectWith(&target.Target, credential); err != nil {
		return target, fmt.Errorf("%s: %w", ws.Path(dir), err)
	}
	o.connectAs(&target, info)
	if o.plain || o.caFile != "" {
		return target, nil
	}
	target.RootsName = ws.Path(path.Join(dir, info.Files.Root))
	target.Roots, err = bundleRoots(ws, path.Join(dir, info.Files.Root))
	return target, err
}

// readCredential reads the credential of a bundle, from the files that it names.
func readCredential(ws *workspace.Workspace, dir string, needed provision.Files) (provision.Credential, error) {
	var files []provision.File
	for _, name := range []string{needed.Token, needed.ClientID, needed.Username, needed.Password, needed.Certificate, needed.Key} {
		if name == "" {
			continue
		}
		read := ws.ReadSecret
		if name == needed.Certificate {
			read = ws.Read
		}
		data, err := read(path.Join(dir, name))
		if err != nil {
			return provision.Credential{}, err
		}
		files = append(files, provision.File{Name: name, Data: data})
	}
	credential := provision.CredentialOf(files)
	if !credential.Made() {
		return credential, fmt.Errorf("%s holds no credential that can be used: tbcert provision writes the bundle again", ws.Path(dir))
	}
	return credential, nil
}

// connectWith makes a target one that connects with a credential.
func connectWith(target *verify.Target, credential provision.Credential) error {
	switch credential.Kind {
	case provision.CredentialX509:
		if credential.Key.IsZero() {
			return errors.New("the key of its certificate is not here, because the device made it itself: verify with --cert and --key where the key is")
		}
		certificate, err := keyPair([]byte(credential.Key.Reveal()), credential.Chain, secret.Text{})
		target.ClientCertificate = certificate
		return err
	case provision.CredentialBasic:
		target.Login = device.Login{ClientID: credential.ClientID.Reveal(), Username: credential.Username, Password: credential.Password}
	default:
		target.Login.Username = credential.Token
	}
	return nil
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
