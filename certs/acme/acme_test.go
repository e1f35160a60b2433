package acme_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/acme"
	"github.com/tbcert/tbcert/certs/acme/acmetest"
	"github.com/tbcert/tbcert/certs/secret"
)

func newKey(t *testing.T, kind certs.KeyType) crypto.Signer {
	t.Helper()
	key, err := certs.Maker{}.NewKeyOf(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// config is a client's of a Pebble.
func config(t *testing.T, pebble *acmetest.Pebble, challenge string) acme.Config {
	t.Helper()
	data, err := os.ReadFile(pebble.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		t.Fatal("there is no root")
	}
	return acme.Config{
		Directory: pebble.Directory, Email: "admin@example.com", Roots: roots, Account: newKey(t, certs.P256), Challenge: challenge,
		HTTPAddr: pebble.HTTPAddr, TLSAddr: pebble.TLSAddr, DNS: &records{pebble: pebble}, Patience: 30 * time.Second,
	}
}

func obtain(t *testing.T, config acme.Config, hosts ...string) ([]*x509.Certificate, error) {
	t.Helper()
	client, err := acme.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.Obtain(t.Context(), hosts, newKey(t, certs.P256), nil)
}

// records is the zone of a Pebble's DNS.
type records struct {
	pebble *acmetest.Pebble
	mute   bool
	mu     sync.Mutex
	seen   []string
}

func (r *records) Present(_ context.Context, name, value string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, "+"+name)
	if !r.mute {
		r.pebble.SetTXT(name+".", value)
	}
	return nil
}

func (r *records) CleanUp(_ context.Context, name, _ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, "-"+name)
	r.pebble.ClearTXT(name + ".")
	return nil
}

// Every way to prove names works, with a CA that refuses a third of all nonces; the
// account is made once; and what is renewed is told.
func TestObtain(t *testing.T) {
	t.Parallel()
	pebble := acmetest.StartPebble(t, acmetest.PebbleOptions{NonceReject: 33})
	for _, challenge := range acme.Challenges() {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			config := config(t, pebble, challenge)
			hosts := []string{"tb.example.com", "mqtt.example.com"}
			chain, err := obtain(t, config, hosts...)
			if err != nil {
				t.Fatal(err)
			}
			names := certs.Hosts(chain[0])
			slices.Sort(names)
			if len(chain) < 2 || !slices.Equal(names, []string{"mqtt.example.com", "tb.example.com"}) {
				t.Errorf("%d certificates, for %v", len(chain), names)
			}
			if challenge == acme.DNS01 {
				zone, _ := config.DNS.(*records)
				slices.Sort(zone.seen)
				if want := []string{"+_acme-challenge.mqtt.example.com", "+_acme-challenge.tb.example.com", "-_acme-challenge.mqtt.example.com", "-_acme-challenge.tb.example.com"}; !slices.Equal(zone.seen, want) {
					t.Errorf("the zone saw %v", zone.seen)
				}
			}
			client, err := acme.New(config)
			if err != nil {
				t.Fatal(err)
			}
			start, end, err := client.RenewalWindow(t.Context(), chain[0])
			if err != nil || !start.Before(end) || start.After(chain[0].NotAfter) {
				t.Errorf("the window is from %s to %s, %v", start, end, err)
			}
			if _, err := client.Obtain(t.Context(), hosts, newKey(t, certs.RSA2048), chain[0]); err != nil {
				t.Errorf("again, in its place: %v", err)
			}
		})
	}
}

