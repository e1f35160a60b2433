package provision_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tbcert/tbcert/provision"
)

// A refuser is a ThingsBoard that changes nothing: with err or a plain refusal.
type refuser struct {
	changer
	err     error  // of Change; nil is a plain refusal
	lookErr error  // of Current, once Change was called
	then    func() // called by Change; may be nil
	asked   *[]string
}

func (r refuser) Change(_ context.Context, record provision.Record, _ provision.Credential) error {
	*r.asked = append(*r.asked, "change "+record.Name)
	if r.then != nil {
		r.then()
	}
	if r.err != nil {
		return r.err
	}
	return errFault
}

func (r refuser) Current(ctx context.Context, record provision.Record) (provision.Credential, error) {
	if r.lookErr == nil || len(*r.asked) == 0 {
		return r.changer.Current(ctx, record)
	}
	*r.asked = append(*r.asked, "current "+record.Name)
	return provision.Credential{}, r.lookErr
}

func (w *world) refuser() refuser {
	return refuser{changer: changer{board{world: w}}, asked: new([]string)}
}

// failingAt runs a rotation of the device a in which the nth call of a name
// fails without effect.
func (w *world) failingAt(t *testing.T, rotation *provision.Rotation, call string, nth int) {
	t.Helper()
	w.failCall, w.failNth = call, nth
	_, _, _ = rotated(t, rotation, "a")
	if w.failNth > 0 {
		t.Fatalf("the rotation makes too few calls of %s: %v", call, w.calls)
	}
	w.failCall, w.calls = "", nil
}

// The record is final once the bundle is written, and not before.
func TestRotateIsFinalWithTheBundle(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a")
	before := w.tokens()
	w.failingAt(t, w.rotation(), "write", 2)
	if record := w.records["a"]; record.State != provision.StateProving || w.token("a") != before["a"]+"\n" {
		t.Fatalf("after the crash it is %s, with the token %q", record.State, w.token("a"))
	}
	results, _, err := run(t, w.batch(board{world: w}), named("a"))
	var state *provision.StateError
	if err != nil || !errors.As(results[0].Err, &state) {
		t.Errorf("provision says nothing of it: %+v, %v", results[0], err)
	}
	made := w.tokens()
	if _, summary, err := rotated(t, w.rotation(), "a"); err != nil || summary.Rotated != 1 || w.tokens()["a"] != made["a"] {
		t.Errorf("run again: %+v, %v; another new token: %v", summary, err, w.tokens()["a"] != made["a"])
	}
	w.checkSettled(t, before, "a")
}

// A way back that was interrupted is gone to its end.
func TestRotateResumesTheWayBack(t *testing.T) {
	t.Parallel()
	for call, nth := range map[string]int{"save": 3, "write": 4} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			w := fleetWorld(t, "a")
			before := w.tokens()
			rotation := w.rotation()
			rotation.Prove = func(context.Context, string, provision.Credential) error { return errors.New("refused") }
			w.failingAt(t, rotation, call, nth)
			if record := w.records["a"]; record.State != provision.StateProving || w.tokens()["a"] != before["a"] {
				t.Fatalf("after the crash it is %s", record.State)
			}
			_, summary, err := rotated(t, w.rotation(), "a")
			if err != nil || summary.Failed != 1 || w.tokens()["a"] != before["a"] {
				t.Errorf("run again: %+v, %v", summary, err)
			}
			w.checkSettled(t, nil, "a")
		})
	}
}

// A device that has its new credential already needs not to be told of it.
func TestRotateAsksBeforeItAnnounces(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a")
	before := w.tokens()
	w.failingAt(t, w.rotation(), "save", 2)
	if w.records["a"].State != provision.StateRotating || w.tokens()["a"] == before["a"] {
		t.Fatalf("after the crash it is %s", w.records["a"].State)
	}
	rotation := w.rotation()
	rotation.Announcer = &announcer{w: w, silent: "a", told: make(map[string]string)}
	if results, summary, err := rotated(t, rotation, "a"); err != nil || summary.Rotated != 1 {
		t.Errorf("run again: %+v, %v, %v", summary, results["a"].Err, err)
	}
	w.checkSettled(t, before, "a")
}

