package acme_test

import (
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/acme"
	"github.com/tbcert/tbcert/certs/acme/acmetest"
	"github.com/tbcert/tbcert/certs/secret"
)

// companyConfig is a client's of a step-ca.
func companyConfig(t *testing.T, ca *acmetest.StepCA, knot *acmetest.Knot, challenge string) acme.Config {
	t.Helper()
	return acme.Config{
		Directory: ca.Directory, Email: "admin@example.com", Roots: companyRoots(t, ca), Account: newKey(t, certs.P256), Challenge: challenge,
		HTTPAddr: ca.HTTPAddr, TLSAddr: ca.TLSAddr, DNS: update(t, knot, acmetest.KeyUpdater), Patience: 30 * time.Second,
	}
}

func companyRoots(t *testing.T, ca *acmetest.StepCA) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(ca.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		t.Fatal("there is no root")
	}
	return roots
}

// A company's CA: every way to prove names and addresses works there, its chain leads
// to the root that it is trusted by, and that it gives no renewal information is told.
func TestStepCA(t *testing.T) {
	t.Parallel()
	knot := acmetest.StartKnot(t)
	ca := acmetest.StartStepCA(t, knot.Addr)
	for _, challenge := range acme.Challenges() {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			hosts := []string{"mqtt.example.com", "tb.example.com"}
			if challenge != acme.DNS01 {
				hosts = append(hosts, "127.0.0.1")
			}
			config := companyConfig(t, ca, knot, challenge)
			// Not required here, and no harm.
			config.EAB = acme.EAB{KeyID: "kid-1", MACKey: secret.New("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")}
			chain, err := obtain(t, config, hosts...)
			if err != nil {
				t.Fatal(err)
			}
			names := certs.Hosts(chain[0])
			slices.Sort(names)
			slices.Sort(hosts)
			if !slices.Equal(names, hosts) {
				t.Errorf("it is for %v", names)
			}
			between := x509.NewCertPool()
			for _, cert := range chain[1:] {
				between.AddCert(cert)
			}
			if _, err := chain[0].Verify(x509.VerifyOptions{DNSName: "tb.example.com", Roots: companyRoots(t, ca), Intermediates: between}); err != nil {
				t.Error(err)
			}
			client, err := acme.New(config)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := client.RenewalWindow(t.Context(), chain[0]); !errors.Is(err, acme.ErrNoARI) {
				t.Errorf("the window: %v", err)
			}
			if _, err := client.Obtain(t.Context(), hosts, newKey(t, certs.RSA2048), chain[0]); err != nil {
				t.Errorf("again, in its place: %v", err)
			}
		})
	}
}

// What a company's CA refuses has a name, a reason, and what to do.
func TestStepCARefuses(t *testing.T) {
	t.Parallel()
	knot := acmetest.StartKnot(t)
	ca := acmetest.StartStepCA(t, knot.Addr)
	onlyDNS := acmetest.StartStepCA(t, knot.Addr, acme.DNS01)
	closed := companyConfig(t, ca, knot, acme.HTTP01)
	closed.HTTPAddr = "127.0.0.1:0"
	closedTLS := companyConfig(t, ca, knot, acme.TLSALPN01)
	closedTLS.TLSAddr = "127.0.0.1:0"
	for _, row := range []struct {
		name   string
		config acme.Config
		want   []string
	}{
		{"http-01 that leads elsewhere", closed, []string{"the CA refused tb.example.com (connection)", "port 80 of tb.example.com"}},
		{"tls-alpn-01 that leads elsewhere", closedTLS, []string{"the CA refused tb.example.com (connection)", "port 443 of tb.example.com"}},
		{"a challenge that it does not offer", companyConfig(t, onlyDNS, knot, acme.HTTP01), []string{"tb.example.com", "dns-01", "--acme-challenge"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			_, err := obtain(t, row.config, "tb.example.com")
			if err == nil {
				t.Fatal("it is no error")
			}
			// step-ca decides nothing: it looks when it is told to.
			if took := time.Since(begin); took > row.config.Patience/2 {
				t.Errorf("it took %s", took)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q", err, want)
				}
			}
		})
	}
}
