// Package settings decides what a command works with: a flag, else an
// environment variable, else tbcert.yaml, else the default.
//
// It is the only package that reads the environment, and [Keys] is the whole
// register of what it reads. A setting has one name: the flag --key-type is
// TBCERT_KEY_TYPE in the environment and key-type in tbcert.yaml. Secrets are
// never in tbcert.yaml and have no flag that would put them on a command line,
// except --token, which people type.
package settings

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// Prefix begins the name of every environment variable of tbcert.
const Prefix = "TBCERT_"

// Lookup finds an environment variable, as os.LookupEnv does.
type Lookup func(name string) (value string, ok bool)

// Key is one setting.
type Key struct {
	Name      string // the flag, and the key in tbcert.yaml
	Usage     string // one line for people
	InFile    bool   // may stand in tbcert.yaml
	Sensitive bool   // a secret: environment only, never shown
}

// Env is the environment variable of the setting.
func (k Key) Env() string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(k.Name, "-", "_"))
}

// Keys is every setting that has an environment variable, by name.
func Keys() []Key {
	return []Key{
		{Name: "acme", Usage: "address of a CA's ACME directory, or letsencrypt or staging", InFile: true},
		{Name: "acme-ca", Usage: "file with roots to trust for the CA's own server", InFile: true},
		{Name: "acme-challenge", Usage: "how names are proved to the CA: http-01, tls-alpn-01 or dns-01", InFile: true},
		{Name: "acme-dns-hook", Usage: "program that changes the zone, for dns-01", InFile: true},
		{Name: "acme-dns-key-file", Usage: "file with the TSIG key of --acme-dns-server", InFile: true},
		{Name: "acme-dns-server", Usage: "primary server of the zone, for dns-01 by RFC 2136", InFile: true},
		{Name: "acme-http", Usage: "where http-01 is answered", InFile: true},
		{Name: "acme-tls", Usage: "where tls-alpn-01 is answered", InFile: true},
		{Name: "api-key", Usage: "ThingsBoard API key (4.3 and later)", Sensitive: true},
		{Name: "deploy", Usage: "what init writes settings for, besides ThingsBoard on Debian: " + strings.Join(Deployments(), ", "), InFile: true},
		{Name: "device-days", Usage: "life of a device's certificate in days", InFile: true},
		{Name: "dir", Usage: "the workspace"},
		{Name: "email", Usage: "address that the ACME CA writes to", InFile: true},
		{Name: "external-root", Usage: "the root CA is kept elsewhere, and signs requests", InFile: true},
		{Name: "hook", Usage: "program that renew runs after a renewal", InFile: true},
		{Name: "host", Usage: "host names and addresses of the server, separated by commas", InFile: true},
		{Name: "inventory", Usage: "PostgreSQL URL of an inventory that several machines share", InFile: true},
		{Name: "key-type", Usage: "p256, p384, rsa2048, rsa3072, rsa4096 or ed25519", InFile: true},
		{Name: "mqtt-password", Usage: "MQTT password of a device, for verify --username", Sensitive: true},
		{Name: "mqtt-port", Usage: "port of plain MQTT", InFile: true},
		{Name: "mqtts-port", Usage: "port of MQTT over TLS", InFile: true},
		{Name: "name-constraints", Usage: "limit the CA to the server's names and addresses", InFile: true},
		{Name: "org", Usage: "organization in the certificates", InFile: true},
		{Name: "passphrase", Usage: "passphrase of the CA keys", Sensitive: true},
		{Name: "password", Usage: "password of the ThingsBoard user", Sensitive: true},
		{Name: "pkcs11-pin", Usage: "PIN of the token with the CA keys", Sensitive: true},
		{Name: "profile", Usage: "device profile in ThingsBoard", InFile: true},
		{Name: "provision-key", Usage: "provision device key of the profile, for the registrar mqtt", InFile: true},
		{Name: "provision-secret", Usage: "provision device secret of the profile, for the registrar mqtt", Sensitive: true},
		{Name: "registrar", Usage: "where devices are registered: offline, thingsboard or mqtt", InFile: true},
		{Name: "root-years", Usage: "life of the root CA in years", InFile: true},
		{Name: "server-days", Usage: "life of the server certificate in days", InFile: true},
		{Name: "single-tier", Usage: "the root signs the server certificate itself", InFile: true},
		{Name: "timeout", Usage: "patience with each step over the network"},
		{Name: "token", Usage: "access token of a device", Sensitive: true},
		{Name: "url", Usage: "ThingsBoard's web address", InFile: true},
		{Name: "user", Usage: "ThingsBoard user (a tenant administrator)", InFile: true},
	}
}

