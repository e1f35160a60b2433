package provision_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

func repeat(action provision.Action, n int) []provision.Action {
	actions := make([]provision.Action, n)
	for i := range actions {
		actions[i] = action
	}
	return actions
}

func sevenDevices() []provision.Device {
	devices := named("a", "b", "c", "d", "e", "f", "g")
	devices[1].Credential = provision.TokenCredential(secret.New("GIVEN-b"))
	devices[4].Label, devices[4].Profile = "Hall 1", "meter"
	return devices
}

func registrars(w *world) map[string]provision.Registrar {
	return map[string]provision.Registrar{"offline": provision.Offline{}, "thingsboard": board{world: w}}
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"offline", "thingsboard"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			registrar := registrars(w)[name]
			devices := sevenDevices()
			if diff := cmp.Diff(repeat(provision.ActionCreated, 7), mustRun(t, w.batch(registrar), devices)); diff != "" {
				t.Errorf("first run (-want +got):\n%s", diff)
			}
			w.sound(t, registrar.Kind(), devices)
			records, counts := maps.Clone(w.records), w.counted()
			wantSaves := map[string]int{"offline": 3, "thingsboard": 6}[name] // three batches; announced where something outside changes
			if counts["save"] != wantSaves {
				t.Errorf("%d saves, want %d", counts["save"], wantSaves)
			}

			if diff := cmp.Diff(repeat(provision.ActionUnchanged, 7), mustRun(t, w.batch(registrar), devices)); diff != "" {
				t.Errorf("second run (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(records, w.records, secrets()); diff != "" {
				t.Errorf("the records changed:\n%s", diff)
			}
			counts = w.counted()
			if counts["save"]+counts["write"]+counts["register"]+counts["ready"] != 0 {
				t.Errorf("something was done in a run that changes nothing: %v", counts)
			}
		})
	}
}

// Whatever call of a run fails, before or after it took effect: run again, it
// ends as a run that nothing disturbed.
func TestAFailureAnywhereIsMendedByRunningAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T, *world) provision.Registrar{
		"offline":     func(*testing.T, *world) provision.Registrar { return provision.Offline{} },
		"thingsboard": func(_ *testing.T, w *world) provision.Registrar { return board{world: w} },
		"one way":     func(_ *testing.T, w *world) provision.Registrar { return oneWay{board{world: w}} },
		"from offline to thingsboard": func(t *testing.T, w *world) provision.Registrar {
			t.Helper()
			history(t, w, provision.Offline{}, sevenDevices())
			return board{world: w}
		},
		"thingsboard, bundles gone": func(t *testing.T, w *world) provision.Registrar {
			t.Helper()
			history(t, w, board{world: w}, sevenDevices())
			clear(w.bundles)
			return board{world: w}
		},
	}
	for name, begin := range tests {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %v", name, applied), func(t *testing.T) {
				t.Parallel()
				undisturbed := newWorld()
				mustRun(t, undisturbed.batch(begin(t, undisturbed)), sevenDevices())
				calls := len(undisturbed.calls)
				if calls < 15 {
					t.Fatalf("a run makes %d calls only", calls)
				}
				for failAt := 1; failAt <= calls; failAt++ {
					w := newWorld()
					registrar := begin(t, w)
					w.failAt, w.applied = failAt, applied
					results, summary, err := run(t, w.batch(registrar), sevenDevices())
					if len(w.calls) < failAt {
						t.Fatalf("call %d was not made", failAt)
					}
					checkDisturbed(t, results, summary, err)
					w.failAt = 0
					mustRun(t, w.batch(registrar), sevenDevices())
					w.sound(t, registrar.Kind(), sevenDevices())
					if diff := cmp.Diff(outcome(undisturbed), outcome(w)); diff != "" {
						t.Errorf("after call %d failed (-undisturbed +mended):\n%s", failAt, diff)
					}
				}
			})
		}
	}
}

// checkDisturbed checks that the fault was told, in a row or for the run.
func checkDisturbed(t *testing.T, results []provision.Result, summary provision.Summary, err error) {
	t.Helper()
	told := errors.Is(err, errFault)
	for _, result := range results {
		told = told || errors.Is(result.Err, errFault)
		if (result.Err != nil) != (result.Action == provision.ActionFailed) {
			t.Errorf("%s: %s with the error %v", result.Device, result.Action, result.Err)
		}
	}
	if !told || len(results)+summary.Left != summary.Total {
		t.Errorf("the fault was told: %v; %d results, summary %+v", told, len(results), summary)
	}
}

// outcome is what a world looks like but for times and tokens.
func outcome(w *world) map[string][]string {
	outcome := make(map[string][]string)
	for name, record := range w.records {
		outcome[name] = []string{record.Directory, record.Label, record.Profile, string(record.Registrar), record.ThingsBoardID, string(record.Credential.Kind), string(record.State)}
		for _, file := range []string{provision.RootFile, provision.InfoFile, provision.ConnectFile} {
			outcome[name] = append(outcome[name], string(w.bundles[record.Directory][file].Data))
		}
	}
	return outcome
}

func TestOneBadRowDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.board["b"] = provision.Registration{ThingsBoardID: "id-b", Credential: provision.TokenCredential(secret.New("OTHER"))}
	w.board["d"] = provision.Registration{ThingsBoardID: "id-d", Credential: provision.TokenCredential(secret.New("not a token"))}
	devices := sevenDevices()
	results, summary, err := run(t, w.batch(board{world: w}), devices)
	if err != nil || summary.Failed != 2 || summary.Created != 5 || summary.Left != 0 {
		t.Fatalf("summary %+v, error %v", summary, err)
	}
	var conflict *provision.CredentialConflictError
	if !errors.As(results[1].Err, &conflict) || conflict.Device != "b" {
		t.Errorf("b: %v, want a CredentialConflictError", results[1].Err)
	}
	if results[3].Err == nil || !strings.Contains(results[3].Err.Error(), `device "d"`) || strings.Contains(results[3].Err.Error(), "not a") {
		t.Errorf("d: %v", results[3].Err)
	}
	for i, result := range results {
		if result.Device != devices[i].Name {
			t.Errorf("result %d is of %s", i, result.Device)
		}
	}
	if w.bundles["b"] != nil || w.bundles["d"] != nil || len(w.bundles) != 5 {
		t.Errorf("%d bundles, b's %v, d's %v", len(w.bundles), w.bundles["b"], w.bundles["d"])
	}
	if w.board["b"].Credential.Token.Reveal() != "OTHER" {
		t.Error("b's token in ThingsBoard was changed")
	}
}

func TestNothingIsDoneWhenTheInputIsBad(t *testing.T) {
	t.Parallel()
	twin := named("x", "y")
	twin[0].Credential, twin[1].Credential = provision.TokenCredential(secret.New("canary")), provision.TokenCredential(secret.New("canary"))
	spaced := named("x")
	spaced[0].Credential = provision.TokenCredential(secret.New("canary 2"))
	tests := []struct {
		name    string
		devices []provision.Device
		change  func(*provision.Batch)
		want    string
	}{
		{"a name twice", named("a", "b", "a"), nil, `"a" is given twice`},
		{"a bad name", named("a", "../b"), nil, `device name "../b"`},
		{"a token twice", twin, nil, `devices "x" and "y" are given the same token`},
		{"a bad token", spaced, nil, "a space at position 7"},
		{"a bad label", []provision.Device{{Name: "a", Label: "x\ny"}}, nil, `the label of device "a" holds U+000A`},
		{"no host", named("a"), func(b *provision.Batch) { b.Site.Host = "" }, "no host"},
		{"a host with a line break", named("a"), func(b *provision.Batch) { b.Site.Host = "x\ny" }, "not a name or an address"},
		{"a bad port", named("a"), func(b *provision.Batch) { b.Site.MQTTSPort = 70000 }, "70000"},
		{"no root", named("a"), func(b *provision.Batch) { b.Site.RootPEM = nil }, "no root certificate"},
		{"no registrar", named("a"), func(b *provision.Batch) { b.Registrar = nil }, "not set"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			batch := w.batch(board{world: w})
			if test.change != nil {
				test.change(batch)
			}
			results, summary, err := run(t, batch, test.devices)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("the error is %v, want %q and no token", err, test.want)
			}
			if len(w.calls) != 0 || len(results) != 0 || summary.Left != len(test.devices) {
				t.Errorf("calls %v, results %v, summary %+v", w.calls, results, summary)
			}
		})
	}
}

// A registrar that is not ready is told before anything is changed.
func TestNotReady(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.failAt = 5 // records, three reads, ready
	results, summary, err := run(t, w.batch(board{world: w}), sevenDevices())
	if !errors.Is(err, errFault) || !strings.HasPrefix(err.Error(), "ready") || len(results) != 0 || summary.Left != 7 {
		t.Errorf("results %v, summary %+v, error %v", results, summary, err)
	}
	if len(w.records)+len(w.bundles)+len(w.board) != 0 {
		t.Error("something was changed")
	}
}

// Interrupted, a run finishes what is in hand and begins nothing more.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	w := newWorld()
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	var begun sync.WaitGroup
	begun.Add(2)
	gate := func(name string) {
		if name == "a" || name == "b" {
			begun.Done()
			begun.Wait() // both are in hand, and no slot is left
			cancel(interrupted)
		}
	}
	var results []provision.Result
	devices := sevenDevices()
	summary, err := w.batch(board{world: w, gate: gate}).Run(ctx, list(devices), func(r provision.Result) { results = append(results, r) })
	if !errors.Is(err, interrupted) || summary.Created != 2 || summary.Left != 5 || len(results) != 2 {
		t.Fatalf("%d results, summary %+v, error %v", len(results), summary, err)
	}
	if c := w.records["c"]; c.State != provision.StatePending || !c.Updated.Equal(c.Created) {
		t.Errorf("c was announced and not begun; its record is %+v", c)
	}
	if w.token("a") == "" || w.token("b") != "GIVEN-b\n" || w.records["b"].State != provision.StateRegistered || len(w.board) != 2 {
		t.Errorf("what was in hand is not finished: %v, %v", w.records, w.bundles)
	}
	if diff := cmp.Diff(append(repeat(provision.ActionUnchanged, 2), repeat(provision.ActionCreated, 5)...),
		adoptionsAreCreations(mustRun(t, w.batch(board{world: w}), devices))); diff != "" {
		t.Errorf("the next run (-want +got):\n%s", diff)
	}
	w.sound(t, provision.RegistrarThingsBoard, devices)
}

