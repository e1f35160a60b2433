package certs_test

import (
	"crypto/x509"
	"errors"
	"slices"
	"testing"

	"github.com/tbcert/tbcert/certs"
)

// TestPermittedHosts holds what a limited CA can vouch for.
func TestPermittedHosts(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name                        string
		permitted, accepted, denied []string
	}{
		{"a name", []string{"tb.example.com"}, []string{"tb.example.com", "mqtt.tb.example.com"}, []string{"example.com", "tb.example.org", "192.0.2.1", "2001:db8::1"}},
		{"names", []string{"a.example.com", "b.example.com"}, []string{"a.example.com", "b.example.com"}, []string{"c.example.com", "::1"}},
		{"an address", []string{"192.0.2.1"}, []string{"192.0.2.1"}, []string{"192.0.2.2", "::1", "tb.example.com", "localhost"}},
		{"an IPv6 address", []string{"2001:db8::1"}, []string{"2001:db8::1"}, []string{"2001:db8::2", "192.0.2.1", "tb.example.com"}},
		{"both", []string{"tb.example.com", "192.0.2.1"}, []string{"tb.example.com", "192.0.2.1"}, []string{"192.0.2.2", "other.example.com"}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "Root", KeyType: certs.P256, Years: 1, PathLen: 1})
			if err != nil {
				t.Fatal(err)
			}
			issuing, err := root.NewIssuing(certs.IssuingProfile{CommonName: "CA", KeyType: certs.P256, Purpose: certs.PurposeServer, PermittedHosts: test.permitted})
			if err != nil {
				t.Fatal(err)
			}
			single, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "Root", KeyType: certs.P256, Years: 1, PermittedHosts: test.permitted})
			if err != nil {
				t.Fatal(err)
			}
			for _, ca := range []*certs.Authority{issuing, single} {
				if got := certs.PermittedHosts(ca.Certificate); !slices.Equal(got, test.permitted) {
					t.Errorf("the CA is limited to %q, want %q", got, test.permitted)
				}
				for _, host := range test.accepted {
					if err := vouched(t, ca, host); err != nil {
						t.Errorf("%s: %v", host, err)
					}
				}
				for _, host := range test.denied {
					var fault x509.CertificateInvalidError
					if err := vouched(t, ca, host); !errors.As(err, &fault) || fault.Reason != x509.CANotAuthorizedForThisName {
						t.Errorf("%s: %v", host, err)
					}
				}
			}
		})
	}
}

// vouched issues for a host, and verifies as a device does.
func vouched(t *testing.T, ca *certs.Authority, host string) error {
	t.Helper()
	issued, err := ca.IssueServer(certs.ServerProfile{Hosts: []string{host}, KeyType: certs.P256, Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	options := x509.VerifyOptions{DNSName: host, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	options.Roots.AddCert(ca.Root())
	for _, cert := range issued.Chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err = issued.Chain[0].Verify(options)
	return err
}

func TestNoConstraintsUnlessAskedFor(t *testing.T) {
	t.Parallel()
	root, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "Root", KeyType: certs.P256, Years: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := certs.PermittedHosts(root.Certificate); got != nil || root.Certificate.PermittedDNSDomainsCritical {
		t.Errorf("the CA is limited to %q", got)
	}
}