// A revoked device whose new credential was refused, in the end, is revoked.
func TestRotateGoesBackToRevoked(t *testing.T) {
	t.Parallel()
	w := fleetWorld(t, "a", "b")
	_ = revoked(t, w, "a")
	nobody := w.board["a"]
	w.failingAt(t, w.rotation(), "save", 2)
	w.board["a"] = nobody
	rotation := w.rotation()
	rotation.Changer = w.refuser()
	if _, summary, err := rotated(t, rotation, "a"); err != nil || summary.Failed != 1 {
		t.Errorf("%+v, %v", summary, err)
	}
	w.checkRevoked(t)
}

// A device that is gone is not stuck in the middle of a change.
func TestRotateOfAGoneDevice(t *testing.T) {
	t.Parallel()
	begun := fleetWorld(t, "a")
	begun.failingAt(t, begun.rotation(), "save", 2)
	delete(begun.board, "a")
	goes := fleetWorld(t, "a")
	changer := goes.refuser()
	changer.err = provision.ErrGone
	for name, w := range map[string]*world{"begun before": begun, "goes meanwhile": goes} {
		rotation := w.rotation()
		if w == goes {
			rotation.Changer = changer
		}
		results, _, err := rotated(t, rotation, "a")
		if record := w.records["a"]; err != nil || !errors.Is(results["a"].Err, provision.ErrGone) || record.State != provision.StateRegistered {
			t.Errorf("%s: it is %s; %v, %v", name, record.State, results["a"].Err, err)
		}
	}
}

// When ThingsBoard is down it is asked once for each device, and for none once the
// run is to end.
func TestRotateWithThingsBoardDown(t *testing.T) {
	t.Parallel()
	down := errors.New("no route to host")
	for _, test := range []struct {
		name   string
		ends   bool
		want   string
		states string
	}{
		{"down", false, "change a current a change b current b", "rotating rotating"},
		{"down, and interrupted", true, "change a current a", "rotating registered"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := fleetWorld(t, "a", "b")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			board := w.refuser()
			board.err, board.lookErr = down, down
			if test.ends {
				board.then = cancel
			}
			rotation := w.rotation()
			rotation.Changer = board
			summary, err := rotation.Run(ctx, list(named("a", "b")), func(provision.Result) {})
			if got := fmt.Sprint(*board.asked); got != "["+test.want+"]" {
				t.Errorf("calls %s, want %s", got, test.want)
			}
			if test.ends && (!errors.Is(err, context.Canceled) || summary.Left != 1 || summary.Failed != 1) {
				t.Errorf("summary %+v, error %v", summary, err)
			}
			if got := fmt.Sprint(w.records["a"].State, " ", w.records["b"].State); got != test.states {
				t.Errorf("they are %s, want %s", got, test.states)
			}
		})
	}
}

// Nothing stays announced that is not so.
func TestRotateTakesAnnouncementsBack(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"change", "prove"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := fleetWorld(t, "a")
			before := w.tokens()
			told := &announcer{w: w, told: make(map[string]string)}
			rotation := w.rotation()
			rotation.Announcer = told
			if step == "change" {
				rotation.Changer = w.refuser()
			} else {
				rotation.Prove = func(context.Context, string, provision.Credential) error { return errors.New("refused") }
			}
			_, summary, err := rotated(t, rotation, "a")
			if err != nil || summary.Failed != 1 || len(told.told) != 0 || w.tokens()["a"] != before["a"] {
				t.Errorf("%+v, %v, still announced: %v", summary, err, told.told)
			}
			w.checkSettled(t, nil, "a")
		})
	}
}
