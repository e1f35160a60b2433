package inventory_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

// One machine at a time changes credentials.
func TestExclusive(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	one, other := f.store(), f.store()
	release, err := one.Exclusive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exclusive(t.Context()); !errors.Is(err, inventory.ErrBusy) {
		t.Errorf("a second machine gets %v, want ErrBusy", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	again, err := other.Exclusive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

// Machines with one criterion change credentials together, whatever has changed
// since the first one looked; those with another wait, and so does whoever has to
// be alone. Once all have left, the devices are looked up anew.
func TestCriterion(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	share := func(store *inventory.Store, criterion string, first, count int) (*inventory.Shared, error) {
		spool := newSpool(t, t.TempDir())
		fill(t, spool, first, count)
		return store.Share(t.Context(), inventory.Work{Kind: "rotate", Registrar: provision.RegistrarThingsBoard, Criterion: criterion}, spool)
	}
	release := func(shared *inventory.Shared) {
		t.Helper()
		if err := shared.Release(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	one, other := f.store(), f.store()
	first, err := share(one, "older", 1, 6)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := share(other, "all", 1, 6); !errors.Is(err, inventory.ErrBusy) {
		t.Errorf("another criterion gets %v, want ErrBusy", err)
	}
	if _, err := other.Exclusive(t.Context()); !errors.Is(err, inventory.ErrBusy) {
		t.Errorf("one that has to be alone gets %v, want ErrBusy", err)
	}
	tasks, err := first.Take(t.Context(), 2)
	if err != nil || len(tasks) != 2 {
		t.Fatalf("%d tasks, %v", len(tasks), err)
	}
	second, err := share(other, "older", 3, 4) // two are no longer old
	if err != nil || second.Total() != 6 {
		t.Fatalf("the second machine shares %d, %v", second.Total(), err)
	}
	others, err := second.Take(t.Context(), 10)
	if err != nil || len(others) != 4 {
		t.Errorf("the second machine gets %d devices, %v; want the 4 that are left", len(others), err)
	}
	for _, other := range others {
		for _, task := range tasks {
			if other.Device.Name == task.Device.Name {
				t.Errorf("both have %s", task.Device.Name)
			}
		}
	}
	release(first)
	if _, err := one.Exclusive(t.Context()); !errors.Is(err, inventory.ErrBusy) {
		t.Errorf("while the second machine is at it: %v, want ErrBusy", err)
	}
	release(second)
	anew, err := share(one, "older", 1, 3)
	if err != nil || anew.Total() != 3 {
		t.Fatalf("anew: %d, %v", anew.Total(), err)
	}
	if tasks, err := anew.Take(t.Context(), 10); err != nil || len(tasks) != 3 {
		t.Errorf("anew: %d tasks, %v", len(tasks), err)
	}
	release(anew)
}
