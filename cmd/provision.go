package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/export"
	"github.com/tbcert/tbcert/provision/inventory"
)

type provisionOptions struct {
	fleetOptions
	from       string
	credential string
	given      string
	tokenFile  string
	csr        string
	profile    string
	repair     bool
	formats    []string

	kindGiven   bool // --credential stands on the command line
	onlyFormats bool // none of those that bundles have
}

func (o *provisionOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.from, "from", "", "file with the devices: CSV, JSON, NDJSON or YAML, by its extension (- is stdin)")
	flags.StringVar(&o.credential, "credential", string(provision.CredentialToken), "kind of credential of new devices: token, basic or x509")
	flags.StringVar(&o.given, "token", "", "the token that the one device must have; a file keeps it out of the shell's history")
	flags.StringVar(&o.tokenFile, "token-file", "", "file with the token that the one device must have")
	flags.StringVar(&o.csr, "csr", "", "file with the certificate request (PKCS#10) of the one device, whose key never leaves it")
	flags.StringVar(&o.profile, "profile", "", "device profile in ThingsBoard (default: the tenant's)")
	flags.BoolVar(&o.repair, "repair", false, "write bundles again from the record, of the named devices or of all")
	flags.StringSliceVar(&o.formats, "format", nil, "write each bundle in this format, too, now and after every change (repeatable; none ends those\nthat it has): "+formatNames())
	o.fleetOptions.addFlags(flags)
	o.server.addProvisionFlags(flags)
}

const provisionLong = `Register devices and write for each devices/NAME/ with ca-root.pem and its credential.

Credentials are access tokens, MQTT basic (client id, user name, password) or X.509 certificates of the
device CA. With the registrar offline (the default without --url) nothing is called, and
thingsboard-import.csv is written for ThingsBoard's own import. With thingsboard a device is created by
the REST API, or adopted with the credential it has. With mqtt it is created by ThingsBoard's device
provisioning. The login for REST is --user with TBCERT_PASSWORD or --password-file, or an API key in
TBCERT_API_KEY or --api-key-file.

A file is read and checked as a whole before anything is done. Its columns are name, and where wanted
label, profile, credential, token, client_id, username, password, csr, customer, description, gateway
and server:KEY or shared:KEY for attributes; a file for ThingsBoard's own import is one, too.

Interrupted and run again, it goes on where it was: no device twice, no token lost. Several machines
that run the same command with one --inventory share the work. Exit code 3 says that some devices
failed; they are listed, and stand in provision-failed.ndjson, which --from takes.`

func newProvision(a *app) *cobra.Command {
	options := &provisionOptions{}
	command := &cobra.Command{
		Use:   "provision [NAME…]",
		Short: "Register devices and write each its bundle",
		Long:  provisionLong,
		Example: `  tbcert provision meter-1 meter-2
  tbcert provision --from devices.csv
  tbcert provision --from devices.csv --credential x509
  tbcert provision --from devices.csv --url https://tb.example.com --user tenant@example.com --password-file tenant.pass
  tbcert provision --from devices.csv --format esp32 --format qr
  tbcert provision --repair`,
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, args []string) error { return runProvision(command, a, options, args) })
	return command
}

func runProvision(command *cobra.Command, a *app, options *provisionOptions, names []string) (err error) {
	ctx := command.Context()
	options.kindGiven = command.Flags().Changed("credential")
	var registrar provision.Registrar
	f, err := a.fleet(command, &options.fleetOptions, func(f *fleet) (err error) {
		if err := errors.Join(options.check(names), options.checkFormats()); err != nil {
			return err
		}
		registrar, err = options.server.registrar(ctx, f)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	devices, err := options.source(ctx, f, registrar, names)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, devices.close()) }()
	devices.fromFailed = isFile(options.from, f.ws.Path(workspace.FailedFile))
	if err := options.share(ctx, f, registrar, devices); err != nil {
		return err
	}
	f.formats = options.formats
	batch := &provision.Batch{
		Onboarder: f.onboarder(registrar, nil), Jobs: options.jobs, DryRun: options.dryRun, Repair: options.repair,
		Formats: options.formats, OnlyFormats: options.onlyFormats,
	}
	if batch.Kind, err = provision.ParseCredentialKind(options.credential); err != nil {
		return invalid(err)
	}
	if devices.certificates || (batch.Kind == provision.CredentialX509 && !options.repair) {
		if batch.Issuer, err = f.issuer(ctx); err != nil {
			return invalid(err)
		}
	}
	return f.provision(command, batch, devices)
}

