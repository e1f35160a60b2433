package cmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

type provisionOptions struct {
	from       string
	credential string
	given      string
	tokenFile  string
	profile    string
	jobs       int
	dryRun     bool
	server     serverOptions
}

func (o *provisionOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.from, "from", "", "CSV file with the devices (- is stdin): columns name, and optionally token, label, profile")
	flags.StringVar(&o.credential, "credential", string(provision.CredentialToken), "kind of credential: token, basic or x509")
	flags.StringVar(&o.given, "token", "", "the token that the one device must have; a file keeps it out of the shell's history")
	flags.StringVar(&o.tokenFile, "token-file", "", "file with the token that the one device must have")
	flags.StringVar(&o.profile, "profile", "", "device profile in ThingsBoard (default: the tenant's)")
	flags.IntVar(&o.jobs, "jobs", provision.DefaultJobs, "devices registered at once")
	flags.BoolVar(&o.dryRun, "dry-run", false, "tell what would be done, and do nothing")
	o.server.addFlags(flags)
}

func newProvision(a *app) *cobra.Command {
	options := &provisionOptions{}
	command := &cobra.Command{
		Use:   "provision [NAME…]",
		Short: "Register devices and write each its bundle",
		Long: `Register devices and write for each devices/NAME/ with ca-root.pem and its token.

With the registrar offline (the default without --url) tokens are made here, and
thingsboard-import.csv is written for ThingsBoard's own import. With the registrar thingsboard a
device is created by ThingsBoard's REST API, or adopted with the token it has. The login is --user
with TBCERT_PASSWORD or --password-file, or an API key in TBCERT_API_KEY or --api-key-file.

Interrupted and run again, it goes on where it was: no device twice, no token lost. Exit code 3
says that some devices failed; they are listed.`,
		Example: `  tbcert provision meter-1 meter-2
  tbcert provision --from devices.csv
  tbcert provision --from devices.csv --url https://tb.example.com --user tenant@example.com --password-file tenant.pass`,
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, args []string) error { return runProvision(command, a, options, args) })
	return command
}

func runProvision(command *cobra.Command, a *app, options *provisionOptions, names []string) error {
	ctx, ws := command.Context(), a.workspace()
	s, err := a.loadSite(ws)
	if err != nil {
		return err
	}
	if err := a.resolve(command, s.Settings.Values()); err != nil {
		return err
	}
	devices, err := options.devices(a, names)
	if err != nil {
		return invalid(err)
	}
	source, err := provision.NewList(devices)
	if err != nil {
		return invalid(err)
	}
	registrar, err := options.server.registrar(a, s)
	if err != nil {
		return invalid(err)
	}
	unlock, err := a.lock(ctx, ws)
	if err != nil {
		return err
	}
	defer unlock()
	batch := &provision.Batch{
		Onboarder: provision.Onboarder{
			Site: siteOf(s), Registrar: registrar, Inventory: inventory.Empty{}, Shelf: shelf{ws}, Now: a.process.Now,
		},
		Jobs: options.jobs, DryRun: options.dryRun,
	}
	there, err := ws.Exists(workspace.InventoryFile)
	if err != nil {
		return err
	}
	if options.dryRun && !there {
		return a.provision(command, batch, source, nil)
	}
	store, err := inventory.Open(ctx, ws.Path(workspace.InventoryFile))
	if err != nil {
		return unfitInventory(err)
	}
	batch.Inventory = store
	err = a.provision(command, batch, source, func() error { return writeImport(ctx, ws, store) })
	return errors.Join(err, store.Close())
}

// unfitInventory marks an inventory that must not be used as it is: others can
// read it, it is not ours, or a newer tbcert wrote it.
func unfitInventory(err error) error {
	var mode *inventory.ModeError
	if errors.As(err, &mode) || errors.Is(err, inventory.ErrForeign) || errors.Is(err, inventory.ErrNewer) {
		return invalid(err)
	}
	return err
}

// check refuses flags that make no sense together.
func (o *provisionOptions) check(names []string) error {
	if _, err := provision.ParseCredentialKind(o.credential); err != nil {
		return fmt.Errorf("--credential: %w", err)
	}
	switch {
	case o.jobs < 1 || o.jobs > maxJobs:
		return fmt.Errorf("--jobs %d is not between 1 and %d", o.jobs, maxJobs)
	case (o.from == "") == (len(names) == 0):
		return errors.New("name the devices, or the file that does with --from (one of the two)")
	default:
		return nil
	}
}

// devices reads which devices are asked for, from names or a file.
func (o *provisionOptions) devices(a *app, names []string) ([]provision.Device, error) {
	if err := o.check(names); err != nil {
		return nil, err
	}
	devices, err := o.read(a, names)
	if err != nil {
		return nil, err
	}
	token, err := o.token()
	if err != nil {
		return nil, err
	}
	if !token.IsZero() && (len(devices) != 1 || o.from != "") {
		return nil, errors.New("a token can be given for one device only; for many, put them into the file that --from reads")
	}
	for i := range devices {
		if !token.IsZero() {
			devices[i].Credential = provision.TokenCredential(token)
		}
		devices[i].Profile = cmp.Or(devices[i].Profile, o.profile)
	}
	return devices, nil
}

func (o *provisionOptions) read(a *app, names []string) ([]provision.Device, error) {
	if o.from == "" {
		return provision.DevicesFromNames(names)
	}
	if o.from == "-" {
		return provision.ReadManifest(a.process.In, "stdin")
	}
	data, err := workspace.ReadInput(o.from, false)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	return provision.ReadManifest(bytes.NewReader(data), o.from)
}

// token is the token that the one device must have, if one is given. It never
// comes from TBCERT_TOKEN: that is set for verify, and must not become another
// device's.
func (o *provisionOptions) token() (secret.Text, error) {
	token, err := givenToken(o.given, o.tokenFile)
	if err != nil || token.IsZero() {
		return token, err
	}
	return provision.ParseToken(token.Reveal())
}

// siteOf is what bundles say of a site.
func siteOf(s *site.Site) provision.Site {
	wanted := s.Settings.WithDefaults()
	result := provision.Site{
		Host: s.Host(), MQTTPort: wanted.MQTTPort, MQTTSPort: wanted.MQTTSPort,
		RootPEM: certs.EncodeCertificates(s.Anchors()...),
	}
	for _, root := range s.Anchors() {
		result.Roots = append(result.Roots, provision.Root{Fingerprint: certs.Fingerprint(root), NotAfter: root.NotAfter.UTC().Truncate(time.Second)})
	}
	return result
}

// writeImport writes the file that ThingsBoard imports: every device that was
// registered offline.
func writeImport(ctx context.Context, ws *workspace.Workspace, store *inventory.SQLite) error {
	var text bytes.Buffer
	if err := provision.WriteImport(io.Writer(&text), store.All(ctx)); err != nil {
		return err
	}
	_, err := ws.Commit(workspace.File{Name: workspace.ImportFile, Data: text.Bytes(), Secret: true})
	return err
}
