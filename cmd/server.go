package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/thingsboard/device"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// maxJobs bounds what a user may ask for at once.
const maxJobs = 1024

// serverOptions say how to reach ThingsBoard, and what for.
type serverOptions struct {
	registrarName string
	url           string
	user          string
	passwordFile  string
	passwordFlag  string // that names the file
	apiKeyFile    string
	callTimeout   time.Duration
	byChain       string
	changes       bool // credentials of devices that are registered

	provisionKey        string
	provisionSecretFile string
	serverMade          bool
}

func (o *serverOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.registrarName, "registrar", "", "where devices are registered: offline, thingsboard or mqtt\n(default: thingsboard when there is a --url)")
	o.addLoginFlags(flags, "password-file")
}

// addLoginFlags adds what a client of the REST API needs.
func (o *serverOptions) addLoginFlags(flags *pflag.FlagSet, passwordFlag string) {
	flags.StringVar(&o.url, "url", "", "ThingsBoard's web address, such as https://tb.example.com")
	flags.StringVar(&o.user, "user", "", "ThingsBoard user, a tenant administrator")
	o.passwordFlag = "--" + passwordFlag
	flags.StringVar(&o.passwordFile, passwordFlag, "", "file with the user's password (or TBCERT_PASSWORD; a terminal is asked)")
	flags.StringVar(&o.apiKeyFile, "api-key-file", "", "file with an API key, ThingsBoard 4.3 and later (or TBCERT_API_KEY)")
	flags.DurationVar(&o.callTimeout, "call-timeout", rest.DefaultTimeout, "patience with each call of ThingsBoard's REST API")
}

// addProvisionFlags adds what only provision takes.
func (o *serverOptions) addProvisionFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.byChain, "by-chain", "", "device profile (made if need be) that lets in every device with a certificate of the device CA,\nso that no device has to be registered (with --credential x509 and --url)")
	flags.StringVar(&o.provisionKey, "provision-key", "", "registrar mqtt: the profile's provision device key")
	flags.StringVar(&o.provisionSecretFile, "provision-secret-file", "", "registrar mqtt: file with the profile's provision device secret\n(or TBCERT_PROVISION_SECRET)")
	flags.BoolVar(&o.serverMade, "server-made", false, "registrar mqtt: let ThingsBoard make the tokens")
}

// registrar is the one that the options name.
func (o *serverOptions) registrar(ctx context.Context, f *fleet) (provision.Changer, error) {
	kind, err := o.kind()
	if err != nil {
		return nil, err
	}
	switch kind {
	case provision.RegistrarThingsBoard:
		client, err := o.client(ctx, f.app, f.site)
		if err != nil {
			return nil, err
		}
		f.client = client
		return &provision.ThingsBoard{Client: client, Chain: o.chain(f)}, nil
	case provision.RegistrarMQTT:
		if o.changes {
			return nil, errors.New("a credential cannot be changed by MQTT: say --url, and a login for ThingsBoard's REST API")
		}
		return o.mqtt(f)
	default:
		return provision.Offline{}, nil
	}
}

// kind is the registrar that is meant.
func (o *serverOptions) kind() (provision.RegistrarKind, error) {
	kind := provision.RegistrarKind(o.registrarName)
	switch {
	case kind == "" && o.url != "":
		kind = provision.RegistrarThingsBoard
	case kind == "":
		kind = provision.RegistrarOffline
	case !slices.Contains(provision.RegistrarKinds(), kind):
		return "", fmt.Errorf("--registrar %s: the registrars are %v", kind, provision.RegistrarKinds())
	}
	if o.byChain != "" && kind != provision.RegistrarThingsBoard {
		return "", errors.New("--by-chain is for the registrar thingsboard: say --url, too")
	}
	return kind, nil
}

// chain is the profile that lets devices in by their CA; nil when none is asked
// for.
func (o *serverOptions) chain(f *fleet) *provision.ChainProfile {
	if o.byChain == "" {
		return nil
	}
	ca, _, _ := f.deviceCA()
	return &provision.ChainProfile{Name: o.byChain, CA: ca}
}

// mqtt is the registrar for ThingsBoard's device provisioning. It connects as
// devices do: over TLS, trusting the site's roots alone.
func (o *serverOptions) mqtt(f *fleet) (provision.Changer, error) {
	secretText, err := o.secret(f.app, "provision-secret", o.provisionSecretFile)
	if err != nil {
		return nil, err
	}
	if o.provisionKey == "" || secretText.IsZero() {
		return nil, errors.New("device provisioning needs the profile's key and secret: give --provision-key, and --provision-secret-file FILE or TBCERT_PROVISION_SECRET")
	}
	wanted := f.site.Settings.WithDefaults()
	address := net.JoinHostPort(f.site.Host(), strconv.Itoa(wanted.MQTTSPort))
	roots := x509.NewCertPool()
	for _, root := range f.site.Anchors() {
		roots.AddCert(root)
	}
	registrar := &provision.MQTT{
		Dial: func(ctx context.Context) (net.Conn, error) { return device.DialTLS(ctx, address, roots, nil) },
		DialAs: func(ctx context.Context, certificate *tls.Certificate) (net.Conn, error) {
			return device.DialTLS(ctx, address, roots, certificate)
		},
		Key: secret.New(o.provisionKey), Secret: secretText, ServerMade: o.serverMade, Sessions: f.options.jobs, Now: f.app.process.Now,
	}
	f.closers = append(f.closers, registrar.Close)
	return registrar, nil
}

// client is a client of ThingsBoard's REST API that has not called yet. It
// trusts the system's roots and the site's own.
func (o *serverOptions) client(ctx context.Context, a *app, s *site.Site) (*rest.Client, error) {
	if o.url == "" {
		return nil, errors.New("ThingsBoard's web address is not known: say --url https://tb.example.com, or set url in tbcert.yaml")
	}
	if err := settings.CheckURL(o.url); err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	apiKey, err := o.secret(a, "api-key", o.apiKeyFile)
	if err != nil {
		return nil, err
	}
	password, err := o.password(ctx, a, apiKey.IsZero())
	if err != nil {
		return nil, err
	}
	if apiKey.IsZero() && (o.user == "" || password.IsZero()) {
		return nil, fmt.Errorf("there is no login for ThingsBoard: give --user with %s FILE or TBCERT_PASSWORD, or --api-key-file FILE or TBCERT_API_KEY", o.passwordFlag)
	}
	if parsed, err := url.Parse(o.url); err == nil && parsed.Scheme == "http" && !isLoopback(parsed.Hostname()) {
		a.ui.Warn("%s is not encrypted: the login and the tokens can be read on the way; use https", o.url)
	}
	return rest.New(rest.Config{
		URL: o.url, Username: o.user, Password: password, APIKey: apiKey,
		Roots: s.Anchors(), Now: a.process.Now, Timeout: o.callTimeout, Concurrency: maxJobs,
	})
}

// password is that of the user: from its file, else from the environment, else,
// when it is needed, asked for on the terminal.
func (o *serverOptions) password(ctx context.Context, a *app, needed bool) (secret.Text, error) {
	password, err := o.secret(a, "password", o.passwordFile)
	if err != nil || !password.IsZero() || !needed || o.user == "" || !a.ui.CanAsk() {
		return password, err
	}
	return a.ui.Password(ctx, "Password of "+o.user+" at "+o.url)
}

// secret reads a secret from its file, else from the environment.
func (o *serverOptions) secret(a *app, name, file string) (secret.Text, error) {
	if file != "" {
		return readSecretFile("--"+name+"-file", file)
	}
	return settings.Secret(a.env, name), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