// check refuses flags that make no sense together.
func (o *provisionOptions) check(names []string) error {
	if _, err := provision.ParseCredentialKind(o.credential); err != nil {
		return fmt.Errorf("--credential: %w", err)
	}
	one := o.given != "" || o.tokenFile != "" || o.csr != ""
	if o.repair {
		if o.from != "" || one {
			return errors.New("--repair works from the record: name devices, or none for all")
		}
		return nil
	}
	switch {
	case (o.from == "") == (len(names) == 0):
		return errors.New("name the devices, or the file that does with --from (one of the two)")
	case one && (len(names) != 1 || o.from != ""):
		return errors.New("a token or a request can be given for one device only; for many, put them into the file that --from reads")
	default:
		return o.checkOne()
	}
}

// noFormats takes away the formats that bundles have.
const noFormats = "none"

// checkFormats takes the formats' names, and refuses one that cannot carry the
// credential that is asked for.
func (o *provisionOptions) checkFormats() error {
	o.onlyFormats = slices.Contains(o.formats, noFormats)
	o.formats = slices.DeleteFunc(o.formats, func(name string) bool { return name == noFormats })
	for _, name := range o.formats {
		format, err := export.Parse(name)
		if err != nil {
			return fmt.Errorf("--format: %w, and %s", err, noFormats)
		}
		if !o.kindGiven && o.given == "" && o.tokenFile == "" {
			continue // it may be one that the device has already
		}
		if err := format.Check(provision.CredentialKind(o.credential), o.csr == ""); err != nil {
			return fmt.Errorf("--format: %w", err)
		}
	}
	return nil
}

// checkOne refuses two credentials for the one device.
func (o *provisionOptions) checkOne() error {
	if o.csr != "" && (o.given != "" || o.tokenFile != "") {
		return errors.New("--csr is for a certificate, and --token for a token: a device has one credential")
	}
	return nil
}

// A deviceSource is the devices of a run.
type deviceSource struct {
	provision.Source
	certificates bool         // certificates will have to be made
	shared       bool         // other machines take from it, too
	criterion    string       // what makes devices fit, where that changes as the run goes on
	fromFailed   bool         // it is the file of the rows that failed before
	close        func() error // drops what the source keeps
}

// source is the devices that are asked for: by name, in a file, or on record.
func (o *provisionOptions) source(ctx context.Context, f *fleet, registrar provision.Registrar, names []string) (*deviceSource, error) {
	nothing := func() error { return nil }
	if o.from != "" {
		return o.file(ctx, f, registrar)
	}
	if o.repair && len(names) == 0 {
		if err := f.open(ctx); err != nil {
			return nil, err
		}
		all, err := f.recorded(ctx, func(r provision.Record) bool {
			return r.State == provision.StatePending || r.State == provision.StateRegistered
		})
		if err != nil {
			return nil, err
		}
		return &deviceSource{Source: all, close: all.Close}, nil
	}
	devices, err := provision.DevicesFromNames(names)
	if err != nil {
		return nil, invalid(err)
	}
	credential, err := o.wish()
	if err != nil {
		return nil, invalid(err)
	}
	for i := range devices {
		devices[i].Credential, devices[i].Profile = credential, o.profile
		if o.repair {
			devices[i].Credential = provision.Credential{}
		}
		if err := checkFor(registrar, devices[i]); err != nil {
			return nil, invalid(err)
		}
	}
	list, err := provision.NewList(devices)
	return &deviceSource{Source: list, close: nothing, certificates: credential.Kind == provision.CredentialX509}, invalid(err)
}

// isFile reports whether two paths are of one file.
func isFile(path, other string) bool {
	one, err := os.Stat(path)
	if err != nil {
		return false
	}
	two, err := os.Stat(other)
	return err == nil && os.SameFile(one, two)
}

