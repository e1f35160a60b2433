package inventory_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

func TestJobs(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		s := p.storeWith(inventory.Options{Now: func() time.Time { return now }})
		job := inventory.Job{Kind: "rotate", Registrar: provision.RegistrarThingsBoard, Host: "factory-1", Total: 3}
		first, err := s.BeginJob(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
		second, err := s.BeginJob(t.Context(), job)
		if err != nil || first == second {
			t.Fatal(first, second, err)
		}
		now = now.Add(time.Minute)
		if err := s.EndJob(t.Context(), inventory.Job{ID: first, Done: 2, Failed: 1, State: inventory.JobFailed}); err != nil {
			t.Fatal(err)
		}
		one, two := job, job
		one.ID, one.State, one.Done, one.Failed = first, inventory.JobFailed, 2, 1
		one.Started, one.Finished = now.Add(-2*time.Minute), now
		two.ID, two.State, two.Started = second, inventory.JobRunning, now.Add(-time.Minute)
		got, err := s.Jobs(t.Context(), 10)
		if diff := cmp.Diff([]inventory.Job{two, one}, got); err != nil || diff != "" {
			t.Errorf("%v; jobs (-want +got):\n%s", err, diff)
		}
		if got, err := s.Jobs(t.Context(), 1); err != nil || len(got) != 1 {
			t.Errorf("of the last job: %v, %v", got, err)
		}
	})
}

func TestVerifications(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		at := time.Date(2026, 3, 4, 5, 6, 7, int(89*time.Millisecond), time.UTC)
		good := inventory.Verification{Device: "a", At: at, OK: true, Took: 45 * time.Millisecond, How: "bundle"}
		bad := inventory.Verification{Device: "a", At: at.Add(time.Minute), ExitCode: 14, FailedCheck: "name", Cause: "it is\x00another", How: "bundle"}
		other := inventory.Verification{Device: "b", At: at, OK: true, How: "bundle"}
		if err := s.SaveVerifications(t.Context(), []inventory.Verification{bad, good, other}); err != nil {
			t.Fatal(err)
		}
		if err := s.SaveVerifications(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		got, err := s.LastVerifications(t.Context(), []string{"a", "b", "nobody"})
		if p.name == "postgres" {
			bad.Cause = "it is\uFFFDanother"
		}
		if diff := cmp.Diff(map[string]inventory.Verification{"a": bad, "b": other}, got); err != nil || diff != "" {
			t.Errorf("%v; last verifications (-want +got):\n%s", err, diff)
		}
		if got, err := s.LastVerifications(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("of no devices: %v, %v", got, err)
		}
	})
}
