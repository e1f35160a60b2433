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
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/export"
	"github.com/tbcert/tbcert/provision/inventory"
	"github.com/tbcert/tbcert/templates"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// fleetOptions are those of every command that works on devices and their
// record.
type fleetOptions struct {
	inventory      string
	passphraseFile string
	jobs           int
	dryRun         bool
	deviceDays     int
	server         serverOptions
}

// inventoryUsage is the help of --inventory.
const inventoryUsage = "PostgreSQL URL of an inventory that several machines share\n(default: inventory.db in the workspace; a password belongs into TBCERT_INVENTORY or PGPASSWORD)"

func (o *fleetOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.inventory, "inventory", "", inventoryUsage)
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "file with the passphrase of the CA keys and the inventory (or TBCERT_PASSPHRASE)")
	flags.IntVar(&o.jobs, "jobs", provision.DefaultJobs, "devices worked on at once, at most; how many follows what ThingsBoard can take")
	flags.BoolVar(&o.dryRun, "dry-run", false, "tell what would be done, and do nothing")
	flags.IntVar(&o.deviceDays, "device-days", provision.DefaultDays, "life of a device's certificate in days")
	o.server.addFlags(flags)
}

func (o *fleetOptions) check() error {
	switch {
	case o.jobs < 1 || o.jobs > maxJobs:
		return fmt.Errorf("--jobs %d is not between 1 and %d", o.jobs, maxJobs)
	case o.deviceDays < 1 || o.deviceDays > maxDeviceDays:
		return fmt.Errorf("--device-days %d is not between 1 and %d", o.deviceDays, maxDeviceDays)
	default:
		return nil
	}
}

// maxDeviceDays is ten years, the life of the device CA.
const maxDeviceDays = 3652

// A fleet is a site whose devices a command works on: its workspace is locked,
// and its inventory is open.
type fleet struct {
	app        *app
	options    *fleetOptions
	ws         *workspace.Workspace
	site       *site.Site
	passphrase *passphrases
	store      *inventory.Store // nil: there is none, and none is made (a dry run)
	client     *rest.Client     // nil: ThingsBoard's REST API is not called
	formats    []string         // that bundles are to have besides
	unlock     func()
	closers    []func() error // of what else was opened
}

// fleet loads the site and fills the command's flags; then check says what is
// wrong with them, and the workspace is locked. It has to be closed.
func (a *app) fleet(command *cobra.Command, options *fleetOptions, check func(*fleet) error) (*fleet, error) {
	f := &fleet{
		app: a, options: options, ws: a.workspace(),
		passphrase: &passphrases{app: a}, unlock: func() {},
	}
	var err error
	if f.site, err = a.loadSite(f.ws); err != nil {
		return nil, err
	}
	typed := command.Flags().Changed("inventory") // and not from the environment
	if err := a.resolve(command, f.site.Settings.Values()); err != nil {
		return nil, err
	}
	f.passphrase.file = options.passphraseFile
	if err := settings.CheckInventory(options.inventory, typed); err != nil {
		return nil, invalid(fmt.Errorf("--inventory: %w", err))
	}
	if err := errors.Join(options.check(), check(f)); err != nil {
		return nil, invalid(err)
	}
	if f.unlock, err = a.lock(command.Context(), f.ws); err != nil {
		return nil, err
	}
	return f, nil
}

// open opens the inventory, or makes it; all that may be wrong with the input is
// to be found before. A dry run makes none.
func (f *fleet) open(ctx context.Context) (err error) {
	if f.store != nil {
		return nil
	}
	options := inventory.Options{Passphrase: f.inventoryPassphrase, Now: f.app.process.Now}
	if f.options.inventory != "" {
		f.store, err = inventory.OpenPostgres(ctx, secret.New(f.options.inventory), options)
		return unfitInventory(err)
	}
	if f.options.dryRun {
		if there, err := f.ws.Exists(workspace.InventoryFile); err != nil || !there {
			return err
		}
	}
	f.store, err = inventory.Open(ctx, f.ws.Path(workspace.InventoryFile), options)
	return unfitInventory(err)
}

// openAlone opens the inventory for a change of credentials that other machines
// have no part in.
func (f *fleet) openAlone(ctx context.Context) error {
	if err := f.open(ctx); err != nil || f.store == nil || f.options.dryRun {
		return err
	}
	release, err := f.store.Exclusive(ctx)
	if err != nil {
		return err
	}
	f.closers = append(f.closers, release)
	return nil
}

// close closes the inventory and lets go of the workspace.
func (f *fleet) close() error {
	defer f.unlock()
	var err error
	for _, closer := range f.closers {
		err = errors.Join(err, closer())
	}
	if f.store == nil {
		return err
	}
	return errors.Join(err, f.store.Close())
}

// calls is how many calls of the REST API were made, and how many of them were
// repetitions.
func (f *fleet) calls() (calls, retries int64) {
	if f.client == nil {
		return 0, 0
	}
	stats := f.client.Stats()
	return stats.Calls, stats.Retries
}

// shared reports whether other machines may use the inventory too.
func (f *fleet) shared() bool { return f.options.inventory != "" }

// records is the inventory as the library wants it.
func (f *fleet) records() provision.Inventory { //nolint:ireturn // one of two
	if f.store == nil {
		return inventory.Empty{}
	}
	return f.store
}

