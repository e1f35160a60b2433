package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tbcert/tbcert/certs/secret"
)

// resume asks what the devices have that an earlier run has begun with. One that
// has its new credential needs no change. One that was to be proved and has its
// old one again was given that back, as the new one did not work: it keeps it.
func (w *wave) resume(ctx context.Context) error {
	w.each(func(t *turn) error {
		if !t.resumed {
			return nil
		}
		if err := t.skip(ctx); err != nil {
			return err
		}
		has, err := w.Changer.Current(ctx, t.record)
		switch {
		case errors.Is(err, ErrGone):
			return t.gone()
		case err != nil:
			return fmt.Errorf("whether it has its new credential is not known; both are on record, run this again: %w", err)
		case has.fits(t.next.public()):
			t.done = true
		case t.record.State == StateProving && t.old.Made() && has.fits(t.old.public()):
			t.keeps = true
			return errors.New("its new credential was not seen to work in a run before, and it has its old one again; run this again to give it another")
		default:
			t.begin()
		}
		return nil
	})
	return w.goBack(ctx)
}

// gone is the error of a turn whose device is not in ThingsBoard.
func (t *turn) gone() error {
	t.keeps = true
	return fmt.Errorf("%w, and its record was left as it was: tbcert provision --repair makes it there again", ErrGone)
}

// announce tells the devices. One that does not answer keeps what it has.
func (w *wave) announce(ctx context.Context) error {
	if w.Announcer == nil {
		return nil
	}
	w.each(func(t *turn) error {
		if t.done {
			return nil
		}
		if err := t.skip(ctx); err != nil {
			return err
		}
		t.keeps = true
		if err := w.Announcer.Announce(context.WithoutCancel(ctx), t.record, t.next); err != nil {
			return fmt.Errorf("it did not take the announcement, and keeps the credential that it has: %w", err)
		}
		t.told, t.keeps = true, false
		return nil
	})
	return w.goBack(ctx)
}

// goBack records that devices kept the credential that they had, once their
// bundles have that, too.
func (w *wave) goBack(ctx context.Context) error {
	var back, rendered []*turn
	for i := range w.turns {
		t := &w.turns[i]
		if !t.failed() || !t.keeps || (t.record.State != StateRotating && t.record.State != StateProving) {
			continue
		}
		back = append(back, t)
		if t.rendered {
			rendered = append(rendered, t)
		}
	}
	w.unannounce(ctx, back)
	if err := w.write(ctx, rendered, func(t *turn) Credential { return t.old }); err != nil {
		return err
	}
	return w.saveOf(ctx, back, func(t *turn) bool {
		t.record.State, t.record.Credential, t.record.Next = StateRegistered, kept(t.record.Registrar, t.old), Credential{}
		if t.old.IsZero() {
			t.record.State, t.record.Credential = StateRevoked, Credential{Kind: t.next.Kind}
		}
		return true
	})
}

// unannounce ends the announcements to devices that were told, or may have been
// by an earlier run.
func (w *wave) unannounce(ctx context.Context, turns []*turn) {
	if w.Announcer == nil {
		return
	}
	w.eachOf(turns, func(t *turn) {
		if !t.told && !t.resumed {
			return
		}
		err := w.Announcer.Announced(context.WithoutCancel(ctx), t.record)
		if err != nil && !errors.Is(err, ErrGone) {
			t.result.Note = "its announcement could not be taken back: " + err.Error()
		}
	})
}

// change tells ThingsBoard. Where it is not known what came of it, both stay on
// record.
func (w *wave) change(ctx context.Context) error {
	w.each(func(t *turn) error {
		if t.done {
			return nil
		}
		if !t.told { // one that was told counts on it
			if err := t.skip(ctx); err != nil {
				return err
			}
		}
		err := w.Changer.Change(context.WithoutCancel(ctx), t.record, t.next)
		if err == nil {
			t.done = true
			return nil
		}
		return w.look(ctx, t, err)
	})
	return w.goBack(ctx)
}

