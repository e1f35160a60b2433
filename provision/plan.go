package provision

import (
	"fmt"
	"slices"
)

// An item is one device on its way through a run.
type item struct {
	seq       int64
	device    Device
	directory string
	known     bool   // it was on record
	record    Record // as it was, if known
	shelved   []File // its bundle as it was; nil is none
	holder    string // who has the credential that it is given; "" is nobody

	order      *Order     // what to register; nil is nothing
	next       Record     // as it shall be on record
	credential Credential // of the bundle; zero while an order is open
	bundle     *Bundle    // what to write; nil is nothing
	left       bool       // the run ended before its turn
	refused    bool       // it is certain that it was not registered
	result     Result
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
	return facts(a) == facts(b) && a.Credential.Equal(b.Credential) && a.Next.Equal(b.Next) && a.Extra.equal(b.Extra) &&
		slices.Equal(a.Formats, b.Formats)
}

// facts are the comparable fields of a record.
func facts(r Record) [7]string {
	return [7]string{r.Name, r.Directory, r.Label, r.Profile, string(r.Registrar), r.ThingsBoardID, string(r.State)}
}

func (e Extra) equal(other Extra) bool {
	return e.Customer == other.Customer && e.Description == other.Description && e.Gateway == other.Gateway &&
		slices.EqualFunc(e.Attributes, other.Attributes, func(a, b Attribute) bool {
			return a.Scope == b.Scope && a.Key == b.Key && string(a.Value) == string(b.Value)
		})
}

func (e Extra) isZero() bool { return e.equal(Extra{}) }

// plan decides what a device needs, from what is on record and on the shelf. It
// changes nothing but the item.
func (r *run) plan(it *item) error {
	if owner := deviceOf(it.shelved); owner != "" && owner != it.device.Name {
		return &DirectoryError{Device: it.device.Name, Directory: it.directory, Owner: owner}
	}
	if !it.known {
		return r.planNew(it, r.Registrar.Kind())
	}
	switch it.record.State {
	case StateRefused:
		return r.planRefused(it, r.Registrar.Kind())
	case StatePending, StateRegistered:
		return r.planKnown(it, r.Registrar.Kind())
	default:
		return &StateError{Device: it.device.Name, State: it.record.State, Since: it.record.Updated}
	}
}

// planKnown is for a device that is on record and has, or may have, a credential.
func (r *run) planKnown(it *item, kind RegistrarKind) error {
	switch {
	case it.record.Registrar == RegistrarOffline && kind != RegistrarOffline:
		return r.planMove(it, kind)
	case it.record.Registrar != kind:
		return r.planForeign(it)
	case it.record.State == StatePending:
		return r.planPending(it)
	case kind.readsBack(it.record.Credential.Kind):
		return r.planRemote(it)
	default:
		return planKept(it)
	}
}

// planNew is for a device that is not on record. A bundle that is there
// nevertheless (the inventory was lost) has the credential that the device may
// be using: it is kept.
func (r *run) planNew(it *item, kind RegistrarKind) error {
	it.next = Record{
		Name:      it.device.Name,
		Directory: it.directory,
		Label:     it.device.Label,
		Profile:   it.device.Profile,
		Extra:     it.device.Extra,
		Registrar: kind,
		State:     StatePending,
	}
	own := it.ownCredential()
	if own.Made() && own.fits(it.device.Credential) {
		it.orderWith(it.device.Credential, own)
	} else if err := r.order(it, it.device.Credential); err != nil {
		return err
	}
	it.next.Credential = kept(kind, it.order.Credential)
	return nil
}

// kept is what the inventory keeps of a credential.
func kept(kind RegistrarKind, credential Credential) Credential {
	if kind.readsBack(credential.Kind) {
		return Credential{Kind: credential.Kind}
	}
	return credential
}

// ownCredential is the one in the item's bundle, if that says whose it is.
func (it *item) ownCredential() Credential {
	if deviceOf(it.shelved) == "" {
		return Credential{}
	}
	return CredentialOf(it.shelved)
}

// planMove is for a device that was registered offline and is now to be
// registered where it can be asked for: with the credential that it has.
func (r *run) planMove(it *item, kind RegistrarKind) error {
	if err := it.conflict(it.record.Credential, "in the inventory"); err != nil {
		return err
	}
	it.next = it.record
	it.next.Registrar, it.next.State = kind, StatePending // the token stays until it is registered there
	return r.order(it, it.record.Credential)
}

