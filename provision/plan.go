package provision

import (
	"fmt"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// An item is one device on its way through a run.
type item struct {
	device    Device
	directory string
	known     bool   // it was on record
	record    Record // as it was, if known
	shelved   []File // its bundle as it was; nil is none

	order  *Order      // what to register; nil is nothing
	next   Record      // as it shall be on record
	token  secret.Text // of the bundle; zero while an order is open
	bundle *Bundle     // what to write; nil is nothing
	left   bool        // the run ended before its turn
	result Result
}

// fail ends the item's way.
func (it *item) fail(err error) {
	it.order, it.bundle = nil, nil
	it.result.Action, it.result.Err = ActionFailed, err
}

func (it *item) failed() bool { return it.result.Err != nil }

// saves reports whether the record has to be written.
func (it *item) saves() bool { return !it.known || !sameRecord(it.record, it.next) }

// sameRecord compares all that is not told by the clock.
func sameRecord(a, b Record) bool {
	tokens := a.Token.Reveal() == b.Token.Reveal() // both are ours: no timing to hide
	a.Token, b.Token = secret.Text{}, secret.Text{}
	a.Created, b.Created = time.Time{}, time.Time{}
	a.Updated, b.Updated = time.Time{}, time.Time{}
	return tokens && facts(a) == facts(b)
}

// facts are the comparable fields of a record.
func facts(r Record) [8]string {
	return [8]string{r.Name, r.Directory, r.Label, r.Profile, string(r.Registrar), r.ThingsBoardID, r.Credential, string(r.State)}
}

// plan decides what a device needs, from what is on record and on the shelf. It
// changes nothing but the item.
func (r *run) plan(it *item) error {
	if owner := deviceOf(it.shelved); owner != "" && owner != it.device.Name {
		return &DirectoryError{Device: it.device.Name, Directory: it.directory, Owner: owner}
	}
	switch kind := r.Registrar.Kind(); {
	case !it.known:
		return r.planNew(it, kind)
	case it.record.Registrar == RegistrarOffline && kind != RegistrarOffline:
		return r.planMove(it, kind)
	case it.record.Registrar != kind:
		return planForeign(it)
	case it.record.State == StatePending:
		return r.planPending(it)
	case kind.readsBack():
		return r.planRemote(it)
	default:
		return planKept(it)
	}
}

// planNew is for a device that is not on record. A bundle that is there
// nevertheless (the inventory was lost) has the token that the device may be
// using: it is kept.
func (r *run) planNew(it *item, kind RegistrarKind) error {
	it.next = Record{
		Name:       it.device.Name,
		Directory:  it.directory,
		Label:      it.device.Label,
		Profile:    it.device.Profile,
		Registrar:  kind,
		Credential: CredentialToken,
		State:      StatePending,
	}
	if err := r.order(it, it.device.Token); err != nil {
		return err
	}
	if shelved := it.ownToken(); it.device.Token.IsZero() && !shelved.IsZero() {
		it.order.Token = shelved
	}
	if !kind.readsBack() {
		it.next.Token = it.order.Token
	}
	return nil
}

// ownToken is the token in the item's bundle, if that says whose it is.
func (it *item) ownToken() secret.Text {
	if deviceOf(it.shelved) == "" {
		return secret.Text{}
	}
	return tokenIn(it.shelved)
}

// planMove is for a device that was registered offline and is now to be
// registered where it can be asked for: with the token that it has.
func (r *run) planMove(it *item, kind RegistrarKind) error {
	if err := it.conflict(it.record.Token, "in the inventory"); err != nil {
		return err
	}
	it.next = it.record
	it.next.Registrar, it.next.State = kind, StatePending // the token stays until it is registered there
	return r.order(it, it.record.Token)
}

// planForeign is for a device of a registrar that is not at hand.
func planForeign(it *item) error {
	shelved := tokenIn(it.shelved)
	if it.record.State != StateRegistered || shelved.IsZero() {
		return fmt.Errorf("device %s is %w: its token can only be had from %s; run this again with that registrar", quote(it.device.Name), ErrElsewhere, it.record.Registrar)
	}
	it.next, it.token = it.record, shelved
	return it.conflict(shelved, "in its bundle")
}

// planPending is for a device whose registration was interrupted.
func (r *run) planPending(it *item) error {
	it.next = it.record
	required := it.device.Token
	if !it.record.Token.IsZero() {
		required = it.record.Token
		if err := it.conflict(required, "in the inventory"); err != nil {
			return err
		}
	}
	return r.order(it, required)
}

// planRemote is for a device that is registered and whose token, if its bundle
// has none, can be read back.
func (r *run) planRemote(it *item) error {
	it.next = it.record
	shelved := tokenIn(it.shelved)
	if !shelved.IsZero() && it.conflict(shelved, "") == nil {
		it.token = shelved
		it.noteTexts(it.record.Label, it.record.Profile)
		return nil
	}
	return r.order(it, it.device.Token)
}

// planKept is for a device whose token only the inventory has.
func planKept(it *item) error {
	it.next, it.token = it.record, it.record.Token
	if it.device.Label != "" {
		it.next.Label = it.device.Label
	}
	if it.device.Profile != "" {
		it.next.Profile = it.device.Profile
	}
	return it.conflict(it.record.Token, "in the inventory")
}

// conflict tells whether the device was given another token than it has.
func (it *item) conflict(has secret.Text, where string) error {
	if it.device.Token.IsZero() || it.device.Token.Reveal() == has.Reveal() {
		return nil
	}
	return &TokenConflictError{Device: it.device.Name, Where: where}
}

// order asks for the device with the required token, or with a new one if there
// is none.
func (r *run) order(it *item, required secret.Text) error {
	order := Order{Device: it.device, Token: required, Begun: it.known}
	order.Device.Token = required
	if order.Device.Label == "" {
		order.Device.Label = it.record.Label
	}
	if order.Device.Profile == "" {
		order.Device.Profile = it.record.Profile
	}
	if required.IsZero() {
		token, err := NewToken(r.Random)
		if err != nil {
			return err
		}
		order.Token = token
	}
	it.order = &order
	return nil
}

// noteTexts tells that a label or profile that was asked for is not what the
// device has, which is left as it is.
func (it *item) noteTexts(label, profile string) {
	if want := it.device.Label; want != "" && want != label {
		it.result.Note = fmt.Sprintf("its label is %s in ThingsBoard and was left so, not %s", quote(label), quote(want))
	}
	if want := it.device.Profile; want != "" && want != profile {
		it.result.Note = fmt.Sprintf("its profile is %s in ThingsBoard and was left so, not %s", quote(profile), quote(want))
	}
}
