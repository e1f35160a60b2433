package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// announce tells the devices. One that does not answer keeps what it has.
func (w *wave) announce(ctx context.Context) error {
	if w.Announcer == nil {
		return nil
	}
	var silent []*turn
	w.each(func(t *turn) error {
		if t.done {
			return nil
		}
		if err := w.Announcer.Announce(ctx, t.record, t.next); err != nil {
			return fmt.Errorf("it did not take the announcement, and keeps the credential that it has: %w", err)
		}
		t.told = true
		return nil
	})
	for i := range w.turns {
		if t := &w.turns[i]; t.failed() && t.record.State == StateRotating && !t.next.IsZero() {
			silent = append(silent, t)
		}
	}
	return w.goBack(ctx, silent)
}

// goBack records that devices kept the credential that they had.
func (w *wave) goBack(ctx context.Context, turns []*turn) error {
	if len(turns) == 0 {
		return nil
	}
	records := make([]Record, len(turns))
	for i, t := range turns {
		t.record.State, t.record.Credential, t.record.Next = StateRegistered, kept(t.record.Registrar, t.old), Credential{}
		if t.old.IsZero() {
			t.record.State, t.record.Credential = StateRevoked, Credential{Kind: t.next.Kind}
		}
		t.record.Updated = w.now()
		records[i] = t.record
	}
	if err := w.Inventory.Save(ctx, records); err != nil {
		return fmt.Errorf("record that nothing was changed: %w", err)
	}
	for i, t := range turns {
		t.record.Version = records[i].Version
	}
	return nil
}

// change tells ThingsBoard. Where it is not known what came of it, both stay on
// record.
func (w *wave) change(ctx context.Context) error {
	var back []*turn
	w.each(func(t *turn) error {
		if t.done {
			return nil
		}
		err := w.Changer.Change(ctx, t.record, t.next)
		if err == nil {
			t.done = true
			return nil
		}
		has, lookErr := w.Changer.Current(ctx, t.record)
		switch {
		case lookErr != nil:
			return fmt.Errorf("whether it has its new credential is not known; both are on record, run this again: %w", errors.Join(err, lookErr))
		case has.fits(t.next.public()):
			t.done = true
			return nil
		default:
			return err
		}
	})
	for i := range w.turns {
		if t := &w.turns[i]; t.failed() && !t.done && t.record.State == StateRotating {
			back = append(back, t)
		}
	}
	return w.goBack(ctx, w.known(ctx, back))
}

// known keeps those turns of which it is certain that they have what they had.
func (w *wave) known(ctx context.Context, turns []*turn) []*turn {
	var certain []*turn
	for _, t := range turns {
		if has, err := w.Changer.Current(ctx, t.record); err == nil && !has.fits(t.next.public()) {
			certain = append(certain, t)
		}
	}
	return certain
}

// public is what ThingsBoard knows of a credential: all but a private key and
// the CA's certificates.
func (c Credential) public() Credential {
	c.Key, c.Request = Credential{}.Key, nil
	return c
}

// recordChange records that the devices have their new credential.
func (w *wave) recordChange(ctx context.Context) error {
	return w.save(ctx, func(t *turn) bool {
		if t.record.State == StateProving {
			return false
		}
		t.record.Registrar = w.Changer.Kind()
		t.record.Replaced = w.now()
		if w.Prove == nil || t.old.IsZero() {
			t.record.State, t.record.Credential, t.record.Next = StateRegistered, kept(t.record.Registrar, t.next), Credential{}
			return true
		}
		t.record.State, t.record.Credential, t.record.Next = StateProving, t.next, t.old
		return true
	})
}

// render writes the bundles of the new credentials.
func (w *wave) render(ctx context.Context) error {
	return w.write(ctx, w.open(), func(t *turn) Credential { return t.next })
}

func (w *wave) write(ctx context.Context, turns []*turn, credential func(*turn) Credential) error {
	var bundles []Bundle
	for _, t := range turns {
		bundle, err := w.renderer.bundle(t.Device.Name, t.record.Directory, credential(t))
		if err != nil {
			return err
		}
		shelved, err := w.Shelf.ReadBundle(ctx, t.record.Directory)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("device %s: read its bundle: %w", quote(t.Device.Name), err)
		}
		if owner := deviceOf(shelved); owner != "" && owner != t.Device.Name {
			return &DirectoryError{Device: t.Device.Name, Directory: t.record.Directory, Owner: owner}
		}
		if !sameFiles(bundle, shelved) {
			bundles = append(bundles, bundle)
		}
	}
	if len(bundles) == 0 {
		return nil
	}
	if err := w.Shelf.WriteBundles(ctx, bundles); err != nil {
		return fmt.Errorf("write the bundles: %w", err)
	}
	return nil
}

// prove connects as each device. One that is refused gets back what it had.
func (w *wave) prove(ctx context.Context) error {
	if w.Prove == nil {
		return nil
	}
	var back []*turn
	w.each(func(t *turn) error {
		err := w.Prove(ctx, t.Device.Name, t.next)
		if err == nil {
			return nil
		}
		if t.old.IsZero() {
			return fmt.Errorf("its new credential was not seen to work: %w", err)
		}
		if undo := w.Changer.Change(ctx, t.record, t.old); undo != nil {
			return fmt.Errorf("its new credential was not seen to work (%w), and the old one could not be put back; both are on record, run this again: %w", err, undo)
		}
		t.done = false
		return fmt.Errorf("its new credential was not seen to work, and it has its old one again: %w", err)
	})
	for i := range w.turns {
		if t := &w.turns[i]; t.failed() && t.record.State == StateProving && !t.done {
			back = append(back, t)
		}
	}
	if err := w.goBack(ctx, back); err != nil {
		return err
	}
	return w.write(ctx, back, func(t *turn) Credential { return t.old })
}

// finish forgets the old credentials, and ends the announcements.
func (w *wave) finish(ctx context.Context) error {
	if w.Announcer != nil {
		w.each(func(t *turn) error {
			if err := w.Announcer.Announced(ctx, t.record); err != nil {
				t.result.Note = "its announcement could not be taken back: " + err.Error()
			}
			return nil
		})
	}
	return w.save(ctx, func(t *turn) bool {
		if t.record.State != StateProving {
			return false
		}
		t.record.State, t.record.Credential, t.record.Next = StateRegistered, kept(t.record.Registrar, t.next), Credential{}
		return true
	})
}
