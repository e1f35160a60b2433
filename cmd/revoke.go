package cmd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
)

type revokeOptions struct {
	fleetOptions
	reason  string
	crlDays int
	renew   bool

	code int
}

// The life of a CRL in days.
const (
	defaultCRLDays = 30
	maxCRLDays     = 3650
)

func (o *revokeOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.reason, "reason", "unspecified", "why, as it stands in the CRL: unspecified, keyCompromise, affiliationChanged,\nsuperseded, cessationOfOperation or privilegeWithdrawn")
	flags.IntVar(&o.crlDays, "crl-days", defaultCRLDays, "days until the CRL has to be made again")
	flags.BoolVar(&o.renew, "crl", false, "make the CRL again, and revoke nothing")
	o.fleetOptions.addFlags(flags)
}

const revokeLong = `Take the credentials of devices away, for a device that is lost or sold.

In ThingsBoard the credential is replaced by one that nobody knows, which ends the device's session at
once. All its certificates go on the device CA's list of revoked certificates, ca/device-ca.crl, for
brokers and proxies that read one: ThingsBoard itself does not. The credential is taken out of its
bundle, and the record stays. tbcert rotate gives a revoked device a new credential.

A CRL has an end: brokers refuse everybody once it is over. tbcert revoke --crl makes it again.`

func newRevoke(a *app) *cobra.Command {
	options := &revokeOptions{}
	command := &cobra.Command{
		Use:   "revoke [DEVICE…]",
		Short: "Take the credentials of devices away",
		Long:  revokeLong,
		Example: `  tbcert revoke meter-1 --reason keyCompromise
  tbcert revoke --crl`,
		ValidArgsFunction: a.completeDevices,
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, args []string) error { return runRevoke(command, a, options, args) })
	return command
}

func runRevoke(command *cobra.Command, a *app, options *revokeOptions, names []string) (err error) {
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
	if err := f.openAlone(ctx); err != nil {
		return err
	}
	publish, err := options.publisher(ctx, f)
	if err != nil {
		return invalid(err)
	}
	if options.renew {
		if err := publish(ctx); err != nil {
			return err
		}
		return f.app.tellCRL(f.ws.Path(workspace.DeviceCRL))
	}
	devices, err := provision.DevicesFromNames(names)
	if err != nil {
		return invalid(err)
	}
	list, err := provision.NewList(devices)
	if err != nil {
		return invalid(err)
	}
	if sure, err := f.confirmRevoke(ctx, options, len(devices)); err != nil || !sure {
		return err
	}
	return f.revoke(command, &provision.Revocation{
		Onboarder: f.onboarder(changer, nil), Changer: changer, Certs: f, Reason: options.code,
		Publish: publish, Jobs: options.jobs, DryRun: options.dryRun,
	}, list)
}

func (o *revokeOptions) check(names []string) (err error) {
	switch {
	case o.renew == (len(names) > 0):
		return errors.New("name the devices, or say --crl to make the CRL again (one of the two)")
	case o.crlDays < 1 || o.crlDays > maxCRLDays:
		return fmt.Errorf("--crl-days %d is not between 1 and %d", o.crlDays, maxCRLDays)
	}
	if o.code, err = certs.ParseReason(o.reason); err != nil {
		return fmt.Errorf("--reason: %w", err)
	}
	_, err = provision.DevicesFromNames(names)
	return err
}

