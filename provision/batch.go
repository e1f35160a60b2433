package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tbcert/tbcert/certs/secret"
)

// How many devices are registered at once at most, and written together, when a
// Batch does not say.
const (
	DefaultJobs = 64
	DefaultSize = 256
)

// A Batch onboards many devices. A Batch may be used by one goroutine at a time.
type Batch struct {
	Onboarder

	// Jobs is how many devices are registered at once at most; 0 is
	// DefaultJobs. Below that the number follows what ThingsBoard can take.
	Jobs int
	// Size is how many devices are committed to the inventory and written to
	// the shelf together; 0 is DefaultSize.
	Size int
	// Repair reads credentials back from ThingsBoard although the bundles have
	// them, and so writes again what is not as it should be.
	Repair bool
	// Formats are those that each bundle is to have beside what it has already;
	// with OnlyFormats, without what it has already.
	Formats     []string
	OnlyFormats bool
	// StorePassword is that of the keystores among them; zero: each bundle has its
	// own, which stays.
	StorePassword secret.Text
	// DryRun decides what to do for each device and does nothing of it:
	// neither inventory nor shelf nor registrar is changed, and the registrar
	// is not called. Whether a device exists in ThingsBoard is not found out.
	DryRun bool
}

// Run onboards the devices of a source and reports each of them, in the order of
// the source, to report, which it calls from this goroutine.
//
// A device that fails has its error in its result and does not stop the others.
// The run's own error is one that stops it: the registrar is not ready, the
// source, the inventory or the shelf cannot be read or written.
//
// When ctx ends, no further device is begun; those that were begun are
// registered, recorded and written, and reported; then Run returns ctx's error.
// Devices that were not begun are counted in Left. Running it again goes on.
func (b *Batch) Run(ctx context.Context, source Source, report func(Result)) (Summary, error) {
	summary := Summary{Total: source.Total(), Left: source.Total()}
	if err := b.check(); err != nil {
		return summary, err
	}
	renderer, err := newRenderer(b.Site, b.Exporter)
	if err != nil {
		return summary, err
	}
	r := &run{Batch: b, source: source, renderer: renderer, limit: newLimit(b.Jobs)}
	planned, chunks := make(chan *chunk, 1), make(chan *chunk, 1)
	go func() {
		defer close(planned)
		r.produce(ctx, planned)
	}()
	go func() {
		defer close(chunks)
		for c := range planned {
			if c.err == nil && !r.DryRun {
				r.register(ctx, c)
			}
			chunks <- c
		}
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
	source   Source
	renderer *renderer
	limit    limit       // on the registrations under way
	ready    bool        // the registrar said so
	stopped  atomic.Bool // nothing further is to be begun
}

// produce plans the devices batch by batch, and hands the batches on to be
// registered. A batch that cannot be planned is the last.
func (r *run) produce(ctx context.Context, planned chan<- *chunk) {
	size := r.Size
	if size < 1 {
		size = DefaultSize
	}
	for ctx.Err() == nil && !r.stopped.Load() {
		c := &chunk{}
		tasks, err := r.source.Take(ctx, size)
		switch {
		case err != nil && ctx.Err() != nil:
			return
		case err != nil:
			c.err = fmt.Errorf("read the devices: %w", err)
		case len(tasks) == 0:
			return
		default:
			c.items = make([]item, len(tasks))
			c.err = r.prepare(ctx, c, tasks)
		}
		if c.err != nil && ctx.Err() != nil {
			return // the run ended while it was planned: nothing of it was begun
		}
		planned <- c
		if c.err != nil {
			return
		}
	}
}

// prepare plans a batch and records what is about to be registered.
func (r *run) prepare(ctx context.Context, c *chunk, tasks []Task) error {
	names := make([]string, len(tasks))
	for i, task := range tasks {
		names[i] = task.Device.Name
	}
	records, err := r.Inventory.Records(ctx, names)
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	holders, err := r.holders(ctx, tasks)
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	r.each(c.items, func(i int, it *item) {
		it.seq, it.device = tasks[i].Seq, tasks[i].Device
		it.record, it.known = records[it.device.Name]
		it.begin(holders)
		if err := r.prepareItem(ctx, it); err != nil {
			it.fail(err)
		}
	})
	if !c.orders() || r.DryRun {
		return nil
	}
	if err := r.getReady(ctx); err != nil {
		return err
	}
	return r.announce(ctx, c)
}

// each does something with every item, on all processors: reading bundles waits
// for the disk, and making keys takes the processor.
func (r *run) each(items []item, do func(i int, it *item)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(items)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(items)); i = next.Add(1) - 1 {
				do(int(i), &items[i])
			}
		})
	}
	workers.Wait()
}

// begin notes who has the credential that the device is given.
func (it *item) begin(holders map[string]string) {
	it.result.Device = it.device.Name
	it.result.Wanted = it.device
	if id := it.device.Credential.ID(); !id.IsZero() {
		it.holder = holders[id.Reveal()]
	}
}

// holders finds which of the credentials that devices are given belong to
// devices on record already. Where they can be read back, ThingsBoard itself
// tells.
func (r *run) holders(ctx context.Context, tasks []Task) (map[string]string, error) {
	var given []secret.Text
	for _, task := range tasks {
		if id := task.Device.Credential.ID(); !id.IsZero() {
			given = append(given, id)
		}
	}
	if len(given) == 0 || r.Registrar.Kind() == RegistrarThingsBoard {
		return nil, nil
	}
	return r.Inventory.Holders(ctx, given)
}

func (r *run) prepareItem(ctx context.Context, it *item) (err error) {
	if it.holder != "" && it.holder != it.device.Name {
		return &TokenTakenError{Device: it.device.Name, Holder: it.holder}
	}
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
	if err := r.planFormats(it); err != nil {
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

// planFormats decides which formats the bundle is to have. Whether they can carry
// a credential is known before the device is registered with it.
func (r *run) planFormats(it *item) error {
	it.next.Formats = formatsOf(it.record, it.shelved, r.Formats, r.OnlyFormats)
	if len(it.next.Formats) == 0 || it.order == nil || !it.order.Credential.Made() {
		return nil
	}
	_, err := r.renderer.bundle(r.rendering(it, it.order.Credential))
	return err
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
	c.note(begun)
	return nil
}

// stamped is the item's next record, with its times. The inventory keeps the
// time of creation of a record that it has.
func (r *run) stamped(it *item) Record {
	record := it.next
	record.Updated = r.now()
	record.Created = record.Updated
	if !it.known || !record.Credential.Equal(it.record.Credential) {
		record.Replaced = record.Updated
	}
	return record
}
