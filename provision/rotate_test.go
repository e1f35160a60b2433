package provision_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// A changer is the world's ThingsBoard, in which credentials can be changed.
type changer struct{ board }

func (c changer) Current(_ context.Context, record provision.Record) (has provision.Credential, err error) {
	err = c.step("current", func() { has = c.world.board[record.Name].Credential })
	if err == nil && has.IsZero() {
		err = provision.ErrGone
	}
	return has, err
}

func (c changer) Change(_ context.Context, record provision.Record, to provision.Credential) error {
	return c.step("change", func() {
		got := c.world.board[record.Name]
		got.Credential = to
		c.world.board[record.Name] = got
	})
}

func (c changer) Withdraw(_ context.Context, record provision.Record) error {
	return c.step("withdraw", func() {
		got := c.world.board[record.Name]
		got.Credential = provision.TokenCredential(secret.New("NOBODY-KNOWS"))
		c.world.board[record.Name] = got
	})
}

// oneWayChanger changes credentials that cannot be read back: those on record
// are all that is known.
type oneWayChanger struct{ changer }

func (oneWayChanger) Kind() provision.RegistrarKind { return kindOneWay }

// fleetWorld is a world with devices that are registered.
func fleetWorld(t *testing.T, devices ...string) *world {
	t.Helper()
	w := newWorld()
	mustRun(t, w.batch(board{world: w}), named(devices...))
	w.calls = nil
	return w
}

// oneWayWorld is one whose credentials cannot be read back.
func oneWayWorld(t *testing.T, devices ...string) *world {
	t.Helper()
	w := newWorld()
	mustRun(t, w.batch(oneWay{board{world: w}}), named(devices...))
	w.calls = nil
	return w
}

func (w *world) rotation() *provision.Rotation {
	return &provision.Rotation{
		Onboarder: provision.Onboarder{Site: testSite(), Registrar: board{world: w}, Inventory: store{w}, Shelf: shelf{w}, Now: w.now},
		Changer:   changer{board{world: w}}, Jobs: 1,
	}
}

// rotated runs a rotation over named devices.
func rotated(t *testing.T, r *provision.Rotation, names ...string) (map[string]provision.Result, provision.Summary, error) {
	t.Helper()
	results := make(map[string]provision.Result)
	summary, err := r.Run(t.Context(), list(named(names...)), func(result provision.Result) { results[result.Device] = result })
	return results, summary, err
}

// checkKnown fails when a device has a credential in ThingsBoard that is not on
// record and cannot be read back by name.
func (w *world) checkKnown(t *testing.T) {
	t.Helper()
	for name, record := range w.records {
		has := w.board[name].Credential
		reads := record.Registrar == provision.RegistrarThingsBoard && record.State == provision.StateRegistered
		if !reads && !has.Equal(record.Credential) && !has.Equal(record.Next) {
			t.Errorf("%s has a credential in ThingsBoard that is not on record (%s)", name, record.State)
		}
	}
}

// checkSettled fails unless every device is registered, and its bundle has what
// ThingsBoard has.
func (w *world) checkSettled(t *testing.T, before map[string]string, names ...string) {
	t.Helper()
	for _, name := range names {
		record, has := w.records[name], w.board[name].Credential
		if record.State != provision.StateRegistered || !record.Next.IsZero() || (record.Credential.Made() && !record.Credential.Equal(has)) {
			t.Errorf("%s: record %s, next %v, made %v", name, record.State, record.Next.Kind, record.Credential.Made())
		}
		if w.token(name) != has.Token.Reveal()+"\n" {
			t.Errorf("%s: the bundle has another token than ThingsBoard", name)
		}
		if before[name] == has.Token.Reveal() {
			t.Errorf("%s has its old token", name)
		}
	}
}

func (w *world) tokens() map[string]string {
	tokens := make(map[string]string)
	for name, got := range w.board {
		tokens[name] = got.Credential.Token.Reveal()
	}
	return tokens
}

func TestRotate(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a", "b", "c")
	before := w.tokens()
	results, summary, err := rotated(t, w.rotation(), "a", "b", "c")
	if err != nil || summary.Rotated != 3 || summary.Left != 0 {
		t.Fatalf("summary %+v, error %v", summary, err)
	}
	w.checkSettled(t, before, "a", "b", "c")
	for name, result := range results {
		if result.Action != provision.ActionRotated || !result.Out || result.Credential != provision.CredentialToken {
			t.Errorf("%s: %+v", name, result)
		}
	}
	// provision finds nothing to do after it.
	if actions := mustRun(t, w.batch(board{world: w}), named("a", "b", "c")); fmt.Sprint(actions) != "[unchanged unchanged unchanged]" {
		t.Errorf("provision then says %v", actions)
	}
}

