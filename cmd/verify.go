package cmd

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/thingsboard/device"
	"github.com/tbcert/tbcert/verify"
)

type verifyOptions struct {
	host         string
	hostGiven    bool // by flag or environment, not by the site
	port         int
	plain        bool
	caFile       string
	token        string
	tokenFile    string
	username     string
	passwordFile string
	clientID     string
	cert, key    string
	payload      string
	roundTrip    bool
	keepAlive    time.Duration
	timeout      time.Duration
	strict       bool

	urlTyped bool // --url stands on the command line

	devices fleetChoice
	server  serverOptions
	results resultOptions
	timer   timerOptions
}

func (o *verifyOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.host, "host", "", "name or address of the server (default: the site's)")
	flags.IntVar(&o.port, "port", 0, "port (default: 8883, with --plain 1883)")
	flags.BoolVar(&o.plain, "plain", false, "MQTT without TLS: the token crosses the network in clear")
	flags.StringVar(&o.caFile, "cafile", "", "the roots to trust (default: the site's ca-root.pem, else the system's)")
	flags.StringVar(&o.token, "token", "", "access token; other users of this machine and the shell's history can see it,\nso --token-file or TBCERT_TOKEN is better")
	flags.StringVar(&o.tokenFile, "token-file", "", "file with the access token, such as devices/NAME/token")
	flags.StringVar(&o.username, "username", "", "MQTT user name, for basic credentials")
	flags.StringVar(&o.passwordFile, "password-file", "", "file with the MQTT password (or TBCERT_MQTT_PASSWORD)")
	flags.StringVar(&o.clientID, "client-id", "", "MQTT client id")
	flags.StringVar(&o.cert, "cert", "", "client certificate and its issuers (PEM)")
	flags.StringVar(&o.key, "key", "", "key of the client certificate (PEM)")
	flags.StringVar(&o.payload, "payload", "", `telemetry to publish (default {"tbcert_verify":<unix ms>})`)
	flags.BoolVar(&o.roundTrip, "round-trip", false, "also write a client attribute and read it back")
	flags.DurationVar(&o.keepAlive, "keep-alive", 0, "also keep the session open that long without a message, as a device does that reports seldom")
	flags.DurationVar(&o.timeout, "timeout", verify.DefaultTimeout, "patience with each step over the network")
	flags.BoolVar(&o.strict, "strict", false, "also ask whether the server is as strict as it should be: a wrong token, no token, old TLS,\nweak ciphers, the plain port, keys, days left, revocation")
	o.devices.addFlags(flags)
	o.server.addLoginFlags(flags, "user-password-file")
	o.results.addFlags(flags)
	o.timer.addFlags(flags)
}

const verifyLong = `Prove that a device gets in: publish a test telemetry message over MQTTS, and explain what fails.

It goes step by step, as a device does: resolve, tcp, tls, chain, name, dates, usage, connect, publish,
and with --round-trip a client attribute that is read back. Each step is judged by itself, a failure
tells its cause and what to do. It never falls back to plain, and never skips verification: no token
crosses a connection that is not verified.

With device names, --all or --from, the bundles in devices/ say how to connect. ThingsBoard closes a
device's older session when a second client comes with its credential, so a device that is at work is
disconnected for a moment. With --url and a login, devices that are connected are therefore proved by
ThingsBoard's own record of them, and only the others connected as; --take-over connects as all.
--server-only proves the server up to TLS with no credential, --canary NAME as that one device.

After a refusal it asks once more in MQTT 5, which tells the exact reason, and then no more:
ThingsBoard can block an address after 10 wrong credentials. docs/checks has a page on every cause.

Exit codes, for one target:
  10 resolve   11 tcp   12 tls   13 chain or usage   14 name   15 dates
  16 connect refused   17 publish not acknowledged, session not kept   18 round trip, not stored
  1 a check of --strict
For several: 3 when some failed; they stand in verify-failed.ndjson, which --from takes.`

