package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
)

type rootOptions struct {
	ca         initOptions // the CA that is brought, and the passphrase
	all, force bool
}

func (o *rootOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.ca.caCert, "ca-cert", "", "start: bring the new CA, its certificate (PEM; then its issuers up to the root)")
	flags.StringVar(&o.ca.caKey, "ca-key", "", "start: bring the new CA, its private key (PEM)")
	flags.StringVar(&o.ca.passphraseFile, "passphrase-file", "", "file with the passphrase of the CA keys (or TBCERT_PASSPHRASE)")
	flags.BoolVar(&o.all, "all", false, "delivered: all devices have the new root")
	flags.BoolVar(&o.force, "force", false, "move, finish: although devices will be out")
}

const renewRootLong = `Change from one root CA to another, in three steps, with as much time between them as the devices need.
It can stop anywhere; status tells how far each device is.

  start        a new CA, beside the old one: every ca-root.pem gets both roots, in the bundles, too
  delivered    these devices have their new bundle (or all of them: --all)
  move         the server gets a certificate of the new CA; the old CA is kept in ca/previous
  finish       the old root goes out of every ca-root.pem

Each step refuses to lock a device out: move wants all devices to have the new root, and finish no device
to have a certificate of the old CA (tbcert rotate gives it another). Run again, a step finishes what was
interrupted.`

func newRenewRoot(a *app) *cobra.Command {
	options := &rootOptions{}
	command := &cobra.Command{
		Use:   "root start|delivered|move|finish [DEVICE…]",
		Short: "Change from one root CA to another, in three steps",
		Long:  renewRootLong,
		Example: `  tbcert renew root start
  tbcert renew root delivered meter-1
  tbcert renew root move
  tbcert renew root finish`,
		Args:      cobra.MinimumNArgs(1),
		ValidArgs: []string{"start", "delivered", "move", "finish"},
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, args []string) error { return runRenewRoot(command, a, options, args) })
	return command
}

// A rolling is one step of a rollover.
type rolling struct {
	app     *app
	options *rootOptions
	command *cobra.Command
	ws      *workspace.Workspace
	site    *site.Site
	result  rolloverResult
}

// rolloverResult is the JSON of a step: schema tbcert.renew.root/v1.
type rolloverResult struct {
	Schema   string         `json:"schema"`
	OK       bool           `json:"ok"`
	ExitCode int            `json:"exit_code"`
	Step     string         `json:"step"`
	Changed  []string       `json:"changed,omitempty"`
	Bundles  int            `json:"bundles_written"`
	Rollover *site.Rollover `json:"rollover"` // none once it is finished
	Next     string         `json:"next,omitempty"`
}

func runRenewRoot(command *cobra.Command, a *app, options *rootOptions, args []string) error {
	ws := a.workspace()
	if err := a.resolve(command, nil); err != nil {
		return err
	}
	step, names := args[0], args[1:]
	steps := map[string]func(*rolling) error{
		"start": (*rolling).start, "move": (*rolling).move, "finish": (*rolling).finish,
		"delivered": func(r *rolling) error { return r.delivered(names) },
	}
	do, known := steps[step]
	if !known || (step != "delivered" && len(names) > 0) {
		return invalid(fmt.Errorf("%q is no step: the steps are start, delivered DEVICE…, move and finish", strings.Join(args, " ")))
	}
	unlock, err := a.lock(command.Context(), ws)
	if err != nil {
		return err
	}
	defer unlock()
	r := &rolling{app: a, options: options, command: command, ws: ws, result: rolloverResult{Schema: schema(command), OK: true, Step: step}}
	if r.site, err = a.loadSite(ws); err != nil {
		return err
	}
	if err := do(r); err != nil {
		return err
	}
	return r.tell()
}

// request is what the steps that need keys ask for.
func (r *rolling) request(ctx context.Context) (site.Request, error) {
	passphrase := &passphrases{app: r.app, file: r.options.ca.passphraseFile}
	request := site.Request{
		Passphrase: func(create bool, file string) (secret.Text, error) { return passphrase.get(ctx, create, file) },
		Maker:      certs.Maker{Now: r.app.process.Now},
	}
	var err error
	request.Import, err = r.options.ca.readImport(ctx, passphrase)
	return request, err
}

