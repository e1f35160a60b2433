package cmd

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
	"github.com/tbcert/tbcert/thingsboard/device"
	"github.com/tbcert/tbcert/thingsboard/rest"
	"github.com/tbcert/tbcert/verify"
)

// fleetChoice says which devices are verified, and how.
type fleetChoice struct {
	all            bool
	from           string
	jobs           int
	takeOver       bool
	serverOnly     bool
	canary         string
	inventory      string
	passphraseFile string
}

func (o *fleetChoice) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.all, "all", false, "verify every device that has a bundle here")
	flags.StringVar(&o.from, "from", "", "file with the devices' names: CSV, JSON, NDJSON or YAML, as provision takes it (- is stdin)")
	flags.IntVar(&o.jobs, "jobs", verify.DefaultJobs, "devices verified at once, at most; how many follows what the server can take")
	flags.BoolVar(&o.takeOver, "take-over", false, "connect as every device, also as those that are at work, which closes their sessions")
	flags.BoolVar(&o.serverOnly, "server-only", false, "prove the server up to TLS, with no credential at all")
	flags.StringVar(&o.canary, "canary", "", "device that is kept for this: connect as it alone")
	flags.StringVar(&o.inventory, "inventory", "", "PostgreSQL URL of an inventory, so that several machines share the devices\n(default: inventory.db in the workspace; a password belongs into TBCERT_INVENTORY or PGPASSWORD)")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "file with the passphrase of the inventory (or TBCERT_PASSPHRASE)")
}

// check refuses choices that make no sense together.
func (o *fleetChoice) check(names []string, credential bool) error {
	ways := 0
	for _, given := range []bool{len(names) > 0, o.all, o.from != ""} {
		if given {
			ways++
		}
	}
	switch {
	case o.jobs < 1 || o.jobs > maxJobs:
		return fmt.Errorf("--jobs %d is not between 1 and %d", o.jobs, maxJobs)
	case ways > 0 && credential:
		return errors.New("a device's bundle holds its credential: give devices or a credential, not both")
	case ways > 1:
		return errors.New("give names, --all or --from, one of the three")
	default:
		return o.checkHow(credential)
	}
}

// checkHow refuses ways of proving that make no sense together.
func (o *fleetChoice) checkHow(credential bool) error {
	switch {
	case o.serverOnly && (credential || o.canary != "" || o.takeOver):
		return errors.New("--server-only connects with no credential: --token, --cert, --canary and --take-over make no sense with it")
	case o.canary != "" && o.takeOver:
		return errors.New("--canary connects as one device alone, and --take-over as all: give one of the two")
	default:
		return nil
	}
}

// A verification is what one run of verify works with.
type verification struct {
	app      *app
	options  *verifyOptions
	command  *cobra.Command
	ws       *workspace.Workspace
	site     *site.Site
	verifier *verify.Verifier
	bundles  *bundleReader

	base   verify.Target // what the flags and the site say, without a device
	names  []string      // of devices; nil: the credential of the flags, or --from
	fleet  bool          // it is about many devices, told one by one
	store  *inventory.Store
	client *rest.Client // nil: ThingsBoard is not asked

	presented time.Time // the first end of a certificate that the server presented in a round; zero: none was

	failing map[string]verify.DiagnosisID // of a watch: the diagnosis of each device that fails
}

// begin works out what is to be verified. Its errors are the user's.
func (v *verification) begin(ctx context.Context, names []string) error {
	o := v.options
	var err error
	if v.base, err = o.target(v.app, v.site); err != nil {
		return err
	}
	if err := v.check(names); err != nil {
		return err
	}
	if v.client, err = v.restClient(ctx); err != nil {
		return err
	}
	if err := v.choose(names); err != nil {
		return err
	}
	return v.ready()
}

// ready looks whether what is to be verified is there.
func (v *verification) ready() error {
	o, alone := v.options, len(v.names) == 0 && !v.fleet
	if alone || o.devices.serverOnly || o.strict && v.fleet { // the server by itself
		if err := o.check(v.base); err != nil {
			return err
		}
	}
	if alone {
		return nil
	}
	if v.fleet {
		return nil
	}
	_, err := v.target(v.names[0]) // one that is not there is told before anything is done
	return err
}

