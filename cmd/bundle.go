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

// bundleDirectories are those that hold a device's bundle. That of a revoked
// device is empty.
func bundleDirectories(ws *workspace.Workspace) ([]string, error) {
	all, err := ws.List(workspace.DevicesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	held := make([]string, 0, len(all))
	for _, directory := range all {
		dir := path.Join(workspace.DevicesDir, directory)
		if whole, err := ws.Exists(path.Join(dir, provision.InfoFile)); err == nil && !whole {
			if files, err := ws.List(dir); err == nil && len(files) == 0 {
				continue
			}
		}
		held = append(held, directory)
	}
	return held, nil
}

// target is the target that a device's bundle describes. Flags that were given
// win over the bundle.
func (b *bundleReader) target(o *verifyOptions, base verify.Target, name string) (verify.Target, error) {
	target := base
	target.Login = device.Login{} // TBCERT_TOKEN is for a target without a bundle
	dir, found, info, err := b.read(name)
	if err != nil {
		return target, err
	}
	credential, err := b.credential(dir, found, info.Files)
	if err != nil {
		return target, err
	}
	if o.plain && credential.Kind == provision.CredentialX509 {
		return target, fmt.Errorf("device %q has a certificate, and --plain has no TLS to show it in", name)
	}
	if err := connectWith(&target, credential); err != nil {
		return target, fmt.Errorf("%s: %w", b.ws.Path(dir), err)
	}
	o.connectAs(&target, info)
	if o.plain || o.caFile != "" {
		return target, nil
	}
	name = path.Join(dir, info.Files.Root)
	root := found[info.Files.Root]
	if root == nil {
		return target, fmt.Errorf("%s is not there; tbcert provision --repair writes the bundle again", b.ws.Path(name))
	}
	target.RootsName = b.ws.Path(name)
	if target.Roots, err = b.trusted(root.Data); err != nil {
		return target, fmt.Errorf("%s: %w", target.RootsName, err)
	}
	return target, nil
}

// read reads a device's bundle: its directory, its files by name, and what
// device.json says.
func (b *bundleReader) read(name string) (dir string, found map[string]*workspace.File, info provision.Info, err error) {
	directory, err := provision.EncodeName(name)
	if err != nil {
		return "", nil, info, err
	}
	dir = path.Join(workspace.DevicesDir, directory)
	files, err := b.devices.ReadFiles(directory, provision.BundleFiles())
	found = byName(files)
	if err == nil && len(found) == 0 {
		return "", nil, info, fmt.Errorf("there is no bundle of a device %q: %s is empty, as after a revocation: %w; `tbcert rotate %s` gives a revoked device a new credential, `tbcert provision --repair %s` writes a bundle again", name, b.ws.Path(dir), fs.ErrNotExist, name, name)
	}
	if errors.Is(err, fs.ErrNotExist) || err == nil && found[provision.InfoFile] == nil {
		return "", nil, info, fmt.Errorf("there is no bundle of a device %q: %s: %w; run `tbcert provision %s`", name, b.ws.Path(dir), fs.ErrNotExist, name)
	}
	if err != nil {
		return "", nil, info, err
	}
	if info, err = provision.ParseInfo(found[provision.InfoFile].Data); err != nil {
		return "", nil, info, fmt.Errorf("%s: %w", b.ws.Path(dir), err)
	}
	return dir, found, info, nil
}

func byName(files []workspace.File) map[string]*workspace.File {
	found := make(map[string]*workspace.File, len(files))
	for i := range files {
		found[path.Base(files[i].Name)] = &files[i]
	}
	return found
}

// credential is that of a bundle, from the files that it names. Secrets that
// others can read are refused.
func (b *bundleReader) credential(dir string, found map[string]*workspace.File, needed provision.Files) (provision.Credential, error) {
	var files []provision.File
	for _, name := range []string{needed.Token, needed.ClientID, needed.Username, needed.Password, needed.Certificate, needed.Key} {
		if name == "" {
			continue
		}
		file := found[name]
		if file == nil {
			return provision.Credential{}, fmt.Errorf("%s: %w; tbcert provision --repair writes the bundle again", b.ws.Path(path.Join(dir, name)), fs.ErrNotExist)
		}
		if name != needed.Certificate && !file.Secret {
			if _, err := b.ws.ReadSecret(file.Name); err != nil {
				return provision.Credential{}, err
			}
		}
		files = append(files, provision.File{Name: name, Data: file.Data})
	}
	credential := provision.CredentialOf(files)
	if !credential.Made() {
		return credential, fmt.Errorf("%s holds no credential that can be used: tbcert provision writes the bundle again", b.ws.Path(dir))
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
func (o *verifyOptions) connectAs(target *verify.Target, info provision.Info) {
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

// trusted reads a ca-root.pem, each distinct one once.
func (b *bundleReader) trusted(data []byte) ([]*x509.Certificate, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.roots[string(data)]; known != nil {
		return known, nil
	}
	roots, err := certs.ParseCertificates(data)
	if err != nil {
		return nil, err
	}
	if len(b.roots) >= mostRoots {
		clear(b.roots)
	}
	b.roots[string(data)] = roots
	return roots, nil
}

// mostRoots bounds how many distinct ca-root.pem are remembered: a site has one,
// or two during a rollover.
const mostRoots = 16
