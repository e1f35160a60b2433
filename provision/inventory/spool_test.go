package inventory_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

func newSpool(tb testing.TB, dir string) *inventory.Spool {
	tb.Helper()
	s, err := inventory.NewSpool(tb.Context(), dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func row(line int, token string) provision.Row {
	return provision.Row{Line: line, Device: provision.Device{
		Name: fmt.Sprintf("meter-%d", line), Label: "Hall 1", Credential: provision.TokenCredential(secret.New(token)),
	}}
}

// fill adds n rows, from the line first on.
func fill(tb testing.TB, s *inventory.Spool, first, n int) {
	tb.Helper()
	for line := first; line < first+n; line++ {
		if err := s.Add(tb.Context(), row(line, fmt.Sprintf("token-%d", line))); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestSpoolKeepsRowsInOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSpool(t, dir)
	fill(t, s, 2, 1000)
	if s.Total() != 1000 {
		t.Errorf("Total is %d", s.Total())
	}
	line := 2
	for {
		tasks, err := s.Take(t.Context(), 256)
		if err != nil {
			t.Fatal(err)
		}
		if len(tasks) == 0 {
			break
		}
		for _, task := range tasks {
			if diff := cmp.Diff(row(line, fmt.Sprintf("token-%d", line)).Device, task.Device, secrets()); diff != "" {
				t.Fatalf("row %d (-want +got):\n%s", line, diff)
			}
			line++
		}
		if err := s.Settle(t.Context(), []provision.Outcome{{Seq: tasks[0].Seq}}); err != nil {
			t.Fatal(err)
		}
	}
	if line != 1002 {
		t.Errorf("%d rows were handed out", line-2)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the spool has a name: %v, %v", entries, err)
	}
}

func TestSpoolTellsDuplicates(t *testing.T) {
	t.Parallel()
	s := newSpool(t, t.TempDir())
	fill(t, s, 2, 3)
	sameName := row(3, "other")
	sameName.Line = 9
	for name, test := range map[string]struct {
		row  provision.Row
		want provision.DuplicateError
	}{
		"name":       {sameName, provision.DuplicateError{Line: 3}},
		"credential": {row(10, "token-4"), provision.DuplicateError{Credential: true, Line: 4}},
	} {
		var got *provision.DuplicateError
		if err := s.Add(t.Context(), test.row); !errors.As(err, &got) || *got != test.want {
			t.Errorf("%s: %v, want %+v", name, err, test.want)
		}
	}
	// A name is no credential, and rows without a credential have none in common.
	for line, name := range map[int]string{20: "token-2", 21: "x", 22: "y"} {
		if err := s.Add(t.Context(), provision.Row{Line: line, Device: provision.Device{Name: name}}); err != nil {
			t.Error(err)
		}
	}
	if s.Total() != 6 {
		t.Errorf("Total is %d, want 6", s.Total())
	}
}

func TestSpoolDigest(t *testing.T) {
	t.Parallel()
	digest := func(rows ...provision.Row) [32]byte {
		t.Helper()
		s := newSpool(t, t.TempDir())
		for _, row := range rows {
			if err := s.Add(t.Context(), row); err != nil {
				t.Fatal(err)
			}
		}
		return s.Digest()
	}
	one, two := row(1, "a"), row(2, "b")
	moved := two
	moved.Line = 99
	if digest(one, two) != digest(one, moved) {
		t.Error("the line matters")
	}
	other := two
	other.Device.Label = "Hall 2"
	for name, got := range map[string][32]byte{
		"order": digest(two, one), "fewer": digest(one), "another label": digest(one, other), "another token": digest(one, row(2, "c")),
	} {
		if got == digest(one, two) {
			t.Errorf("%s does not matter", name)
		}
	}
}

func TestSpoolNeedsItsDirectory(t *testing.T) {
	t.Parallel()
	if _, err := inventory.NewSpool(t.Context(), t.TempDir()+"/nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}