// Whatever call fails, with or without having taken effect, the credential that a
// device has is on record, and the next run ends what was begun.
func TestRotateIsNeverLost(t *testing.T) {
	t.Parallel()
	for kind, begin := range map[string]func(*testing.T, ...string) *world{"thingsboard": fleetWorld, "one way": oneWayWorld} {
		rotation := func(w *world, proving bool) *provision.Rotation {
			r := w.rotation()
			if kind == "one way" {
				r.Changer = oneWayChanger{r.Changer.(changer)}
			}
			if proving {
				r.Prove = func(context.Context, string, provision.Credential) error { return nil }
			}
			return r
		}
		whole := begin(t, "a", "b")
		if _, _, err := rotated(t, rotation(whole, true), "a", "b"); err != nil {
			t.Fatal(err)
		}
		for i := range 4 * len(whole.calls) {
			failAt, applied, proving := i/4+1, i%2 == 0, i%4 < 2
			name := fmt.Sprintf("%s, %s, call %d, applied %v, proving %v", kind, whole.calls[failAt-1], failAt, applied, proving)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := begin(t, "a", "b")
				before := w.tokens()
				w.failAt, w.applied = failAt, applied
				_, summary, err := rotated(t, rotation(w, proving), "a", "b")
				w.checkKnown(t)
				if err == nil && summary.Failed == 0 && summary.Left == 0 {
					w.checkSettled(t, before, "a", "b") // the fault did not matter
				}
				w.failAt, w.calls = 0, nil
				if _, summary, err := rotated(t, rotation(w, false), "a", "b"); err != nil || summary.Rotated != 2 {
					t.Fatalf("run again: summary %+v, error %v", summary, err)
				}
				w.checkSettled(t, before, "a", "b")
			})
		}
	}
}

// A device whose new credential is refused gets its old one back, everywhere.
func TestRotateGoesBack(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a", "b")
	before := w.tokens()
	rotation := w.rotation()
	refused := errors.New("not authorized")
	rotation.Prove = func(_ context.Context, device string, credential provision.Credential) error {
		if w.records[device].State != provision.StateProving || w.token(device) != credential.Token.Reveal()+"\n" {
			t.Errorf("%s is proved before it is on record and in its bundle", device)
		}
		if device == "a" {
			return refused
		}
		return nil
	}
	results, summary, err := rotated(t, rotation, "a", "b")
	if err != nil || summary.Failed != 1 || summary.Rotated != 1 {
		t.Fatalf("summary %+v, error %v", summary, err)
	}
	if !errors.Is(results["a"].Err, refused) || !strings.Contains(results["a"].Err.Error(), "has its old one again") {
		t.Errorf("a: %v", results["a"].Err)
	}
	if w.board["a"].Credential.Token.Reveal() != before["a"] || w.token("a") != before["a"]+"\n" || w.records["a"].State != provision.StateRegistered {
		t.Errorf("a has not its old token everywhere: %+v", w.records["a"])
	}
	w.checkSettled(t, map[string]string{"b": before["b"]}, "b")
}

// After a wave with a failure nothing more is begun.
func TestRotateInWaves(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a", "b", "c", "d", "e")
	before := w.tokens()
	rotation := w.rotation()
	rotation.Wave = 2
	rotation.Prove = func(_ context.Context, device string, _ provision.Credential) error {
		if device == "c" {
			return errors.New("refused")
		}
		return nil
	}
	_, summary, err := rotated(t, rotation, "a", "b", "c", "d", "e")
	if !errors.Is(err, provision.ErrStopped) || summary.Rotated != 3 || summary.Failed != 1 || summary.Left != 1 {
		t.Fatalf("summary %+v, error %v", summary, err)
	}
	if w.tokens()["e"] != before["e"] {
		t.Error("e was changed")
	}
}

// An announcer answers as a device would.
type announcer struct {
	w      *world
	silent string
	told   map[string]string
}

func (a *announcer) Announce(_ context.Context, record provision.Record, next provision.Credential) error {
	if a.w.board[record.Name].Credential.Equal(next) {
		return errors.New("it was changed before it was announced")
	}
	if record.Name == a.silent {
		return errors.New("no acknowledgment")
	}
	a.told[record.Name] = next.Token.Reveal()
	return nil
}

func (a *announcer) Announced(_ context.Context, record provision.Record) error {
	delete(a.told, record.Name)
	return nil
}

