package provision_test

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

// memory is a shelf and an inventory that cost next to nothing, so that a
// benchmark shows what the batch itself does.
type memory struct {
	bundles map[string][]provision.File
	records map[string]provision.Record
}

func newMemory(devices int) *memory {
	return &memory{bundles: make(map[string][]provision.File, devices), records: make(map[string]provision.Record, devices)}
}

func (m *memory) ReadBundle(_ context.Context, directory string) ([]provision.File, error) {
	files, ok := m.bundles[directory]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return files, nil
}

func (m *memory) WriteBundles(_ context.Context, bundles []provision.Bundle) error {
	for _, bundle := range bundles {
		m.bundles[bundle.Directory] = bundle.Files
	}
	return nil
}

// unlocked is the memory as an inventory: offline, one goroutine reads it and
// another writes it.
type unlocked struct {
	*memory
	turn chan struct{}
}

func (u unlocked) Holders(context.Context, []secret.Text) (map[string]string, error) { return nil, nil }

func (u unlocked) Records(_ context.Context, names []string) (map[string]provision.Record, error) {
	u.turn <- struct{}{}
	defer func() { <-u.turn }()
	found := make(map[string]provision.Record, len(names))
	for _, name := range names {
		if record, ok := u.records[name]; ok {
			found[name] = record
		}
	}
	return found, nil
}

func (u unlocked) Save(_ context.Context, records []provision.Record) error {
	u.turn <- struct{}{}
	defer func() { <-u.turn }()
	for _, record := range records {
		u.records[record.Name] = record
	}
	return nil
}

// guarded is the memory as a shelf, for the same two.
type guarded struct {
	*memory
	turn chan struct{}
}

func (g guarded) ReadBundle(ctx context.Context, directory string) ([]provision.File, error) {
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	return g.memory.ReadBundle(ctx, directory)
}

func (g guarded) WriteBundles(ctx context.Context, bundles []provision.Bundle) error {
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	return g.memory.WriteBundles(ctx, bundles)
}

func benchmarkDevices(n int) []provision.Device {
	devices := make([]provision.Device, n)
	for i := range devices {
		devices[i].Name = fmt.Sprintf("meter-%06d", i)
	}
	return devices
}

func benchmarkBatch(m *memory, store provision.Inventory) *provision.Batch {
	if store == nil {
		store = unlocked{memory: m, turn: make(chan struct{}, 1)}
	}
	return &provision.Batch{Onboarder: provision.Onboarder{
		Site: testSite(), Registrar: provision.Offline{}, Inventory: store, Shelf: guarded{memory: m, turn: make(chan struct{}, 1)},
	}}
}

func benchmarkRun(b *testing.B, batch *provision.Batch, devices []provision.Device) {
	b.Helper()
	if _, err := batch.Run(b.Context(), list(devices), func(provision.Result) {}); err != nil {
		b.Fatal(err)
	}
}

func perDevice(b *testing.B, devices int) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(devices), "ns/device")
}

// BenchmarkOffline makes new devices. The cost of one must not grow with their
// number.
func BenchmarkOffline(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			devices := benchmarkDevices(n)
			b.ReportAllocs()
			for b.Loop() {
				benchmarkRun(b, benchmarkBatch(newMemory(n), nil), devices)
			}
			perDevice(b, n)
		})
	}
}

// BenchmarkOfflineSQLite is the same with the real inventory.
func BenchmarkOfflineSQLite(b *testing.B) {
	const n = 10_000
	devices := benchmarkDevices(n)
	b.ReportAllocs()
	for b.Loop() {
		store, err := inventory.Open(b.Context(), filepath.Join(b.TempDir(), "inventory.db"), inventory.Options{})
		if err != nil {
			b.Fatal(err)
		}
		benchmarkRun(b, benchmarkBatch(newMemory(n), store), devices)
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
	}
	perDevice(b, n)
}

// BenchmarkUnchanged goes over devices of which nothing is to be done.
func BenchmarkUnchanged(b *testing.B) {
	const n = 10_000
	devices := benchmarkDevices(n)
	m := newMemory(n)
	benchmarkRun(b, benchmarkBatch(m, nil), devices)
	b.ReportAllocs()
	for b.Loop() {
		benchmarkRun(b, benchmarkBatch(m, nil), devices)
	}
	perDevice(b, n)
}

func BenchmarkEncodeName(b *testing.B) {
	for b.Loop() {
		if _, err := provision.EncodeName("Zähler 1234 (Halle 7)"); err != nil {
			b.Fatal(err)
		}
	}
}