// wish is the credential that the flags ask for.
func (o *provisionOptions) wish() (provision.Credential, error) {
	if o.csr != "" {
		request, err := workspace.ReadInput(o.csr, false)
		if err != nil {
			return provision.Credential{}, fmt.Errorf("--csr: %w", err)
		}
		return provision.Credential{Kind: provision.CredentialX509, Request: request}, nil
	}
	token, err := o.token()
	if err != nil || !token.IsZero() {
		return provision.TokenCredential(token), err
	}
	if o.kindGiven {
		return provision.Credential{Kind: provision.CredentialKind(o.credential)}, nil
	}
	return provision.Credential{}, nil
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

// file reads the file as a whole into a spool.
func (o *provisionOptions) file(ctx context.Context, f *fleet, registrar provision.Registrar) (*deviceSource, error) {
	in, name, closeIn, err := o.input(f.app)
	if err != nil {
		return nil, invalid(fmt.Errorf("--from: %w", err))
	}
	defer closeIn()
	spool, err := inventory.NewSpool(ctx, f.scratchDir())
	if err != nil {
		return nil, err
	}
	wishes := &wishes{Spool: spool, options: o, registrar: registrar}
	source := &deviceSource{Source: spool, close: spool.Close}
	if err := provision.ReadManifest(ctx, in, name, provision.FormatOf(o.from), wishes); err != nil {
		return nil, invalid(errors.Join(err, spool.Close()))
	}
	source.certificates = wishes.certificates
	return source, nil
}

// share opens the inventory, and takes the devices from there when they are a
// file's and other machines take from it, too.
func (o *provisionOptions) share(ctx context.Context, f *fleet, registrar provision.Registrar, devices *deviceSource) error {
	if err := f.open(ctx); err != nil {
		return err
	}
	spool, isFile := devices.Source.(*inventory.Spool)
	if !isFile || !f.shared() || o.dryRun {
		return nil
	}
	shared, err := f.store.Share(ctx, inventory.Work{
		Kind: "provision " + o.credential, Registrar: registrar.Kind(), Host: settings.MachineHosts()[0],
	}, spool)
	if err != nil {
		return err
	}
	devices.Source, devices.shared = shared, true
	devices.close = func() error { return errors.Join(shared.Release(context.WithoutCancel(ctx)), spool.Close()) }
	return nil
}

func (o *provisionOptions) input(a *app) (in io.Reader, name string, closeIn func(), err error) {
	if o.from == "-" {
		return a.process.In, "stdin", func() {}, nil
	}
	file, err := workspace.OpenInput(o.from)
	if err != nil {
		return nil, "", nil, err
	}
	return file, o.from, func() { _ = file.Close() }, nil // it was read only
}

// wishes puts into each row of a file what the flags say for all, and looks
// whether the registrar can do it.
type wishes struct {
	provision.Spool
	options      *provisionOptions
	registrar    provision.Registrar
	certificates bool
}

func (w *wishes) Add(ctx context.Context, row provision.Row) error {
	if row.Device.Credential.IsZero() && w.options.kindGiven {
		row.Device.Credential.Kind = provision.CredentialKind(w.options.credential)
	}
	if row.Device.Profile == "" {
		row.Device.Profile = w.options.profile
	}
	if c := row.Device.Credential; c.Kind == provision.CredentialX509 && !c.Made() {
		w.certificates = true
	}
	if err := checkFor(w.registrar, row.Device); err != nil {
		return &provision.UnfitError{Problem: err.Error()}
	}
	return w.Spool.Add(ctx, row)
}

// checkFor says what a registrar cannot do for a device.
func checkFor(registrar provision.Registrar, device provision.Device) error {
	if checker, ok := registrar.(interface{ Check(provision.Device) error }); ok {
		return checker.Check(device)
	}
	return nil
}

// recorded is a source of the devices on record that match.
func (f *fleet) recorded(ctx context.Context, matches func(provision.Record) bool) (*provision.Recorded, error) {
	all := func(func(provision.Record, error) bool) {}
	if f.store != nil {
		all = f.store.All(ctx)
	}
	return provision.NewRecorded(ctx, all, matches)
}

// writeImport writes the file that ThingsBoard imports: every device that was
// registered offline.
func (f *fleet) writeImport(ctx context.Context) error {
	_, err := f.ws.Commit(workspace.File{Name: workspace.ImportFile, Secret: true, Write: func(out io.Writer) error {
		return provision.WriteImport(out, f.store.Shapes(ctx), f.store.Holdings(ctx))
	}})
	return err
}

// renewImport writes that file after a run that changed so many devices offline.
// It does so as well when none was changed and there is one: the run before may
// have come as far as the record, and not to the file.
func (f *fleet) renewImport(ctx context.Context, t *fleetTeller, summary provision.Summary, changed int) error {
	if t.dryRun || f.store == nil || summary.Left == summary.Total {
		return nil
	}
	there, err := f.ws.Exists(workspace.ImportFile)
	if err != nil || (!there && changed == 0) {
		return err
	}
	t.importFile = f.ws.Path(workspace.ImportFile)
	return f.writeImport(context.WithoutCancel(ctx))
}
