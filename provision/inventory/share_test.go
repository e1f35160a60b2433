package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

// A fleet is several machines with one PostgreSQL.
type fleet struct {
	t       *testing.T
	address string
	rows    int
	lease   time.Duration
}

func newFleet(t *testing.T, rows int) fleet {
	t.Helper()
	return fleet{t: t, address: database(t), rows: rows, lease: time.Minute}
}

// store is the inventory as one machine has it open.
func (f fleet) store() *inventory.Store {
	f.t.Helper()
	s, err := inventory.OpenPostgres(f.t.Context(), secret.New(f.address), inventory.Options{Lease: f.lease})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { closeIt(f.t, s) })
	return s
}

// join is what one machine does first.
func (f fleet) join(work inventory.Work) *inventory.Shared {
	f.t.Helper()
	spool := newSpool(f.t, f.t.TempDir())
	fill(f.t, spool, 1, f.rows)
	work.Kind, work.Registrar = "provision", provision.RegistrarThingsBoard
	shared, err := f.store().Share(f.t.Context(), work, spool)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := shared.Release(context.WithoutCancel(f.t.Context())); err != nil {
			f.t.Error(err)
		}
	})
	return shared
}

func (f fleet) exec(statement string) {
	f.t.Helper()
	conn, err := pgx.Connect(f.t.Context(), f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close(f.t.Context())
	if _, err := conn.Exec(f.t.Context(), "SET search_path = tbcert; "+statement); err != nil {
		f.t.Fatal(err)
	}
}

func take(t *testing.T, s *inventory.Shared, n int) []provision.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tasks, err := s.Take(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return tasks
}

func settle(t *testing.T, s *inventory.Shared, tasks []provision.Task, failed string) {
	t.Helper()
	outcomes := make([]provision.Outcome, len(tasks))
	for i, task := range tasks {
		outcomes[i] = provision.Outcome{Seq: task.Seq, Failed: failed}
	}
	if err := s.Settle(t.Context(), outcomes); err != nil {
		t.Fatal(err)
	}
}

func (f fleet) progress(s *inventory.Shared, want inventory.Progress) {
	f.t.Helper()
	want.Total = f.rows
	if got, err := s.Progress(f.t.Context()); err != nil || got != want {
		f.t.Errorf("progress is %+v (%v), want %+v", got, err, want)
	}
}

func (f fleet) job(s *inventory.Store, want inventory.Job) {
	f.t.Helper()
	jobs, err := s.Jobs(f.t.Context(), 10)
	if err != nil || len(jobs) != 1 {
		f.t.Fatalf("jobs are %+v, %v", jobs, err)
	}
	got := jobs[0]
	if got.State != want.State || got.Done != want.Done || got.Failed != want.Failed || got.Finished.IsZero() != (want.State == inventory.JobRunning) {
		f.t.Errorf("the job is %+v, want %+v", got, want)
	}
}

// Machines that start at once on an empty database do each row once.
func TestMachinesShareTheWork(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2500)
	var group sync.WaitGroup
	var mu sync.Mutex
	names := make(map[string]int)
	for range 4 {
		group.Go(func() {
			s := f.join(inventory.Work{Host: "h"})
			for {
				tasks := take(t, s, 64)
				if len(tasks) == 0 {
					return
				}
				mu.Lock()
				for i, task := range tasks {
					names[task.Device.Name]++
					if i > 0 && tasks[i-1].Seq >= task.Seq {
						t.Error("rows are not in order")
					}
				}
				mu.Unlock()
				settle(t, s, tasks, "")
			}
		})
	}
	group.Wait()
	for line := 1; line <= f.rows; line++ {
		if n := names[row(line, "").Device.Name]; n != 1 {
			t.Fatalf("row %d was done %d times", line, n)
		}
	}
	f.job(f.store(), inventory.Job{State: inventory.JobDone, Done: f.rows})
}

