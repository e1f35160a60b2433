package site

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// ConflictError says that init was asked for something that would replace a CA:
// the one thing it never does.
type ConflictError struct{ Problem, Fix string }

func (e *ConflictError) Error() string { return e.Problem + ": " + e.Fix }

// Import is a CA that the user brings.
type Import struct {
	Certificates []*x509.Certificate // the CA, then its issuers up to the root
	Key          crypto.Signer
	CertFile     string // for errors
}

// Request is what init is asked for. Zero fields ask for nothing: an existing
// site keeps its value, a new one gets the default.
type Request struct {
	Settings     settings.Site
	DefaultHosts func() []string // for a site that names none
	Import       *Import
	// Passphrase gives the passphrase of the CA keys. It is called at most
	// once for each: for a new CA with create set (the zero Text means keys that
	// are not encrypted), for an existing one when a key has to be read; a new
	// CA beside an existing one gets the passphrase of that.
	Passphrase func(create bool, file string) (secret.Text, error)
	Maker      certs.Maker
	// Signed are the certificates that came back from an external root.
	Signed []*x509.Certificate
	// NewCAKey makes the key of a CA in a token, or finds it there; nil: Maker
	// makes it. OpenKey opens one by what its file says.
	NewCAKey func(name string, kind certs.KeyType) (crypto.Signer, error)
	OpenKey  func(uri string) (crypto.Signer, error)
}

// Result is what init made of a site: the site as it will be, and the files to
// be committed for it.
type Result struct {
	Site          *Site
	Files         []workspace.File
	NewCA         bool // a CA was made or brought
	NewServerCA   bool // the server CA was issued again, for other name constraints
	NewServer     bool // the server certificate was issued
	KeysEncrypted bool // with NewCA: its keys have a passphrase
	Waiting       bool // for the external root: nothing else can be made yet
	Deployed      []Deployed
}

// initializer carries one Init through its steps.
type initializer struct {
	ws      *workspace.Workspace
	request Request
	old     *Site // what was there; never nil
	result  *Result
	issuer  *certs.Authority // of the server certificate, when it was needed
	renew   bool             // the server certificate is replaced although it will do

	generation string // ends the names of a CA that is not the first
	keyDir     string // where the CA's keys are; "" is ca
	now        time.Time
}

// Init computes what a workspace needs to be the site that was asked for. It
// writes nothing. What is there stays, byte for byte, unless it is missing,
// damaged, expired or differs from what was asked for; a CA is never replaced:
// a request that needs that is a *ConflictError.
func Init(ws *workspace.Workspace, request Request) (*Result, error) {
	old, err := loadOrEmpty(ws)
	if err != nil {
		return nil, err
	}
	i := &initializer{ws: ws, request: request, old: old, now: now(request.Maker)}
	wanted := merge(old.Settings, request.Settings)
	if len(wanted.Hosts) == 0 {
		wanted.Hosts = request.DefaultHosts()
	}
	i.result = &Result{Site: &Site{Settings: wanted}}
	for _, step := range []func() error{i.settings, i.authorities, i.server, i.forThingsBoard} {
		if err := step(); err != nil {
			return nil, err
		}
		if i.result.Waiting {
			break
		}
	}
	return i.result, nil
}

// loadOrEmpty is the site that is there, or one with nothing.
func loadOrEmpty(ws *workspace.Workspace) (*Site, error) {
	s, err := Load(ws)
	if errors.Is(err, ErrNoSite) {
		return &Site{}, nil
	}
	return s, err
}

func now(maker certs.Maker) time.Time {
	if maker.Now != nil {
		return maker.Now()
	}
	return time.Now()
}

// merge lays what is asked for over what there is; hosts and deployments are
// added.
func merge(old, asked settings.Site) settings.Site {
	merged := old
	for _, host := range asked.Hosts {
		if !slices.Contains(merged.Hosts, host) {
			merged.Hosts = append(slices.Clip(merged.Hosts), host)
		}
	}
	for _, kind := range asked.Deploy {
		if !slices.Contains(merged.Deploy, kind) {
			merged.Deploy = append(slices.Clip(merged.Deploy), kind)
		}
	}
	merged.KeyType = cmp.Or(asked.KeyType, old.KeyType)
	merged.ServerDays = cmp.Or(asked.ServerDays, old.ServerDays)
	merged.RootYears = cmp.Or(asked.RootYears, old.RootYears)
	merged.Organization = cmp.Or(asked.Organization, old.Organization)
	merged.SingleTier = asked.SingleTier || old.SingleTier
	merged.ExternalRoot = asked.ExternalRoot || old.ExternalRoot
	merged.NameConstraints = asked.NameConstraints || old.NameConstraints
	merged.MQTTPort = cmp.Or(asked.MQTTPort, old.MQTTPort)
	merged.MQTTSPort = cmp.Or(asked.MQTTSPort, old.MQTTSPort)
	merged.Registrar = cmp.Or(asked.Registrar, old.Registrar)
	merged.URL = cmp.Or(asked.URL, old.URL)
	merged.User = cmp.Or(asked.User, old.User)
	merged.Profile = cmp.Or(asked.Profile, old.Profile)
	merged.Merge(asked)
	return merged.WithDefaults()
}