// start makes the new CA, unless an interrupted run has, and writes the bundles.
func (r *rolling) start() error {
	stage, err := site.StageOf(r.ws, r.site)
	if err != nil {
		return err
	}
	if stage != site.StageStarted {
		request, err := r.request(r.command.Context())
		if err != nil {
			return invalid(err)
		}
		made, err := site.StartRollover(r.ws, request)
		if err != nil {
			return invalid(err)
		}
		if err := r.commit(made); err != nil {
			return err
		}
	}
	return r.rerender()
}

// move takes the new CA into use.
func (r *rolling) move() error {
	stage, err := site.StageOf(r.ws, r.site)
	if err != nil {
		return err
	}
	if stage == site.StageMoved {
		return r.rerender() // a run was interrupted
	}
	if err := r.allDelivered(); err != nil {
		return err
	}
	request, err := r.request(r.command.Context())
	if err != nil {
		return invalid(err)
	}
	made, err := site.MoveRollover(r.ws, request)
	var unproved *site.UnprovedError
	if errors.As(err, &unproved) {
		return err
	}
	if err != nil {
		return invalid(err)
	}
	if err := r.commit(made); err != nil {
		return err
	}
	return r.rerender()
}

// finish forgets the old root; a run that was interrupted has still bundles to
// write.
func (r *rolling) finish() error {
	rollover, err := site.RolloverOf(r.ws, r.site)
	if err != nil {
		return err
	}
	if rollover == nil {
		if err := r.rerender(); err != nil || r.result.Bundles > 0 {
			return err
		}
	}
	if rollover != nil && rollover.Stage == site.StageMoved && rollover.OldCerts > 0 && !r.options.force {
		return fmt.Errorf("%s of the old CA, which brokers that check certificates would refuse (tbcert status -o json lists them): give them others with `tbcert rotate --credential x509 NAME…`, or say --force",
			countOf(rollover.OldCerts, "device has a certificate", "devices have certificates"))
	}
	made, err := site.FinishRollover(r.ws)
	if err != nil {
		return invalid(err)
	}
	if err := r.commit(made); err != nil {
		return err
	}
	return r.rerender()
}

// delivered notes that devices have their new bundle.
func (r *rolling) delivered(names []string) error {
	rollover, err := site.RolloverOf(r.ws, r.site)
	if err != nil {
		return err
	}
	if rollover == nil {
		return invalid(errors.New("no rollover has begun: the first step is `tbcert renew root start`"))
	}
	if r.options.all == (len(names) > 0) {
		return invalid(errors.New("name the devices that have their new bundle, or say --all"))
	}
	known := make(map[string]bool, len(rollover.States))
	delivered := make(map[string]bool)
	for _, state := range rollover.States {
		known[state.Directory] = true
		delivered[state.Directory] = state.Delivered || r.options.all
	}
	for _, name := range names {
		directory, err := provision.EncodeName(name)
		if err != nil || !known[directory] {
			return invalid(fmt.Errorf("device %q has no bundle here: see that the name is right", name))
		}
		delivered[directory] = true
	}
	for directory, has := range delivered {
		if !has {
			delete(delivered, directory)
		}
	}
	r.result.Changed, err = r.ws.Commit(site.DeliveredFile(delivered))
	return err
}

