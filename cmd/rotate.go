package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
	"github.com/tbcert/tbcert/verify"
)

type rotateOptions struct {
	fleetOptions
	all             bool
	olderThan       string
	credential      string
	tokenFile       string
	csr             string
	announce        string
	announceTimeout time.Duration
	wave            int
	verify          bool

	age      time.Duration
	expiring *site.Due // only certificates that are due
}

func (o *rotateOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.all, "all", false, "every device on record")
	flags.StringVar(&o.olderThan, "older-than", "", "devices that have had their credential for longer than this, such as 90d or 36h")
	flags.StringVar(&o.credential, "credential", "", "kind of the new credential: token, basic or x509 (default: the kind that each has)")
	flags.StringVar(&o.tokenFile, "token-file", "", "file with the new token of the one device")
	flags.StringVar(&o.csr, "csr", "", "file with the certificate request (PKCS#10) of the one device")
	flags.StringVar(&o.announce, "announce", "", "tell each device its new token first, over the session that it has: the shared attribute KEY,\nor rpc:METHOD; a device that does not acknowledge it keeps what it has (needs --url)")
	flags.DurationVar(&o.announceTimeout, "announce-timeout", provision.DefaultAnnounceTimeout, "patience with a device that was told")
	o.addChangeFlags(flags)
}

// addChangeFlags adds those that say how the change is made.
func (o *rotateOptions) addChangeFlags(flags *pflag.FlagSet) {
	flags.IntVar(&o.wave, "wave", 0, "change so many devices at a time, and stop after a wave with a failure")
	flags.BoolVar(&o.verify, "verify", false, "connect as each device with its new credential, and go back to the old one when that fails")
	o.fleetOptions.addFlags(flags)
}

const rotateLong = `Give devices new credentials: in ThingsBoard, on record, and in their bundles.

A device has one credential, and ThingsBoard ends its session when that is changed: it is out until
its new bundle reaches it. With --announce its firmware is told first, and nobody is out. The shared
attribute KEY gets {"token":"…","id":"…"}, and the device acknowledges by publishing the client
attribute KEY with that id; or the RPC METHOD gets that as its parameters, and the device answers it.

The new credential is on record beside the old one before anything is changed, so that none is ever
lost: a rotation that is interrupted is finished by running it again. --verify connects as each device;
one that is refused gets its old credential back.`

func newRotate(a *app) *cobra.Command {
	options := &rotateOptions{}
	command := &cobra.Command{
		Use:   "rotate [DEVICE…]",
		Short: "Give devices new tokens or certificates",
		Long:  rotateLong,
		Example: `  tbcert rotate meter-1 --verify
  tbcert rotate --older-than 90d --wave 50 --verify
  tbcert rotate meter-1 --credential x509
  tbcert rotate --all --announce newToken --wave 100`,
		ValidArgsFunction: a.completeDevices,
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, args []string) error { return runRotate(command, a, options, args) })
	return command
}