// Source says where a value came from.
type Source string

// The sources, strongest first.
const (
	FromFlag        Source = "flag"
	FromEnvironment Source = "environment"
	FromFile        Source = SiteFile
	FromDefault     Source = "default"
)

// Origin is one setting of a command and where its value came from.
type Origin struct {
	Name   string
	Source Source
}

// Resolve fills the flags that were not given: from the environment, else from
// the file's values (by setting name; see Site.Values). A value that the flag
// does not take is an error that names the variable. It gives the origin of
// each flag that is a setting.
func Resolve(flags *pflag.FlagSet, env Lookup, file map[string][]string) ([]Origin, error) {
	var origins []Origin
	for _, key := range Keys() {
		if flags.Lookup(key.Name) == nil || key.Sensitive {
			continue
		}
		source, err := fill(flags, key, env, file)
		if err != nil {
			return nil, err
		}
		origins = append(origins, Origin{Name: key.Name, Source: source})
	}
	return origins, nil
}

func fill(flags *pflag.FlagSet, key Key, env Lookup, file map[string][]string) (Source, error) {
	if flags.Changed(key.Name) {
		return FromFlag, nil
	}
	if value, ok := env(key.Env()); ok && value != "" {
		if err := flags.Set(key.Name, value); err != nil {
			return "", fmt.Errorf("%s: %w", key.Env(), err)
		}
		return FromEnvironment, nil
	}
	values := file[key.Name]
	for _, value := range values {
		if err := flags.Set(key.Name, value); err != nil {
			return "", fmt.Errorf("%s: %s: %w", SiteFile, key.Name, err)
		}
	}
	if len(values) > 0 {
		return FromFile, nil
	}
	return FromDefault, nil
}

// IsSecret reports whether a setting is one that must not be seen.
func IsSecret(name string) bool {
	return slices.ContainsFunc(Keys(), func(k Key) bool { return k.Name == name && k.Sensitive })
}

// Secret reads a secret from the environment; the zero Text when it is not
// set. It must be a sensitive setting of the register.
func Secret(env Lookup, name string) secret.Text {
	if !IsSecret(name) {
		return secret.Text{}
	}
	value, _ := env(Key{Name: name}.Env())
	return secret.New(value)
}

// Dir is the workspace: the flag, else TBCERT_DIR, else the current directory.
func Dir(flag string, env Lookup) string {
	if flag != "" {
		return flag
	}
	if value, ok := env(Prefix + "DIR"); ok && value != "" {
		return value
	}
	return "."
}

// NoColor reports whether NO_COLOR (no-color.org) or a dumb terminal asks for
// plain output.
func NoColor(env Lookup) bool {
	value, _ := env("NO_COLOR")
	term, _ := env("TERM")
	return value != "" || term == "dumb"
}

// Unknown lists the variables in environ ("NAME=value") that begin like ours
// and are none of ours: a typing error that would otherwise be silent.
func Unknown(environ []string) []string {
	var names []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		known := slices.ContainsFunc(Keys(), func(k Key) bool { return k.Env() == name })
		if strings.HasPrefix(name, Prefix) && !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Environment makes a Lookup of a list of "NAME=value", as os.Environ gives it.
func Environment(environ []string) Lookup {
	values := make(map[string]string, len(environ))
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = value
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// MachineHosts is what a server on this machine is reached by when nobody says
// better: the host name, localhost and the loopback addresses.
func MachineHosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	name, err := os.Hostname()
	if err != nil || name == "localhost" {
		return hosts
	}
	if _, err := certs.ParseHost(name); err != nil {
		return hosts
	}
	return append([]string{name}, hosts...)
}
