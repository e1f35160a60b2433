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
	done   bool       // ThingsBoard was told
	told   bool       // the device was told
	result Result
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

// run takes the wave through all steps. What is begun is carried through though
// ctx ends. Its error is that of the inventory or the shelf.
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
	lasting := context.WithoutCancel(ctx)
	for _, step := range []func(context.Context) error{
		w.recordBoth, w.announce, w.change, w.recordChange, w.render, w.prove, w.finish,
	} {
		if err := step(lasting); err != nil {
			w.failAll(err)
			return err
		}
	}
	return nil
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
	jobs := w.Jobs
	if jobs < 1 {
		jobs = DefaultJobs
	}
	var group errgroup.Group
	group.SetLimit(jobs)
	for _, t := range w.open() {
		group.Go(func() error {
			if err := do(t); err != nil {
				t.fail(fmt.Errorf("device %s: %w", quote(t.Device.Name), err))
			}
			return nil
		})
	}
	_ = group.Wait() // no function gives an error
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
		t.old, t.next, t.done = t.record.Next, t.record.Credential, true
		t.result.Credential = t.next.Kind
		return nil
	case StateRotating:
		t.old, t.next = t.record.Credential, t.record.Next
		t.result.Credential = t.next.Kind
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
	t.next, err = w.Make(t.Device.Name, to)
	return err
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
		if t.done || t.record.State == StateRotating {
			return false
		}
		t.record.State, t.record.Credential, t.record.Next = StateRotating, t.old, t.next
		if t.old.IsZero() { // it was revoked
			t.record.Credential = Credential{Kind: t.next.Kind}
		}
		return true
	})
}

// save records those turns that need it.
func (w *wave) save(ctx context.Context, change func(t *turn) bool) error {
	var saved []*turn
	var records []Record
	now := w.now()
	for _, t := range w.open() {
		if change(t) {
			t.record.Updated = now
			saved, records = append(saved, t), append(records, t.record)
		}
	}
	if len(records) == 0 {
		return nil
	}
	if err := w.Inventory.Save(ctx, records); err != nil {
		return fmt.Errorf("record the change: %w", err)
	}
	for i, t := range saved {
		t.record.Version = records[i].Version
	}
	return nil
}
