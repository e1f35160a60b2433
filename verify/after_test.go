package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/tbcert/tbcert/verify"
)

// An afterRow is a way to fail once the message was acknowledged, or could not
// be.
type afterRow struct {
	name string
	want verify.DiagnosisID // "" passes
	host func(*blindWorld) blindHost
}

func keepAlive(d time.Duration) func(*blindHost) {
	return func(h *blindHost) { h.target.KeepAlive = d }
}

func stored(tell func(context.Context, []byte) error) func(*blindHost) {
	return func(h *blindHost) { h.target.Stored = tell }
}

func afterRows() []afterRow {
	return []afterRow{
		{"a session that is left alone", "", func(w *blindWorld) blindHost {
			return w.thingsboard(w.sandbox(""), keepAlive(short))
		}},
		{"a proxy with an idle timeout of a second", verify.KeepAliveClosed, func(w *blindWorld) blindHost {
			behind := portOf(w.sandbox("").MQTTSAddr())
			port := w.nginx("stream", fmt.Sprintf("server { listen LISTEN; proxy_pass 127.0.0.1:%d; proxy_timeout 1s; }", behind), nil)
			return w.host(port, keepAlive(patience))
		}},
		{"stored", "", func(w *blindWorld) blindHost {
			return w.thingsboard(w.sandbox(""), stored(func(_ context.Context, payload []byte) error {
				if !bytes.Contains(payload, []byte("tbcert_verify")) {
					return errors.New("another payload than was published")
				}
				return nil
			}))
		}},
		{"acknowledged and never stored", verify.StoredMissing, func(w *blindWorld) blindHost {
			return w.thingsboard(w.sandbox(""), blindPatient(short), stored(func(ctx context.Context, _ []byte) error {
				<-ctx.Done()
				return ctx.Err()
			}))
		}},
		{"nobody tells whether it is stored", verify.StoredUnknown, func(w *blindWorld) blindHost {
			return w.thingsboard(w.sandbox(""), stored(func(context.Context, []byte) error { return errors.New("no answer") }))
		}},
		{"more messages than the tenant may send", verify.PublishRateLimited, func(w *blindWorld) blindHost {
			return w.host(w.rateLimit())
		}},
	}
}

// rateLimit lets everybody in and takes no message: MQTT 3.1.1 is closed on, MQTT
// 5 told that the quota is exceeded. The sandbox has no limits.
func (w *blindWorld) rateLimit() int {
	w.t.Helper()
	return w.byVersion(func(conn net.Conn, isV5 bool) {
		accepted, farewell := []byte{0x20, 2, 0, 0}, []byte(nil)
		if isV5 {
			accepted, farewell = []byte{0x20, 3, 0, 0, 0}, []byte{0xe0, 1, 0x97}
		}
		_, _ = conn.Write(accepted)
		if _, err := conn.Read(make([]byte, 4096)); err == nil {
			_, _ = conn.Write(farewell)
		}
	})
}

func TestAfterTheMessage(t *testing.T) {
	t.Parallel()
	w := newBlindWorld(t)
	for _, row := range afterRows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			result := row.host(w.in(t)).verify(t)
			if result.got != row.want {
				t.Errorf("the diagnosis is %q, want %q: %s", result.got, row.want, result.detail)
			}
		})
	}
}

// elsewhere are the diagnoses that package cmd gives, and its tests produce.
func elsewhere() []verify.DiagnosisID {
	return []verify.DiagnosisID{
		verify.RecordUnknown,  // TestVerifyAsksFirst
		verify.BundleUnusable, // testdata/script/verify_fleet.txt
	}
}

// Every diagnosis of the catalogue is made to happen: in the fault matrix, in the
// blind table, or after the message. What nobody has seen fail proves nothing.
func TestCatalogueIsSeen(t *testing.T) {
	t.Parallel()
	seen := map[verify.DiagnosisID]bool{}
	for _, row := range rows() {
		seen[row.diagnosis] = true
	}
	for _, row := range blindRows() {
		seen[row.want] = true
	}
	for _, row := range afterRows() {
		seen[row.want] = true
	}
	for _, id := range elsewhere() {
		seen[id] = true
	}
	known := map[verify.DiagnosisID]bool{"": true}
	for _, entry := range verify.Catalogue() {
		if known[entry.ID] = true; !seen[entry.ID] {
			t.Errorf("nothing makes %s happen: add a row", entry.ID)
		}
		if entry.Title == "" || entry.Check == "" {
			t.Errorf("%s has no title or no check", entry.ID)
		}
	}
	for id := range seen {
		if !known[id] {
			t.Errorf("%s is not in the catalogue", id)
		}
	}
}
