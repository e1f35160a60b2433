package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

type initOptions struct {
	settings       settings.Site
	caCert, caKey  string
	passphraseFile string
	caKeyURI       string
	signed         []string
	acme           acmeOptions
}

func (o *initOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.settings.Hosts, "host", nil, "name or address of the server, repeatable; the first is the one devices use\n(default: this machine's names, localhost, 127.0.0.1, ::1)")
	flags.StringVar(&o.settings.KeyType, "key-type", string(settings.DefaultKeyType), "kind of the keys: p256, p384, rsa2048, rsa3072, rsa4096 or ed25519")
	flags.StringVar(&o.settings.Organization, "org", "", "organization to name in the certificates")
	flags.IntVar(&o.settings.ServerDays, "server-days", settings.DefaultServerDays, "life of the server certificate in days")
	flags.IntVar(&o.settings.RootYears, "root-years", settings.DefaultRootYears, "life of the root CA in years")
	flags.BoolVar(&o.settings.SingleTier, "single-tier", false, "let the root sign the server certificate itself")
	flags.BoolVar(&o.settings.NameConstraints, "name-constraints", false, "limit the CA to the site's hosts (RFC 5280);\nmbedTLS 2.28 and BearSSL refuse such a CA")
	flags.IntVar(&o.settings.MQTTPort, "mqtt-port", settings.DefaultMQTTPort, "port of plain MQTT, for what devices are told")
	flags.IntVar(&o.settings.MQTTSPort, "mqtts-port", settings.DefaultMQTTSPort, "port of MQTT over TLS")
	flags.StringSliceVar(&o.settings.Deploy, "deploy", nil, "write settings for this, too, repeatable: "+strings.Join(settings.Deployments(), ", "))
	flags.StringVar(&o.caCert, "ca-cert", "", "bring a CA: its certificate (PEM; then its issuers up to the root, if it is no root)")
	flags.StringVar(&o.caKey, "ca-key", "", "bring a CA: its private key (PEM)")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "file with the passphrase of the CA keys (or TBCERT_PASSPHRASE)")
	flags.StringVar(&o.caKeyURI, "ca-key-uri", "", "make the CA keys in a token (PKCS#11), or use those that are there:\npkcs11:token=NAME;object=NAME?module-path=FILE (and &pin-source=file:FILE, else TBCERT_PKCS11_PIN)")
	flags.BoolVar(&o.settings.ExternalRoot, "external-root", false, "the root CA is kept elsewhere: write requests for it to sign, and wait for --signed")
	flags.StringArrayVar(&o.signed, "signed", nil, "file with certificates that came back from the external root, repeatable: those of both CAs, and the root")
	o.acme.addFlags(flags, &o.settings)
}

func newInit(a *app) *cobra.Command {
	options := &initOptions{}
	command := &cobra.Command{
		Use:   "init",
		Short: "Make the CA, the server certificate and ThingsBoard's settings",
		Long: `Make the CA root, the server certificate and the settings that ThingsBoard needs for MQTTS.

Run again, it changes nothing. With a new --host it issues the server certificate again, for the
old names and the new one; to drop a name, take it out of tbcert.yaml and run init. A CA is never
replaced. Settings for ThingsBoard on Debian are always written; --deploy writes them for other places,
and each file says in its first lines how to put it to work, and who must be able to read what. A CA key gets a passphrase from --passphrase-file or TBCERT_PASSPHRASE, or by a question
on a terminal.`,
		Example: `  tbcert init --host tb.example.com
  tbcert init --host tb.example.com --host 192.0.2.10 --org "Example Ltd"
  tbcert init --host tb.example.com --deploy docker --deploy haproxy
  tbcert init --host tb.example.com --ca-cert company-ca.pem --ca-key company-ca.key
  tbcert init --host tb.example.com --acme letsencrypt --email admin@example.com`,
		Args: takes(cobra.NoArgs, "a server is named with --host, such as --host tb.example.com"),
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, _ []string) error { return runInit(command, a, options) })
	return command
}

func runInit(command *cobra.Command, a *app, options *initOptions) error {
	if err := a.resolve(command, nil); err != nil {
		return err
	}
	request, err := options.request(command, a)
	if err != nil {
		return invalid(err)
	}
	ws := a.workspace()
	unlock, err := a.lock(command.Context(), ws)
	if err != nil {
		return err
	}
	defer unlock()
	byACME, err := usesACME(ws, request.Settings)
	if err != nil {
		return invalid(err)
	}
	if byACME {
		return a.initACME(command, ws, &options.acme, request)
	}
	result, err := site.Init(ws, request)
	if err != nil {
		return invalid(err)
	}
	changed, err := ws.Commit(result.Files...)
	if err != nil {
		return err
	}
	return a.tellInit(command, ws, result, changed)
}

