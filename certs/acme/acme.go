// Package acme gets certificates from a CA that speaks ACME (RFC 8555): a public one
// such as Let's Encrypt, or a company's. It proves the names by http-01,
// tls-alpn-01 (RFC 8737) or dns-01, and asks the CA when a certificate is to be
// renewed (ARI, RFC 9773).
package acme

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/mholt/acmez/v3"
	lib "github.com/mholt/acmez/v3/acme"

	"github.com/tbcert/tbcert/certs/secret"
)

// Directories of Let's Encrypt.
const (
	LetsEncrypt        = "https://acme-v02.api.letsencrypt.org/directory"
	LetsEncryptStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"
)

// The ways to prove a name.
const (
	HTTP01    = lib.ChallengeTypeHTTP01    // port 80 answers for the name
	TLSALPN01 = lib.ChallengeTypeTLSALPN01 // port 443 does
	DNS01     = lib.ChallengeTypeDNS01     // the name's zone does
)

// Challenges lists the ways to prove a name.
func Challenges() []string { return []string{HTTP01, TLSALPN01, DNS01} }

// Directory gives the address of a CA: an address, or letsencrypt or staging.
func Directory(text string) (string, error) {
	switch text {
	case "letsencrypt":
		return LetsEncrypt, nil
	case "staging":
		return LetsEncryptStaging, nil
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" || parsed.User != nil {
		return "", fmt.Errorf("%q is not the https address of a CA's ACME directory (or letsencrypt, or staging)", text)
	}
	return text, nil
}

// A Config says which CA, who asks, and how names are proved.
type Config struct {
	Directory string // address of the CA's directory
	Email     string // that the CA writes to; "" is none
	// Roots are trusted for the CA's own server; nil: the system's.
	Roots *x509.CertPool
	// Account is the key of the account, which is made with the first order.
	Account crypto.Signer
	// EAB binds the account to one that the CA has already (RFC 8555, 7.3.4); a
	// zero KeyID is none.
	EAB EAB
	// Challenge is the way to prove names, one of Challenges.
	Challenge string
	// HTTPAddr and TLSAddr are where http-01 and tls-alpn-01 listen; "" is :80
	// and :443.
	HTTPAddr, TLSAddr string
	// DNS puts records into a zone, for dns-01.
	DNS DNS
	// Patience bounds the wait for the CA's decision; 0 is two minutes.
	Patience time.Duration
	// Warn is told what does not keep a certificate from coming, such as a record
	// that could not be taken away; nil: nobody is.
	Warn func(error)
}

// An EAB is an account that the CA has already.
type EAB struct {
	KeyID  string
	MACKey secret.Text // base64url
}

// A DNS puts TXT records into a zone. Its functions are called by one goroutine
// at a time, and return once the record is visible, or gone. CleanUp is called for
// every record, also when Present failed or the user has interrupted.
type DNS interface {
	Present(ctx context.Context, name, value string) error
	CleanUp(ctx context.Context, name, value string) error
}

// A Client gets certificates.
type Client struct {
	config  Config
	library *lib.Client
	solver  solver
}

const (
	defaultPatience = 2 * time.Minute
	callTimeout     = 30 * time.Second
	pollEvery       = 500 * time.Millisecond
)