// Interrupted after the devices were announced, a run begins none of them.
func TestInterruptedBeforeRegistering(t *testing.T) {
	t.Parallel()
	for range 10 { // a free slot must not win by chance
		w := newWorld()
		ctx, cancel := context.WithCancel(t.Context())
		batch := w.batch(board{world: w})
		batch.Inventory = canceling{store{w}, cancel}
		summary, err := batch.Run(ctx, list(named("a", "b")), func(provision.Result) { t.Error("a result") })
		if !errors.Is(err, context.Canceled) || summary.Left != 2 || len(w.board) != 0 || len(w.records) != 2 {
			t.Errorf("summary %+v, error %v, in ThingsBoard %v", summary, err, w.board)
		}
	}
}

// canceling is an inventory that ends the run once it has saved.
type canceling struct {
	store
	cancel context.CancelFunc
}

func (c canceling) Save(ctx context.Context, records []provision.Record) error {
	defer c.cancel()
	return c.store.Save(ctx, records)
}

// A run that cannot write its bundles does not go on registering devices.
func TestAFullDiskStopsTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld()
	batch := w.batch(board{world: w})
	batch.Shelf = fullShelf{shelf{w}}
	results, summary, err := run(t, batch, benchmarkDevices(60))
	if !errors.Is(err, errFault) || summary.Left < 30 || summary.Failed != len(results) || summary.Failed+summary.Left != 60 {
		t.Fatalf("summary %+v, error %v", summary, err)
	}
	batch.Shelf = shelf{w}
	mustRun(t, batch, benchmarkDevices(60))
	w.sound(t, provision.RegistrarThingsBoard, benchmarkDevices(60))
}

type fullShelf struct{ shelf }

func (fullShelf) WriteBundles(context.Context, []provision.Bundle) error { return errFault }

func adoptionsAreCreations(actions []provision.Action) []provision.Action {
	for i, action := range actions {
		if action == provision.ActionAdopted {
			actions[i] = provision.ActionCreated
		}
	}
	return actions
}

func TestInterruptedBeforeItBegan(t *testing.T) {
	t.Parallel()
	w := newWorld()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	summary, err := w.batch(provision.Offline{}).Run(ctx, list(sevenDevices()), func(provision.Result) { t.Error("a result") })
	if !errors.Is(err, context.Canceled) || summary.Left != 7 || len(w.calls) != 0 {
		t.Errorf("summary %+v, error %v, calls %v", summary, err, w.calls)
	}
}

// As many registrations are under way at once as there are jobs, across the
// borders of batches, and no more.
func TestJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var under atomic.Int32
		release := make(chan struct{})
		batch := w.batch(board{world: w, gate: func(string) {
			under.Add(1)
			<-release
		}})
		batch.Jobs = 4
		done := make(chan error)
		go func() {
			_, err := batch.Run(t.Context(), list(named("a", "b", "c", "d", "e", "f", "g", "h", "i")), func(provision.Result) {})
			done <- err
		}()
		synctest.Wait() // nothing moves any more
		if n := under.Load(); n != 4 {
			t.Errorf("%d registrations are under way, want 4", n)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOnboard(t *testing.T) {
	t.Parallel()
	w := newWorld()
	onboarder := w.batch(provision.Offline{}).Onboarder
	result, err := onboarder.Onboard(t.Context(), provision.Device{Name: "Zähler 1"})
	want := provision.Result{
		Device: "Zähler 1", Wanted: provision.Device{Name: "Zähler 1"}, Credential: provision.CredentialToken,
		Directory: "Z_xc3_xa4hler_x201", Action: provision.ActionCreated, Registrar: provision.RegistrarOffline,
	}
	if diff := cmp.Diff(want, result); err != nil || diff != "" {
		t.Errorf("error %v; result (-want +got):\n%s", err, diff)
	}
	if _, err := onboarder.Onboard(t.Context(), provision.Device{Name: "Zähler 1", Credential: provision.TokenCredential(secret.New("OTHER"))}); err == nil {
		t.Error("a token conflict gives no error")
	}
	w.failAt = len(w.calls) + 1
	if _, err := onboarder.Onboard(t.Context(), provision.Device{Name: "b"}); !errors.Is(err, errFault) {
		t.Errorf("the error is %v", err)
	}
}
