package cmd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/remote"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

type fetchOptions struct {
	url, file   string
	host        string
	fingerprint string
	tofu        bool
	add         bool
	replace     bool
	timeout     time.Duration
	password    string // file
}

func (o *fetchOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.url, "url", "", "ThingsBoard's web address: take the CA root that it offers devices")
	flags.StringVar(&o.file, "file", "", "file with the root, or with a chain that leads to it")
	flags.StringVar(&o.password, "password-file", "", "file with the password of --file, if it is a keystore")
	flags.StringVar(&o.host, "host", "", "name under which devices reach the server (default: that of HOST, or of the URL)")
	flags.StringVar(&o.fingerprint, "fingerprint", "", "take only the root with this fingerprint, such as sha256:4f…")
	flags.BoolVar(&o.tofu, "tofu", false, "trust on first use: take a root that nobody vouches for without a question")
	flags.BoolVar(&o.add, "add", false, "trust the new root beside those that are there")
	flags.BoolVar(&o.replace, "replace", false, "trust the new root in place of those that are there")
	flags.DurationVar(&o.timeout, "timeout", remote.DefaultTimeout, "patience with the network")
}

const fetchLong = `Find the root that devices have to trust, of a server that has its certificate from elsewhere, and write it
to ca-root.pem. The directory becomes a site: tbcert provision and tbcert verify work with it.

HOST is asked for its certificates on port 8883, or another (443 for a web server). No credential is sent. The
root is looked for in what the server sends, among Mozilla's and this machine's roots, and where the certificates
say that their issuers are. A public root is taken without a question. Any other may be anybody's: compare its
fingerprint over another way, and say yes, --fingerprint or --tofu.

A root that is there already stays, unless --add or --replace is given; the bundles then get what is new.`

func newFetch(a *app) *cobra.Command {
	options := &fetchOptions{}
	command := &cobra.Command{
		Use:   "fetch HOST[:PORT] | --url URL | --file FILE",
		Short: "Find the root that devices have to trust, of a server that runs",
		Long:  fetchLong,
		Example: `  tbcert fetch mqtt.thingsboard.cloud
  tbcert fetch tb.example.com:8883 --fingerprint sha256:4f1c…
  tbcert fetch --url https://tb.example.com
  tbcert fetch --file company-ca.pem --host tb.example.com`,
		Args: takes(cobra.MaximumNArgs(1), "name one server, as HOST or HOST:PORT"),
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, args []string) error { return runFetch(command, a, options, args) })
	return command
}

func runFetch(command *cobra.Command, a *app, options *fetchOptions, args []string) error {
	if err := a.resolve(command, nil); err != nil {
		return err
	}
	f := &fetching{
		app: a, options: options, command: command, ws: a.workspace(),
		finder: &remote.Finder{Now: a.process.Now, Timeout: options.timeout},
	}
	if err := f.source(args); err != nil {
		return invalid(err)
	}
	ctx := command.Context()
	if err := f.look(ctx); err != nil {
		return err
	}
	if sure, err := f.consent(ctx); err != nil || !sure {
		return err
	}
	unlock, err := a.lock(ctx, f.ws)
	if err != nil {
		return err
	}
	defer unlock()
	if err := f.write(); err != nil {
		return err
	}
	return f.tell()
}

// A fetching is one run of fetch.
type fetching struct {
	app     *app
	options *fetchOptions
	command *cobra.Command
	ws      *workspace.Workspace
	finder  *remote.Finder

	name  string // of the source
	host  string // that devices use; "" is not known
	port  int
	chain []*x509.Certificate
	found remote.Found

	changed []string
	bundles int
	site    *site.Site
}

// source says what is to be asked.
func (f *fetching) source(args []string) error {
	o := f.options
	given := 0
	for _, is := range []bool{len(args) > 0, o.url != "", o.file != ""} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return errors.New("name a server, or say --url or --file (one of the three)")
	case o.add && o.replace:
		return errors.New("--add and --replace are two ways: say one")
	case o.fingerprint != "" && !strings.HasPrefix(o.fingerprint, "sha256:"):
		return fmt.Errorf("--fingerprint %s: it begins with sha256: and goes on with 64 hexadecimal digits", o.fingerprint)
	}
	f.port = settings.DefaultMQTTSPort
	f.host = o.host
	if len(args) > 0 {
		return f.server(args[0])
	}
	return nil
}

// server takes HOST or HOST:PORT apart.
func (f *fetching) server(text string) error {
	host, port, ok := hostPort(text)
	if !ok {
		name, err := certs.ParseHost(strings.Trim(text, "[]"))
		if err != nil {
			return fmt.Errorf("%s is no HOST or HOST:PORT: %w", text, err)
		}
		host, port = name, settings.DefaultMQTTSPort
	}
	f.name, f.port = net.JoinHostPort(host, strconv.Itoa(port)), port
	if f.host == "" {
		f.host = host
	}
	return nil
}

