package inventory

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/tbcert/tbcert/provision"
)

// A Spool keeps the rows of a manifest in a temporary file while they are being
// checked, and hands them out when they are found to be sound. The file belongs
// to its owner alone, its rows are sealed under a key that only this process
// has, and where the system allows it has no name any more. Memory does not grow
// with the number of rows. Its methods are called by one goroutine at a time.
type Spool struct {
	path   string // "" once it has no name
	db     *sql.DB
	tx     *sql.Tx
	rows   *sql.Stmt
	marks  *sql.Stmt
	aead   cipher.AEAD
	key    []byte // of marks
	total  int
	taken  int64
	digest hash.Hash
}

var (
	_ provision.Spool  = (*Spool)(nil)
	_ provision.Source = (*Spool)(nil)
)

// A mark is a hash of a name or of a credential, with the line of its row.
const spoolSchema = `
	CREATE TABLE rows (seq INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
	CREATE TABLE marks (mark BLOB NOT NULL PRIMARY KEY, line INTEGER NOT NULL) STRICT, WITHOUT ROWID;`

// markBytes of a hash make it certain enough that two texts are the same.
const markBytes = 16

// NewSpool makes a spool, with its file in the directory dir.
func NewSpool(ctx context.Context, dir string) (*Spool, error) {
	path, err := makeSpoolFile(dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{path: path, key: make([]byte, keyBytes), digest: sha256.New()}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("make the temporary file %s: %w", path, err), s.Close())
	}
	return s, nil
}

func makeSpoolFile(dir string) (string, error) {
	path := filepath.Join(dir, ".tbcert-spool-"+rand.Text())
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|openNoFollow, fileMode)
	if err != nil {
		return "", fmt.Errorf("make a temporary file: %w", err)
	}
	if err := errors.Join(f.Chmod(fileMode), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("make a temporary file: %w", err), os.Remove(path))
	}
	return path, nil
}

func (s *Spool) open(ctx context.Context) (err error) {
	_, _ = rand.Read(s.key) // never fails
	if s.aead, err = sealer(s.key); err != nil {
		return err
	}
	_, _ = rand.Read(s.key)
	s.db, err = sql.Open("sqlite", source(s.path, url.Values{
		"_journal_mode": {"off"},
		"_synchronous":  {"off"},
		"_dqs":          {"false"},
		"_pragma":       {"locking_mode(exclusive)", "cache_size(-16384)", "temp_store(memory)"},
	}))
	if err != nil {
		return err
	}
	// The connection is the file: another could not open it, once it has no name.
	s.db.SetMaxOpenConns(1)
	quiet := context.WithoutCancel(ctx)
	if _, err := s.db.ExecContext(quiet, spoolSchema); err != nil {
		return err
	}
	if err := os.Remove(s.path); err == nil {
		s.path = "" // Windows keeps it until it is closed
	}
	if s.tx, err = s.db.BeginTx(quiet, nil); err != nil {
		return err
	}
	if s.rows, err = s.tx.PrepareContext(quiet, `INSERT INTO rows (seq, sealed) VALUES (?, ?)`); err != nil {
		return err
	}
	s.marks, err = s.tx.PrepareContext(quiet, `INSERT INTO marks (mark, line) VALUES (?, ?) ON CONFLICT DO NOTHING`)
	return err
}

// Close removes the spool.
func (s *Spool) Close() error {
	var errs []error
	if s.tx != nil {
		if err := s.tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			errs = append(errs, err)
		}
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.path != "" {
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove a temporary file: %w", err)
	}
	return nil
}

// Add keeps a row. When an earlier one has its name or its credential the error
// is a *provision.DuplicateError, and the row is not kept.
func (s *Spool) Add(ctx context.Context, row provision.Row) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	quiet := context.WithoutCancel(ctx) // see dialect.quiet
	if err := s.mark(quiet, row.Device.Name, row.Line, false); err != nil {
		return err
	}
	if id := row.Device.Credential.ID(); !id.IsZero() {
		if err := s.mark(quiet, id.Reveal(), row.Line, true); err != nil {
			return err
		}
	}
	text, err := encodeDevice(row.Device)
	if err != nil {
		return fmt.Errorf("keep the device of line %d: %w", row.Line, err)
	}
	sealed := s.aead.Seal(nil, nil, text, nil) //nolint:gosec // the nonce is random, made by the cipher
	if _, err := s.rows.ExecContext(quiet, s.total, sealed); err != nil {
		return fmt.Errorf("keep the device of line %d in a temporary file: %w", row.Line, err)
	}
	s.total++
	s.digest.Write(binary.AppendUvarint(nil, uint64(len(text))))
	s.digest.Write(text)
	return nil
}

// mark notes a name or a credential, unless it is there.
func (s *Spool) mark(ctx context.Context, text string, line int, credential bool) error {
	what := byte('n')
	if credential {
		what = 'c'
	}
	sum := sha256.Sum256(append(append(append(make([]byte, 0, 128), s.key...), what), text...))
	result, err := s.marks.ExecContext(ctx, sum[:markBytes], line)
	if err != nil {
		return fmt.Errorf("keep the device of line %d in a temporary file: %w", line, err)
	}
	if added, err := result.RowsAffected(); err != nil || added > 0 {
		return err
	}
	earlier := &provision.DuplicateError{Credential: credential}
	if err := s.tx.QueryRowContext(ctx, `SELECT line FROM marks WHERE mark = ?`, sum[:markBytes]).Scan(&earlier.Line); err != nil {
		return fmt.Errorf("read a temporary file: %w", err)
	}
	return earlier
}

// Digest is a hash of all rows in their order, without their lines.
func (s *Spool) Digest() [sha256.Size]byte {
	return [sha256.Size]byte(s.digest.Sum(nil))
}

// Total is how many rows there are.
func (s *Spool) Total() int { return s.total }

// Take gives the next rows, in their order.
func (s *Spool) Take(ctx context.Context, n int) ([]provision.Task, error) {
	tasks, err := s.page(ctx, s.taken, n)
	s.taken += int64(len(tasks))
	return tasks, err
}

// page gives up to n rows from the one with the number first on.
func (s *Spool) page(ctx context.Context, first int64, n int) (tasks []provision.Task, err error) {
	rows, err := s.tx.QueryContext(ctx, `SELECT seq, sealed FROM rows WHERE seq >= ? ORDER BY seq LIMIT ?`, first, n)
	if err != nil {
		return nil, fmt.Errorf("read a temporary file: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	for rows.Next() {
		task, err := s.scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read a temporary file: %w", err)
		}
		tasks = append(tasks, task)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read a temporary file: %w", err)
	}
	return tasks, nil
}

func (s *Spool) scan(rows *sql.Rows) (task provision.Task, err error) {
	var sealed []byte
	if err := rows.Scan(&task.Seq, &sealed); err != nil {
		return task, err
	}
	text, err := s.aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return task, err
	}
	task.Device, err = decodeDevice(text)
	return task, err
}

// Settle keeps nothing: a spool is for one run.
func (s *Spool) Settle(context.Context, []provision.Outcome) error { return nil }
