package cmd

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/acme"
	"github.com/tbcert/tbcert/certs/remote"
	"github.com/tbcert/tbcert/cmd/internal/hook"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// acmeOptions are for a server certificate from a CA that speaks ACME. What is not
// said here is in tbcert.yaml.
type acmeOptions struct {
	eabKeyID, eabKeyFile string
}

func (o *acmeOptions) addFlags(flags *pflag.FlagSet, s *settings.Site) {
	flags.StringVar(&s.ACME, "acme", "", "get the server certificate from a CA by ACME: the address of its directory, or letsencrypt or staging.\nIts terms of service are agreed to")
	flags.StringVar(&s.Email, "email", "", "address that the ACME CA may write to")
	flags.StringVar(&s.ACMECA, "acme-ca", "", "file with roots to trust for the ACME CA's own server, and to look for the certificate's root among (a company's CA)")
	flags.StringVar(&s.Challenge, "acme-challenge", "", "how names are proved: http-01 (port 80), tls-alpn-01 (port 443) or dns-01 (the zone)\n(default: http-01, and dns-01 with a hook or server for it)")
	flags.StringVar(&s.ACMEHTTP, "acme-http", "", "where http-01 is answered, host:port (default :80)")
	flags.StringVar(&s.ACMETLS, "acme-tls", "", "where tls-alpn-01 is answered, host:port (default :443)")
	flags.StringVar(&s.DNSHook, "acme-dns-hook", "", "program that changes the zone: it gets present NAME VALUE, and later cleanup NAME VALUE, as its last arguments,\nand returns when the world sees it; no shell")
	flags.StringVar(&s.DNSServer, "acme-dns-server", "", "primary server of the zone, host:port, which is changed by RFC 2136")
	flags.StringVar(&s.DNSKeyFile, "acme-dns-key-file", "", "file with the TSIG key for that, as tsig-keygen writes it")
	flags.StringVar(&o.eabKeyID, "acme-eab-kid", "", "key identifier of an account that the CA has already (external account binding)")
	flags.StringVar(&o.eabKeyFile, "acme-eab-key-file", "", "file with that account's HMAC key, in base64url")
}

// absolute makes the names of files those that renew finds from wherever it runs.
func absolute(s *settings.Site) (err error) {
	for _, file := range []*string{&s.ACMECA, &s.DNSKeyFile} {
		if *file == "" {
			continue
		}
		if *file, err = filepath.Abs(*file); err != nil {
			return err
		}
	}
	return nil
}

// initACME is init for a site whose server certificate is from an ACME CA.
func (a *app) initACME(command *cobra.Command, ws *workspace.Workspace, o *acmeOptions, request site.Request) error {
	order, err := site.PlanOrder(ws, request, false)
	if err != nil {
		return invalid(err)
	}
	result, changed, err := a.fulfill(command.Context(), o, order)
	if err != nil {
		return err
	}
	return a.tellInit(command, ws, result, changed)
}

// fulfill carries out an order: the keys are on the disk before the CA is asked, and
// what it gives is before anything else is done with it. more is committed with the
// certificate.
func (a *app) fulfill(ctx context.Context, o *acmeOptions, order *site.Order, more ...workspace.File) (*site.Result, []string, error) {
	ws := a.workspace()
	if order.Stands {
		result, err := order.Keep()
		if err != nil {
			return nil, nil, err
		}
		changed, err := ws.Commit(result.Files...)
		return result, changed, err
	}
	client, err := a.acmeClient(o, order.Site.Settings, order.Account)
	if err != nil {
		return nil, nil, invalid(err)
	}
	if _, err := ws.Commit(order.Files...); err != nil {
		return nil, nil, err
	}
	chain := order.Pending
	if chain == nil {
		a.ui.Note("Asking %s for a certificate for %v.", order.Site.Settings.ACME, order.Hosts)
		if chain, err = client.Obtain(ctx, order.Hosts, order.Key, order.Before); err != nil {
			return nil, nil, err
		}
		if _, err := ws.Commit(order.Got(chain)); err != nil {
			return nil, nil, err
		}
	}
	root, err := a.rootOf(ctx, order.Site.Settings, chain)
	if err != nil {
		return nil, nil, err
	}
	result, err := order.Fulfill(chain, root)
	if err != nil {
		return nil, nil, err
	}
	changed, err := ws.Commit(append(result.Files, more...)...)
	return result, changed, err
}