// check refuses what makes no sense together.
func (v *verification) check(names []string) error {
	o := v.options
	credential := o.token != "" || o.tokenFile != "" || o.username != "" || v.base.ClientCertificate != nil
	devices := len(names) > 0 || o.devices.all || o.devices.from != "" || o.devices.canary != ""
	return errors.Join(o.devices.check(names, credential), o.results.check(v.app, devices))
}

// choose finds out which devices are meant.
func (v *verification) choose(names []string) (err error) {
	devices := v.options.devices
	names = once(names)
	v.names = names
	v.fleet = devices.all || devices.from != "" || len(names) > 1
	switch {
	case devices.canary != "" && len(names) == 0 && !v.fleet:
		v.names = []string{devices.canary}
	case devices.all:
		v.names, err = v.bundled()
	}
	if err != nil {
		return err
	}
	return v.checkChosen()
}

// checkChosen refuses a choice of nobody: all of it would pass.
func (v *verification) checkChosen() error {
	devices := v.options.devices
	switch {
	case devices.all && len(v.names) == 0:
		return fmt.Errorf("no device has a bundle in %s: run this in the site's workspace (-C DIR), after `tbcert provision NAME`", v.ws.Path(workspace.DevicesDir))
	case devices.canary != "" && devices.from == "" && !slices.Contains(v.names, devices.canary):
		return notAmong(devices.canary)
	default:
		return nil
	}
}

// once leaves out names that were there before: two connections as one device put
// each other out.
func once(names []string) (kept []string) {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if !seen[name] {
			kept = append(kept, name)
		}
		seen[name] = true
	}
	return kept
}

// notAmong is a canary that is none of the devices: all would pass, and nobody
// have connected.
func notAmong(canary string) error {
	return fmt.Errorf("--canary %s is none of the devices, so nobody would connect", canary)
}

func (v *verification) close() {
	if v.store != nil {
		_ = v.store.Close() // each change is committed already
	}
	_ = v.bundles.close() // it was read only
}

// restClient is a client of ThingsBoard's REST API when there is a login for it.
// A web address alone, which the site's file may hold, asks for nothing.
func (v *verification) restClient(ctx context.Context) (*rest.Client, error) {
	server := &v.options.server
	asked := v.options.urlTyped || server.user != "" && server.passwordFile != "" || server.apiKeyFile != ""
	login := !settings.Secret(v.app.env, "api-key").IsZero() || server.user != "" && !settings.Secret(v.app.env, "password").IsZero()
	if server.url == "" && !asked || !asked && !login {
		return nil, nil
	}
	return server.client(ctx, v.app, v.site)
}

// bundled are the devices that have a bundle here.
func (v *verification) bundled() ([]string, error) {
	directories, err := bundleDirectories(v.ws)
	names := make([]string, len(directories))
	for i, directory := range directories {
		names[i] = deviceName(directory)
	}
	return names, err
}

// openStore opens the inventory, where there is one, for the results and for
// sharing the devices with other machines.
func (v *verification) openStore() (err error) {
	if len(v.names) == 0 && !v.fleet {
		return nil // of what is no device nothing is kept
	}
	ctx := v.command.Context()
	options := inventory.Options{Now: v.app.process.Now, Passphrase: func(context.Context) (secret.Text, error) {
		return (&passphrases{app: v.app, file: v.options.devices.passphraseFile}).given()
	}}
	if url := v.options.devices.inventory; url != "" {
		if err := settings.CheckInventory(url, v.command.Flags().Changed("inventory")); err != nil {
			return invalid(fmt.Errorf("--inventory: %w", err))
		}
		v.store, err = inventory.OpenPostgres(ctx, secret.New(url), options)
		return err
	}
	there, err := v.ws.Exists(workspace.InventoryFile)
	if err != nil || !there {
		return err
	}
	if v.store, err = inventory.Open(ctx, v.ws.Path(workspace.InventoryFile), options); err != nil {
		v.app.ui.Warn("the results are not recorded: %v", err)
		v.store = nil
	}
	return nil
}

// target is a device's, by its bundle.
func (v *verification) target(name string) (verify.Target, error) {
	target, err := v.bundles.target(v.options, v.base, name)
	if err == nil && v.client != nil {
		target.Stored = v.stored(name)
	}
	return target, err
}

