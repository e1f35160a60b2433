package provision

import "github.com/tbcert/tbcert/certs/secret"

// settle takes what the registrar has for the item's order.
func (it *item) settle(got Registration) {
	it.next.State = StateRegistered
	it.next.ThingsBoardID = got.ThingsBoardID
	it.next.Label, it.next.Profile = got.Label, got.Profile
	it.next.Token, it.token = got.Token, got.Token
	if it.next.Registrar.readsBack() {
		it.next.Token = secret.Text{}
	}
	if !got.Created {
		it.noteTexts(got.Label, got.Profile)
	}
	if !it.known && it.device.Token.IsZero() && !got.Token.IsZero() && it.ownToken().Reveal() == got.Token.Reveal() {
		it.result.Note = "it was not on record; the token in its bundle was kept"
	}
	it.result.Action = it.settledAction(got.Created)
	it.order = nil
}

// settledAction names what registering came to.
func (it *item) settledAction(created bool) Action {
	switch {
	case created:
		return ActionCreated
	case it.known && it.record.State == StateRegistered && it.record.Registrar == it.next.Registrar:
		return ActionUnchanged // until its bundle is looked at
	default:
		return ActionAdopted
	}
}

// complete decides what is to be written for an item that has its token.
func (r *run) complete(it *item) error {
	bundle, err := r.renderer.bundle(it.device.Name, it.directory, it.token)
	if err != nil {
		return err
	}
	if !sameFiles(bundle.Files, it.shelved) {
		it.bundle = &bundle
	}
	if it.result.Action == "" || it.result.Action == ActionUnchanged {
		switch {
		case it.bundle != nil:
			it.result.Action = ActionRepaired
		case it.saves():
			it.result.Action = ActionUpdated
		default:
			it.result.Action = ActionUnchanged
		}
	}
	it.shelved = nil // no longer needed: a batch stays small
	it.describe()
	return nil
}

// describe puts the record's facts into the result.
func (it *item) describe() {
	it.result.Registrar = it.next.Registrar
	it.result.ThingsBoardID = it.next.ThingsBoardID
}
