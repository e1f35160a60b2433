package inventory_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/provision"
)

// memoryShelf holds bundles in memory.
type memoryShelf struct {
	mu      sync.Mutex
	bundles map[string][]provision.File
}

func (s *memoryShelf) ReadBundle(_ context.Context, directory string) ([]provision.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if files, ok := s.bundles[directory]; ok {
		return files, nil
	}
	return nil, fs.ErrNotExist
}

func (s *memoryShelf) WriteBundles(_ context.Context, bundles []provision.Bundle) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, bundle := range bundles {
		s.bundles[bundle.Directory] = bundle.Files
	}
	return nil
}

// A batch against the real inventory: run again, closed in between, the file is
// the same byte for byte; and what it writes for ThingsBoard has all devices.
func TestBatchTwice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	bundles := &memoryShelf{bundles: make(map[string][]provision.File)}
	devices := make([]provision.Device, 600) // three batches
	for i := range devices {
		devices[i] = provision.Device{Name: fmt.Sprintf("Zähler %03d", i), Label: "Hall 1"}
	}
	run := func(want provision.Summary) (imports []byte) {
		t.Helper()
		s := open(t, path)
		defer closeIt(t, s)
		batch := &provision.Batch{Onboarder: provision.Onboarder{
			Site: provision.Site{
				Host: "tb.example.com", RootPEM: []byte("root"),
				Roots: []provision.Root{{Fingerprint: "sha256:00", NotAfter: time.Date(2046, 1, 1, 0, 0, 0, 0, time.UTC)}},
			},
			Registrar: provision.Offline{}, Inventory: s, Shelf: bundles,
		}}
		list, err := provision.NewList(devices)
		if err != nil {
			t.Fatal(err)
		}
		got, err := batch.Run(t.Context(), list, func(r provision.Result) {
			if r.Err != nil {
				t.Error(r.Err)
			}
		})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("error %v; summary (-want +got):\n%s", err, diff)
		}
		var out bytes.Buffer
		if err := provision.WriteImport(&out, s.All(t.Context()), s.All(t.Context())); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	first := run(provision.Summary{Total: 600, Created: 600})
	if lines := bytes.Count(first, []byte("\n")); lines != 601 {
		t.Errorf("the import file has %d lines, want 601", lines)
	}
	before := read(t, path)
	second := run(provision.Summary{Total: 600, Unchanged: 600})
	if !bytes.Equal(before, read(t, path)) {
		t.Error("a run that changed nothing changed the inventory")
	}
	if !bytes.Equal(first, second) {
		t.Error("the import file is another")
	}
}