// allDelivered refuses while devices have not got the new root.
func (r *rolling) allDelivered() error {
	rollover, err := site.RolloverOf(r.ws, r.site)
	if err != nil || rollover == nil || r.options.force {
		return err
	}
	if out := rollover.Devices - rollover.Delivered; out > 0 {
		return fmt.Errorf("%s not known to have the new root, and would be out: bring them their bundles and say so with `tbcert renew root delivered NAME…` (or --all), or say --force",
			countOf(out, "device is", "devices are"))
	}
	return nil
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (r *rolling) commit(made *site.Result) error {
	changed, err := r.ws.Commit(made.Files...)
	r.result.Changed, r.site = changed, made.Site
	return err
}

// rerender gives all bundles the roots that the site has now.
func (r *rolling) rerender() (err error) {
	r.result.Bundles, err = r.app.rerender(r.command.Context(), r.ws, r.site)
	return err
}

// rerender writes the bundles again that are not as the site would have them now,
// and says how many.
func (a *app) rerender(ctx context.Context, ws *workspace.Workspace, s *site.Site) (written int, err error) {
	directories, err := ws.List(workspace.DevicesDir)
	if err != nil {
		return 0, err
	}
	shelf := newShelf(ws)
	defer func() { _ = shelf.close() }() // nothing of it is open for writing
	progress := a.ui.Progress("bundles", len(directories))
	defer progress.End()
	onboarder := bundler(ws, s, shelf)
	err = onboarder.Rerender(ctx, directories, func(_ string, differs bool) {
		progress.Done(true)
		if differs {
			written++
		}
	})
	return written, err
}

// tell gives the result, and the next step.
func (r *rolling) tell() (err error) {
	if r.result.Rollover, err = site.RolloverOf(r.ws, r.site); err != nil {
		return err
	}
	r.result.Next = nextStep(r.app, r.result.Rollover)
	if r.app.ui.JSON() {
		return r.app.ui.ResultJSON(r.result)
	}
	var text strings.Builder
	for _, name := range r.result.Changed {
		fmt.Fprintf(&text, "  %s\n", r.ws.Path(name))
	}
	if r.result.Bundles > 0 {
		fmt.Fprintf(&text, "  %s written again\n", countOf(r.result.Bundles, "bundle", "bundles"))
	}
	if r.result.Rollover == nil {
		fmt.Fprintf(&text, "%s\n", r.app.ui.Good("The rollover is finished: devices trust one root."))
		fmt.Fprintf(&text, "\nThe old CA's keys are in %s: destroy them once you are sure.\n", r.ws.Path("ca/previous"))
		return r.app.ui.Result("%s", text.String())
	}
	text.WriteString(rolloverText(r.result.Rollover))
	fmt.Fprintf(&text, "\nNext: %s\n", r.result.Next)
	return r.app.ui.Result("%s", text.String())
}

// nextStep is what to do next in a rollover.
func nextStep(a *app, rollover *site.Rollover) string {
	switch {
	case rollover == nil:
		return ""
	case rollover.Stage == site.StageStarted && rollover.Delivered < rollover.Devices:
		return "bring each device its bundle and say so with `" + a.again("renew root delivered NAME…") + "`; then `" + a.again("renew root move") + "`"
	case rollover.Stage == site.StageStarted:
		return a.again("renew root move")
	case rollover.OldCerts > 0:
		return "give the server its new certificate, and devices theirs with `" + a.again("rotate --credential x509 NAME…") + "`; then `" + a.again("renew root finish") + "`"
	default:
		return "give the server its new certificate, and prove it with `" + a.again("verify --server-only") + "`; then `" + a.again("renew root finish") + "`"
	}
}

// rolloverText tells how far a rollover is.
func rolloverText(rollover *site.Rollover) string {
	text := fmt.Sprintf("Rollover to the root %s: ", rollover.NewRoot)
	bundles := 0
	for _, state := range rollover.States {
		if state.Bundle {
			bundles++
		}
	}
	if rollover.Stage == site.StageStarted {
		text += "step 1 of 3, started\n"
	} else {
		text += "step 2 of 3, the server has moved\n"
	}
	text += fmt.Sprintf("  of %d devices, %d have both roots in their bundles here, and %d are known to have them\n", rollover.Devices, bundles, rollover.Delivered)
	if rollover.OldCerts > 0 {
		text += fmt.Sprintf("  %s of the old CA\n", countOf(rollover.OldCerts, "device has a certificate", "devices have certificates"))
	}
	return text
}
