package provision

import (
	"context"
	"errors"
	"io"
	"time"
)

// An Onboarder registers one device at a time. The site, the registrar, the
// inventory and the shelf are required. It may be used by one goroutine at a time.
type Onboarder struct {
	Site      Site
	Registrar Registrar
	Inventory Inventory
	Shelf     Shelf
	Exporter  Exporter         // of the formats that bundles have; nil: none may have any
	Kind      CredentialKind   // of new devices that name none; "" is CredentialToken
	Issuer    *Issuer          // of certificates; nil: none can be made
	Random    io.Reader        // for tokens; nil is crypto/rand
	Now       func() time.Time // for the record, from any goroutine; nil is time.Now
}

// Onboard registers the device and writes its bundle, or finds that nothing is
// to be done. A device that fails has the error in its result as well.
func (o *Onboarder) Onboard(ctx context.Context, device Device) (Result, error) {
	var result Result
	batch := Batch{Onboarder: *o, Jobs: 1, Size: 1}
	list, err := NewList([]Device{device})
	if err != nil {
		return result, err
	}
	_, err = batch.Run(ctx, list, func(r Result) { result = r })
	if result.Err != nil {
		return result, result.Err
	}
	return result, err
}

// now is the time for a record.
func (o *Onboarder) now() time.Time {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	return now().UTC().Truncate(time.Millisecond)
}

// check refuses an onboarder that lacks a part.
func (o *Onboarder) check() error {
	if o.Registrar == nil || o.Inventory == nil || o.Shelf == nil {
		return errors.New("provision: the registrar, the inventory or the shelf is not set")
	}
	return nil
}

// kind is the kind of credential of new devices that name none.
func (o *Onboarder) kind() CredentialKind {
	if o.Kind == "" {
		return CredentialToken
	}
	return o.Kind
}