// look gets the chain, and finds its root.
func (f *fetching) look(ctx context.Context) (err error) {
	switch {
	case f.options.url != "":
		err = f.download(ctx)
	case f.options.file != "":
		err = f.read(ctx)
	default:
		f.chain, err = f.finder.Present(ctx, f.name)
	}
	if err != nil {
		return err
	}
	f.found, err = f.finder.Find(ctx, f.chain)
	if errors.Is(err, remote.ErrNoRoot) {
		return fmt.Errorf("%s: %w; ask whoever runs the CA for its root, and give it with --file", f.name, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return f.fits()
}

// download asks ThingsBoard for the root that it offers.
func (f *fetching) download(ctx context.Context) error {
	f.name = f.options.url
	if err := settings.CheckURL(f.name); err != nil {
		return invalid(fmt.Errorf("--url: %w", err))
	}
	client, err := rest.New(rest.Config{URL: f.name, Timeout: f.options.timeout, Now: f.app.process.Now})
	if err != nil {
		return invalid(err)
	}
	data, err := client.CARoot(ctx)
	if err != nil {
		return err
	}
	if f.host == "" {
		f.host = hostOfURL(f.name)
	}
	return f.parse(data)
}

func (f *fetching) read(ctx context.Context) error {
	f.name = f.options.file
	data, err := workspace.ReadInput(f.name, false)
	if err != nil {
		return invalid(fmt.Errorf("--file: %w", err))
	}
	if certs.IsKeyStore(data) {
		entries, err := f.app.readStore(ctx, data, f.name, f.options.password)
		if err != nil {
			return invalid(fmt.Errorf("%s: %w", f.name, err))
		}
		for _, entry := range entries {
			f.chain = append(f.chain, entry.Chain...)
		}
		if len(f.chain) == 0 {
			return invalid(fmt.Errorf("%s: it holds no certificate", f.name))
		}
		return nil
	}
	return invalid(f.parse(data))
}

func (f *fetching) parse(data []byte) (err error) {
	if f.chain, err = certs.ReadCertificates(data); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

// fits refuses what devices could not use.
func (f *fetching) fits() error {
	root, now := f.found.Root, f.app.process.Now()
	leaf := f.chain[0]
	switch {
	case now.After(root.NotAfter):
		return fmt.Errorf("the root %q expired on %s: the server needs a certificate of another CA", root.Subject, root.NotAfter.UTC().Format(time.DateOnly))
	case f.found.SelfSigned && !root.IsCA && f.options.fingerprint == "":
		return invalid(fmt.Errorf("%q is the server's own certificate and no CA: a device that trusts it is locked out by the next one; if there is no CA, pin it with --fingerprint %s", root.Subject, certs.Fingerprint(root)))
	case f.options.file == "" && f.options.url == "" && f.found.Public && leaf.VerifyHostname(f.host) != nil:
		return fmt.Errorf("%s presents a certificate for %s: anybody can have a public certificate for another name, so it proves nothing; name the server as its certificate does", f.name, strings.Join(certs.Hosts(leaf), ", "))
	case f.host == "" && !f.hasSite():
		return invalid(errors.New("devices have to know where to connect: say --host, too"))
	}
	return nil
}

// hasSite reports whether the workspace names a host already.
func (f *fetching) hasSite() bool {
	s, err := site.Load(f.ws)
	return err == nil && s.Host() != ""
}

// consent is that of whoever answers for a root that is not public.
func (f *fetching) consent(ctx context.Context) (bool, error) {
	fingerprint, ui := certs.Fingerprint(f.found.Root), f.app.ui
	switch pinned := f.options.fingerprint; {
	case pinned != "" && !strings.EqualFold(pinned, fingerprint):
		return false, invalid(fmt.Errorf("%s leads to the root %q with the fingerprint %s, and %s was asked for: nothing was written", f.name, f.found.Root.Subject, fingerprint, pinned))
	case pinned != "" || f.found.Public || f.options.tofu:
		return true, nil
	case !ui.CanAsk() && !f.app.global.yes:
		return false, invalid(fmt.Errorf("%s leads to the root %q, which nobody vouches for: compare its fingerprint with whoever runs the CA, and say --fingerprint %s", f.name, f.found.Root.Subject, fingerprint))
	case f.app.global.yes:
		return true, nil
	}
	ui.Note("%s leads to a root that nobody vouches for:\n  %s\n  %s\n  valid until %s\nCompare the fingerprint with whoever runs the CA, over another way.", f.name, printable(f.found.Root.Subject.String()), fingerprint, f.found.Root.NotAfter.UTC().Format(time.DateOnly))
	return ui.Confirm(ctx, "Is it that root?")
}

// write puts the root into the site, and into its bundles.
func (f *fetching) write() error {
	mode := site.TrustFirst
	switch {
	case f.options.add:
		mode = site.TrustAdd
	case f.options.replace:
		mode = site.TrustReplace
	}
	made, err := site.Trust(f.ws, site.TrustRequest{Root: f.found.Root, Host: f.host, Port: f.port, Mode: mode})
	if err != nil {
		return invalid(err)
	}
	if f.changed, err = f.ws.Commit(made.Files...); err != nil {
		return err
	}
	f.site = made.Site
	f.bundles, err = f.app.rerender(f.command.Context(), f.ws, f.site)
	return err
}