// plan says how a device is to be proved. What goes wrong is its proof.
func (v *verification) plan(ctx context.Context, name string) verify.Plan {
	target, err := v.target(name)
	if err != nil {
		return verify.Plan{Proof: v.disproven(verify.Check{
			ID: verify.CheckBundle, Diagnosis: verify.BundleUnusable, Detail: err.Error(),
			Cause: "The device's bundle here is not whole, so nobody can connect as it by its files.",
			Fix:   "'tbcert provision --repair " + name + "' writes the bundle again; 'tbcert status' lists what is wrong.",
		}), How: verify.HowBundle}
	}
	plan := verify.Plan{Target: target, How: verify.HowConnected}
	other := v.options.devices.canary != "" && name != v.options.devices.canary
	if v.client == nil {
		if other {
			plan.Proof, plan.How = proven(target, verify.CheckBundle, "its bundle is whole; not connected, because --canary connects as one device alone"), verify.HowBundle
		}
		return plan
	}
	activity, err := v.activity(ctx, name)
	switch {
	case err != nil && v.options.devices.takeOver:
		return plan // it may have been at work, and was to be taken over
	case err != nil:
		plan.How, plan.Proof = verify.HowRecord, v.disproven(verify.Check{
			ID: verify.CheckRecord, Diagnosis: verify.RecordUnknown, Detail: err.Error(),
			Cause: "ThingsBoard cannot be asked whether the device is at work, so nobody connected as it: its session would have been closed.",
			Fix:   "See that --url and the login are right and that ThingsBoard answers there. --take-over connects although it may be at work; without --url nothing is asked.",
		})
		return plan
	case v.options.devices.takeOver || name == v.options.devices.canary:
		plan.Closes = activity.connected()
	case activity.connected():
		plan.Proof, plan.How = proven(target, verify.CheckRecord, activity.text(v.app.process.Now())), verify.HowRecord
	case other:
		plan.Proof, plan.How = proven(target, verify.CheckBundle, activity.text(v.app.process.Now())+"; its bundle is whole; not connected, because --canary connects as one device alone"), verify.HowBundle
	}
	return plan
}

// proven is the report of a device that is proved without a connection.
func proven(target verify.Target, id verify.CheckID, detail string) *verify.Report {
	report := &verify.Report{OK: true, Target: verify.TargetInfo{Host: target.Host, Port: target.Port, TLS: target.TLS}}
	report.Add(verify.Check{ID: id, Status: verify.StatusPass, Detail: detail})
	return report
}

// disproven is the report of a device that nobody connected as, because of what
// the check says.
func (v *verification) disproven(check verify.Check) *verify.Report {
	report := &verify.Report{OK: true, Target: verify.TargetInfo{Host: v.base.Host, Port: v.base.Port, TLS: v.base.TLS}}
	check.Status = verify.StatusFail
	report.Add(check)
	return report
}

// An activity is what ThingsBoard has of a device's sessions
// (DefaultDeviceStateService).
type activity struct {
	active                            bool
	seen, connectedAt, disconnectedAt time.Time // zero: never
	sent                              time.Time // its latest telemetry, of one that is connected; zero: none
}

// connected reports whether the device has a session, which another connection
// with its credential would close. One whose end ThingsBoard did not see counts
// until the device is inactive.
func (a activity) connected() bool {
	return a.active && a.connectedAt.After(a.disconnectedAt)
}

func (a activity) text(now time.Time) string {
	switch {
	case a.seen.IsZero():
		return "ThingsBoard has never heard of it"
	case a.connected():
		sent := "no telemetry yet"
		if !a.sent.IsZero() {
			sent = fmt.Sprintf("last telemetry %s ago", ago(now.Sub(a.sent)))
		}
		return fmt.Sprintf("at work: connected for %s, heard of %s ago, %s; its session was left alone", ago(now.Sub(a.connectedAt)), ago(now.Sub(a.seen)), sent)
	default:
		return fmt.Sprintf("ThingsBoard heard of it %s ago", ago(now.Sub(a.seen)))
	}
}

func ago(d time.Duration) string { return max(d, 0).Round(time.Second).String() }

