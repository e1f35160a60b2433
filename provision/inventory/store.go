// Package inventory keeps the record of a site: its devices and their
// credentials, the certificates issued to them, the jobs that were run, and what
// verifications found. A workspace has it in a file of its own, in SQLite
// ([Open]); several machines share one in PostgreSQL ([OpenPostgres]). Both have
// the same tables, which goose makes and brings forward from the embedded
// migrations; an inventory that is up to date is opened without it.
//
// Secrets are sealed by AES-256-GCM under a key of the inventory's own. Where
// there is a passphrase, that key is wrapped by one that PBKDF2 makes of it, and
// a stolen inventory gives no credential away. Where there is none the key
// stands beside what it seals: then the file's mode, or the rights in the
// database, are the whole protection, and a copy of the inventory is a copy of
// its secrets. A passphrase that is set later wraps the key, but does not reach
// copies that were made before.
package inventory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// The errors for an inventory that cannot be used.
var (
	// ErrForeign: the file or the database is something else than an inventory.
	ErrForeign = errors.New("not an inventory of tbcert")
	// ErrNewer: a newer tbcert changed its schema.
	ErrNewer = errors.New("written by a newer tbcert")
)

// DefaultLease is how long a machine has rows of a shared job for itself after
// it was last heard of.
const DefaultLease = 30 * time.Second

// Options are what an inventory needs to know beside where it is.
type Options struct {
	// Passphrase gives the one that protects the secrets; nil, or a zero
	// result, is none. It is called when a secret is sealed or opened for the
	// first time, and not again once it was right.
	Passphrase func(context.Context) (secret.Text, error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Lease is how long rows of a shared job stay with a machine that is not
	// heard of; 0 is DefaultLease.
	Lease time.Duration
}

// A Store is an inventory. Its methods may be called by many goroutines at once;
// several processes, and with PostgreSQL several machines, may have it open.
type Store struct {
	where   string // the path, or the address without user and password
	db      *sql.DB
	dialect dialect
	options Options
	explain func(error) error // what a failure to read means for the user; may be nil
	saving  sync.Mutex        // SQLite writes one at a time anyhow: waiting here is not polling

	unlocking sync.Mutex
	keys      *keys // nil until unlock
}

var _ provision.Inventory = (*Store)(nil)

func newStore(where string, db *sql.DB, d dialect, options Options) *Store {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Lease <= 0 {
		options.Lease = DefaultLease
	}
	return &Store{where: where, db: db, dialect: d, options: options}
}

// Close releases the inventory.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.where, err)
	}
	return nil
}

// shared reports whether several machines may have the inventory open.
func (s *Store) shared() bool { return s.dialect.group == 0 }

// maxTries is how often a transaction is begun again that another one made
// impossible.
const maxTries = 5

// transact runs do in a transaction, which survives a power cut once transact
// returns nil. It may run it again, after undoing what it did.
func (s *Store) transact(ctx context.Context, do func(tx *sql.Tx) error) error {
	if !s.shared() {
		s.saving.Lock()
		defer s.saving.Unlock()
	}
	err := s.transactOnce(ctx, do)
	for tries := 1; tries < maxTries && isDeadlock(err) && ctx.Err() == nil; tries++ {
		err = s.transactOnce(ctx, do)
	}
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = ended // the transaction was undone for it, and says only that it is gone
	}
	return fmt.Errorf("write %s: %w", s.where, err)
}

func (s *Store) transactOnce(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
		return err
	}
	return tx.Commit()
}

// readError says what a failure to read means for the user.
func (s *Store) readError(err error) error {
	if s.explain != nil {
		if explained := s.explain(err); explained != nil {
			return explained
		}
	}
	return fmt.Errorf("read %s: %w", s.where, err)
}

// A selection is a query with its parameters.
type selection struct {
	text string
	args []any
}

// read calls each for every row of a query, in their order.
func (s *Store) read(ctx context.Context, query selection, each func(*sql.Rows) error) error {
	rows, err := s.db.QueryContext(ctx, query.text, query.args...)
	if err != nil {
		return s.readError(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	for rows.Next() {
		if err := each(rows); err != nil {
			return s.readError(err)
		}
	}
	if err := rows.Err(); err != nil {
		return s.readError(err)
	}
	return nil
}

func (s *Store) now() int64 { return s.options.Now().UnixMilli() }

// milliseconds is how times are kept; 0 is the zero time.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