func newVerify(a *app) *cobra.Command {
	options := &verifyOptions{}
	command := &cobra.Command{
		Use:   "verify [NAME… | --all | --from FILE]",
		Short: "Publish a test message as a device, and explain what fails",
		Long:  verifyLong,
		Example: `  tbcert verify meter-1
  tbcert verify --token-file devices/meter-1/token
  tbcert verify --host tb.example.com --cafile ca-root.pem --token-file token -o json
  tbcert verify --host tb.example.com --plain --token-file token
  tbcert verify --all --url https://tb.example.com --user tenant@example.com --user-password-file tenant.pass
  tbcert verify --all --report fleet.html
  tbcert verify --server-only --strict`,
		ValidArgsFunction: a.completeDevices,
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, args []string) error {
		return a.forPlugin(runVerify(command, a, options, args))
	})
	return command
}

// nagiosUnknown is the exit code of a plugin that could not find out.
const nagiosUnknown = 3

// forPlugin tells a run that came to no result as a plugin of Nagios does.
func (a *app) forPlugin(err error) error {
	var known *exitError
	if err == nil || a.global.output != outputNagios || errors.As(err, &known) && known.silent {
		return err
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if err := a.ui.Result("TBCERT UNKNOWN - %s", strings.ReplaceAll(text, "|", "¦")); err != nil {
		return err
	}
	return told(nagiosUnknown)
}

func runVerify(command *cobra.Command, a *app, options *verifyOptions, names []string) error {
	ws := a.workspace()
	s, err := site.Load(ws)
	if errors.Is(err, site.ErrNoSite) {
		s, err = &site.Site{}, nil // a server can be verified from anywhere
	}
	if err != nil {
		return invalid(err)
	}
	if options.timer.asked() {
		return options.installTimer(command, a, s, names)
	}
	options.urlTyped = command.Flags().Changed("url")
	if err := a.resolve(command, options.fromSite(s)); err != nil {
		return err
	}
	options.hostGiven = options.host != ""
	options.host = cmp.Or(options.host, s.Host())
	v := &verification{
		app: a, options: options, command: command, ws: ws, site: s,
		verifier: &verify.Verifier{Now: a.process.Now, Timeout: options.timeout}, bundles: newBundleReader(ws),
		failing: make(map[string]verify.DiagnosisID),
	}
	if err := v.begin(command.Context(), names); err != nil {
		return invalid(err)
	}
	defer v.close()
	if err := v.openStore(); err != nil {
		return unfitInventory(err)
	}
	if options.results.watch > 0 {
		return v.watch(command.Context())
	}
	return v.once(command.Context())
}

// installTimer writes what runs this from time to time. The unit may write to the
// site, and to where the results go.
func (o *verifyOptions) installTimer(command *cobra.Command, a *app, s *site.Site, names []string) error {
	if o.results.watch > 0 {
		return invalid(errors.New("--watch goes on for ever by itself: leave it away for a timer"))
	}
	made, err := o.timer.schedule(command, a, cmp.Or(o.host, s.Host()), names)
	if err != nil {
		return invalid(err)
	}
	for _, file := range []string{o.results.textfile, o.results.report} {
		if file == "" {
			continue
		}
		path, err := filepath.Abs(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		made.Writable = append(made.Writable, filepath.Dir(path))
	}
	return o.timer.tellTimer(command, a, made)
}

// fromSite is what a site's file says for verify: where ThingsBoard's web address
// is. The host and the ports come from the bundles.
func (o *verifyOptions) fromSite(s *site.Site) map[string][]string {
	all := s.Settings.Values()
	values := make(map[string][]string)
	for _, name := range []string{"url", "user", "inventory"} {
		if value, ok := all[name]; ok {
			values[name] = value
		}
	}
	return values
}

// check refuses a target that cannot be tried at all.
func (o *verifyOptions) check(target verify.Target) error {
	if target.Host == "" {
		return errors.New("no host: say --host tb.example.com, or run this in a site's workspace (-C DIR)")
	}
	if _, err := certs.ParseHost(target.Host); err != nil {
		return fmt.Errorf("--host: %w", err)
	}
	return nil
}

// target is what the flags and the site say, without a bundle.
func (o *verifyOptions) target(a *app, s *site.Site) (verify.Target, error) {
	target := verify.Target{
		Host: o.host, Port: o.portOf(s.Settings.WithDefaults()), TLS: !o.plain,
		Payload: []byte(o.payload), RoundTrip: o.roundTrip, KeepAlive: o.keepAlive,
		Names: s.Settings.Hosts, Intermediates: s.Intermediates(),
	}
	if o.port < 0 || o.port > 65535 {
		return target, fmt.Errorf("--port %d is not between 1 and 65535", o.port)
	}
	if o.timeout <= 0 {
		return target, fmt.Errorf("--timeout %s is not longer than nothing", o.timeout)
	}
	if o.keepAlive < 0 {
		return target, fmt.Errorf("--keep-alive %s is less than nothing", o.keepAlive)
	}
	var err error
	if target.Login, err = o.login(a); err != nil {
		return target, err
	}
	if target.ClientCertificate, err = o.clientCertificate(a); err != nil {
		return target, err
	}
	target.Roots, target.RootsName, err = o.roots(a.workspace(), s)
	return target, err
}

func (o *verifyOptions) portOf(site settings.Site) int {
	switch {
	case o.port != 0:
		return o.port
	case o.plain:
		return site.MQTTPort
	default:
		return site.MQTTSPort
	}
}

// login is the credential that the flags and the environment give.
func (o *verifyOptions) login(a *app) (device.Login, error) {
	login := device.Login{ClientID: o.clientID, Username: secret.New(o.username)}
	token, err := a.token(o.token, o.tokenFile)
	if err != nil {
		return login, err
	}
	if !token.IsZero() && o.username != "" && (o.token != "" || o.tokenFile != "") {
		return login, errors.New("a token is the user name: give --token or --username, not both")
	}
	if o.username == "" {
		login.Username = token
		return login, nil
	}
	if o.passwordFile != "" {
		login.Password, err = readSecretFile("--password-file", o.passwordFile)
		return login, err
	}
	login.Password = settings.Secret(a.env, "mqtt-password") // TBCERT_PASSWORD is the tenant administrator's
	return login, nil
}

// roots are the certificates to trust, and where they come from; none for the
// system's.
func (o *verifyOptions) roots(ws *workspace.Workspace, s *site.Site) ([]*x509.Certificate, string, error) {
	if o.plain {
		return nil, "", nil
	}
	if o.caFile == "" && len(s.Anchors()) == 0 {
		return nil, "", nil
	}
	if o.caFile == "" {
		return s.Anchors(), ws.Path(workspace.RootFile), nil
	}
	data, err := workspace.ReadInput(o.caFile, false)
	if err != nil {
		return nil, "", fmt.Errorf("--cafile: %w", err)
	}
	roots, err := certs.ParseCertificates(data)
	if err != nil {
		return nil, "", fmt.Errorf("--cafile: %s: %w", o.caFile, err)
	}
	return roots, o.caFile, nil
}

// clientCertificate is the certificate that --cert and --key give.
func (o *verifyOptions) clientCertificate(a *app) (*tls.Certificate, error) {
	if o.cert == "" && o.key == "" {
		return nil, nil
	}
	if o.cert == "" || o.key == "" {
		return nil, errors.New("a client certificate needs both --cert and --key")
	}
	if o.plain {
		return nil, errors.New("--plain has no TLS, and a client certificate needs it")
	}
	chain, err := workspace.ReadInput(o.cert, false)
	if err != nil {
		return nil, fmt.Errorf("--cert: %w", err)
	}
	key, err := workspace.ReadInput(o.key, true)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	certificate, err := keyPair(key, chain, settings.Secret(a.env, "passphrase"))
	if err != nil {
		return nil, fmt.Errorf("--cert %s, --key %s: %w", o.cert, o.key, err)
	}
	return certificate, nil
}

// keyPair makes a client certificate of a key and a chain in PEM.
func keyPair(key, chain []byte, passphrase secret.Text) (*tls.Certificate, error) {
	signer, err := certs.ParseKey(key, passphrase)
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	parsed, err := certs.ParseCertificates(chain)
	if err != nil {
		return nil, fmt.Errorf("the certificate: %w", err)
	}
	if !certs.KeyFits(signer, parsed[0]) {
		return nil, certs.ErrKeyMismatch
	}
	certificate := &tls.Certificate{PrivateKey: signer, Leaf: parsed[0]}
	for _, cert := range parsed {
		certificate.Certificate = append(certificate.Certificate, cert.Raw)
	}
	return certificate, nil
}

// completeDevices completes the names of the devices that have a bundle.
func (a *app) completeDevices(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	var names []string
	directories, err := a.workspace().List(workspace.DevicesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, cobra.ShellCompDirectiveError
	}
	for _, directory := range directories {
		if name := deviceName(directory); strings.HasPrefix(name, begun) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