// activity asks ThingsBoard whether a device is at work.
func (v *verification) activity(ctx context.Context, name string) (activity, error) {
	of, err := v.client.FindDevice(ctx, name)
	if errors.Is(err, rest.ErrNotFound) { // one that comes by its certificate is made when it first connects
		return activity{}, nil
	}
	if err != nil {
		return activity{}, err
	}
	got, err := v.client.Attributes(ctx, of.ID, rest.ScopeServer, "active", "lastActivityTime", "lastConnectTime", "lastDisconnectTime")
	if err != nil {
		return activity{}, err
	}
	moment := func(key string) time.Time {
		var ms int64
		if json.Unmarshal(got[key], &ms) != nil || ms <= 0 {
			return time.Time{}
		}
		return time.UnixMilli(ms)
	}
	found := activity{seen: moment("lastActivityTime"), connectedAt: moment("lastConnectTime"), disconnectedAt: moment("lastDisconnectTime")}
	_ = json.Unmarshal(got["active"], &found.active) // a device that was never heard of has none
	if found.connected() {                           // and so is to be proved by it
		found.sent, err = v.client.LastTelemetry(ctx, of.ID)
	}
	return found, err
}

// storedEvery is how often ThingsBoard is asked for what was published.
const storedEvery = 50 * time.Millisecond

// stored waits until ThingsBoard has a device's telemetry.
func (v *verification) stored(name string) func(context.Context, []byte) error {
	return func(ctx context.Context, payload []byte) error {
		samples, err := device.ParseTelemetry(payload)
		if err != nil || len(samples) == 0 || samples[0].HasTS { // ThingsBoard has the latest alone, which another may be
			return errors.New("what --payload gives cannot be looked for: only keys and values without a time of their own can")
		}
		of, err := v.client.FindDevice(ctx, name)
		if err != nil {
			return err
		}
		last := make(map[string]any, len(samples)) // of a key that comes twice
		for _, sample := range samples {
			last[sample.Key] = sample.Value
		}
		for key, value := range last {
			if err := v.awaitStored(ctx, of.ID, key, value); err != nil {
				return err
			}
		}
		return nil
	}
}

