package inventory

import (
	"context"
	"errors"
	"fmt"
)

// ErrBusy is the error while another machine is changing credentials.
var ErrBusy = errors.New("another machine is changing credentials with this inventory")

// changing is the key of the lock that machines that change credentials hold
// ("tbcert" and a number, so that it meets nobody else's).
const changing = int64(0x7462636572740001)

// Exclusive keeps other machines from changing credentials until release: two
// that changed one device at once could each take the other's turn for one that
// was interrupted. The error is ErrBusy while another machine does. The lock is
// the database's own, and ends with the connection (PostgreSQL, advisory locks).
// With SQLite the workspace's lock does it, and nothing is done.
func (s *Store) Exclusive(ctx context.Context) (release func() error, err error) {
	if !s.shared() {
		return func() error { return nil }, nil
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, s.readError(err)
	}
	var alone bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, changing).Scan(&alone); err != nil {
		return nil, errors.Join(s.readError(err), conn.Close())
	}
	if !alone {
		return nil, errors.Join(fmt.Errorf("%s: %w: run this again when it is done", s.where, ErrBusy), conn.Close())
	}
	return func() error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, changing)
		return errors.Join(err, conn.Close())
	}, nil
}
