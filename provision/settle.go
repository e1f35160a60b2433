package provision

// settle takes what the registrar has for the item's order.
func (it *item) settle(got Registration) {
	it.next.State = StateRegistered
	it.next.ThingsBoardID = got.ThingsBoardID
	it.next.Label, it.next.Profile = got.Label, got.Profile
	it.next.Extra = it.order.Device.Extra
	it.credential = it.whole(got.Credential)
	it.next.Credential = kept(it.next.Registrar, it.credential)
	if !got.Created {
		it.noteTexts(got.Label, got.Profile)
	}
	if own := it.ownCredential(); !it.known && own.Made() && own.Equal(it.credential) && !own.Equal(it.device.Credential) {
		it.result.Note = "it was not on record; the " + string(own.Kind) + " in its bundle was kept"
	}
	it.result.Action = it.settledAction(got.Created)
	it.order = nil
}

// whole is a credential that was read back, with the key that is not: the
// registrar has made sure that the certificate is the one that was ordered.
func (it *item) whole(got Credential) Credential {
	if got.Kind == CredentialX509 {
		return it.order.Credential
	}
	return got
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

// complete decides what is to be written for an item that has its credential.
func (r *run) complete(it *item) error {
	bundle, err := r.renderer.bundle(r.rendering(it, it.credential))
	if err != nil {
		return err
	}
	if !sameFiles(bundle, it.shelved) {
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

// rendering is what the item's bundle is rendered from.
func (r *run) rendering(it *item, credential Credential) rendering {
	return rendering{it.device.Name, it.directory, credential, it.next.Formats, it.shelved, r.StorePassword, r.Random}
}

// describe puts the record's facts into the result.
func (it *item) describe() {
	it.result.Registrar = it.next.Registrar
	it.result.ThingsBoardID = it.next.ThingsBoardID
	it.result.Credential = it.next.Credential.Kind
}