// onboarder is what all work on devices needs.
func (f *fleet) onboarder(registrar provision.Registrar, issuer *provision.Issuer) provision.Onboarder { //nolint:unparam // some callers set the issuer later
	shelf := newShelf(f.ws)
	for _, format := range f.formats {
		shelf.also = append(shelf.also, export.Format(format).Names()...)
	}
	f.closers = append(f.closers, shelf.close)
	onboarder := bundler(f.ws, f.site, shelf)
	onboarder.Registrar, onboarder.Inventory, onboarder.Issuer, onboarder.Now = registrar, f.records(), issuer, f.app.process.Now
	return onboarder
}

// bundler writes the bundles of a site, and registers nothing.
func bundler(ws *workspace.Workspace, s *site.Site, shelf provision.Shelf) provision.Onboarder {
	said := siteOf(s)
	said.Templates = site.Templates(ws)
	return provision.Onboarder{Site: said, Exporter: export.Exporter{Templates: said.Templates}, Shelf: shelf}
}

// unfitInventory marks an inventory that must not be used as it is: others can
// read it, it is not ours, or a newer tbcert wrote it. A template of the user's
// that is wrong is told like that, too.
func unfitInventory(err error) error {
	var mode *inventory.ModeError
	var override *templates.OverrideError
	if errors.As(err, &mode) || errors.As(err, &override) || errors.Is(err, inventory.ErrForeign) || errors.Is(err, inventory.ErrNewer) || isPassphrase(err) {
		return invalid(err)
	}
	return err
}

func isPassphrase(err error) bool {
	return errors.Is(err, inventory.ErrPassphraseNeeded) || errors.Is(err, inventory.ErrWrongPassphrase)
}

// inventoryPassphrase is the passphrase that seals the inventory's secrets: that
// of the CA keys, when they have one. One that does not open them is refused, so
// that nothing is sealed with a typing error.
func (f *fleet) inventoryPassphrase(ctx context.Context) (secret.Text, error) {
	_, _, keyFile := f.deviceCA()
	data, err := f.ws.ReadSecret(keyFile)
	if err != nil || !certs.KeyIsEncrypted(data) {
		// The keys are elsewhere, or have no passphrase: then it is what is given.
		return f.passphrase.given()
	}
	if _, err := f.passphrase.parseKey(ctx, data, f.ws.Path(keyFile)); err != nil {
		return secret.Text{}, invalid(err)
	}
	return f.passphrase.get(ctx, false, f.ws.Path(keyFile))
}

// deviceCA is the CA that signs devices' certificates, its chain up to the root,
// and the file of its key.
func (f *fleet) deviceCA() (ca *x509.Certificate, chain []*x509.Certificate, keyFile string) {
	if f.site.DeviceCA != nil {
		return f.site.DeviceCA, append([]*x509.Certificate{f.site.DeviceCA}, f.site.RootCA...), workspace.DeviceCAKey
	}
	if len(f.site.RootCA) == 0 {
		return nil, nil, workspace.RootKey
	}
	return f.site.RootCA[0], f.site.RootCA, workspace.RootKey
}

// authority is the device CA with its key.
func (f *fleet) authority(ctx context.Context) (*certs.Authority, error) {
	ca, chain, keyFile := f.deviceCA()
	if ca == nil {
		return nil, errors.New("there is no CA here that could sign certificates of devices: run tbcert init")
	}
	key, err := f.caKey(ctx, keyFile)
	if err != nil {
		return nil, err
	}
	authority, err := certs.ImportAuthority(chain, key, certs.Maker{Now: f.app.process.Now})
	if err != nil {
		return nil, fmt.Errorf("the device CA: %w", err)
	}
	return authority, nil
}

func (f *fleet) caKey(ctx context.Context, keyFile string) (crypto.Signer, error) {
	data, err := f.ws.ReadSecret(keyFile)
	if err != nil {
		return nil, fmt.Errorf("the device CA's key: %w", err)
	}
	return f.passphrase.parseKey(ctx, data, f.ws.Path(keyFile))
}

// issuer makes certificates of devices.
func (f *fleet) issuer(ctx context.Context) (*provision.Issuer, error) {
	authority, err := f.authority(ctx)
	if err != nil {
		return nil, err
	}
	wanted := f.site.Settings.WithDefaults()
	return &provision.Issuer{
		CA: authority, Organization: wanted.Organization, KeyType: certs.KeyType(wanted.KeyType), Days: f.options.deviceDays,
	}, nil
}

// scratchDir is where files of a run may lie that hold secrets.
func (f *fleet) scratchDir() string { return filepath.Clean(f.ws.Dir()) }

// siteOf is what bundles say of a site.
func siteOf(s *site.Site) provision.Site {
	wanted := s.Settings.WithDefaults()
	result := provision.Site{
		Host: s.Host(), MQTTPort: wanted.MQTTPort, MQTTSPort: wanted.MQTTSPort,
		RootPEM: certs.EncodeCertificates(s.Anchors()...),
	}
	for _, root := range s.Anchors() {
		result.Roots = append(result.Roots, provision.RootOf(root))
	}
	return result
}

// given is the passphrase from its file or the environment; zero when there is
// none.
func (p *passphrases) given() (secret.Text, error) {
	if p.known != nil {
		return *p.known, nil
	}
	if p.file != "" {
		return readSecretFile("--passphrase-file", p.file)
	}
	return settings.Secret(p.app.env, "passphrase"), nil
}
