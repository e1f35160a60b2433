package provision

import (
	"context"
	"fmt"
	"sync"
)

// A chunk is the devices that are committed together.
type chunk struct {
	items []item
	open  sync.WaitGroup // registrations under way
	err   error          // it could not be planned: nothing of it was begun
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
	remote := r.Registrar.Kind().remote()
	for i := range c.items {
		it := &c.items[i]
		if it.order == nil {
			continue
		}
		if !remote {
			r.registerItem(lasting, it)
			continue
		}
		if !r.takeSlot(ctx) {
			it.left = true
			continue
		}
		c.open.Go(func() {
			defer func() { <-r.slots }()
			r.registerItem(lasting, it)
		})
	}
}

// takeSlot waits until another registration may begin; false is never.
func (r *run) takeSlot(ctx context.Context) bool {
	if ctx.Err() != nil || r.stopped.Load() {
		return false
	}
	select {
	case r.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *run) registerItem(ctx context.Context, it *item) {
	got, err := r.Registrar.Register(ctx, *it.order)
	if err != nil {
		it.fail(err)
		return
	}
	if _, err := ParseToken(got.Token.Reveal()); err != nil {
		it.fail(fmt.Errorf("device %s: what it has for a token cannot be used: %w", quote(it.device.Name), err))
		return
	}
	it.settle(got)
	if err := r.complete(it); err != nil {
		it.fail(err)
	}
}

// consume commits the chunks, one after the other, and reports their items. It
// takes all chunks; its error is the first that stopped the run.
func (r *run) consume(ctx context.Context, chunks <-chan *chunk, report func(Result)) (stop error) {
	lasting := context.WithoutCancel(ctx)
	for c := range chunks {
		c.open.Wait()
		if c.err != nil {
			if stop == nil {
				stop = c.err
			}
			continue
		}
		if stop == nil && !r.DryRun {
			stop = r.commit(lasting, c)
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

// commit records what came of a chunk, and then writes its bundles.
func (r *run) commit(ctx context.Context, c *chunk) error {
	var records []Record
	var bundles []Bundle
	for i := range c.items {
		it := &c.items[i]
		if it.left || it.failed() {
			continue
		}
		if it.saves() {
			records = append(records, r.stamped(it))
		}
		if it.bundle != nil {
			bundles = append(bundles, *it.bundle)
		}
	}
	if len(records) > 0 {
		if err := r.Inventory.Save(ctx, records); err != nil {
			return fmt.Errorf("record the devices: %w", err)
		}
	}
	if len(bundles) > 0 {
		if err := r.Shelf.WriteBundles(ctx, bundles); err != nil {
			return fmt.Errorf("write the bundles: %w", err)
		}
	}
	return nil
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