// look asks what came of a change that failed.
func (w *wave) look(ctx context.Context, t *turn, err error) error {
	if errors.Is(err, ErrGone) {
		return t.gone()
	}
	has, lookErr := w.Changer.Current(ctx, t.record)
	switch {
	case errors.Is(lookErr, ErrGone):
		return t.gone()
	case lookErr != nil:
		return fmt.Errorf("whether it has its new credential is not known; both are on record, run this again: %w", errors.Join(err, lookErr))
	case has.fits(t.next.public()):
		t.done = true
		return nil
	default:
		t.keeps = true
		return err
	}
}

// public is what ThingsBoard knows of a credential: all but a private key and
// the CA's certificates.
func (c Credential) public() Credential {
	c.Key, c.Request = Credential{}.Key, nil
	return c
}

// recordChange records that the devices have their new credential. The old one
// stays beside it until the bundle is written and nothing has to go back.
func (w *wave) recordChange(ctx context.Context) error {
	return w.save(ctx, func(t *turn) bool {
		if t.record.State == StateProving {
			return false
		}
		t.record.Registrar = w.Changer.Kind()
		t.record.Replaced = w.now()
		t.record.State, t.record.Credential, t.record.Next = StateProving, t.next, t.old
		return true
	})
}

// render writes the bundles of the new credentials.
func (w *wave) render(ctx context.Context) error {
	turns := w.open()
	for _, t := range turns {
		t.rendered = true
	}
	return w.write(ctx, turns, func(t *turn) Credential { return t.next })
}

func (w *wave) write(ctx context.Context, turns []*turn, credential func(*turn) Credential) error {
	ctx = context.WithoutCancel(ctx)
	var bundles []Bundle
	for _, t := range turns {
		shelved, err := w.Shelf.ReadBundle(ctx, t.record.Directory)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("device %s: read its bundle: %w", quote(t.Device.Name), err)
		}
		if owner := deviceOf(shelved); owner != "" && owner != t.Device.Name {
			return &DirectoryError{Device: t.Device.Name, Directory: t.record.Directory, Owner: owner}
		}
		bundle, err := w.bundle(t, credential(t), shelved)
		if err != nil {
			return err
		}
		if len(bundle.Files) == 0 || !sameFiles(bundle, shelved) {
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

// bundle is what a device gets with a credential; with none, that of a revoked
// device.
func (w *wave) bundle(t *turn, credential Credential, shelved []File) (Bundle, error) {
	if credential.IsZero() {
		return Bundle{Device: t.Device.Name, Directory: t.record.Directory, Remove: AllFiles(shelved)}, nil
	}
	formats := formatsOf(t.record, shelved, nil, false)
	return w.renderer.bundle(rendering{t.Device.Name, t.record.Directory, credential, formats, shelved, secret.Text{}, w.Random})
}

// prove connects as each device. One that is refused gets back what it had.
func (w *wave) prove(ctx context.Context) error {
	if w.Prove == nil {
		return nil
	}
	lasting := context.WithoutCancel(ctx)
	w.each(func(t *turn) error {
		err := w.Prove(lasting, t.Device.Name, t.next)
		if err == nil {
			return nil
		}
		if t.old.IsZero() {
			return fmt.Errorf("its new credential was not seen to work; it is on record, run this again: %w", err)
		}
		if undo := w.Changer.Change(lasting, t.record, t.old); undo != nil {
			return fmt.Errorf("its new credential was not seen to work (%w), and the old one could not be put back; both are on record, run this again: %w", err, undo)
		}
		t.done, t.keeps = false, true
		return fmt.Errorf("its new credential was not seen to work, and it has its old one again: %w", err)
	})
	return w.goBack(ctx)
}

// finish ends the announcements, and forgets the old credentials.
func (w *wave) finish(ctx context.Context) error {
	for _, t := range w.open() {
		t.told = true // or it was by another run
	}
	w.unannounce(ctx, w.open())
	return w.save(ctx, func(t *turn) bool {
		t.record.State, t.record.Credential, t.record.Next = StateRegistered, kept(t.record.Registrar, t.next), Credential{}
		return true
	})
}
