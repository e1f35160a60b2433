package export

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/tbcert/tbcert/provision"
)

// epoch is the time of everything in an archive: the first that zip knows. An
// archive of the same files is the same.
func epoch() time.Time { return time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC) }

// The modes in an archive: whoever unpacks it may do so with an open umask.
const (
	archiveMode           fs.FileMode = 0o600
	archiveExecutableMode fs.FileMode = 0o700
)

func archivedMode(f provision.File) fs.FileMode {
	if f.Executable {
		return archiveExecutableMode
	}
	return archiveMode
}

// entries are the bundle's files by name, with their paths in an archive: below
// the device's directory, so that two archives can be unpacked in one place.
func (p *page) entries() []provision.File {
	files := slices.Clone(p.options.Bundle)
	slices.SortFunc(files, func(a, b provision.File) int { return cmp.Compare(a.Name, b.Name) })
	for i := range files {
		files[i].Name = p.Directory + "/" + files[i].Name
	}
	return files
}

func (p *page) zip() ([]provision.File, error) {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, file := range p.entries() {
		header := &zip.FileHeader{Name: file.Name, Method: zip.Deflate, Modified: epoch()}
		header.SetMode(archivedMode(file))
		entry, err := archive.CreateHeader(header)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name, err)
		}
		if _, err := entry.Write(file.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name, err)
		}
	}
	err := archive.Close()
	return []provision.File{{Name: "bundle.zip", Data: out.Bytes(), Secret: true}}, err
}

func (p *page) tarGz() ([]provision.File, error) {
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for _, file := range p.entries() {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: file.Name, Size: int64(len(file.Data)),
			Mode: int64(archivedMode(file)), ModTime: epoch(), Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name, err)
		}
		if _, err := archive.Write(file.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	err := compressed.Close()
	return []provision.File{{Name: "bundle.tar.gz", Data: out.Bytes(), Secret: true}}, err
}