func (v *verification) awaitStored(ctx context.Context, deviceID, key string, value any) error {
	tick := time.NewTicker(storedEvery)
	defer tick.Stop()
	for {
		reading, err := v.client.LatestTelemetry(ctx, deviceID, key)
		if err != nil && !errors.Is(err, rest.ErrNotFound) {
			return err
		}
		if err == nil && reads(reading.Value, value) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reads reports whether a text of ThingsBoard's is a value that was published: it
// writes numbers in a way of its own.
func reads(text string, value any) bool {
	switch value := value.(type) {
	case json.RawMessage:
		return text == string(value)
	case float64:
		number, err := strconv.ParseFloat(text, 64)
		return err == nil && number == value
	default:
		return text == fmt.Sprint(value)
	}
}

// subjects gives the devices of a fleet, and settle what came of them.
type subjects struct {
	source provision.Source
	total  int
	shared bool
	close  func() error
}

// devices makes the source of a fleet's devices: the names, those of a file, or,
// where several machines share an inventory, those that the others leave.
func (v *verification) devices(ctx context.Context) (*subjects, error) {
	shared := v.options.devices.inventory != ""
	if v.options.devices.from == "" && !shared {
		return &subjects{source: &nameSource{names: v.names}, total: len(v.names), close: func() error { return nil }}, nil
	}
	spool, err := inventory.NewSpool(ctx, v.ws.Dir())
	if err != nil {
		return nil, err
	}
	if err := v.fill(ctx, spool); err != nil {
		return nil, errors.Join(invalid(err), spool.Close())
	}
	s := &subjects{source: spool, total: spool.Total(), close: spool.Close}
	if !shared {
		return s, nil
	}
	source, err := v.store.Share(ctx, inventory.Work{Kind: "verify", Host: settings.MachineHosts()[0], Again: true}, spool)
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	s.source, s.shared = source, true
	s.close = func() error { return errors.Join(source.Release(context.WithoutCancel(ctx)), spool.Close()) }
	return s, nil
}

// fill puts the devices into a spool.
func (v *verification) fill(ctx context.Context, spool *inventory.Spool) error {
	if from := v.options.devices.from; from != "" {
		in, name, closeIn, err := (&provisionOptions{from: from}).input(v.app)
		if err != nil {
			return err
		}
		defer closeIn()
		names := &namesOnly{Spool: spool, canary: v.options.devices.canary}
		if err := provision.ReadManifest(ctx, in, name, provision.FormatOf(from), names); err != nil {
			return err
		}
		if names.canary != "" && !names.seen {
			return notAmong(names.canary)
		}
		return nil
	}
	return copyNames(ctx, spool, &nameSource{names: v.names})
}

// copyNames puts the names of a source into a spool.
func copyNames(ctx context.Context, to *inventory.Spool, from provision.Source) error {
	for {
		tasks, err := from.Take(ctx, takeSize)
		if err != nil || len(tasks) == 0 {
			return err
		}
		for _, task := range tasks {
			if err := to.Add(ctx, provision.Row{Line: to.Total() + 1, Device: provision.Device{Name: task.Device.Name}}); err != nil {
				return err
			}
		}
	}
}

// namesOnly keeps of a file's rows what verify needs.
type namesOnly struct {
	*inventory.Spool
	canary string
	seen   bool // the canary is among them
}

func (n *namesOnly) Add(ctx context.Context, row provision.Row) error {
	n.seen = n.seen || row.Device.Name == n.canary
	row.Device = provision.Device{Name: row.Device.Name}
	return n.Spool.Add(ctx, row)
}

// A nameSource gives names one after the other.
type nameSource struct {
	names []string
	taken int
}

func (s *nameSource) Total() int { return len(s.names) }

func (s *nameSource) Take(_ context.Context, n int) ([]provision.Task, error) {
	n = min(n, len(s.names)-s.taken)
	tasks := make([]provision.Task, n)
	for i := range tasks {
		tasks[i] = provision.Task{Seq: int64(s.taken + i), Device: provision.Device{Name: s.names[s.taken+i]}}
	}
	s.taken += n
	return tasks, nil
}

func (*nameSource) Settle(context.Context, []provision.Outcome) error { return nil }

// takeSize is how many devices are taken from a source at a time.
const takeSize = 64

// each gives the devices as subjects.
func (s *subjects) each(ctx context.Context, v *verification) iter.Seq2[verify.Subject, error] {
	return func(yield func(verify.Subject, error) bool) {
		for {
			tasks, err := s.source.Take(ctx, takeSize)
			if err != nil && ctx.Err() == nil {
				yield(verify.Subject{}, fmt.Errorf("read the devices: %w", err))
			}
			if err != nil || len(tasks) == 0 {
				return
			}
			for _, task := range tasks {
				name := task.Device.Name
				subject := verify.Subject{Seq: task.Seq, Device: name, Plan: func(ctx context.Context) (verify.Plan, error) { return v.plan(ctx, name), nil }}
				if !yield(subject, nil) {
					return
				}
			}
		}
	}
}

// warn tells, before it is done, that connecting as a device closes its session,
// and asks on a terminal.
func (v *verification) warn(ctx context.Context) (goOn bool, err error) {
	o := v.options.devices
	if v.client != nil && !o.takeOver || o.canary != "" || len(v.names) == 0 && o.from == "" {
		return true, nil
	}
	who := devicesWord(len(v.names))
	if o.from != "" {
		who = "every device of " + o.from
	}
	if o.takeOver {
		v.app.ui.Warn("connecting as %s: ThingsBoard closes the session of each that is at work (--take-over).", who)
	} else {
		v.app.ui.Warn("connecting as %s: ThingsBoard closes the session of each that is at work, for a moment.\n"+
			"With --url and a login, those are proved by ThingsBoard's own record; --canary NAME connects as one alone, and --server-only as none.", who)
	}
	if v.app.global.yes || o.takeOver || !v.app.ui.CanAsk() {
		return true, nil
	}
	return v.app.ui.Confirm(ctx, "Connect as them?")
}

// A bundleReader reads bundles, and each distinct ca-root.pem once.
type bundleReader struct {
	ws      *workspace.Workspace
	devices *workspace.Directory

	mu    sync.Mutex
	roots map[string][]*x509.Certificate
}

func newBundleReader(ws *workspace.Workspace) *bundleReader {
	return &bundleReader{ws: ws, devices: ws.Directory(workspace.DevicesDir), roots: make(map[string][]*x509.Certificate)}
}

func (b *bundleReader) close() error { return b.devices.Close() }
