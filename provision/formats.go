package provision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// StorePasswordFile holds the password of a bundle's keystores and a newline,
// 0600.
const StorePasswordFile = "keystore.password"

// An Exporter writes what a device needs in the form that its software takes. It
// is used by several goroutines.
type Exporter interface {
	// Format tells what there is to know of a format; one that is unknown is an
	// error.
	Format(name string) (FormatFacts, error)
	// Export gives the files of one format. The same order gives the same bytes.
	// An error is a format that cannot carry the credential, or a template of the
	// user's that is wrong.
	Export(order ExportOrder) ([]File, error)
}

// FormatFacts are what a bundle has to know of a format.
type FormatFacts struct {
	Archive  string // the file that it is, when it holds the bundle's others; "" is none
	Password bool   // it has a keystore in it
}

// An ExportOrder asks for one format of a bundle.
type ExportOrder struct {
	Format     string
	Info       Info // as far as it is known
	Directory  string
	Credential Credential
	RootPEM    []byte
	Password   secret.Text // of keystores
	Bundle     []File      // what an archive holds
}

// An Export is a file of a bundle that was written for a format.
type Export struct {
	Format string `json:"format,omitempty"` // "": of all keystores, their password
	File   string `json:"file"`
	Secret bool   `json:"secret,omitempty"`
}

// ExportsOf gives the files that were written for formats, as a device.json says.
// Of a text that is none there are none.
func ExportsOf(info []byte) []Export {
	if !bytes.Contains(info, []byte(`"exports"`)) {
		return nil
	}
	var parsed Info
	if err := json.Unmarshal(info, &parsed); err != nil || parsed.Schema != InfoSchema {
		return nil
	}
	return slices.DeleteFunc(parsed.Exports, func(e Export) bool {
		return !isPlainName(e.File) || slices.Contains(BundleFiles(), e.File)
	})
}

// isPlainName reports whether a file is one in the bundle's own directory.
func isPlainName(name string) bool {
	return name != "" && name[0] != '.' && !slices.ContainsFunc([]byte(name), func(b byte) bool { return !isPlain(b) })
}

// exportsOf gives those of a bundle on the disk.
func exportsOf(files []File) []Export {
	file := findFile(files, InfoFile)
	if file == nil {
		return nil
	}
	return ExportsOf(file.Data)
}

// AllFiles are all files that a bundle on the disk may have.
func AllFiles(shelved []File) []string {
	names := BundleFiles()
	for _, exported := range exportsOf(shelved) {
		names = append(names, exported.File)
	}
	return names
}

// formatsOf are the formats of a device: those on record, those that its bundle
// has (the inventory may have been lost), and further ones. only leaves out all
// but the last.
func formatsOf(record Record, shelved []File, more []string, only bool) []string {
	var all []string
	if !only {
		all = slices.Clone(record.Formats)
		for _, exported := range exportsOf(shelved) {
			if exported.Format != "" {
				all = append(all, exported.Format)
			}
		}
	}
	all = append(all, more...)
	slices.Sort(all)
	return slices.Compact(all)
}

// A rendering is what a bundle is rendered from.
type rendering struct {
	device, directory string
	credential        Credential
	formats           []string
	shelved           []File      // the bundle as it is; nil is none
	storePassword     secret.Text // of keystores; zero: the one that they have, or a new one
	random            io.Reader
}

// addFormats adds the files of the formats, and says in info which they are;
// those of archives are told and come later.
func (r *renderer) addFormats(o rendering, info *Info, bundle *Bundle) error {
	facts := make([]FormatFacts, len(o.formats))
	for i, name := range o.formats {
		var err error
		if facts[i], err = r.exporter.Format(name); err != nil {
			return err
		}
	}
	password, err := o.password(facts)
	if err != nil {
		return err
	}
	for i, name := range o.formats {
		if facts[i].Archive != "" {
			info.Exports = append(info.Exports, Export{name, facts[i].Archive, true})
			continue
		}
		files, err := r.exporter.Export(r.order(o, *info, name, password))
		if err != nil {
			return err
		}
		for _, file := range files {
			info.Exports = append(info.Exports, Export{name, file.Name, file.Secret})
		}
		bundle.Files = append(bundle.Files, files...)
	}
	if !password.IsZero() {
		info.Exports = append(info.Exports, Export{"", StorePasswordFile, true})
		bundle.Files = append(bundle.Files, File{Name: StorePasswordFile, Data: line(password), Secret: true})
	}
	return o.inTheWay(bundle)
}

// addArchives adds the archives of all that is in the bundle.
func (r *renderer) addArchives(o rendering, info Info, bundle *Bundle) error {
	var archives []File
	for _, name := range o.formats {
		facts, err := r.exporter.Format(name)
		if err != nil {
			return err
		}
		if facts.Archive == "" {
			continue
		}
		order := r.order(o, info, name, secret.Text{})
		order.Bundle = bundle.Files
		files, err := r.exporter.Export(order)
		if err != nil {
			return err
		}
		archives = append(archives, files...)
	}
	bundle.Files = append(bundle.Files, archives...)
	return nil
}

func (r *renderer) order(o rendering, info Info, format string, password secret.Text) ExportOrder {
	return ExportOrder{
		Format: format, Info: info, Directory: o.directory, Credential: o.credential, RootPEM: r.site.RootPEM, Password: password,
	}
}

// password is that of the bundle's keystores: the one that it has, else a new
// one; zero when it is to have none.
func (o rendering) password(facts []FormatFacts) (secret.Text, error) {
	if !slices.ContainsFunc(facts, func(f FormatFacts) bool { return f.Password }) {
		return secret.Text{}, nil
	}
	if !o.storePassword.IsZero() {
		return o.storePassword, nil
	}
	if file := findFile(o.shelved, StorePasswordFile); file != nil {
		held := secret.New(string(bytes.TrimRight(file.Data, "\r\n")))
		if certs.CheckKeyStorePassword(held) == nil {
			return held, nil
		}
	}
	return NewToken(o.random)
}

// An InTheWayError says that a bundle has a file of the user's own where a
// format's is to be.
type InTheWayError struct {
	File string
}

func (e *InTheWayError) Error() string {
	return fmt.Sprintf("%s in its bundle is in the way, and tbcert did not write it: move it away", e.File)
}

// inTheWay refuses to replace or take away a file that is the user's own.
func (o rendering) inTheWay(bundle *Bundle) error {
	ours := exportsOf(o.shelved)
	for _, file := range o.shelved {
		isOurs := slices.Contains(BundleFiles(), file.Name) ||
			slices.ContainsFunc(ours, func(e Export) bool { return e.File == file.Name }) || file.Name == StorePasswordFile
		if wanted := findFile(bundle.Files, file.Name); !isOurs && wanted != nil && !bytes.Equal(wanted.Data, file.Data) {
			return &InTheWayError{File: file.Name}
		}
	}
	return nil
}
