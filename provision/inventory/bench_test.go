package inventory_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tbcert/tbcert/certs/secret"
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

// How a fleet is saved: batches of 256 up to fleetSize devices.
const (
	batchSize = 256
	fleetSize = 100_096
)

// benchSave saves new devices, batch by batch, into inventories of up to
// fleetSize; µs/device is for one of them.
func benchSave(b *testing.B, open func() *inventory.Store, credential func(int) provision.Credential) {
	b.Helper()
	var s *inventory.Store
	saved, next := 0, 0
	for b.Loop() {
		if next%fleetSize == 0 {
			b.StopTimer()
			if s != nil {
				closeIt(b, s)
			}
			s, next = open(), 0
			b.StartTimer()
		}
		records := make([]provision.Record, batchSize)
		for i := range records {
			records[i] = record(next)
			records[i].Credential = credential(next)
			next++
		}
		save(b, s, records...)
		saved += batchSize
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(saved), "µs/device")
	closeIt(b, s)
}

func BenchmarkSave(b *testing.B) {
	token := func(i int) provision.Credential {
		return provision.TokenCredential(secret.New(fmt.Sprintf("token-of-20-char-%06d", i)))
	}
	var chains [][]byte // each is another one's in every inventory but the first
	for i := range batchSize {
		_, pem := chain(b, int64(i), "meter")
		chains = append(chains, pem)
	}
	x509 := func(i int) provision.Credential {
		return provision.Credential{Kind: provision.CredentialX509, Chain: chains[i%batchSize], Key: secret.New(string(chains[0]))}
	}
	sqlite := func() *inventory.Store { return benchOpen(b, filepath.Join(b.TempDir(), "inventory.db")) }
	postgres := func() *inventory.Store {
		s, err := inventory.OpenPostgres(b.Context(), secret.New(database(b)), inventory.Options{})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	b.Run("sqlite/token", func(b *testing.B) { benchSave(b, sqlite, token) })
	b.Run("sqlite/x509", func(b *testing.B) { benchSave(b, sqlite, x509) })
	b.Run("postgres/token", func(b *testing.B) { benchSave(b, postgres, token) })
}

// BenchmarkSpool adds rows and takes them again; ns/op is for one.
func BenchmarkSpool(b *testing.B) {
	s := newSpool(b, b.TempDir())
	line := 0
	for b.Loop() {
		line++
		if err := s.Add(b.Context(), row(line, fmt.Sprintf("token-%d", line))); err != nil {
			b.Fatal(err)
		}
		if line%batchSize == 0 {
			if tasks, err := s.Take(b.Context(), batchSize); err != nil || len(tasks) != batchSize {
				b.Fatal(len(tasks), err)
			}
		}
	}
}

// BenchmarkShare brings a fleet's rows into PostgreSQL, takes and settles them;
// µs/row is for one of them.
func BenchmarkShare(b *testing.B) {
	rows := 0
	for b.Loop() {
		spool := newSpool(b, b.TempDir())
		fill(b, spool, 1, fleetSize)
		s, err := inventory.OpenPostgres(b.Context(), secret.New(database(b)), inventory.Options{})
		if err != nil {
			b.Fatal(err)
		}
		shared, err := s.Share(b.Context(), inventory.Work{}, spool)
		if err != nil {
			b.Fatal(err)
		}
		for {
			tasks, err := shared.Take(b.Context(), batchSize)
			if err != nil {
				b.Fatal(err)
			}
			if len(tasks) == 0 {
				break
			}
			outcomes := make([]provision.Outcome, len(tasks))
			for i, task := range tasks {
				outcomes[i].Seq = task.Seq
			}
			if err := shared.Settle(b.Context(), outcomes); err != nil {
				b.Fatal(err)
			}
		}
		rows += fleetSize
		closeIt(b, s)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(rows), "µs/row")
}
