package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/verify"
)

type rootOptions struct {
	ca         initOptions // the CA that is brought, and the passphrase
	all, force bool
}

func (o *rootOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.ca.caCert, "ca-cert", "", "start: bring the new CA, its certificate (PEM; then its issuers up to the root)")
	flags.StringVar(&o.ca.caKey, "ca-key", "", "start: bring the new CA, its private key (PEM)")
	flags.StringVar(&o.ca.caKeyURI, "ca-key-uri", "", "start: make the new CA keys in a token (PKCS#11), as for tbcert init")
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

Each step refuses to lock a device out: move wants all devices to have the new root; finish wants that, no
device with a certificate of the old CA (tbcert rotate gives it another), and a server that devices with
the new root alone accept, if it can be asked. Run again, a step finishes what was interrupted.`

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
		Args:      takes(cobra.MinimumNArgs(1), "name the step: start, delivered DEVICE…, move or finish"),
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
	hook    bool // one is owed now
	result  rolloverResult
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
	if err := stepTakes(command.Flags(), step); err != nil {
		return invalid(err)
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

// stepTakes refuses flags that are another step's.
func stepTakes(flags *pflag.FlagSet, step string) error {
	for name, steps := range map[string]string{
		"ca-cert": "start", "ca-key": "start", "passphrase-file": "start, move", "all": "delivered", "force": "move, finish",
	} {
		if flags.Changed(name) && !strings.Contains(steps, step) {
			return fmt.Errorf("--%s is for %s, and %s has no use for it", name, steps, step)
		}
	}
	return nil
}

// request is what the steps that need keys ask for.
func (r *rolling) request(ctx context.Context) (site.Request, error) {
	passphrase := &passphrases{app: r.app, file: r.options.ca.passphraseFile}
	request := site.Request{
		Passphrase: func(create bool, file string) (secret.Text, error) { return passphrase.get(ctx, create, file) },
		Maker:      certs.Maker{Now: r.app.process.Now},
	}
	if err := r.app.useTokens(ctx, &request, r.options.ca.caKeyURI); err != nil {
		return request, err
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
	if made.Site.Settings.Hook != "" { // renew runs it, and looks at what is served then
		made.Files = append(made.Files, owedHook())
		r.hook = true
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
		if before, err := site.HadRollover(r.ws); err != nil || before {
			return errors.Join(err, r.rerender())
		}
	}
	made, err := site.FinishRollover(r.ws)
	if err != nil {
		return invalid(err)
	}
	if !r.options.force {
		if err := errors.Join(r.allDelivered(), oldCertificates(rollover), r.serverMoved(made.Site)); err != nil {
			return err
		}
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
	if lacking := devicesThat(rollover, isUndelivered); lacking != "" {
		return fmt.Errorf("not known to have the new root, and would be out: %s: bring them their bundles and say so with `tbcert renew root delivered NAME…` (or --all), or say --force", lacking)
	}
	return nil
}

func isUndelivered(state site.RolloverState) bool { return !state.Delivered }

// oldCertificates refuses while devices have certificates of the old CA.
func oldCertificates(rollover *site.Rollover) error {
	if rollover == nil || rollover.OldCerts == 0 {
		return nil
	}
	return fmt.Errorf("with a certificate of the old CA, which brokers that check certificates would refuse: %s: give them others with `tbcert rotate --credential x509 NAME…`, or say --force",
		devicesThat(rollover, func(state site.RolloverState) bool { return state.OldCert }))
}

// serverMoved refuses while the server presents what leads to the old root alone.
// One that cannot be asked from here is not held against anybody.
func (r *rolling) serverMoved(after *site.Site) error {
	verifier := &verify.Verifier{Now: r.app.process.Now, Timeout: lookOnce}
	port := after.Settings.WithDefaults().MQTTSPort
	presented, report := verifier.Inspect(r.command.Context(), verify.Target{
		Host: after.Host(), Port: port, TLS: true, Roots: after.TrustRoots, RootsName: "the new root",
	})
	address := net.JoinHostPort(after.Host(), strconv.Itoa(port))
	if len(presented.Chain) == 0 {
		r.app.ui.Warn("%s cannot be asked from here which certificate it serves: see that it is that of the new root.", address)
		return nil
	}
	for _, check := range report.Checks {
		if check.ID == verify.CheckChain && check.Status == verify.StatusFail {
			return fmt.Errorf("%s does not serve what leads to the new root (%s), and devices without the old one would be out: give it server/mqttserver.pem, or say --force", address, check.Detail)
		}
	}
	return nil
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