// rootOf finds the root that devices need for a chain.
func (a *app) rootOf(ctx context.Context, s settings.Site, chain []*x509.Certificate) (*x509.Certificate, error) {
	known, err := acmeRoots(s)
	if err != nil {
		return nil, err
	}
	finder := &remote.Finder{Now: a.process.Now}
	found, err := finder.Find(ctx, append(chain[:len(chain):len(chain)], known...))
	if err != nil {
		return nil, fmt.Errorf("the CA gave a certificate, which is kept, and its root is not known: %w; give the root with --acme-ca FILE and run this again", err)
	}
	return found.Root, nil
}

// acmeRoots are those of the file that the settings name.
func acmeRoots(s settings.Site) ([]*x509.Certificate, error) {
	if s.ACMECA == "" {
		return nil, nil
	}
	data, err := workspace.ReadInput(s.ACMECA, false)
	if err != nil {
		return nil, fmt.Errorf("--acme-ca: %w", err)
	}
	roots, err := certs.ReadCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("--acme-ca: %s: %w", s.ACMECA, err)
	}
	return roots, nil
}

// acmeClient is a client of the CA that the settings name.
func (a *app) acmeClient(o *acmeOptions, s settings.Site, account crypto.Signer) (*acme.Client, error) {
	config := acme.Config{
		Email: s.Email, Account: account, Challenge: s.Challenge, HTTPAddr: s.ACMEHTTP, TLSAddr: s.ACMETLS,
		Warn: func(err error) { a.ui.Warn("%v", err) },
	}
	var err error
	if config.Directory, err = acme.Directory(s.ACME); err != nil {
		return nil, fmt.Errorf("--acme: %w", err)
	}
	roots, err := acmeRoots(s)
	if err != nil {
		return nil, err
	}
	if len(roots) > 0 {
		config.Roots = x509.NewCertPool()
		for _, root := range roots {
			config.Roots.AddCert(root)
		}
	}
	if config.DNS, err = a.zone(s); err != nil {
		return nil, err
	}
	switch {
	case config.Challenge == "" && config.DNS != nil:
		config.Challenge = acme.DNS01
	case config.Challenge == "":
		config.Challenge = acme.HTTP01
	}
	if config.EAB, err = o.eab(); err != nil {
		return nil, err
	}
	if err := acme.CheckHosts(s.Hosts, config.Challenge); err != nil {
		return nil, err
	}
	return acme.New(config)
}

func (o *acmeOptions) eab() (acme.EAB, error) {
	if (o.eabKeyID == "") != (o.eabKeyFile == "") {
		return acme.EAB{}, errors.New("--acme-eab-kid and --acme-eab-key-file belong together")
	}
	if o.eabKeyID == "" {
		return acme.EAB{}, nil
	}
	key, err := readSecretFile("--acme-eab-key-file", o.eabKeyFile)
	return acme.EAB{KeyID: o.eabKeyID, MACKey: key}, err
}

// zone is how records get into the zone; nil is not at all.
func (a *app) zone(s settings.Site) (acme.DNS, error) { //nolint:ireturn // one of two
	switch {
	case s.DNSHook != "" && s.DNSServer != "":
		return nil, errors.New("--acme-dns-hook and --acme-dns-server are two ways: say one")
	case s.DNSHook != "":
		arguments, err := hook.Parse(s.DNSHook)
		if err != nil {
			return nil, fmt.Errorf("--acme-dns-hook: %w", err)
		}
		return zoneHook{app: a, arguments: arguments}, nil
	case s.DNSServer != "":
		if s.DNSKeyFile == "" {
			return nil, errors.New("--acme-dns-server needs --acme-dns-key-file, the key that may change the zone")
		}
		text, err := workspace.ReadInput(s.DNSKeyFile, true)
		if err != nil {
			return nil, fmt.Errorf("--acme-dns-key-file: %w", err)
		}
		key, err := acme.ParseTSIGKey(string(text))
		if err != nil {
			return nil, fmt.Errorf("--acme-dns-key-file: %s: %w", s.DNSKeyFile, err)
		}
		return acme.Update{Server: s.DNSServer, Key: key}, nil
	default:
		return nil, nil
	}
}

// zoneHook has the user's program change the zone.
type zoneHook struct {
	app       *app
	arguments []string
}

func (h zoneHook) Present(ctx context.Context, name, value string) error {
	return h.run(ctx, "present", name, value)
}

func (h zoneHook) CleanUp(ctx context.Context, name, value string) error {
	return h.run(ctx, "cleanup", name, value)
}

func (h zoneHook) run(ctx context.Context, arguments ...string) error {
	err := hook.Command{
		Arguments: append(h.arguments[:len(h.arguments):len(h.arguments)], arguments...), Environ: h.app.process.Environ, Output: h.app.process.Err,
	}.Run(ctx)
	if err != nil {
		return fmt.Errorf("the hook of the zone: %w", err)
	}
	return nil
}
