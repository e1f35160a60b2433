package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/hook"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// defaultWait is longer than ThingsBoard takes to look for new files (60 s).
const defaultWait = 2 * time.Minute

type renewOptions struct {
	before         string
	check          bool
	force          bool
	dryRun         bool
	hook           string
	hookTimeout    time.Duration
	wait           time.Duration
	version        string
	passphraseFile string
	timer          timerOptions

	due       site.Due
	arguments []string // of the hook
	waits     bool     // for the served certificate
}

func (o *renewOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.before, "before", "", "renew when less than this is left: 30d, 36h, or a share of its life such as 25%\n(default: 30 days, or a third of its life when that is less)")
	flags.BoolVar(&o.check, "check", false, "only tell whether it is due: exit code 5 when it is, for cron")
	flags.BoolVar(&o.force, "force", false, "renew although it is not due")
	flags.BoolVar(&o.dryRun, "dry-run", false, "make a new certificate if it is due and prove it, and then forget it: nothing is changed, no hook runs")
	flags.StringVar(&o.hook, "hook", "", "program to run once the new certificate is in place, with its arguments, such as\n\"systemctl reload mosquitto\"; no shell, no secret in its environment")
	flags.DurationVar(&o.hookTimeout, "hook-timeout", hook.DefaultTimeout, "how long the hook may take")
	flags.DurationVar(&o.wait, "wait", 0, "how long to wait until the server serves the new certificate (default 2m after a hook, else it is looked at once)")
	flags.StringVar(&o.version, "thingsboard-version", "", "ThingsBoard's version, such as 4.2.2.2, for advice that fits it")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "file with the passphrase of the CA keys (or TBCERT_PASSPHRASE)")
	o.timer.addFlags(flags)
	o.timer.addTaskFlag(flags)
}

const renewLong = `Renew the server certificate when it is due: a new key and certificate from the site's own CA, for the
same names. Devices notice nothing, as their root stays.

The new certificate is proved before it replaces the old one: its key fits, and it leads to the root that
every bundle has. All files change in one step; the old key and chain are kept in server/previous. Then
the hook runs, and the server is looked at until it serves the new certificate. A hook that failed is
run again by the next tbcert renew.

Run it every day, from cron or with --install-timer: it does nothing until the time has come.`

func newRenew(a *app) *cobra.Command {
	options := &renewOptions{}
	command := &cobra.Command{
		Use:   "renew",
		Short: "Renew the server certificate when it is due",
		Long:  renewLong,
		Example: `  tbcert renew
  tbcert renew --before 25% --hook "systemctl restart thingsboard"
  tbcert renew --check || echo "it is due"`,
		Args: cobra.NoArgs,
	}
	options.addFlags(command.Flags())
	command.AddCommand(newRenewDevices(a), newRenewRoot(a))
	command.RunE = a.run(func(command *cobra.Command, _ []string) error { return runRenew(command, a, options) })
	return command
}

func runRenew(command *cobra.Command, a *app, options *renewOptions) error {
	ws := a.workspace()
	s, err := a.loadSite(ws)
	if err != nil {
		return err
	}
	if options.timer.asked() {
		return options.installTimer(command, a, s)
	}
	if err := a.resolve(command, s.Settings.Values()); err != nil {
		return err
	}
	if err := options.parse(command.Flags()); err != nil {
		return invalid(err)
	}
	r := &renewal{app: a, options: options, ws: ws, site: s, command: command}
	if options.check {
		return r.check(command.Context())
	}
	unlock, err := a.lock(command.Context(), ws)
	if err != nil {
		return err
	}
	defer unlock()
	if r.site, err = a.loadSite(ws); err != nil { // as it is now that nobody changes it
		return err
	}
	return r.run(command.Context())
}