// publisher makes the CRL. It needs the device CA's key, which is asked for
// before anything is changed; a device CA whose key was never here signs none.
func (o *revokeOptions) publisher(ctx context.Context, f *fleet) (func(context.Context) error, error) {
	if o.dryRun || f.store == nil {
		return func(context.Context) error { return nil }, nil
	}
	authority, err := f.authority(ctx)
	if errors.Is(err, fs.ErrNotExist) && !o.renew {
		f.app.ui.Warn("the device CA's key is not here, so no CRL is made: %v", err)
		return func(context.Context) error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	authorities := []*certs.Authority{authority}
	previous, err := f.previousAuthority(ctx)
	if err != nil {
		return nil, err
	}
	if previous != nil {
		authorities = append(authorities, previous)
	}
	if _, err := f.crlsBefore(); err != nil {
		return nil, err // before anything is changed
	}
	return func(ctx context.Context) error { return f.writeCRLs(ctx, authorities, o.crlDays) }, nil
}

// previousAuthority is the device CA before the current one, while devices may
// still have its certificates; nil is none.
func (f *fleet) previousAuthority(ctx context.Context) (*certs.Authority, error) {
	chain, keyFile, err := site.PreviousDeviceCA(f.ws, f.site)
	if err != nil || chain == nil {
		return nil, err
	}
	key, err := f.caKey(ctx, keyFile)
	if err != nil {
		return nil, fmt.Errorf("what the CA before the rollover signed cannot be revoked: %w; put the key back, or finish the rollover first (tbcert renew root finish)", err)
	}
	return certs.ImportAuthority(chain, key, certs.Maker{Now: f.app.process.Now})
}

// crlKeeps is how long a certificate stands in CRLs after it has expired: it has
// to be in one that was issued after that (RFC 5280, 3.3).
const crlKeeps = 90 * 24 * time.Hour

// writeCRLs signs the lists of the revoked certificates of these CAs, which stand
// in one file.
func (f *fleet) writeCRLs(ctx context.Context, authorities []*certs.Authority, days int) error {
	var crls []*x509.RevocationList
	for _, authority := range authorities {
		crl, err := f.newCRL(ctx, authority, days)
		if err != nil {
			return err
		}
		crls = append(crls, crl)
	}
	_, err := f.ws.Commit(workspace.File{Name: workspace.DeviceCRL, Data: certs.EncodeCRLs(crls...)})
	return err
}

// newCRL signs the list of one CA.
func (f *fleet) newCRL(ctx context.Context, authority *certs.Authority, days int) (*x509.RevocationList, error) {
	number, err := f.store.NextCRLNumber(ctx)
	if err != nil {
		return nil, err
	}
	profile := certs.CRLProfile{Number: big.NewInt(number), Days: days}
	known := make(map[string]bool) // serial numbers in the inventory
	for entry, err := range f.store.Revoked(ctx) {
		if err != nil {
			return nil, err
		}
		if entry.Issuer != authority.Certificate.Subject.String() {
			continue
		}
		serial, ok := new(big.Int).SetString(entry.Serial, 16)
		if !ok {
			return nil, fmt.Errorf("the inventory has a revoked certificate of device %q with the serial %q, which is no number: the CRL would be without it", entry.Device, entry.Serial)
		}
		known[serial.String()] = true
		if f.app.process.Now().After(entry.NotAfter.Add(crlKeeps)) {
			continue
		}
		profile.Revoked = append(profile.Revoked, certs.RevokedCertificate{Serial: serial, Time: entry.Revoked, Reason: entry.Reason})
	}
	before, err := f.crlsBefore()
	if err != nil {
		return nil, err
	}
	for _, crl := range before {
		if signedBy(authority.Certificate, crl) { // and not another CA's, whose numbers and certificates are not ours
			carryOver(&profile, crl, known)
		}
	}
	return authority.NewCRL(profile)
}

// crlsBefore are the CRLs that are there.
func (f *fleet) crlsBefore() ([]*x509.RevocationList, error) {
	data, err := f.ws.Read(workspace.DeviceCRL)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	before, err := certs.ParseCRLs(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it may revoke what the inventory does not know: put it back, or delete it to begin a new one", f.ws.Path(workspace.DeviceCRL), err)
	}
	return before, nil
}

// crlHasEntries reports whether the CRL says anything to anybody: that of a site
// whose devices have tokens is empty.
func (f *fleet) crlHasEntries() bool {
	crls, err := f.crlsBefore()
	return err == nil && slices.ContainsFunc(crls, func(crl *x509.RevocationList) bool { return len(crl.RevokedCertificateEntries) > 0 })
}

func signedBy(ca *x509.Certificate, crl *x509.RevocationList) bool {
	return ca.CheckSignature(crl.SignatureAlgorithm, crl.RawTBSRevocationList, crl.Signature) == nil
}

// carryOver takes from the CRL before what the inventory does not know: that one
// may have been made from another inventory. Numbers go up, and nothing that was
// revoked is let in again.
func carryOver(profile *certs.CRLProfile, before *x509.RevocationList, known map[string]bool) {
	if before.Number != nil && before.Number.Cmp(profile.Number) >= 0 {
		profile.Number = new(big.Int).Add(before.Number, big.NewInt(1))
	}
	for _, entry := range before.RevokedCertificateEntries {
		if !known[entry.SerialNumber.String()] {
			profile.Revoked = append(profile.Revoked, certs.RevokedCertificate{Serial: entry.SerialNumber, Time: entry.RevocationTime, Reason: entry.ReasonCode})
		}
	}
}

// confirmRevoke asks on a terminal.
func (f *fleet) confirmRevoke(ctx context.Context, options *revokeOptions, total int) (bool, error) {
	if options.dryRun || f.app.global.yes || !f.app.ui.CanAsk() {
		return true, nil
	}
	return f.app.ui.Confirm(ctx, fmt.Sprintf("%s will not get in any more. Revoke?", devicesWord(total)))
}

// revoke runs the revocation.
func (f *fleet) revoke(command *cobra.Command, revocation *provision.Revocation, source provision.Source) error {
	t := &fleetTeller{fleet: f, command: command, dryRun: revocation.DryRun, total: source.Total()}
	t.progress = f.app.ui.Progress("devices", source.Total())
	summary, err := revocation.Run(command.Context(), source, t.row)
	t.progress.End()
	if there, crlErr := f.ws.Exists(workspace.DeviceCRL); crlErr == nil && there {
		t.crl = f.ws.Path(workspace.DeviceCRL)
	}
	if revocation.Changer.Kind() == provision.RegistrarOffline {
		err = errors.Join(err, f.renewImport(command.Context(), t, summary, summary.Revoked))
	}
	if t.importFile != "" && summary.Revoked > 0 {
		f.app.ui.Warn("ThingsBoard was not called (the registrar is offline): change or delete the devices there by hand, or run this with --url.")
	}
	t.next = func() string {
		if summary.Revoked == 0 || !f.crlHasEntries() {
			return ""
		}
		return "give " + t.crl + " to the brokers and proxies that check certificates."
	}
	return t.finish(summary, err)
}

// tellCRL says where the CRL is.
func (a *app) tellCRL(file string) error {
	if a.ui.JSON() {
		return a.ui.ResultJSON(fleetSummary{Schema: "tbcert.revoke.summary/v1", OK: true, CRL: file})
	}
	return a.ui.Result("The list of revoked certificates was made again: %s\n", file)
}

// RevokeCertificates notes that all certificates of the devices are revoked.
func (f *fleet) RevokeCertificates(ctx context.Context, devices []string, reason int, at time.Time) error {
	for _, device := range devices {
		if _, err := f.store.Revoke(ctx, device, reason, at); err != nil {
			return err
		}
	}
	return nil
}
