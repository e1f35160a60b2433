package inventory_test

import (
	"errors"
	"testing"

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