// A device that does not acknowledge keeps what it has.
func TestRotateAnnounces(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a", "b")
	before := w.tokens()
	rotation := w.rotation()
	told := &announcer{w: w, silent: "a", told: make(map[string]string)}
	rotation.Announcer = told
	results, summary, err := rotated(t, rotation, "a", "b")
	if err != nil || summary.Failed != 1 || summary.Rotated != 1 || results["b"].Out {
		t.Fatalf("summary %+v, error %v, b %+v", summary, err, results["b"])
	}
	if w.tokens()["a"] != before["a"] || w.records["a"].State != provision.StateRegistered || w.token("a") != before["a"]+"\n" {
		t.Errorf("a was changed: %+v", w.records["a"])
	}
	w.checkSettled(t, map[string]string{"b": before["b"]}, "b")
	if len(told.told) != 0 {
		t.Errorf("announcements that were not taken back: %v", told.told)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a", "b")
	whole := fleetWorld(t, "a", "b")
	_ = revoked(t, whole, "a")
	for failAt := 1; failAt <= len(whole.calls); failAt++ {
		t.Run(fmt.Sprintf("%s, call %d", whole.calls[failAt-1], failAt), func(t *testing.T) {
			t.Parallel()
			w := fleetWorld(t, "a", "b")
			w.failAt = failAt
			_ = revoked(t, w, "a")
			w.failAt, w.calls = 0, nil
			_ = revoked(t, w, "a")
			w.checkRevoked(t)
		})
	}
	result := revoked(t, w, "a")
	if result.Action != provision.ActionRevoked {
		t.Errorf("%+v", result)
	}
	w.checkRevoked(t)
	if again := revoked(t, w, "a"); again.Action != provision.ActionUnchanged {
		t.Errorf("revoked twice: %+v", again)
	}
	// provision does not let it in again, and rotate does.
	results, _, err := run(t, w.batch(board{world: w}), named("a"))
	var state *provision.StateError
	if err != nil || !errors.As(results[0].Err, &state) {
		t.Errorf("provision: %v, %v", results[0].Err, err)
	}
	if _, summary, err := rotated(t, w.rotation(), "a"); err != nil || summary.Rotated != 1 {
		t.Errorf("rotate: %+v, %v", summary, err)
	}
	w.checkSettled(t, nil, "a")
}

// certificates notes what is revoked.
type certificateRecord struct{ *world }

func (c certificateRecord) RevokeCertificates(_ context.Context, devices []string, _ int, _ time.Time) error {
	return c.step("certificates", func() {})
}

func revoked(t *testing.T, w *world, name string) provision.Result {
	t.Helper()
	return revokedBy(t, w, w.rotation().Changer, name)
}

func revokedBy(t *testing.T, w *world, by provision.Changer, name string) (got provision.Result) {
	t.Helper()
	revocation := &provision.Revocation{
		Onboarder: w.rotation().Onboarder, Changer: by, Certs: certificateRecord{w}, Jobs: 1,
		Publish: func(context.Context) error { return w.step("publish", func() {}) },
	}
	_, _ = revocation.Run(t.Context(), list(named(name)), func(r provision.Result) { got = r })
	return got
}

func (w *world) checkRevoked(t *testing.T) {
	t.Helper()
	if record := w.records["a"]; record.State != provision.StateRevoked || record.Credential.Made() {
		t.Errorf("the record of a is %+v", record)
	}
	if w.board["a"].Credential.Token.Reveal() != "NOBODY-KNOWS" || w.token("a") != "" {
		t.Errorf("a has a credential: %q in its bundle", w.token("a"))
	}
	if w.token("b") == "" || w.records["b"].State != provision.StateRegistered {
		t.Errorf("b was touched: %+v", w.records["b"])
	}
}

// A device that is registered in ThingsBoard is not changed on record alone.
func TestRotateAndRevokeOfflineRefuse(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a", "b")
	before, record := w.tokens(), fmt.Sprintf("%+v", w.records)
	rotation := w.rotation()
	rotation.Changer = provision.Offline{}
	results, summary, err := rotated(t, rotation, "a")
	if err != nil || summary.Failed != 1 || !strings.Contains(fmt.Sprint(results["a"].Err), "--url") {
		t.Errorf("rotate: %+v, %v, %v", summary, results["a"].Err, err)
	}
	result := revokedBy(t, w, provision.Offline{}, "a")
	if result.Action != provision.ActionFailed || !strings.Contains(fmt.Sprint(result.Err), "--url") {
		t.Errorf("revoke: %+v", result)
	}
	if after := fmt.Sprintf("%+v", w.records); after != record || w.token("a") != before["a"]+"\n" {
		t.Errorf("something was changed: %s", after)
	}
	// With the address it is done.
	_ = revoked(t, w, "a")
	w.checkRevoked(t)
}
