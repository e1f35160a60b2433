package inventory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/tbcert/tbcert/provision"
)

// loadPage is how many rows are written to a shared job at a time.
const loadPage = 1000

// jobsKept is how long the rows of a shared job that is finished are kept, so
// that running it again does only what is left.
const jobsKept = 30 * 24 * time.Hour

// Work says what is to be done with the rows of a spool. Machines that share
// work have the same rows, Kind and Registrar.
type Work struct {
	Kind      string // "provision", "rotate" …
	Registrar provision.RegistrarKind
	Host      string // this machine, for the record
	// Again does a finished job once more, the rows that were done as well.
	Again bool
	// Criterion is for work that changes credentials, and says which devices it
	// is for. The rows change as it goes on, so they are not what machines have in
	// common: a machine that comes while others with the same criterion are at
	// work takes from their rows, and one that comes with another is refused.
	Criterion string
}

// job is the record of it. Its ID is what machines have in common that share it.
func (w Work) job(spool *Spool, started time.Time) Job {
	digest := spool.Digest()
	text := hex.EncodeToString(digest[:])
	common := text
	if w.Criterion != "" {
		common = "criterion\x00" + w.Criterion
	}
	id := sha256.Sum256([]byte(w.Kind + "\x00" + string(w.Registrar) + "\x00" + common))
	return Job{
		ID: hex.EncodeToString(id[:]), Kind: w.Kind, Registrar: w.Registrar, Digest: text, Host: w.Host,
		Total: spool.Total(), State: JobRunning, Started: started,
	}
}

// Shared is a source whose rows several machines do together. Each row is leased
// to one of them. The lease is extended while that machine lives; one that has
// run out, by the database's clock, is another's to take. With SQLite there is
// one machine, and Shared is the spool.
type Shared struct {
	store *Store
	spool *Spool // with SQLite
	job   string
	owner string
	total int
	keys  *keys
	leave func() error // no longer changes credentials

	mu      sync.Mutex
	held    map[int64]struct{} // taken and not settled
	drained bool               // Take found nothing that others have
	beating bool
	gone    chan struct{} // closed by Release
	beats   sync.WaitGroup
}

var _ provision.Source = (*Shared)(nil)

// Share makes a source of a spool's rows. The first machine brings them into the
// inventory, and the others wait for it. A job that was begun before is gone on
// with: rows that were done are not handed out again; those that failed are,
// unless others are at work on the job just now. Work with a criterion begins anew
// unless others are at it, and the error is ErrBusy while others change credentials
// for another reason.
func (s *Store) Share(ctx context.Context, work Work, spool *Spool) (*Shared, error) {
	job := work.job(spool, s.options.Now())
	shared := &Shared{
		store: s, job: job.ID, owner: rand.Text(), total: job.Total,
		held: make(map[int64]struct{}), gone: make(chan struct{}),
	}
	if !s.shared() {
		shared.spool = spool
		return shared, nil
	}
	var err error
	if shared.keys, err = s.unlock(ctx); err != nil {
		return nil, err
	}
	if work.Criterion == "" {
		err = shared.begin(ctx, job, spool, func(tx *sql.Tx) error { return shared.reopen(ctx, tx, work.Again) })
	} else {
		shared.leave, err = s.join(ctx, job.ID, func(others bool) error {
			return shared.begin(ctx, job, spool, func(tx *sql.Tx) error {
				if others {
					return tx.QueryRowContext(ctx, `SELECT total FROM jobs WHERE id = $1`, job.ID).Scan(&shared.total)
				}
				return shared.anew(ctx, tx, job, spool)
			})
		})
	}
	if err != nil {
		return nil, err
	}
	return shared, nil
}

// begin makes the job of a spool's rows, or, when there is one, does what is to be
// done with that.
func (s *Shared) begin(ctx context.Context, job Job, spool *Spool, found func(*sql.Tx) error) error {
	return s.store.transact(ctx, func(tx *sql.Tx) error {
		// Where another machine is just making the job, this waits until it has,
		// or is gone.
		added, err := s.store.dialect.run(ctx, tx, addJob(), [][]any{job.row()})
		if err != nil {
			return err
		}
		if added == 0 {
			return found(tx)
		}
		if err := s.load(ctx, tx, spool); err != nil {
			return err
		}
		if err := s.store.forgetJobs(ctx, tx); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `ANALYZE job_rows`) // else the first leases look at all rows
		return err
	})
}

// anew gives a job that nobody is at the rows of a spool.
func (s *Shared) anew(ctx context.Context, tx *sql.Tx, job Job, spool *Spool) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM job_rows WHERE job = $1`, s.job); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE jobs SET digest = $2, host = $3, total = $4, done = 0, failed = 0, state = $5, started_at = $6, finished_at = 0
		WHERE id = $1`, job.ID, job.Digest, job.Host, job.Total, string(job.State), milliseconds(job.Started))
	if err != nil {
		return err
	}
	return s.load(ctx, tx, spool)
}

// load brings the rows of a spool into the inventory.
func (s *Shared) load(ctx context.Context, tx *sql.Tx, spool *Spool) error {
	for after := int64(0); ; {
		tasks, err := spool.page(ctx, after, loadPage)
		if err != nil || len(tasks) == 0 {
			return err
		}
		rows := make([][]any, len(tasks))
		for i, task := range tasks {
			text, err := encodeDevice(task.Device)
			if err != nil {
				return err
			}
			rows[i] = []any{s.job, task.Seq, s.keys.seal(text, s.place(task.Seq)), "open", "", int64(0), ""}
		}
		_, err = s.store.dialect.run(ctx, tx,
			bulk{`INSERT INTO job_rows (job, seq, sealed, state, owner, lease_until, error) {rows}`, "tibttit"}, rows)
		if err != nil {
			return err
		}
		after = tasks[len(tasks)-1].Seq + 1
	}
}

