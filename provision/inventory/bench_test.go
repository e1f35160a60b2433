package inventory_test

import (
	"path/filepath"
	"testing"

	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

func benchOpen(b *testing.B, path string) *inventory.Store {
	b.Helper()
	s, err := inventory.Open(b.Context(), path, inventory.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkOpen is what every command pays for an inventory that is up to date.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "inventory.db")
	if err := benchOpen(b, path).Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := benchOpen(b, path).Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenNew(b *testing.B) {
	for b.Loop() {
		if err := benchOpen(b, filepath.Join(b.TempDir(), "inventory.db")).Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSave saves batches of 256 new devices; ns/op is for one batch.
func BenchmarkSave(b *testing.B) {
	s := benchOpen(b, filepath.Join(b.TempDir(), "inventory.db"))
	next := 0
	for b.Loop() {
		records := make([]provision.Record, 256)
		for i := range records {
			records[i] = record(next)
			next++
		}
		if err := s.Save(b.Context(), records); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
