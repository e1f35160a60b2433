package provision

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// A turn is one device in a wave.
type turn struct {
	Task
	record Record
	old    Credential // it had before; zero when it is not known
	next   Credential // it shall have
	result Result

	resumed  bool // an earlier run has begun it
	rendered bool // its bundle may have the new credential
	told     bool // the device was told
	done     bool // ThingsBoard has the new credential
	keeps    bool // it failed, and it is certain that the device has what it had
	left     bool // the run ended before its turn
}

func (t *turn) fail(err error) {
	t.result.Action, t.result.Err = ActionFailed, err
}

func (t *turn) failed() bool { return t.result.Err != nil }

// A wave is the devices that are changed together.
type wave struct {
	*Rotation
	renderer *renderer
	turns    []turn
}

// run takes the wave through all steps. Once ctx ends nothing more is begun; what
// was begun is carried through. Its error is that of the inventory or the shelf.
func (w *wave) run(ctx context.Context, tasks []Task) error {
	for i, task := range tasks {
		w.turns[i].Task = task
		w.turns[i].result = Result{Device: task.Device.Name, Wanted: task.Device}
	}
	if err := w.load(ctx); err != nil {
		w.failAll(err)
		return err
	}
	if w.DryRun {
		return nil
	}
	for _, step := range []func(context.Context) error{
		w.resume, w.recordBoth, w.announce, w.change, w.recordChange, w.render, w.prove, w.finish,
	} {
		if err := step(ctx); err != nil {
			w.failAll(err)
			return err
		}
	}
	return nil
}

// report counts and reports the turns that the run came to, and gives what the
// source is told of them.
func (w *wave) report(summary *Summary, report func(Result)) []Outcome {
	var outcomes []Outcome
	for i := range w.turns {
		if t := &w.turns[i]; !t.left {
			summary.count(t.result.Action)
			report(t.result)
			outcomes = append(outcomes, outcomeOf(t.Seq, t.result))
		}
	}
	return outcomes
}

// failAll fails what the wave did not come to an end with.
func (w *wave) failAll(err error) {
	for i := range w.turns {
		if t := &w.turns[i]; !t.failed() {
			t.fail(fmt.Errorf("device %s: %w (run this again to finish it)", quote(t.Device.Name), err))
		}
	}
}

// open are the turns that did not fail.
func (w *wave) open() []*turn {
	var open []*turn
	for i := range w.turns {
		if !w.turns[i].failed() {
			open = append(open, &w.turns[i])
		}
	}
	return open
}

// each does something for all turns that did not fail, several at once. An error
// fails the turn.
func (w *wave) each(do func(t *turn) error) {
	w.eachOf(w.open(), func(t *turn) {
		if err := do(t); err != nil {
			t.fail(fmt.Errorf("device %s: %w", quote(t.Device.Name), err))
		}
	})
}

// eachOf does something for some turns, several at once.
func (w *wave) eachOf(turns []*turn, do func(t *turn)) {
	jobs := w.Jobs
	if jobs < 1 {
		jobs = DefaultJobs
	}
	var group errgroup.Group
	group.SetLimit(jobs)
	for _, t := range turns {
		group.Go(func() error {
			do(t)
			return nil
		})
	}
	_ = group.Wait() // no function gives an error
}

// skip gives up a turn when the run has ended. One of an earlier run stays as it
// is: its device may have been told.
func (t *turn) skip(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	t.left, t.keeps = true, !t.resumed
	return context.Cause(ctx)
}

// load reads the records and decides what each device is to have.
func (w *wave) load(ctx context.Context) error {
	names := make([]string, len(w.turns))
	for i := range w.turns {
		names[i] = w.turns[i].Device.Name
	}
	records, err := w.Inventory.Records(ctx, names)
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	w.each(func(t *turn) error {
		record, known := records[t.Device.Name]
		if !known {
			return errors.New("it is not on record: tbcert provision makes it known")
		}
		t.record = record
		t.result.Directory, t.result.Registrar, t.result.ThingsBoardID = record.Directory, record.Registrar, record.ThingsBoardID
		t.result.Action = ActionRotated
		t.result.Out = w.Announcer == nil
		if err := inReach(w.Changer, record); err != nil {
			return err
		}
		return w.decide(ctx, t)
	})
	return nil
}

// decide finds the old and the new credential of a device, as far as an earlier
// run has come.
func (w *wave) decide(ctx context.Context, t *turn) (err error) {
	switch t.record.State {
	case StateRevoking:
		return &StateError{Device: t.Device.Name, State: t.record.State, Since: t.record.Updated}
	case StateProving:
		t.rendered = true
		t.takeUp(t.record.Next, t.record.Credential)
		return nil
	case StateRotating:
		t.takeUp(t.record.Credential, t.record.Next)
		return nil
	case StatePending, StateRefused, StateRegistered, StateRevoked:
	}
	to := w.To
	if to.Kind == "" {
		to.Kind = t.record.Credential.Kind
	}
	t.result.Credential = to.Kind
	if w.DryRun {
		return nil
	}
	if t.record.State != StateRevoked {
		if t.old, err = w.oldCredential(ctx, t.record); err != nil {
			return err
		}
	}
	if t.next, err = w.Make(t.Device.Name, to); err != nil || len(t.record.Formats) == 0 {
		return err
	}
	_, err = w.bundle(t, t.next, nil) // a format that cannot carry it is told now
	return err
}

// takeUp goes on with the credentials of an earlier run. A bare kind as the old
// one says that the device was revoked.
func (t *turn) takeUp(old, next Credential) {
	t.resumed, t.next = true, next
	if old.Made() {
		t.old = old
	}
	t.result.Credential = next.Kind
}

// oldCredential is what the device has now, so that there is a way back.
func (w *wave) oldCredential(ctx context.Context, record Record) (Credential, error) {
	if record.Credential.Made() && record.State == StateRegistered {
		return record.Credential, nil
	}
	return w.Changer.Current(ctx, record)
}

// recordBoth records the new credential beside the old one.
func (w *wave) recordBoth(ctx context.Context) error {
	return w.save(ctx, func(t *turn) bool {
		if t.resumed {
			return false
		}
		t.begin()
		return true
	})
}

// begin puts both credentials into the record.
func (t *turn) begin() {
	t.record.State, t.record.Credential, t.record.Next = StateRotating, t.old, t.next
	if t.old.IsZero() { // it was revoked
		t.record.Credential = Credential{Kind: t.next.Kind}
	}
}

// save records those turns that need it.
func (w *wave) save(ctx context.Context, change func(t *turn) bool) error {
	return w.saveOf(ctx, w.open(), change)
}

func (w *wave) saveOf(ctx context.Context, turns []*turn, change func(t *turn) bool) error {
	var saved []*turn
	var records []Record
	now := w.now()
	for _, t := range turns {
		if change(t) {
			t.record.Updated = now
			saved, records = append(saved, t), append(records, t.record)
		}
	}
	if len(records) == 0 {
		return nil
	}
	if err := w.Inventory.Save(context.WithoutCancel(ctx), records); err != nil {
		return fmt.Errorf("record the change: %w", err)
	}
	for i, t := range saved {
		t.record.Version = records[i].Version
	}
	return nil
}