func runRotate(command *cobra.Command, a *app, options *rotateOptions, names []string) (err error) {
	ctx := command.Context()
	var changer provision.Changer
	f, err := a.fleet(command, &options.fleetOptions, func(f *fleet) (err error) {
		if err := options.check(names); err != nil {
			return err
		}
		options.server.changes = true
		changer, err = options.server.registrar(ctx, f)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.open(ctx); err != nil {
		return err
	}
	source, err := options.source(ctx, f, names)
	if err != nil {
		return err
	}
	if err := options.share(ctx, f, changer.Kind(), source); err != nil {
		return errors.Join(err, source.close())
	}
	defer func() { err = errors.Join(err, source.close()) }()
	rotation, err := options.rotation(ctx, f, changer)
	if err != nil {
		return invalid(err)
	}
	if sure, err := options.confirm(ctx, f, source.Total()); err != nil || !sure {
		return err
	}
	return f.rotate(command, rotation, source)
}

// check refuses flags that make no sense together.
func (o *rotateOptions) check(names []string) error {
	chosen := 0
	for _, given := range []bool{len(names) > 0, o.all, o.olderThan != "", o.expiring != nil} {
		if given {
			chosen++
		}
	}
	if chosen != 1 {
		return errors.New("name the devices, or say --all or --older-than (one of the three)")
	}
	if err := o.checkOne(names); err != nil {
		return err
	}
	switch {
	case o.wave < 0:
		return fmt.Errorf("--wave %d is not a number of devices", o.wave)
	case o.announce != "" && (o.csr != "" || o.credential == string(provision.CredentialX509)):
		return errors.New("--announce hands over tokens and passwords, not certificates")
	case o.announceTimeout <= 0:
		return fmt.Errorf("--announce-timeout %s is not longer than nothing", o.announceTimeout)
	}
	return o.parse(names)
}

// checkOne refuses a credential for several devices, and two for one.
func (o *rotateOptions) checkOne(names []string) error {
	switch {
	case (o.tokenFile != "" || o.csr != "") && len(names) != 1:
		return errors.New("a token or a request can be given for one device only")
	case o.tokenFile != "" && o.csr != "":
		return errors.New("--csr is for a certificate, and --token-file for a token: a device has one credential")
	default:
		return nil
	}
}

// parse reads the flags that are more than they look.
func (o *rotateOptions) parse(names []string) (err error) {
	if _, err := provision.DevicesFromNames(names); err != nil {
		return err
	}
	if o.credential != "" {
		if _, err := provision.ParseCredentialKind(o.credential); err != nil {
			return fmt.Errorf("--credential: %w", err)
		}
	}
	if o.olderThan != "" {
		if o.age, err = settings.ParseAge(o.olderThan); err != nil {
			return fmt.Errorf("--older-than: %w", err)
		}
	}
	return nil
}

// source is the devices that are asked for.
func (o *rotateOptions) source(ctx context.Context, f *fleet, names []string) (*deviceSource, error) {
	if len(names) > 0 {
		devices, err := provision.DevicesFromNames(names)
		if err != nil {
			return nil, invalid(err)
		}
		list, err := provision.NewList(devices)
		return &deviceSource{Source: list, criterion: fmt.Sprintf("%q to=%q", names, o.credential), close: func() error { return nil }}, invalid(err)
	}
	recorded, err := f.recorded(ctx, func(r provision.Record) bool {
		switch r.State {
		case provision.StateRotating, provision.StateProving:
			return true // to be finished
		case provision.StateRegistered:
			return o.fits(r, f.app.process.Now())
		default:
			return false
		}
	})
	if err != nil {
		return nil, err
	}
	criterion := fmt.Sprintf("all=%t older-than=%q expiring=%v to=%q", o.all, o.olderThan, o.expiring, o.credential)
	return &deviceSource{Source: recorded, criterion: criterion, close: recorded.Close}, nil
}

// fits reports whether a device on record is one that is asked for.
func (o *rotateOptions) fits(r provision.Record, now time.Time) bool {
	if o.expiring == nil {
		return o.all || r.Replaced.Before(now.Add(-o.age))
	}
	if r.Credential.Kind != provision.CredentialX509 || r.Credential.Key.IsZero() {
		return false // a key that never left the device is not ours to replace
	}
	leaf, err := r.Credential.Leaf()
	return err == nil && !now.Before(o.expiring.At(leaf))
}

// share takes the devices from the inventory when other machines may, too. The
// same command on another machine does a part of them, and another change of
// credentials has to wait.
func (o *rotateOptions) share(ctx context.Context, f *fleet, registrar provision.RegistrarKind, devices *deviceSource) error {
	if !f.shared() || o.dryRun {
		return nil
	}
	spool, err := inventory.NewSpool(ctx, f.scratchDir())
	if err != nil {
		return err
	}
	if err := copyNames(ctx, spool, devices.Source); err != nil {
		return errors.Join(err, spool.Close())
	}
	shared, err := f.store.Share(ctx, inventory.Work{
		Kind: "rotate", Registrar: registrar, Host: settings.MachineHosts()[0], Criterion: devices.criterion,
	}, spool)
	if err != nil {
		return errors.Join(err, spool.Close())
	}
	devices.Source, devices.shared = shared, true
	if o.wave > 0 {
		devices.Source = stopping{shared}
	}
	recorded := devices.close
	devices.close = func() error {
		return errors.Join(shared.Release(context.WithoutCancel(ctx)), spool.Close(), recorded())
	}
	return nil
}

// stopping is a shared source that ends once a device has failed on any machine.
type stopping struct{ *inventory.Shared }

func (s stopping) Take(ctx context.Context, n int) ([]provision.Task, error) {
	progress, err := s.Progress(ctx)
	if err != nil {
		return nil, err
	}
	if progress.Failed > 0 {
		return nil, fmt.Errorf("%w: %d of %d devices failed, here or on other machines; see to them and run this again for those that are left", provision.ErrStopped, progress.Failed, progress.Total)
	}
	return s.Shared.Take(ctx, n)
}

// rotation is what is to be done.
func (o *rotateOptions) rotation(ctx context.Context, f *fleet, changer provision.Changer) (*provision.Rotation, error) {
	rotation := &provision.Rotation{
		Onboarder: f.onboarder(changer, nil), Changer: changer, Jobs: o.jobs, Wave: o.wave, DryRun: o.dryRun,
		To: provision.Credential{Kind: provision.CredentialKind(o.credential)},
	}
	if err := o.given(rotation); err != nil {
		return nil, err
	}
	if o.announce != "" {
		board, ok := changer.(*provision.ThingsBoard)
		if !ok {
			return nil, errors.New("--announce needs ThingsBoard's REST API: say --url, too")
		}
		rotation.Announcer = board.Announcer(o.announce, o.announceTimeout)
	}
	if o.verify {
		rotation.Prove = f.prove
	}
	if o.dryRun {
		return rotation, nil
	}
	var err error
	rotation.Issuer, err = o.issuer(ctx, f)
	return rotation, err
}

// issuer is there when the device CA's key can be had without a question, or is
// sure to be needed.
func (o *rotateOptions) issuer(ctx context.Context, f *fleet) (*provision.Issuer, error) {
	if o.credential == string(provision.CredentialX509) || o.csr != "" {
		return f.issuer(ctx)
	}
	if o.credential != "" || o.tokenFile != "" {
		return nil, nil
	}
	certified, err := f.hasCertificates(ctx)
	if err != nil || !certified {
		return nil, err
	}
	return f.issuer(ctx)
}

// hasCertificates reports whether a device on record has a certificate.
func (f *fleet) hasCertificates(ctx context.Context) (bool, error) {
	if f.store == nil {
		return false, nil
	}
	for record, err := range f.store.All(ctx) {
		if err != nil {
			return false, err
		}
		if record.Credential.Kind == provision.CredentialX509 {
			return true, nil
		}
	}
	return false, nil
}

// given puts the credential that is given into the rotation.
func (o *rotateOptions) given(rotation *provision.Rotation) error {
	switch {
	case o.csr != "":
		request, err := workspace.ReadInput(o.csr, false)
		if err != nil {
			return fmt.Errorf("--csr: %w", err)
		}
		rotation.To = provision.Credential{Kind: provision.CredentialX509, Request: request}
	case o.tokenFile != "":
		text, err := readSecretFile("--token-file", o.tokenFile)
		if err != nil {
			return err
		}
		token, err := provision.ParseToken(text.Reveal())
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		rotation.To = provision.TokenCredential(token)
	}
	return nil
}

// confirm says who will be out, and asks on a terminal.
func (o *rotateOptions) confirm(ctx context.Context, f *fleet, total int) (bool, error) {
	if o.dryRun || total == 0 || o.announce != "" {
		return true, nil
	}
	ui := f.app.ui
	ui.Warn("%s: ThingsBoard ends the session of each when its credential is changed, and it is out until its new bundle reaches it (--announce hands the new credential over first).", devicesWord(total))
	if f.app.global.yes || !ui.CanAsk() {
		return true, nil
	}
	return ui.Confirm(ctx, "Change them?")
}

// prove connects as a device, as far as CONNACK: that says whether ThingsBoard has
// the credential. A profile may refuse a test message, and a device that was told
// its new credential takes the session, while it is good.
func (f *fleet) prove(ctx context.Context, name string, credential provision.Credential) error {
	wanted := f.site.Settings.WithDefaults()
	target := verify.Target{
		Host: f.site.Host(), Port: wanted.MQTTSPort, TLS: true, LoginOnly: true,
		Roots: f.site.Anchors(), RootsName: f.ws.Path(workspace.RootFile),
	}
	if err := connectWith(&target, credential); err != nil {
		return err
	}
	verifier := &verify.Verifier{Now: f.app.process.Now}
	report := verifier.Run(ctx, target)
	if report.OK {
		return nil
	}
	for _, check := range report.Checks {
		if check.ID == report.Failed {
			return fmt.Errorf("%s: %s %s", check.ID, check.Cause, check.Fix)
		}
	}
	return fmt.Errorf("%s failed for device %q", report.Failed, name)
}

// rotate runs the rotation.
func (f *fleet) rotate(command *cobra.Command, rotation *provision.Rotation, source *deviceSource) error {
	t := &fleetTeller{fleet: f, command: command, dryRun: rotation.DryRun, total: source.Total()}
	t.next = func() string {
		if source.Total() == 0 || rotation.Announcer != nil {
			return ""
		}
		return "copy each directory to its device: it is out until then. To prove that it gets in,\n  " + f.app.again("verify NAME")
	}
	t.progress = f.app.ui.Progress("devices", source.Total())
	summary, err := rotation.Run(command.Context(), source, t.row)
	t.progress.End()
	source.others(command.Context(), &summary, err)
	if rotation.Changer.Kind() == provision.RegistrarOffline {
		err = errors.Join(err, f.renewImport(command.Context(), t, summary, summary.Rotated))
	}
	if t.importFile != "" && summary.Rotated > 0 {
		t.next = func() string {
			return fmt.Sprintf("import %s into ThingsBoard again, which changes the devices there; then\ncopy each directory to its device.", t.importFile)
		}
	}
	return t.finish(summary, err)
}