// planRefused is for a device whose registration was refused: nothing of it is in
// ThingsBoard. It keeps what was made for it.
func (r *run) planRefused(it *item, kind RegistrarKind) error {
	it.next = it.record
	it.next.Registrar, it.next.State = kind, StatePending
	wish := it.device.Credential
	if has := it.record.Credential; has.Made() && has.fits(wish) {
		it.orderWith(wish, has)
	} else if err := r.order(it, wish); err != nil {
		return err
	}
	it.order.Begun = false
	it.next.Credential = kept(kind, it.order.Credential)
	return nil
}

// planForeign is for a device of a registrar that is not at hand.
func (r *run) planForeign(it *item) error {
	has := it.record.Credential
	if it.record.Registrar.readsBack(has.Kind) {
		has = CredentialOf(it.shelved)
	}
	if it.record.State != StateRegistered || !has.Made() {
		return fmt.Errorf("device %s is %w: its credential can only be had from %s; run this again with that registrar", quote(it.device.Name), ErrElsewhere, it.record.Registrar)
	}
	it.next, it.credential = it.record, has
	return it.conflict(has, "in its bundle")
}

// planPending is for a device whose registration was interrupted.
func (r *run) planPending(it *item) error {
	it.next = it.record
	has := it.record.Credential
	if !has.Made() {
		return r.order(it, it.device.Credential)
	}
	if err := it.conflict(has, "in the inventory"); err != nil {
		return err
	}
	if it.record.Registrar == RegistrarMQTT {
		// One that was made beforehand in ThingsBoard may have another.
		it.orderWith(it.device.Credential, has)
		return nil
	}
	return r.order(it, has)
}

// planRemote is for a device that is registered and whose credential, if its
// bundle has none, can be read back.
func (r *run) planRemote(it *item) error {
	it.next = it.record
	shelved := CredentialOf(it.shelved)
	if !r.Repair && shelved.Made() && shelved.Kind == it.record.Credential.Kind && it.conflict(shelved, "") == nil {
		it.credential = shelved
		it.noteTexts(it.record.Label, it.record.Profile)
		return nil
	}
	return r.order(it, it.device.Credential)
}

// planKept is for a device whose credential only the inventory has.
func planKept(it *item) error {
	it.next, it.credential = it.record, it.record.Credential
	if it.device.Label != "" {
		it.next.Label = it.device.Label
	}
	if it.device.Profile != "" {
		it.next.Profile = it.device.Profile
	}
	if !it.device.Extra.isZero() {
		it.next.Extra = it.device.Extra
	}
	if it.record.Registrar != RegistrarOffline {
		it.next.Label, it.next.Profile, it.next.Extra = it.record.Label, it.record.Profile, it.record.Extra
		it.noteTexts(it.record.Label, it.record.Profile)
	}
	return it.conflict(it.record.Credential, "in the inventory")
}

// conflict tells whether the device was given another credential than it has.
func (it *item) conflict(has Credential, where string) error {
	if has.fits(it.device.Credential) {
		return nil
	}
	return &CredentialConflictError{Device: it.device.Name, Where: where, Has: has.Kind, Given: it.device.Credential.Kind}
}

// order asks for the device with the required credential, as far as one is
// required; what is left open is made.
func (r *run) order(it *item, required Credential) error {
	credential := required
	if credential.Kind == "" {
		credential.Kind = it.record.Credential.Kind
	}
	if credential.Kind == "" {
		credential.Kind = r.kind()
	}
	made, err := r.Make(it.device.Name, credential)
	if err != nil {
		return err
	}
	it.orderWith(required, made)
	return nil
}

func (it *item) orderWith(required, credential Credential) {
	order := Order{Device: it.device, Credential: credential, Begun: it.known}
	order.Device.Credential = required
	if order.Device.Label == "" {
		order.Device.Label = it.record.Label
	}
	if order.Device.Profile == "" {
		order.Device.Profile = it.record.Profile
	}
	if order.Device.Extra.isZero() {
		order.Device.Extra = it.record.Extra
	}
	it.order = &order
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