// New makes a client, which asks nobody yet.
func New(config Config) (*Client, error) {
	if config.Patience == 0 {
		config.Patience = defaultPatience
	}
	c := &Client{config: config, library: &lib.Client{
		Directory: config.Directory, UserAgent: "tbcert", PollInterval: pollEvery, PollTimeout: config.Patience, HTTPClient: webClient(config.Roots),
	}}
	switch config.Challenge {
	case HTTP01:
		c.solver = &webSolver{address: orDefault(config.HTTPAddr, ":80")}
	case TLSALPN01:
		c.solver = &alpnSolver{address: orDefault(config.TLSAddr, ":443")}
	case DNS01:
		if config.DNS == nil {
			return nil, errors.New("dns-01 needs a way to put records into the zone")
		}
		c.solver = dnsSolver{config.DNS}
	default:
		return nil, fmt.Errorf("%q is no challenge; there are %v", config.Challenge, Challenges())
	}
	return c, nil
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Obtain gets a certificate for names and addresses, with its chain, leaf first.
// replaces is the one that it follows, or nil. An error of the CA is a
// *RefusedError, and one before it was asked to look a *ChallengeError.
func (c *Client) Obtain(ctx context.Context, hosts []string, key crypto.Signer, replaces *x509.Certificate) ([]*x509.Certificate, error) {
	account, err := c.account(ctx)
	if err != nil {
		return nil, c.explain(err)
	}
	request, err := acmez.NewCSR(key, hosts)
	if err != nil {
		return nil, fmt.Errorf("make the certificate request: %w", err)
	}
	names, err := acmez.OrderParametersFromCSR(account, request)
	if err != nil {
		return nil, fmt.Errorf("make the order: %w", err)
	}
	wanted := lib.Order{Identifiers: names.Identifiers}
	if replaces != nil && c.knowsARI(ctx) {
		if wanted.Replaces, err = lib.ARIUniqueIdentifier(replaces); err != nil {
			return nil, fmt.Errorf("name the certificate that is replaced: %w", err)
		}
	}
	chains, err := (&order{Client: c, account: account}).obtain(ctx, wanted, request.Raw)
	if err != nil {
		return nil, c.explain(err)
	}
	if len(chains) == 0 {
		return nil, errors.New("the CA gave no certificate")
	}
	return parseChain(chains[0].ChainPEM)
}

// account finds the account of the key, or makes one; the CA's terms are agreed
// to, as whoever runs init --acme does.
func (c *Client) account(ctx context.Context) (lib.Account, error) {
	// The question has nothing but the key: step-ca takes no more (RFC 8555, 7.3.1).
	known, err := c.library.GetAccount(ctx, lib.Account{PrivateKey: c.config.Account})
	var problem lib.Problem
	if !errors.As(err, &problem) || problem.Type != lib.ProblemTypeAccountDoesNotExist {
		return known, err
	}
	account := lib.Account{PrivateKey: c.config.Account, TermsOfServiceAgreed: true}
	if c.config.Email != "" {
		account.Contact = []string{"mailto:" + c.config.Email}
	}
	if c.config.EAB.KeyID != "" {
		err := account.SetExternalAccountBinding(ctx, c.library, lib.EAB{KeyID: c.config.EAB.KeyID, MACKey: c.config.EAB.MACKey.Reveal()})
		if err != nil {
			return account, fmt.Errorf("bind the account: %w", err)
		}
	}
	return c.library.NewAccount(ctx, account)
}

// knowsARI reports whether the CA has renewal information: only then it may be
// told which certificate an order replaces (RFC 9773, 5).
func (c *Client) knowsARI(ctx context.Context) bool {
	directory, err := c.library.GetDirectory(ctx)
	return err == nil && directory.RenewalInfo != ""
}

// ErrNoARI is the error of RenewalWindow for a CA that says nothing about it.
var ErrNoARI = errors.New("the CA gives no renewal information")

// RenewalWindow asks the CA when a certificate is to be renewed (RFC 9773): from
// start on, and before end. A window in the past says at once.
func (c *Client) RenewalWindow(ctx context.Context, leaf *x509.Certificate) (start, end time.Time, err error) {
	if !c.knowsARI(ctx) {
		return start, end, ErrNoARI
	}
	info, err := c.library.GetRenewalInfo(ctx, leaf)
	if err != nil {
		return start, end, c.explain(err)
	}
	return info.SuggestedWindow.Start, info.SuggestedWindow.End, nil
}

func parseChain(data []byte) (chain []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the certificate that the CA gave: %w", err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("the CA gave no certificate")
	}
	return chain, nil
}

// CheckHosts refuses names that no challenge of the kind can prove.
func CheckHosts(hosts []string, challenge string) error {
	var errs []error
	for _, host := range hosts {
		_, err := netip.ParseAddr(host)
		isAddress := err == nil
		switch {
		case isAddress && challenge == DNS01:
			errs = append(errs, fmt.Errorf("%s: an address cannot be proved by dns-01", host))
		case !isAddress && !slices.Contains([]byte(host), '.') && host != "localhost":
			errs = append(errs, fmt.Errorf("%s: a name without a domain cannot be proved to a CA", host))
		}
	}
	return errors.Join(errs...)
}