// usesACME reports whether the server certificate is an ACME CA's: it was asked for
// just now, or the site says so.
func usesACME(ws *workspace.Workspace, asked settings.Site) (bool, error) {
	s, err := site.Load(ws)
	if errors.Is(err, site.ErrNoSite) {
		return asked.ACME != "", nil
	}
	if err != nil {
		return false, err
	}
	return asked.ACME != "" || s.Settings.ACME != "", nil
}

// request is what the flags and the environment ask for.
func (o *initOptions) request(command *cobra.Command, a *app) (site.Request, error) {
	ctx, flags := command.Context(), command.Flags()
	asked := o.given(flags)
	if err := errors.Join(checkGiven(flags, asked), absolute(&asked)); err != nil {
		return site.Request{}, err
	}
	passphrase := &passphrases{app: a, file: o.passphraseFile}
	request := site.Request{
		Settings:     asked,
		DefaultHosts: settings.MachineHosts,
		Passphrase: func(create bool, file string) (secret.Text, error) {
			return passphrase.get(ctx, create, file)
		},
		Maker: certs.Maker{Now: a.process.Now},
	}
	if err := a.useTokens(ctx, &request, o.caKeyURI); err != nil {
		return request, err
	}
	for _, file := range o.signed {
		data, err := workspace.ReadInput(file, false)
		if err != nil {
			return request, fmt.Errorf("--signed: %w", err)
		}
		came, err := certs.ReadCertificates(data)
		if err != nil {
			return request, fmt.Errorf("--signed: %s: %w", file, err)
		}
		request.Signed = append(request.Signed, came...)
	}
	var err error
	request.Import, err = o.readImport(ctx, passphrase)
	return request, err
}

// given is the settings that were asked for; a flag that only shows its
// default asks for nothing.
func (o *initOptions) given(flags *pflag.FlagSet) settings.Site {
	asked := o.settings
	drop := func(name string, clear func()) {
		if !flags.Changed(name) {
			clear()
		}
	}
	drop("key-type", func() { asked.KeyType = "" })
	drop("server-days", func() { asked.ServerDays = 0 })
	drop("root-years", func() { asked.RootYears = 0 })
	drop("mqtt-port", func() { asked.MQTTPort = 0 })
	drop("mqtts-port", func() { asked.MQTTSPort = 0 })
	for i, host := range asked.Hosts {
		if name, err := certs.ParseHost(host); err == nil {
			asked.Hosts[i] = name
		}
	}
	return asked
}

// checkGiven refuses values that make no sense, all of them at once.
func checkGiven(flags *pflag.FlagSet, asked settings.Site) error {
	var errs []error
	if flags.Changed("host") && len(asked.Hosts) == 0 {
		errs = append(errs, errors.New("host: no name was given; say --host tb.example.com"))
	}
	for name, value := range map[string]int{"server-days": asked.ServerDays, "root-years": asked.RootYears, "mqtt-port": asked.MQTTPort, "mqtts-port": asked.MQTTSPort} {
		if flags.Changed(name) && value == 0 {
			errs = append(errs, fmt.Errorf("%s: 0 is too small", name))
		}
	}
	for _, fault := range asked.Validate() {
		errs = append(errs, &fault)
	}
	return errors.Join(errs...)
}

// readImport reads the CA that the user brings, if any.
func (o *initOptions) readImport(ctx context.Context, passphrase *passphrases) (*site.Import, error) {
	if o.caCert == "" && o.caKey == "" {
		return nil, nil
	}
	if o.caCert == "" || o.caKey == "" {
		return nil, errors.New("a CA is brought with both --ca-cert and --ca-key")
	}
	certPEM, err := workspace.ReadInput(o.caCert, false)
	if err != nil {
		return nil, fmt.Errorf("--ca-cert: %w", err)
	}
	chain, err := certs.ParseCertificates(certPEM)
	if err != nil {
		return nil, fmt.Errorf("--ca-cert: %s: %w", o.caCert, err)
	}
	keyPEM, err := workspace.ReadInput(o.caKey, true)
	if err != nil {
		return nil, fmt.Errorf("--ca-key: %w", err)
	}
	key, err := passphrase.parseKey(ctx, keyPEM, o.caKey)
	if err != nil {
		return nil, fmt.Errorf("--ca-key: %w", err)
	}
	return &site.Import{Certificates: chain, Key: key, CertFile: strings.TrimSpace(o.caCert)}, nil
}
