package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
)

// A limit says how many registrations may be under way. It follows how long
// they take: more of them as long as that does not slow each down, fewer when
// it does.
type limit = adaptivelimiter.AdaptiveLimiter[any]

// A limit begins at firstLimit, and is looked at again this often, when there
// were fewSamples since.
const (
	firstLimit  = DefaultJobs
	fewSamples  = 16
	limitWindow = 250 * time.Millisecond
)

func newLimit(jobs int) limit {
	if jobs < 1 {
		jobs = DefaultJobs
	}
	return adaptivelimiter.NewBuilder[any]().
		WithLimits(1, uint(jobs), uint(min(jobs, firstLimit))).
		WithRecentWindow(limitWindow, 4*limitWindow, fewSamples).
		Build()
}

// A chunk is the devices that are committed together.
type chunk struct {
	items []item
	open  sync.WaitGroup // registrations under way
	err   error          // it could not be planned: nothing of it was begun
	stop  error          // the run is over: it was not recorded
}

// orders reports whether a device of the chunk is to be registered.
func (c *chunk) orders() bool {
	for i := range c.items {
		if c.items[i].order != nil {
			return true
		}
	}
	return false
}

// register begins to register the chunk's devices; it returns when the last one
// was begun. What is begun is carried through though ctx ends.
func (r *run) register(ctx context.Context, c *chunk) {
	lasting := context.WithoutCancel(ctx)
	if !r.Registrar.Kind().remote() {
		r.each(c.items, func(_ int, it *item) {
			if it.order != nil {
				r.registerItem(lasting, it)
			}
		})
		return
	}
	for i := range c.items {
		it := &c.items[i]
		if it.order == nil {
			continue
		}
		permit := r.permit(ctx)
		if permit == nil {
			it.left = true
			continue
		}
		c.open.Go(func() {
			r.registerItem(lasting, it)
			if it.failed() {
				permit.Drop() // how long a failure takes says nothing
			} else {
				permit.Record()
			}
		})
	}
}

// permit waits until another registration may begin; nil is never.
func (r *run) permit(ctx context.Context) adaptivelimiter.Permit {
	if ctx.Err() != nil || r.stopped.Load() {
		return nil
	}
	permit, err := r.limit.AcquirePermit(ctx)
	if err != nil {
		return nil
	}
	if ctx.Err() != nil { // it ended while another's permit came free
		permit.Drop()
		return nil
	}
	return permit
}

func (r *run) registerItem(ctx context.Context, it *item) {
	got, err := r.Registrar.Register(ctx, *it.order)
	if err != nil {
		it.refused = isRefused(err)
		it.fail(err)
		return
	}
	if got.Credential.Equal(it.order.Credential) {
		got.Credential = it.order.Credential // which was made or checked here
	} else if err := got.Credential.validate(); err != nil || !got.Credential.Made() {
		it.fail(fmt.Errorf("device %s: the credential that it has cannot be used: %w", quote(it.device.Name), cmp.Or(err, errors.New("it is empty"))))
		return
	}
	it.settle(got)
	if err := r.complete(it); err != nil {
		it.fail(err)
	}
}

// isRefused reports whether it is certain that a device was not registered by
// this order, nor by one before, so that the next one has nothing to look for.
func isRefused(err error) bool {
	var inUse *CredentialInUseError
	var unprovisioned *UnprovisionedError
	return errors.As(err, &inUse) || (errors.As(err, &unprovisioned) && !unprovisioned.Doubt)
}

// consume records the chunks, one after the other, writes what they came to and
// reports their items. It takes all chunks; its error is the first that stopped
// the run.
func (r *run) consume(ctx context.Context, chunks <-chan *chunk, report func(Result)) (stop error) {
	lasting := context.WithoutCancel(ctx)
	recorded := make(chan *chunk, 1)
	go func() {
		defer close(recorded)
		r.record(lasting, chunks, recorded)
	}()
	for c := range recorded {
		if c.err != nil {
			if stop == nil {
				stop = c.err
			}
			continue
		}
		if stop == nil {
			stop = c.stop
		}
		if stop == nil && !r.DryRun {
			stop = r.write(lasting, c)
		}
		if stop != nil {
			r.stopped.Store(true)
			c.failAll(stop)
		}
		for i := range c.items {
			if !c.items[i].left {
				report(c.items[i].result)
			}
		}
	}
	return stop
}

// record brings what came of each chunk's registrations into the inventory, and
// hands the chunk on. After the first failure nothing more is recorded.
func (r *run) record(ctx context.Context, chunks <-chan *chunk, recorded chan<- *chunk) {
	var stop error
	for c := range chunks {
		c.open.Wait()
		if c.err == nil && stop == nil && !r.DryRun {
			if stop = r.save(ctx, c); stop != nil {
				r.stopped.Store(true)
			}
		}
		c.stop = stop
		recorded <- c
	}
}

// save records what came of a chunk.
func (r *run) save(ctx context.Context, c *chunk) error {
	var records []Record
	for i := range c.items {
		it := &c.items[i]
		switch {
		case it.refused:
			it.next.State = StateRefused
			records = append(records, r.stamped(it))
		case !it.left && !it.failed() && it.saves():
			records = append(records, r.stamped(it))
		}
	}
	if len(records) == 0 {
		return nil
	}
	if err := r.Inventory.Save(ctx, records); err != nil {
		return fmt.Errorf("record the devices: %w", err)
	}
	return nil
}

// write writes the bundles of a chunk that is recorded.
func (r *run) write(ctx context.Context, c *chunk) error {
	var bundles []Bundle
	for i := range c.items {
		if it := &c.items[i]; !it.left && !it.failed() && it.bundle != nil {
			bundles = append(bundles, *it.bundle)
		}
	}
	if len(bundles) > 0 {
		if err := r.Shelf.WriteBundles(ctx, bundles); err != nil {
			return fmt.Errorf("write the bundles: %w", err)
		}
	}
	if err := r.source.Settle(ctx, c.outcomes()); err != nil {
		return fmt.Errorf("note which devices are done: %w", err)
	}
	return nil
}

// outcomes says what came of the chunk's items that had their turn.
func (c *chunk) outcomes() []Outcome {
	outcomes := make([]Outcome, 0, len(c.items))
	for i := range c.items {
		it := &c.items[i]
		if it.left {
			continue
		}
		outcomes = append(outcomes, outcomeOf(it.seq, it.result))
	}
	return outcomes
}

// note takes the versions of records that were saved, without which they could
// not be saved again.
func (c *chunk) note(saved []Record) {
	versions := make(map[string]int64, len(saved))
	for _, record := range saved {
		versions[record.Name] = record.Version
	}
	for i := range c.items {
		if version, ok := versions[c.items[i].device.Name]; ok {
			c.items[i].next.Version = version
		}
	}
}

// failAll fails the items whose outcome was not committed.
func (c *chunk) failAll(err error) {
	for i := range c.items {
		it := &c.items[i]
		if !it.failed() && it.result.Action != ActionUnchanged {
			it.fail(err)
		}
	}
}
