package inventory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrBusy is the error while another machine is changing credentials.
var ErrBusy = errors.New("another machine is changing credentials with this inventory")

// The keys of the locks of machines that change credentials ("tbcert" and a
// number, so that they meet nobody else's): joining is held while a machine finds
// out who else is at it, and changing, with the job's number, all along.
const (
	joining  = int64(0x7462636572740001)
	changing = int32(0x74626372)
)

// Exclusive keeps other machines from changing credentials until release: two
// that changed one device at once could each take the other's turn for one that
// was interrupted. The error is ErrBusy while another machine does. With SQLite the
// workspace's lock does it, and nothing is done.
func (s *Store) Exclusive(ctx context.Context) (release func() error, err error) {
	if !s.shared() {
		return func() error { return nil }, nil
	}
	return s.join(ctx, rand.Text(), func(bool) error { return nil })
}

// join makes this machine one of those that change credentials for a job, until
// leave. The error is ErrBusy while machines are at another job. begin is told
// whether others are at this one; until it returns nobody else can join. The locks
// are the database's own, and end with the connection (PostgreSQL, advisory locks).
func (s *Store) join(ctx context.Context, job string, begin func(others bool) error) (leave func() error, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, s.readError(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, joining); err != nil {
		return nil, s.readError(err)
	}
	lasting := context.WithoutCancel(ctx)
	defer func() {
		_, unlockErr := conn.ExecContext(lasting, `SELECT pg_advisory_unlock($1)`, joining)
		err = errors.Join(err, unlockErr)
	}()
	sum := sha256.Sum256([]byte(job))
	number := int32(binary.BigEndian.Uint32(sum[:]) >> 1)
	var others, strangers int
	err = conn.QueryRowContext(ctx, `
		SELECT count(*) FILTER (WHERE objid = $2::bigint::oid), count(*) FILTER (WHERE objid <> $2::bigint::oid)
		FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid = $1::bigint::oid AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, changing, number).Scan(&others, &strangers)
	if err != nil {
		return nil, s.readError(err)
	}
	if strangers > 0 {
		return nil, fmt.Errorf("%s: %w: run this again when it is done", s.where, ErrBusy)
	}
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock_shared($1, $2)`, changing, number); err != nil {
		return nil, s.readError(err)
	}
	leave = func() error {
		_, err := conn.ExecContext(lasting, `SELECT pg_advisory_unlock_shared($1, $2)`, changing, number)
		return errors.Join(err, conn.Close())
	}
	if err := begin(others > 0); err != nil {
		_, unlockErr := conn.ExecContext(lasting, `SELECT pg_advisory_unlock_shared($1, $2)`, changing, number)
		return nil, errors.Join(err, unlockErr)
	}
	return leave, nil
}
