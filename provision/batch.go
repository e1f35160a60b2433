package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/tbcert/tbcert/certs/secret"
)

// How many devices are registered at once, and written together, when a Batch
// does not say.
const (
	DefaultJobs = 8
	DefaultSize = 256
)

// A Batch onboards many devices. A Batch may be used by one goroutine at a time.
type Batch struct {
	Onboarder

	// Jobs is how many devices are registered at once; 0 is DefaultJobs.
	Jobs int
	// Size is how many devices are committed to the inventory and written to
	// the shelf together; 0 is DefaultSize.
	Size int
	// DryRun decides what to do for each device and does nothing of it:
	// neither inventory nor shelf nor registrar is changed, and the registrar
	// is not called. Whether a device exists in ThingsBoard is not found out.
	DryRun bool
}

// Run onboards the devices and reports each of them, in their order, to report,
// which it calls from this goroutine.
//
// First all devices are checked, and nothing is done when one of them is bad or
// two have one name. A device that fails later has its error in its result and
// does not stop the others. The run's own error is one that stops it: the
// registrar is not ready, the inventory or the shelf cannot be read or written.
//
// When ctx ends, no further device is begun; those that were begun are
// registered, recorded and written, and reported; then Run returns ctx's error.
// Devices that were not begun are counted in Left. Running it again goes on.
func (b *Batch) Run(ctx context.Context, devices []Device, report func(Result)) (Summary, error) {
	summary := Summary{Total: len(devices), Left: len(devices)}
	if err := b.check(); err != nil {
		return summary, err
	}
	if err := validateAll(devices); err != nil {
		return summary, err
	}
	renderer, err := newRenderer(b.Site)
	if err != nil {
		return summary, err
	}
	jobs := b.Jobs
	if jobs < 1 {
		jobs = DefaultJobs
	}
	r := &run{Batch: b, renderer: renderer, slots: make(chan struct{}, jobs)}
	chunks := make(chan *chunk, 1)
	go func() {
		defer close(chunks)
		r.produce(ctx, devices, chunks)
	}()
	err = r.consume(ctx, chunks, func(result Result) {
		summary.count(result.Action)
		report(result)
	})
	if err == nil && summary.Left > 0 {
		err = context.Cause(ctx)
	}
	return summary, err
}

// A run is one call of Run. While one batch's bundles are being written, the
// next one's devices are being registered.
type run struct {
	*Batch
	renderer *renderer
	slots    chan struct{} // one for each registration under way
	ready    bool          // the registrar said so
	stopped  atomic.Bool   // nothing further is to be begun
}

// produce plans the devices batch by batch, begins to register them, and hands
// the batches on. A batch that cannot be planned is the last.
func (r *run) produce(ctx context.Context, devices []Device, chunks chan<- *chunk) {
	size := r.Size
	if size < 1 {
		size = DefaultSize
	}
	for group := range slices.Chunk(devices, size) {
		if ctx.Err() != nil || r.stopped.Load() {
			return
		}
		c := &chunk{items: make([]item, len(group))}
		c.err = r.prepare(ctx, c, group)
		if c.err == nil && !r.DryRun {
			r.register(ctx, c)
		}
		chunks <- c
		if c.err != nil {
			return
		}
	}
}

// prepare plans a batch and records what is about to be registered.
func (r *run) prepare(ctx context.Context, c *chunk, devices []Device) error {
	names := make([]string, len(devices))
	for i, device := range devices {
		names[i] = device.Name
	}
	records, err := r.Inventory.Records(ctx, names)
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	holders, err := r.holders(ctx, devices)
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	for i, device := range devices {
		it := &c.items[i]
		it.device = device
		it.result.Device = device.Name
		it.record, it.known = records[device.Name]
		if holder := holders[device.Token.Reveal()]; holder != "" && holder != device.Name {
			it.fail(&TokenTakenError{Device: device.Name, Holder: holder})
			continue
		}
		if err := r.prepareItem(ctx, it); err != nil {
			it.fail(err)
		}
	}
	if !c.orders() || r.DryRun {
		return nil
	}
	if err := r.getReady(ctx); err != nil {
		return err
	}
	return r.announce(ctx, c)
}

// holders finds which of the tokens that devices are given belong to devices on
// record already. Where tokens can be read back, ThingsBoard itself tells.
func (r *run) holders(ctx context.Context, devices []Device) (map[string]string, error) {
	var given []secret.Text
	for _, device := range devices {
		if !device.Token.IsZero() {
			given = append(given, device.Token)
		}
	}
	if len(given) == 0 || r.Registrar.Kind().readsBack() {
		return nil, nil
	}
	return r.Inventory.Holders(ctx, given)
}

func (r *run) prepareItem(ctx context.Context, it *item) (err error) {
	it.directory, err = EncodeName(it.device.Name)
	if err != nil {
		return err
	}
	it.result.Directory = it.directory
	it.shelved, err = r.Shelf.ReadBundle(ctx, it.directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("device %s: read its bundle: %w", quote(it.device.Name), err)
	}
	if err := r.plan(it); err != nil {
		return err
	}
	if it.order != nil {
		if r.DryRun {
			it.foresee()
		}
		return nil
	}
	return r.complete(it)
}

// foresee names what registering would probably come to.
func (it *item) foresee() {
	it.result.Action = it.settledAction(!it.known)
	if it.result.Action == ActionUnchanged {
		it.result.Action = ActionRepaired
	}
	it.describe()
}

// getReady asks the registrar once.
func (r *run) getReady(ctx context.Context) error {
	if r.ready {
		return nil
	}
	if err := r.Registrar.Ready(ctx); err != nil {
		return err
	}
	r.ready = true
	return nil
}

// announce records which devices are about to be registered, where that changes
// something outside.
func (r *run) announce(ctx context.Context, c *chunk) error {
	if !r.Registrar.Kind().remote() {
		return nil
	}
	var begun []Record
	for i := range c.items {
		if it := &c.items[i]; it.order != nil && it.saves() {
			begun = append(begun, r.stamped(it))
		}
	}
	if len(begun) == 0 {
		return nil
	}
	if err := r.Inventory.Save(ctx, begun); err != nil {
		return fmt.Errorf("record the devices about to be registered: %w", err)
	}
	return nil
}

// stamped is the item's next record, with its times. The inventory keeps the
// time of creation of a record that it has.
func (r *run) stamped(it *item) Record {
	record := it.next
	record.Updated = r.now()
	record.Created = record.Updated
	return record
}
