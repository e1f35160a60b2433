package inventory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tbcert/tbcert/provision"
)

// How often others' rows are looked at while there is nothing else to do, and
// how often in its time a lease is extended.
const (
	pollEvery     = 250 * time.Millisecond
	beatsPerLease = 3
)

// databaseNow is the clock by which leases run: the database's own, in
// milliseconds. Those of the machines may differ.
const databaseNow = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// Take leases the next rows that nobody else has. Where there are none it waits
// for those that others have: until they are settled, and none is left, or until
// one of the others is gone and its rows are to be done here.
func (s *Shared) Take(ctx context.Context, n int) ([]provision.Task, error) {
	if s.spool != nil {
		return s.spool.Take(ctx, n)
	}
	poll := time.NewTimer(0)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-poll.C:
		}
		tasks, err := s.lease(ctx, n)
		if err != nil || len(tasks) > 0 {
			return tasks, err
		}
		open, others, err := s.left(ctx)
		if err != nil {
			return nil, err
		}
		if !others {
			s.mu.Lock()
			s.drained = true
			s.mu.Unlock()
			if !open {
				err = s.finish(ctx)
			}
			return nil, err
		}
		poll.Reset(min(pollEvery, s.store.options.Lease/4))
	}
}

// lease takes rows that are free, or whose lease has run out. It never takes one
// of its own again: that is still being done.
func (s *Shared) lease(ctx context.Context, n int) ([]provision.Task, error) {
	rows, err := s.store.db.QueryContext(ctx, `
		UPDATE job_rows SET owner = $3, lease_until = `+databaseNow+` + $4
		WHERE job = $1 AND seq = ANY (ARRAY (
			SELECT seq FROM job_rows
			WHERE job = $1 AND state = 'open' AND owner <> $3 AND lease_until < `+databaseNow+`
			ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED))
		RETURNING seq, sealed`, s.job, n, s.owner, s.store.options.Lease.Milliseconds())
	if err != nil {
		return nil, s.store.readError(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	var tasks []provision.Task
	for rows.Next() {
		var task provision.Task
		var sealed []byte
		if err := rows.Scan(&task.Seq, &sealed); err != nil {
			return nil, s.store.readError(err)
		}
		text, err := s.keys.open(sealed, s.place(task.Seq))
		if err == nil {
			task.Device, err = decodeDevice(text)
		}
		if err != nil {
			return nil, s.store.readError(err)
		}
		tasks = append(tasks, task)
	}
	if err := rows.Err(); err != nil {
		return nil, s.store.readError(err)
	}
	slices.SortFunc(tasks, func(a, b provision.Task) int { return cmp.Compare(a.Seq, b.Seq) })
	s.hold(ctx, tasks)
	return tasks, nil
}

// left reports whether rows are open, and whether any of them is not ours.
func (s *Shared) left(ctx context.Context) (open, others bool, err error) {
	err = s.store.db.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM job_rows WHERE job = $1 AND state = 'open'),
			EXISTS (SELECT 1 FROM job_rows WHERE job = $1 AND state = 'open' AND owner <> $2)`,
		s.job, s.owner).Scan(&open, &others)
	if err != nil {
		return false, false, s.store.readError(err)
	}
	return open, others, nil
}

// hold notes rows that were taken, and sees to it that their lease is extended,
// also when the run is told to end: what was begun is finished.
func (s *Shared) hold(ctx context.Context, tasks []provision.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, task := range tasks {
		s.held[task.Seq] = struct{}{}
	}
	if s.beating || len(tasks) == 0 {
		return
	}
	s.beating = true
	ctx = context.WithoutCancel(ctx)
	s.beats.Go(func() { s.beat(ctx) })
}

// beat extends leases until nothing is held.
func (s *Shared) beat(ctx context.Context) {
	ticker := time.NewTicker(max(s.store.options.Lease/beatsPerLease, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-s.gone:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		held := s.heldNow()
		s.beating = len(held) > 0
		s.mu.Unlock()
		if len(held) == 0 {
			return
		}
		s.extend(ctx, held)
	}
}

// extend extends leases. Should it fail they run out, others do the rows, and
// Settle leaves these alone: there is nobody to tell.
func (s *Shared) extend(ctx context.Context, held []int64) {
	ctx, cancel := context.WithTimeout(ctx, s.store.options.Lease)
	defer cancel()
	_, _ = s.store.db.ExecContext(ctx, `
		UPDATE job_rows SET lease_until = `+databaseNow+` + $3
		WHERE job = $1 AND owner = $2 AND state = 'open' AND seq = ANY ($4)`,
		s.job, s.owner, s.store.options.Lease.Milliseconds(), held)
}