// Rows that another machine is just taking are neither waited for nor taken as
// well.
func TestRowsAreTakenPastThoseOfOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 10)
	s := f.join(inventory.Work{})
	conn, err := pgx.Connect(t.Context(), f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec(t.Context(), `UPDATE tbcert.job_rows SET owner = 'other', lease_until = 9000000000000 WHERE seq < 4`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := s.Take(ctx, 4); err != nil || fmt.Sprint(seqs(got)) != "[4 5 6 7]" {
		t.Errorf("taken are %v, %v", seqs(got), err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := take(t, s, 4); fmt.Sprint(seqs(got)) != "[8 9]" {
		t.Errorf("taken are %v", seqs(got))
	}
}

// A machine that is gone keeps its rows for as long as their lease runs.
func TestRowsOfALostMachineAreDoneByOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 10)
	lost, other := f.join(inventory.Work{}), f.join(inventory.Work{})
	theirs := take(t, lost, 4)
	settle(t, other, take(t, other, 100), "")
	f.progress(other, inventory.Progress{Open: 4, Done: 6})
	f.exec("UPDATE job_rows SET lease_until = 1 WHERE state = 'open'") // as time does
	again := take(t, other, 100)
	if len(again) != 4 {
		t.Fatalf("%d rows were taken over, want 4", len(again))
	}
	// It was only slow: what it says of these rows counts no more.
	settle(t, lost, theirs, "late")
	f.progress(other, inventory.Progress{Open: 4, Done: 6})
	settle(t, other, again, "")
	if more := take(t, lost, 1); len(more) != 0 {
		t.Errorf("rows are handed out twice: %v", more)
	}
	f.progress(other, inventory.Progress{Done: 10})
	f.job(f.store(), inventory.Job{State: inventory.JobDone, Done: 10})
}

func TestALivingMachineKeepsItsRows(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.lease = 400 * time.Millisecond
	slow, other := f.join(inventory.Work{}), f.join(inventory.Work{})
	tasks := take(t, slow, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 4*f.lease)
	defer cancel()
	if got, err := other.Take(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Take gives %v, %v before the others are done", got, err)
	}
	taken := make(chan []provision.Task)
	go func() { taken <- take(t, other, 1) }()
	settle(t, slow, tasks, "")
	if got := <-taken; len(got) != 0 {
		t.Errorf("rows that were done are handed out: %v", got)
	}
	if got := take(t, slow, 1); len(got) != 0 {
		t.Errorf("rows that were done are handed out: %v", got)
	}
}

// A run does not wait for itself, nor gets its own rows again.
func TestOwnRowsAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	s := f.join(inventory.Work{})
	tasks := take(t, s, 10)
	f.exec("UPDATE job_rows SET lease_until = 1")
	if got := take(t, s, 10); len(got) != 0 {
		t.Errorf("own rows are handed out again: %v", got)
	}
	f.job(f.store(), inventory.Job{State: inventory.JobRunning})
	settle(t, s, tasks, "")
	f.job(f.store(), inventory.Job{State: inventory.JobDone, Done: 3})
}

func TestReleaseGivesRowsBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 5)
	one, two := f.join(inventory.Work{}), f.join(inventory.Work{})
	tasks := take(t, one, 5)
	settle(t, one, tasks[:2], "")
	if err := one.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := take(t, two, 5); len(got) != 3 {
		t.Errorf("%d rows were given back, want 3", len(got))
	}
}

func TestAJobIsRunAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 10)
	s := f.join(inventory.Work{})
	settle(t, s, take(t, s, 8), "")
	failed := take(t, s, 8)
	settle(t, s, failed, "refused \x00\xff")
	if more := take(t, s, 1); len(more) != 0 {
		t.Errorf("failed rows are handed out in the same run: %v", more)
	}
	f.job(f.store(), inventory.Job{State: inventory.JobFailed, Done: 8, Failed: 2})

	again := f.join(inventory.Work{})
	tasks := take(t, again, 10)
	if fmt.Sprint(seqs(tasks)) != fmt.Sprint(seqs(failed)) {
		t.Errorf("handed out again are %v, want %v", seqs(tasks), seqs(failed))
	}
	// One that joins meanwhile opens nothing.
	settle(t, again, tasks[:1], "refused")
	f.join(inventory.Work{})
	f.progress(again, inventory.Progress{Open: 1, Done: 8, Failed: 1})
	settle(t, again, tasks[1:], "")
	if more := take(t, again, 1); len(more) != 0 {
		t.Errorf("more rows: %v", more)
	}

	all := f.join(inventory.Work{Again: true})
	if tasks := take(t, all, 100); len(tasks) != 10 {
		t.Errorf("%d rows are done again, want all", len(tasks))
	}
}

