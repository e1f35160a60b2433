package cmd

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
)

// inspectFile tells what is in a file.
func (a *app) inspectFile(ctx context.Context, data []byte, file string, options *inspectOptions) ([]certs.Object, error) {
	if !certs.IsKeyStore(data) {
		return certs.Inspect(data)
	}
	entries, err := a.readStore(ctx, data, file, options.passwordFile)
	if err != nil {
		return nil, err
	}
	return certs.InspectKeyStore(entries)
}

// readStore opens a keystore: with the password that is given, else with the usual
// ones, else with what is typed.
func (a *app) readStore(ctx context.Context, data []byte, file, passwordFile string) ([]certs.StoreEntry, error) {
	if passwordFile != "" {
		password, err := readSecretFile("--password-file", passwordFile)
		if err != nil {
			return nil, err
		}
		return certs.ReadKeyStore(data, password)
	}
	usual := []secret.Text{secret.New("changeit"), {}}
	beside := filepath.Join(filepath.Dir(file), provision.StorePasswordFile)
	if text, err := workspace.ReadInput(beside, true); err == nil {
		usual = append(usual, secret.New(strings.TrimRight(string(text), "\r\n")))
	}
	for _, password := range usual {
		entries, err := certs.ReadKeyStore(data, password)
		if !errors.Is(err, certs.ErrWrongPassphrase) {
			return entries, err
		}
	}
	if !a.ui.CanAsk() {
		return nil, errors.New("the keystore has a password: give it with --password-file FILE")
	}
	password, err := a.ui.Password(ctx, "Password of "+file)
	if err != nil {
		return nil, err
	}
	return certs.ReadKeyStore(data, password)
}

// detailsText writes what --long tells of a certificate.
func detailsText(line factLine, details *certs.Details) {
	line("version", strconv.Itoa(details.Version))
	for _, row := range []struct {
		name   string
		values []string
	}{
		{"emails", details.Emails}, {"URIs", details.URIs}, {"OCSP", details.OCSP}, {"issuer at", details.IssuerURLs}, {"CRL at", details.CRLs},
		{"policies", details.Policies}, {"permitted", details.Permitted}, {"excluded", details.Excluded},
	} {
		line(row.name, strings.Join(row.values, ", "))
	}
	if details.SignedTimestamps > 0 {
		line("timestamps", strconv.Itoa(details.SignedTimestamps)+" of CT logs")
	}
	if details.MustStaple {
		line("must staple", "yes")
	}
	for i, extension := range details.Extensions {
		name := ""
		if i == 0 {
			name = "extensions"
		}
		text := extension.OID
		if extension.Name != "" {
			text = extension.Name
		}
		if extension.Critical {
			text += ", critical"
		}
		line(name, text+", "+strconv.Itoa(extension.Bytes)+" bytes")
	}
	line("signature", details.Signature)
}