// An error has the CA's own words, the name that it is about, and what to do.
func TestRefused(t *testing.T) {
	t.Parallel()
	pebble := acmetest.StartPebble(t, acmetest.PebbleOptions{})
	other := acmetest.StartPebble(t, acmetest.PebbleOptions{EAB: map[string]string{"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}})
	closed := config(t, pebble, acme.HTTP01)
	closed.HTTPAddr = "127.0.0.1:0" // not where Pebble looks
	closedTLS := config(t, pebble, acme.TLSALPN01)
	closedTLS.TLSAddr = "127.0.0.1:0"
	mute := config(t, pebble, acme.DNS01)
	mute.DNS = &records{pebble: pebble, mute: true}
	bound := config(t, other, acme.DNS01)
	bound.EAB = acme.EAB{KeyID: "kid-1", MACKey: secret.New("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")}
	wrong := config(t, other, acme.DNS01)
	wrong.EAB = acme.EAB{KeyID: "kid-1", MACKey: secret.New("AAAAZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")}
	for _, row := range []struct {
		name         string
		config       acme.Config
		host         string
		kind, advice string // none: it is let in
	}{
		{"http-01 that leads elsewhere", closed, "tb.example.com", "connection", "port 80 of tb.example.com"},
		{"tls-alpn-01 that leads elsewhere", closedTLS, "tb.example.com", "unauthorized", "port 443 of tb.example.com"},
		{"a record that is not there", mute, "tb.example.com", "unauthorized", "_acme-challenge.tb.example.com must be visible"},
		{"a name that the CA does not serve", config(t, pebble, acme.DNS01), "blocked-domain.example", "rejectedIdentifier", "choose another CA"},
		{"no account that the CA knows", config(t, other, acme.DNS01), "tb.example.com", "externalAccountRequired", "--acme-eab-kid"},
		{"the wrong key for it", wrong, "tb.example.com", "unauthorized", "--acme-eab-kid"},
		{"an account that the CA knows", bound, "tb.example.com", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := obtain(t, row.config, row.host)
			if row.kind == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var refused *acme.RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(refused.Type, row.kind) || refused.Detail == "" || !strings.Contains(refused.Fix, row.advice) {
				t.Errorf("got type %q, host %q: %s; %s", refused.Type, refused.Host, refused.Detail, refused.Fix)
			}
			if strings.Contains(err.Error(), "ZM6eQGH") {
				t.Error("the key is in the error")
			}
		})
	}
	busy := config(t, pebble, acme.HTTP01)
	busy.HTTPAddr = strings.TrimSuffix(strings.TrimPrefix(pebble.Directory, "https://"), "/dir") // Pebble's own
	if _, err := obtain(t, busy, "tb.example.com"); err == nil || !strings.Contains(err.Error(), "another program may have the port") {
		t.Errorf("a busy port: %v", err)
	}
	nobody := config(t, pebble, acme.HTTP01)
	nobody.Directory = "https://127.0.0.1:1/dir"
	if _, err := obtain(t, nobody, "tb.example.com"); err == nil || !strings.Contains(err.Error(), "the CA https://127.0.0.1:1/dir") {
		t.Errorf("nobody there: %v", err)
	}
	untrusted := config(t, pebble, acme.HTTP01)
	untrusted.Roots = x509.NewCertPool()
	if _, err := obtain(t, untrusted, "tb.example.com"); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("an untrusted CA: %v", err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{"letsencrypt": true, "staging": true, "https://ca.example.com/acme/acme/directory": true, "http://ca.example.com/": false, "x": false, "https://u:p@ca.example.com/": false} {
		if _, err := acme.Directory(text); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := acme.New(acme.Config{Challenge: "dns-02"}); err == nil {
		t.Error("dns-02 is no error")
	}
	if _, err := acme.New(acme.Config{Challenge: acme.DNS01}); err == nil {
		t.Error("dns-01 without a zone is no error")
	}
	if err := acme.CheckHosts([]string{"tb.example.com", "192.0.2.1", "localhost"}, acme.HTTP01); err != nil {
		t.Error(err)
	}
	if err := acme.CheckHosts([]string{"192.0.2.1", "gateway"}, acme.DNS01); err == nil || !strings.Contains(err.Error(), "192.0.2.1") || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("got %v", err)
	}
}

func TestParseTSIGKey(t *testing.T) {
	t.Parallel()
	key, err := acme.ParseTSIGKey("key \"tbcert\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n")
	if err != nil || key.Name != "tbcert" || key.Algorithm != "hmac-sha256" || key.Secret.Reveal() != "c2VjcmV0" {
		t.Errorf("%+v, %v", key, err)
	}
	for _, text := range []string{"", "key tbcert", `key "a" { algorithm hmac-sha256; secret "not base64!"; };`, `{"key":"x"}`} {
		if key, err := acme.ParseTSIGKey(text); err == nil || key.Name != "" || !key.Secret.IsZero() {
			t.Errorf("%q: %v", text, err)
		}
	}
}