func seqs(tasks []provision.Task) []int64 {
	numbers := make([]int64, len(tasks))
	for i, task := range tasks {
		numbers[i] = task.Seq
	}
	return numbers
}

// What was not settled, and what failed, is handed out to a later run.
func TestAnInterruptedJobGoesOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 10)
	s := f.join(inventory.Work{})
	settle(t, s, take(t, s, 3), "")
	settle(t, s, take(t, s, 2), "failed")
	take(t, s, 1)
	if err := s.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := take(t, f.join(inventory.Work{}), 100); len(got) != 7 {
		t.Errorf("%d rows are left, want 7", len(got))
	}
}

// A machine that dies while it brings the rows in leaves nothing.
func TestAMachineThatDiesLoadingLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 10)
	store := f.store()
	spool := newSpool(t, t.TempDir())
	fill(t, spool, 1, 10)
	if err := spool.Close(); err != nil { // reading it fails
		t.Fatal(err)
	}
	work := inventory.Work{Kind: "provision", Registrar: provision.RegistrarThingsBoard}
	if _, err := store.Share(t.Context(), work, spool); err == nil {
		t.Fatal("no error")
	}
	if jobs, err := store.Jobs(t.Context(), 10); err != nil || len(jobs) != 0 {
		t.Errorf("it left %+v, %v", jobs, err)
	}
	if got := take(t, f.join(inventory.Work{}), 100); len(got) != 10 {
		t.Errorf("%d rows, want 10", len(got))
	}
}

func TestOtherWorkIsAnotherJob(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	s := f.join(inventory.Work{})
	settle(t, s, take(t, s, 3), "")
	f.rows = 2
	if got := take(t, f.join(inventory.Work{}), 10); len(got) != 2 {
		t.Errorf("another file: %d rows, want 2", len(got))
	}
	store := f.store()
	for _, work := range []inventory.Work{
		{Kind: "rotate", Registrar: provision.RegistrarThingsBoard}, {Kind: "provision", Registrar: provision.RegistrarMQTT},
	} {
		spool := newSpool(t, t.TempDir())
		fill(t, spool, 1, 3)
		other, err := store.Share(t.Context(), work, spool)
		if err != nil {
			t.Fatal(err)
		}
		tasks := take(t, other, 10)
		if len(tasks) != 3 {
			t.Errorf("%+v: %d rows, want 3", work, len(tasks))
		}
		settle(t, other, tasks, "")
	}
}

// Jobs that were finished long ago go when another is begun.
func TestOldJobsAreForgotten(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	s := f.join(inventory.Work{})
	settle(t, s, take(t, s, 3), "")
	take(t, s, 1)
	f.exec("UPDATE jobs SET finished_at = 1")
	f.rows = 2
	f.join(inventory.Work{})
	f.rows = 3
	f.progress(s, inventory.Progress{}) // of the old one
	if jobs, err := f.store().Jobs(t.Context(), 10); err != nil || len(jobs) != 1 || jobs[0].Total != 2 {
		t.Errorf("jobs are %+v, %v", jobs, err)
	}
}

func TestWithSQLiteTheSpoolIsTheSource(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "inventory.db"))
	defer closeIt(t, store)
	spool := newSpool(t, t.TempDir())
	fill(t, spool, 1, 3)
	s, err := store.Share(t.Context(), inventory.Work{}, spool)
	if err != nil || s.Total() != 3 {
		t.Fatal(s, err)
	}
	tasks := take(t, s, 10)
	settle(t, s, tasks, "")
	if more := take(t, s, 10); len(tasks) != 3 || len(more) != 0 {
		t.Errorf("%d rows, then %d", len(tasks), len(more))
	}
	if err := s.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRowsAreSealed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.join(inventory.Work{})
	conn, err := pgx.Connect(t.Context(), f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var plain, total int
	err = conn.QueryRow(t.Context(), `
		SELECT count(*) FILTER (WHERE position('token-2'::bytea IN sealed) > 0), count(*) FROM tbcert.job_rows`).Scan(&plain, &total)
	if err != nil || plain != 0 || total != 3 {
		t.Errorf("%d of %d rows are plain (%v)", plain, total, err)
	}
}
