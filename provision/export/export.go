// Package export writes what a device needs in the form that its software takes:
// keystores, C headers, scripts, settings, archives and a label.
//
// [Render] gives a format's files from a [Device]; nothing is read or written
// here. The same device gives the same bytes, keystores included, so that a
// bundle can be compared with what it should be.
package export

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/templates"
)

// A Device is what a format is rendered from.
type Device struct {
	Info       provision.Info
	Directory  string // the device's name as a file name
	Credential provision.Credential
	Roots      []byte // PEM; what the device trusts
}

// Options say how a format is rendered.
type Options struct {
	Templates *templates.Set // nil: tbcert's own
	// Password protects keystores; see certs.CheckKeyStorePassword.
	Password secret.Text
	// Path is where the files will lie on the machine that reads them, for formats
	// that name them with their directory; "" is what is usual there.
	Path string
	// Bundle are the files that archives hold.
	Bundle []provision.File
}

// A Format names one form.
type Format string

// UnfitError says that a format cannot carry a device's credential.
type UnfitError struct {
	Format Format
	Reason string
}

func (e *UnfitError) Error() string { return fmt.Sprintf("the format %s %s", e.Format, e.Reason) }

// Parse takes the name of a format; the error lists them.
func Parse(name string) (Format, error) {
	for _, known := range table() {
		if string(known.name) == name {
			return known.name, nil
		}
	}
	names := make([]string, 0, len(table()))
	for _, format := range Formats() {
		names = append(names, string(format))
	}
	return "", fmt.Errorf("there is no format %q: the formats are %s", name, strings.Join(names, ", "))
}

// Formats are the formats there are.
func Formats() []Format {
	var all []Format
	for _, known := range table() {
		all = append(all, known.name)
	}
	return all
}

// About says in a few words what a format is.
func (f Format) About() string { return f.kind().about }

// UsesPassword reports whether the format has a keystore in it.
func (f Format) UsesPassword() bool { return f.kind().password }

// Beside are those of the bundle's files without which the format's are of no
// use.
func (f Format) Beside(files provision.Files) []string {
	if beside := f.kind().beside; beside != nil {
		return beside(files)
	}
	return nil
}

// IsArchive reports whether the format holds the bundle's files.
func (f Format) IsArchive() bool { return f.kind().archive }

// Names are the files that the format may have, the main one first.
func (f Format) Names() []string { return slices.Clone(f.kind().files) }

// Check tells, before anything is rendered, whether the format can carry a
// credential of the kind, whose key is here or not. Its error is an *UnfitError.
func (f Format) Check(kind provision.CredentialKind, hasKey bool) error {
	known := f.kind()
	switch {
	case known.needsKey && kind != provision.CredentialX509:
		return &UnfitError{f, fmt.Sprintf("holds a certificate and its key, and the device has a credential of the kind %s: tbcert rotate --credential x509 changes that (truststore holds the roots alone)", kind)}
	case known.carriesKey && kind == provision.CredentialX509 && !hasKey:
		return &UnfitError{f, "holds the device's key, which is not here, because the device made it itself (der, truststore and zip do without)"}
	}
	return nil
}

// errEmpty: a Device lacks what every format needs.
var errEmpty = errors.New("the device has no host, no port or no root certificate")

// Render gives a format's files, the main one first.
func Render(format Format, device Device, options Options) ([]provision.File, error) {
	if device.Info.Host == "" || device.Info.Ports.MQTTS == 0 || len(device.Roots) == 0 {
		return nil, errEmpty
	}
	if err := format.Check(device.Credential.Kind, !device.Credential.Key.IsZero()); err != nil {
		return nil, err
	}
	if format.UsesPassword() {
		if err := certs.CheckKeyStorePassword(options.Password); err != nil {
			return nil, fmt.Errorf("export as %s: %w", format, err)
		}
	}
	page, err := newPage(device, options)
	if err != nil {
		return nil, fmt.Errorf("export as %s: %w", format, err)
	}
	known := format.kind()
	if known.small && page.hasEd25519() {
		return nil, &UnfitError{format, "is for TLS libraries that know no Ed25519, which a certificate of this device or its root has: tbcert init --key-type p256 makes what they know"}
	}
	files, err := known.render(page)
	if err != nil {
		return nil, fmt.Errorf("export as %s: %w", format, err)
	}
	return files, nil
}

// An Exporter is what writes the formats of bundles.
type Exporter struct {
	Templates *templates.Set // nil: tbcert's own
}

var _ provision.Exporter = Exporter{}

// Format tells what a bundle has to know of a format.
func (Exporter) Format(name string) (provision.FormatFacts, error) {
	format, err := Parse(name)
	if err != nil {
		return provision.FormatFacts{}, err
	}
	facts := provision.FormatFacts{Password: format.UsesPassword()}
	if format.IsArchive() {
		facts.Archive = format.Names()[0]
	}
	return facts, nil
}

// Export gives the files of one format.
func (e Exporter) Export(order provision.ExportOrder) ([]provision.File, error) {
	return Render(Format(order.Format), Device{order.Info, order.Directory, order.Credential, order.RootPEM},
		Options{Templates: e.Templates, Password: order.Password, Bundle: order.Bundle})
}
