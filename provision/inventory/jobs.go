package inventory

import (
	"context"
	"crypto/rand"
	"database/sql"
	"time"

	"github.com/tbcert/tbcert/provision"
)

// A JobState is how a job ended, or that it has not.
type JobState string

// The states of a job.
const (
	JobRunning     JobState = "running" // or its process is gone
	JobDone        JobState = "done"
	JobFailed      JobState = "failed" // for some of its devices, or as a whole
	JobInterrupted JobState = "interrupted"
)

// A Job is one run of a command for many devices.
type Job struct {
	ID        string // BeginJob makes it
	Kind      string // "provision", "rotate" …
	Registrar provision.RegistrarKind
	Digest    string // of its input, in hex; "" is none
	Host      string // where it was begun
	Total     int
	Done      int
	Failed    int
	State     JobState
	Started   time.Time // BeginJob sets it
	Finished  time.Time // EndJob sets it; zero is not yet
}

const jobColumns = `id, kind, registrar, digest, host, total, done, failed, state, started_at, finished_at`

func (j Job) row() []any {
	return []any{
		j.ID, j.Kind, string(j.Registrar), j.Digest, j.Host, int64(j.Total), int64(j.Done), int64(j.Failed),
		string(j.State), milliseconds(j.Started), milliseconds(j.Finished),
	}
}

// addJob leaves a job alone that is there.
func addJob() bulk {
	return bulk{`INSERT INTO jobs (` + jobColumns + `) {rows} ON CONFLICT (id) DO NOTHING`, "tttttiiitii"}
}

// BeginJob puts a job on record, and gives its ID.
func (s *Store) BeginJob(ctx context.Context, job Job) (string, error) {
	job.ID = rand.Text()
	job.State = JobRunning
	job.Started, job.Finished = s.options.Now(), time.Time{}
	err := s.transact(ctx, func(tx *sql.Tx) error {
		_, err := s.dialect.run(ctx, tx, addJob(), [][]any{job.row()})
		return err
	})
	return job.ID, err
}

// EndJob notes how the job with job's ID ended: its Done, Failed and State.
func (s *Store) EndJob(ctx context.Context, job Job) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE jobs SET done = $2, failed = $3, state = $4, finished_at = $5 WHERE id = $1`,
			job.ID, job.Done, job.Failed, string(job.State), s.now())
		return err
	})
}

// Jobs gives the last n jobs, the newest first.
func (s *Store) Jobs(ctx context.Context, n int) ([]Job, error) {
	var jobs []Job
	err := s.read(ctx, selection{`SELECT ` + jobColumns + ` FROM jobs ORDER BY started_at DESC, id LIMIT $1`, []any{n}},
		func(rows *sql.Rows) error {
			var j Job
			var started, finished int64
			err := rows.Scan(&j.ID, &j.Kind, &j.Registrar, &j.Digest, &j.Host, &j.Total, &j.Done, &j.Failed, &j.State, &started, &finished)
			j.Started, j.Finished = timeOf(started), timeOf(finished)
			jobs = append(jobs, j)
			return err
		})
	return jobs, err
}