func (o *renewOptions) parse(flags *pflag.FlagSet) (err error) {
	if o.before != "" {
		if o.due, err = site.ParseDue(o.before); err != nil {
			return fmt.Errorf("--before: %w", err)
		}
	}
	if o.hook != "" {
		if o.arguments, err = hook.Parse(o.hook); err != nil {
			return fmt.Errorf("--hook: %w", err)
		}
	}
	if o.hookTimeout <= 0 || o.wait < 0 {
		return errors.New("--hook-timeout and --wait are lengths of time, such as 90s")
	}
	if o.version != "" {
		if _, err := parseVersion(o.version); err != nil {
			return fmt.Errorf("--thingsboard-version: %w", err)
		}
	}
	if o.waits = o.wait > 0; !flags.Changed("wait") && o.hook != "" {
		o.wait, o.waits = defaultWait, true
	}
	return nil
}

// installTimer writes what runs this every day.
func (o *renewOptions) installTimer(command *cobra.Command, a *app, s *site.Site) error {
	if err := o.parse(command.Flags()); err != nil {
		return invalid(err)
	}
	made, err := o.timer.schedule(command, a, s.Host(), nil)
	if err != nil {
		return invalid(err)
	}
	if o.before != "" {
		made.Check = " --before " + o.before
	}
	made.Words = append([]string{"-C", made.Workspace, "renew"}, made.Arguments...)
	made.Start = firstRun(a.process.Now())
	return o.timer.tellTimer(command, a, made)
}

// A renewal is one run of renew.
type renewal struct {
	app     *app
	options *renewOptions
	ws      *workspace.Workspace
	site    *site.Site
	command *cobra.Command
	result  renewResult
}

// look tells how things stand.
func (r *renewal) look(ctx context.Context) (owed bool, err error) {
	if len(r.site.Server) == 0 {
		return false, invalid(site.ErrNoServer)
	}
	at := r.dueAt(ctx)
	r.result = renewResult{Schema: schema(r.command), OK: true, DueAt: at.UTC(), Due: !r.app.process.Now().Before(at)}
	return r.ws.Exists(workspace.HookOwed)
}

// dueAt is when the certificate is to be renewed. Where nothing is said, an ACME CA
// is asked (RFC 9773); one that cannot be asked does not keep the certificate from
// being renewed in time.
func (r *renewal) dueAt(ctx context.Context) time.Time {
	leaf := r.site.Server[0]
	at := r.options.due.At(leaf)
	if r.site.Settings.ACME == "" || r.options.before != "" {
		return at
	}
	ctx, cancel := context.WithTimeout(ctx, lookOnce)
	defer cancel()
	client, err := r.app.acmeClient(&acmeOptions{}, r.site.Settings, nil)
	if err == nil {
		var start time.Time
		if start, _, err = client.RenewalWindow(ctx, leaf); err == nil && start.Before(leaf.NotAfter) {
			r.app.ui.Detail("the CA wants it to be renewed from %s on", start.UTC().Format(time.DateTime))
			return start
		}
	}
	r.app.ui.Detail("the CA was not asked when to renew: %v", err)
	return at
}

// check only tells whether there is something to do.
func (r *renewal) check(ctx context.Context) error {
	owed, err := r.look(ctx)
	if err != nil {
		return err
	}
	r.result.HookOwed = owed
	r.result.OK = !r.result.Due && !owed
	return r.tell()
}

// run renews if need be, runs the hook if one is owed, and looks at what is served.
func (r *renewal) run(ctx context.Context) error {
	owed, err := r.look(ctx)
	if err != nil {
		return err
	}
	if r.result.Due || r.options.force {
		if err := r.renew(ctx); err != nil {
			return err
		}
		owed = owed || len(r.options.arguments) > 0
	}
	if r.options.dryRun {
		return r.tell()
	}
	if owed {
		r.runHook(ctx)
	}
	if (r.result.Renewed || owed) && r.result.Hook != hookFailed {
		r.serve(ctx)
	}
	return r.tell()
}