// place is where alone a row can be opened.
func (s *Shared) place(seq int64) string {
	return "row\x00" + s.job + "\x00" + strconv.FormatInt(seq, 10)
}

// reopen readies a job that is there for another run, unless it is being done.
func (s *Shared) reopen(ctx context.Context, tx *sql.Tx, again bool) error {
	var finished int64
	var busy bool
	err := tx.QueryRowContext(ctx, `SELECT finished_at FROM jobs WHERE id = $1 FOR UPDATE`, s.job).Scan(&finished)
	if err != nil {
		return err
	}
	err = tx.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM job_rows WHERE job = $1 AND state = 'open' AND lease_until >= `+databaseNow+`)`,
		s.job).Scan(&busy)
	if err != nil || busy {
		return err
	}
	states := []string{"failed"}
	if again && finished > 0 {
		states = append(states, "done")
	}
	result, err := tx.ExecContext(ctx, `
		UPDATE job_rows SET state = 'open', owner = '', lease_until = 0, error = ''
		WHERE job = $1 AND state = ANY ($2)`, s.job, states)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE jobs SET state = 'running', finished_at = 0 WHERE id = $1`, s.job)
	return err
}

// forgetJobs drops shared jobs that were finished long ago.
func (s *Store) forgetJobs(ctx context.Context, tx *sql.Tx) error {
	before := s.options.Now().Add(-jobsKept).UnixMilli()
	const old = `SELECT id FROM jobs WHERE digest <> '' AND finished_at > 0 AND finished_at < $1`
	for _, statement := range []string{
		`DELETE FROM job_rows WHERE job IN (` + old + `)`,
		`DELETE FROM jobs WHERE id IN (` + old + `)`,
	} {
		if _, err := tx.ExecContext(ctx, statement, before); err != nil {
			return err
		}
	}
	return nil
}

// Total is how many rows the job has, the done ones as well.
func (s *Shared) Total() int { return s.total }

// Progress is how far all machines together have come.
type Progress struct {
	Total, Open, Done, Failed int
}

// Progress counts the rows. With SQLite nothing is counted but the total.
func (s *Shared) Progress(ctx context.Context) (Progress, error) {
	progress := Progress{Total: s.total}
	if s.spool != nil {
		return progress, nil
	}
	err := s.store.db.QueryRowContext(ctx, `
		SELECT count(*) FILTER (WHERE state = 'open'), count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'failed')
		FROM job_rows WHERE job = $1`, s.job).Scan(&progress.Open, &progress.Done, &progress.Failed)
	if err != nil {
		return Progress{}, s.store.readError(err)
	}
	return progress, nil
}

// Settle notes what came of rows. A row whose lease has passed to another
// machine is that one's to settle, and is left alone.
func (s *Shared) Settle(ctx context.Context, outcomes []provision.Outcome) error {
	if s.spool != nil {
		return s.spool.Settle(ctx, outcomes)
	}
	rows := make([][]any, len(outcomes))
	for i, outcome := range outcomes {
		state := "done"
		if outcome.Failed != "" {
			state = "failed"
		}
		rows[i] = []any{s.job, outcome.Seq, s.owner, state, outcome.Failed}
	}
	err := s.store.transact(ctx, func(tx *sql.Tx) error {
		_, err := s.store.dialect.run(ctx, tx, bulk{`
			WITH n (job, seq, owner, state, error) AS ({rows})
			UPDATE job_rows SET state = n.state, error = n.error FROM n
			WHERE job_rows.job = n.job AND job_rows.seq = n.seq AND job_rows.owner = n.owner AND job_rows.state = 'open'`,
			"tittt"}, rows)
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	for _, outcome := range outcomes {
		delete(s.held, outcome.Seq)
	}
	last := s.drained && len(s.held) == 0
	s.mu.Unlock()
	if last {
		return s.finish(ctx)
	}
	return nil
}

// finish notes that the job is finished, if it is. It is no part of the
// transaction that settles the last row: two machines may do that at once, and
// neither would see the other's.
func (s *Shared) finish(ctx context.Context) error {
	return s.store.transact(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			UPDATE jobs SET finished_at = `+databaseNow+`, done = c.done, failed = c.failed,
				state = CASE c.failed WHEN 0 THEN 'done' ELSE 'failed' END
			FROM (
				SELECT count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state = 'failed') AS failed
				FROM job_rows WHERE job = $1) AS c
			WHERE id = $1 AND finished_at = 0
			AND NOT EXISTS (SELECT 1 FROM job_rows WHERE job = $1 AND state = 'open')`, s.job)
		return err
	})
}

// Release gives back at once what was taken and not settled.
func (s *Shared) Release(ctx context.Context) error {
	if s.spool != nil {
		return nil
	}
	s.mu.Lock()
	held := s.heldNow()
	clear(s.held)
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
	s.mu.Unlock()
	s.beats.Wait()
	var err error
	if len(held) > 0 {
		_, err = s.store.db.ExecContext(ctx, `
			UPDATE job_rows SET owner = '', lease_until = 0
			WHERE job = $1 AND owner = $2 AND state = 'open' AND seq = ANY ($3)`, s.job, s.owner, held)
		if err != nil {
			err = fmt.Errorf("write %s: %w", s.store.where, err)
		}
	}
	if s.leave != nil {
		err = errors.Join(err, s.leave())
		s.leave = nil
	}
	return err
}

// heldNow gives the rows that are taken and not settled; s.mu is held.
func (s *Shared) heldNow() []int64 {
	held := make([]int64, 0, len(s.held))
	for seq := range s.held {
		held = append(held, seq)
	}
	return held
}
