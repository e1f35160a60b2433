package inventory

import (
	"context"
	"errors"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// Empty is the inventory of a workspace that has none yet, for looking only: a
// dry run must not make one.
type Empty struct{}

var _ provision.Inventory = Empty{}

// Records knows nothing.
func (Empty) Records(context.Context, []string) (map[string]provision.Record, error) { return nil, nil }

// Holders knows nothing.
func (Empty) Holders(context.Context, []secret.Text) (map[string]string, error) { return nil, nil }

// Save refuses.
func (Empty) Save(context.Context, []provision.Record) error {
	return errors.New("this inventory is for looking only")
}