// settings writes tbcert.yaml, or changes in it what is new.
func (i *initializer) settings() error {
	wanted := i.result.Site.Settings
	data, err := settings.Update(i.old.Yaml, i.old.Settings, wanted)
	if err != nil {
		return err
	}
	i.result.Site.Yaml = data
	i.add(workspace.File{Name: workspace.SettingsFile, Data: data})
	return nil
}

func (i *initializer) add(file workspace.File) { i.result.Files = append(i.result.Files, file) }

// server issues the server certificate when the one that is there will not do,
// and writes its files.
func (i *initializer) server() error {
	site := i.result.Site
	if !i.renew && i.serverStands() {
		site.Server, site.ServerKey = i.old.Server, i.old.ServerKey
	} else if err := i.issueServer(); err != nil {
		return err
	}
	return i.serverFiles()
}

// serverFiles writes the key and the chain, together and apart.
func (i *initializer) serverFiles() error {
	site := i.result.Site
	key, err := certs.EncodeKey(site.ServerKey)
	if err != nil {
		return err
	}
	chain := certs.EncodeCertificates(site.Server...)
	i.add(workspace.File{Name: workspace.ServerPEM, Data: slices.Concat(key, chain), Secret: true})
	i.add(workspace.File{Name: workspace.ServerKey, Data: key, Secret: true})
	i.add(workspace.File{Name: workspace.ServerCert, Data: chain})
	return nil
}

func (i *initializer) issueServer() error {
	issuer, err := i.serverIssuer()
	if err != nil {
		return err
	}
	wanted := i.result.Site.Settings
	issued, err := issuer.IssueServer(certs.ServerProfile{
		Hosts: wanted.Hosts, Organization: wanted.Organization,
		KeyType: certs.KeyType(wanted.KeyType), Days: wanted.ServerDays,
	})
	if err != nil {
		return fmt.Errorf("issue the server certificate: %w", err)
	}
	i.result.Site.Server, i.result.Site.ServerKey = issued.Chain, issued.Key
	i.result.NewServer = true
	return i.permitted()
}

// permitted refuses a server certificate with a name that a CA above it may not
// vouch for (RFC 5280, 4.2.1.10): devices would. Such a CA is the root of a
// single-tier site, or one that was brought.
func (i *initializer) permitted() error {
	var fault x509.CertificateInvalidError
	if !errors.As(i.trusted(i.result.Site.Anchors()), &fault) || fault.Reason != x509.CANotAuthorizedForThisName {
		return nil
	}
	if i.renew && i.result.Site.Settings.NameConstraints && i.result.Site.ServerCA != nil {
		fix := "run `tbcert init`, which issues the server CA again for it"
		if i.keyDir == nextDir {
			fix = "take it out of there until the rollover has moved to the new root, then add it with `tbcert init --host`"
		}
		return &ConflictError{
			Problem: fmt.Sprintf("the name constraints of the server CA forbid one of the hosts in %s (%s)", workspace.SettingsFile, fault.Detail),
			Fix:     fix,
		}
	}
	return &ConflictError{
		Problem: "name constraints of a CA above the server certificate forbid one of its hosts (" + fault.Detail + ")",
		Fix:     "a CA is never replaced by init, because every device trusts it; use a host that it permits, or another workspace (-C DIR)",
	}
}

// serverStands reports whether the server certificate that is there is the one
// that would be issued: same names, kind of key and life, from this CA, its key
// fitting, and not near its end.
func (i *initializer) serverStands() bool {
	if len(i.old.Server) == 0 || i.old.ServerKey == nil || i.result.NewCA {
		return false
	}
	leaf, wanted := i.old.Server[0], i.result.Site.Settings
	if !certs.KeyFits(i.old.ServerKey, leaf) {
		return false
	}
	return leaf.CheckSignatureFrom(i.result.Site.signer()) == nil &&
		slices.Equal(sorted(certs.Hosts(leaf)), sorted(canonical(wanted.Hosts))) &&
		string(certs.KeyTypeOf(leaf.PublicKey)) == wanted.KeyType &&
		i.old.Settings.WithDefaults().ServerDays == wanted.ServerDays &&
		i.now.Before(leaf.NotAfter.Add(-RenewalWindow(leaf)))
}

// canonical gives hosts as they stand in a certificate. They were checked when
// they came in.
func canonical(hosts []string) []string {
	var names []string
	for _, host := range hosts {
		if name, err := certs.ParseHost(host); err == nil {
			names = append(names, name)
		}
	}
	return names
}

func sorted(values []string) []string {
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values)
}