// renew puts the new certificate in the place of the old one.
func (r *renewal) renew(ctx context.Context) error {
	var made *site.Result
	var err error
	switch {
	case r.site.Settings.ACME == "":
		made, err = r.issue(ctx)
	case r.options.dryRun:
		return invalid(errors.New("--dry-run is for the site's own CA: one that speaks ACME issues no certificate to be thrown away"))
	default:
		made, err = r.order(ctx)
	}
	if err != nil {
		return err
	}
	if r.result.DryRun = r.options.dryRun; r.result.DryRun {
		return nil
	}
	r.result.Renewed, r.result.Previous = true, r.app.serverIn(r.site)
	r.site = made.Site
	return nil
}

// owed is the note that a hook is to be run, if one is.
func (r *renewal) owed() []workspace.File {
	if len(r.options.arguments) == 0 {
		return nil
	}
	return []workspace.File{owedHook()}
}

// order gets the certificate from the ACME CA.
func (r *renewal) order(ctx context.Context) (made *site.Result, err error) {
	order, err := site.PlanOrder(r.ws, site.Request{Maker: certs.Maker{Now: r.app.process.Now}}, true)
	if err != nil {
		return nil, invalid(err)
	}
	made, r.result.Changed, err = r.app.fulfill(ctx, &acmeOptions{}, order, r.owed()...)
	return made, err
}

// issue has the site's own CA make the certificate.
func (r *renewal) issue(ctx context.Context) (*site.Result, error) {
	passphrase := &passphrases{app: r.app, file: r.options.passphraseFile}
	request := site.Request{
		Passphrase: func(create bool, file string) (secret.Text, error) { return passphrase.get(ctx, create, file) },
		Maker:      certs.Maker{Now: r.app.process.Now},
	}
	if err := r.app.useTokens(ctx, &request, ""); err != nil {
		return nil, err
	}
	made, err := site.Renew(r.ws, request)
	var unproved *site.UnprovedError
	if errors.As(err, &unproved) {
		return nil, err
	}
	if err != nil {
		return nil, invalid(err)
	}
	if r.options.dryRun {
		return made, nil
	}
	r.result.Changed, err = r.ws.Commit(append(made.Files, r.owed()...)...)
	return made, err
}

// owedHook is the note that a hook has to be run.
func owedHook() workspace.File {
	return workspace.File{Name: workspace.HookOwed, Data: []byte("tbcert renew has a hook to run\n")}
}

// runHook runs the hook, which is owed no more when it succeeds.
func (r *renewal) runHook(ctx context.Context) {
	r.result.HookOwed = true
	if len(r.options.arguments) == 0 {
		r.result.problem("a hook is owed from a run before, and none is named: run this with the same --hook, or delete " + r.ws.Path(workspace.HookOwed))
		return
	}
	err := hook.Command{
		Arguments: r.options.arguments, Timeout: r.options.hookTimeout, Environ: r.app.process.Environ, Asks: r.app.ui.CanAsk(), Output: r.app.process.Err,
	}.Run(ctx)
	if err == nil {
		_, err = r.ws.Commit(workspace.File{Name: workspace.HookOwed, Remove: true})
	}
	if err != nil {
		r.result.Hook = hookFailed
		r.result.problem("the hook failed: " + err.Error() + "; the new certificate is in place; run tbcert renew again to run the hook again")
		return
	}
	r.result.Hook, r.result.HookOwed = hookRan, false
}

// serve looks which certificate the server has, for as long as is to be waited.
func (r *renewal) serve(ctx context.Context) {
	if r.options.waits {
		r.app.ui.Note("Waiting for %s to serve the new certificate (%s at most).", r.address(), r.options.wait)
	}
	ctx, cancel := context.WithTimeout(ctx, max(r.options.wait, lookOnce))
	defer cancel()
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		if served := r.served(ctx); ctx.Err() == nil || r.result.Served == "" {
			r.result.Served = served
		}
		if r.result.Served == servedYes || !r.options.waits {
			return
		}
		select {
		case <-ctx.Done():
			r.result.problem(r.address() + " does not serve the new certificate: " + reloadAdvice(r.options.version))
			return
		case <-ticker.C:
		}
	}
}

// settings is the settings of the site with their defaults.
func (r *renewal) settings() settings.Site { return r.site.Settings.WithDefaults() }
