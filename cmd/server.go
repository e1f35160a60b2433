package cmd

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// maxJobs bounds what a user may ask for at once.
const maxJobs = 1024

// serverOptions say how to reach ThingsBoard's REST API.
type serverOptions struct {
	registrarName string
	url           string
	user          string
	passwordFile  string
	apiKeyFile    string
}

func (o *serverOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.registrarName, "registrar", "", "where devices are registered: offline or thingsboard\n(default: thingsboard when there is a --url)")
	flags.StringVar(&o.url, "url", "", "ThingsBoard's web address, such as https://tb.example.com")
	flags.StringVar(&o.user, "user", "", "ThingsBoard user, a tenant administrator")
	flags.StringVar(&o.passwordFile, "password-file", "", "file with the user's password (or TBCERT_PASSWORD)")
	flags.StringVar(&o.apiKeyFile, "api-key-file", "", "file with an API key, ThingsBoard 4.3 and later (or TBCERT_API_KEY)")
}

// registrar is the one that the options name.
func (o *serverOptions) registrar(a *app, s *site.Site) (provision.Registrar, error) {
	name := o.registrarName
	if name == "" && o.url != "" {
		name = string(provision.RegistrarThingsBoard)
	}
	switch provision.RegistrarKind(name) {
	case "", provision.RegistrarOffline:
		return provision.Offline{}, nil
	case provision.RegistrarThingsBoard:
		client, err := o.client(a, s)
		if err != nil {
			return nil, err
		}
		return &provision.ThingsBoard{Client: client}, nil
	default:
		return nil, fmt.Errorf("--registrar %s: the registrars are %v", name, settings.Registrars())
	}
}

// client is a client of ThingsBoard's REST API that has not called yet. It
// trusts the system's roots and the site's own.
func (o *serverOptions) client(a *app, s *site.Site) (*rest.Client, error) {
	if o.url == "" {
		return nil, errors.New("ThingsBoard's web address is not known: say --url https://tb.example.com, or set url in tbcert.yaml")
	}
	if err := settings.CheckURL(o.url); err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	password, err := o.secret(a, "password", o.passwordFile)
	if err != nil {
		return nil, err
	}
	apiKey, err := o.secret(a, "api-key", o.apiKeyFile)
	if err != nil {
		return nil, err
	}
	if apiKey.IsZero() && (o.user == "" || password.IsZero()) {
		return nil, errors.New("there is no login for ThingsBoard: give --user with --password-file FILE or TBCERT_PASSWORD, or --api-key-file FILE or TBCERT_API_KEY")
	}
	if parsed, err := url.Parse(o.url); err == nil && parsed.Scheme == "http" && !isLoopback(parsed.Hostname()) {
		a.ui.Warn("%s is not encrypted: the login and the tokens can be read on the way; use https", o.url)
	}
	return rest.New(rest.Config{
		URL: o.url, Username: o.user, Password: password, APIKey: apiKey,
		Roots: s.Anchors(), Now: a.process.Now,
	})
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
