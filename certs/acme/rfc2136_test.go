package acme_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/acme"
	"github.com/tbcert/tbcert/certs/acme/acmetest"
)

// update changes the zone of a Knot, with one of its keys.
func update(t *testing.T, knot *acmetest.Knot, key string) acme.Update {
	t.Helper()
	text, err := os.ReadFile(knot.Keys[key])
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := acme.ParseTSIGKey(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return acme.Update{Server: knot.Addr, Key: parsed}
}

// Records are added to those of a name, and taken away one by one: two orders may be
// under way, and a name and its wildcard have the same record.
func TestUpdate(t *testing.T) {
	t.Parallel()
	knot := acmetest.StartKnot(t)
	const name = "_acme-challenge.tb.example.com"
	for _, key := range []string{acmetest.KeyUpdater, acmetest.KeyNarrow} {
		zone := update(t, knot, key)
		for _, value := range []string{"one", "two", "two"} {
			if err := zone.Present(t.Context(), name, value); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
		}
		got := knot.TXT(knot.Addr, name)
		slices.Sort(got)
		if !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%s: there is %q", key, got)
		}
		if err := zone.CleanUp(t.Context(), name, "one"); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if got := knot.TXT(knot.Addr, name); !slices.Equal(got, []string{"two"}) {
			t.Errorf("%s: there is %q", key, got)
		}
		for range 2 {
			if err := zone.CleanUp(t.Context(), name, "two"); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
}

// A CA asks any server of a zone: a record is there when all have it. What another
// server lacks for too long is told.
func TestUpdateSettles(t *testing.T) {
	t.Parallel()
	knot := acmetest.StartKnot(t)
	zone := update(t, knot, acmetest.KeyUpdater)
	_, zone.Port, _ = net.SplitHostPort(knot.Second)
	const name = "_acme-challenge.tb.example.com"
	if err := zone.Present(t.Context(), name, "value"); err != nil {
		t.Fatal(err)
	}
	if got := knot.TXT(knot.Second, name); !slices.Equal(got, []string{"value"}) {
		t.Errorf("the other server has %q", got)
	}
	stale := acmetest.StartKnot(t) // its second server has the zone, and gets nothing of this one
	_, zone.Port, _ = net.SplitHostPort(stale.Second)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second/2, errors.New("enough"))
	defer cancel()
	err := zone.Present(ctx, name, "another value")
	if err == nil || !strings.Contains(err.Error(), stale.Second) || !strings.Contains(err.Error(), "enough") {
		t.Errorf("got %v", err)
	}
}

// An error names the server and the name, tells whose fault it is, and has no key.
func TestUpdateRefused(t *testing.T) {
	t.Parallel()
	knot := acmetest.StartKnot(t)
	wrong := update(t, knot, acmetest.KeyUpdater)
	wrong.Key.Secret = update(t, knot, acmetest.KeyStranger).Key.Secret
	other := update(t, knot, acmetest.KeyUpdater)
	other.Key.Algorithm = "hmac-sha512"
	odd := update(t, knot, acmetest.KeyUpdater)
	odd.Key.Algorithm = "hmac-rot13"
	nobody := update(t, knot, acmetest.KeyUpdater)
	nobody.Server = "127.0.0.1:1"
	portless := update(t, knot, acmetest.KeyUpdater)
	portless.Server = "127.0.0.1"
	for _, row := range []struct {
		name   string
		update acme.Update
		host   string
		want   []string
	}{
		{"a key that the server does not know", update(t, knot, acmetest.KeyStranger), "tb.example.com", []string{"does not know the key stranger"}},
		{"a key with another secret", wrong, "tb.example.com", []string{"the key updater is not the server's"}},
		{"a key with another algorithm", other, "tb.example.com", []string{"does not know the key updater with hmac-sha512"}},
		{"an algorithm that there is not", odd, "tb.example.com", []string{"hmac-rot13"}},
		{"a key for another name", update(t, knot, acmetest.KeyNarrow), "mqtt.example.com", []string{"the key may not change this name"}},
		{"a zone that is another server's", update(t, knot, acmetest.KeyUpdater), "tb.example.net", []string{"has no zone for _acme-challenge.tb.example.net"}},
		{"no server", nobody, "tb.example.com", []string{"connection refused"}},
		{"no port", portless, "tb.example.com", []string{"missing port"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			name := "_acme-challenge." + row.host
			err := row.update.Present(t.Context(), name, "value")
			if err == nil {
				t.Fatal("it is no error")
			}
			for _, want := range append(row.want, row.update.Server, name) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q", err, want)
				}
			}
			if strings.Contains(err.Error(), row.update.Key.Secret.Reveal()) {
				t.Error("the key is in the error")
			}
		})
	}
}

// A CA sees what an update put there.
func TestObtainByUpdate(t *testing.T) {
	t.Parallel()
	knot := acmetest.StartKnot(t)
	pebble := acmetest.StartPebble(t, acmetest.PebbleOptions{DNSServer: knot.Addr})
	config := config(t, pebble, acme.DNS01)
	config.DNS = update(t, knot, acmetest.KeyUpdater)
	hosts := []string{"tb.example.com", "mqtt.example.com"}
	if _, err := obtain(t, config, hosts...); err != nil {
		t.Error(err)
	}
	for _, host := range hosts {
		if left := knot.TXT(knot.Addr, "_acme-challenge."+host); left != nil {
			t.Errorf("%s: %q is still there", host, left)
		}
	}
}

// FuzzParseTSIGKey: what is no key has no part of one, and each form leads to the same.
func FuzzParseTSIGKey(f *testing.F) {
	f.Add("key \"tbcert\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n")
	f.Add("# hmac-sha256:tbcert:c2VjcmV0\nkey:\n  - id: tbcert\n    algorithm: hmac-sha256\n    secret: c2VjcmV0\n")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := acme.ParseTSIGKey(text)
		if err != nil {
			if key.Name != "" || key.Algorithm != "" || !key.Secret.IsZero() {
				t.Errorf("%v and %v", key, err)
			}
			return
		}
		again, err := acme.ParseTSIGKey("key \"" + key.Name + "\" { algorithm " + key.Algorithm + "; secret \"" + key.Secret.Reveal() + "\"; };")
		if err != nil || again.Name != key.Name || again.Algorithm != key.Algorithm || again.Secret.Reveal() != key.Secret.Reveal() {
			t.Errorf("%q: %v, then %v, %v", text, key, again, err)
		}
	})
}
