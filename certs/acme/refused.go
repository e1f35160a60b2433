package acme

import (
	"errors"
	"fmt"
	"strings"

	lib "github.com/mholt/acmez/v3/acme"
)

// A RefusedError is what a CA said, and what to do.
type RefusedError struct {
	Type   string // of the problem, without its prefix (RFC 8555, 6.7), such as unauthorized
	Host   string // that it is about; "" is the whole order, or the account
	Detail string // the CA's own words
	Fix    string
}

func (e *RefusedError) Error() string {
	about := ""
	if e.Host != "" {
		about = " " + e.Host
	}
	return fmt.Sprintf("the CA refused%s (%s): %s; %s", about, e.Type, e.Detail, e.Fix)
}

// typePrefix begins the types of problems.
const typePrefix = "urn:ietf:params:acme:error:"

// explain makes a RefusedError of a CA's problem.
func (c *Client) explain(err error) error {
	var problem lib.Problem
	var refusal *RefusedError
	var challenge *ChallengeError
	if errors.As(err, &refusal) || errors.As(err, &challenge) {
		return err
	}
	if !errors.As(err, &problem) {
		return fmt.Errorf("the CA %s: %w", c.config.Directory, err)
	}
	refused := &RefusedError{Type: strings.TrimPrefix(problem.Type, typePrefix), Detail: problem.Detail}
	if authorization, ok := problem.Resource.(lib.Authorization); ok {
		refused.Host = authorization.IdentifierValue()
	}
	for _, sub := range problem.Subproblems {
		refused.Host = sub.Identifier.Value
		refused.Detail += "; " + sub.Detail
		refused.Type = strings.TrimPrefix(sub.Type, typePrefix)
	}
	refused.Fix = c.fix(refused)
	return refused
}

// fix says what to do about a problem.
func (c *Client) fix(refused *RefusedError) string {
	if refused.Host == "" && (refused.Type == "unauthorized" || refused.Type == "malformed") {
		return "it is about the account: move acme/account.key away to begin a new one, and see that --acme-eab-kid and its key are right, if the CA wants them"
	}
	switch refused.Type {
	case "connection", "tls", "unauthorized", "incorrectResponse":
		return c.challengeFix(refused.Host)
	}
	if fix, known := fixes()[refused.Type]; known {
		return fix
	}
	return "see the CA's documentation"
}

// fixes are for problems that have nothing to do with how a name is proved.
func fixes() map[string]string {
	const otherName = "the CA gives no certificates for such a name: name the server otherwise, or choose another CA"
	const otherKey = "if it is about the key, give another --key-type: public CAs take p256, p384 and rsa2048"
	return map[string]string{
		"dns":                     "see that the name is in the DNS that the CA asks, and leads to this machine",
		"caa":                     "the zone's CAA record names another CA: add this one, or choose that one",
		"badCSR":                  otherKey,
		"badPublicKey":            otherKey,
		"rateLimited":             "wait as long as it says, and rehearse with --acme staging",
		"rejectedIdentifier":      otherName,
		"unsupportedIdentifier":   otherName,
		"externalAccountRequired": "the CA wants an account that it has already: give --acme-eab-kid and --acme-eab-key-file, from its web pages",
		"accountDoesNotExist":     "move acme/account.key away to begin a new account",
		"invalidContact":          "give another --email",
		"unsupportedContact":      "give another --email",
		"userActionRequired":      "read the CA's new terms of service, and agree to them there",
		"serverInternal":          "the CA has a fault of its own: try again later",
	}
}

func (c *Client) challengeFix(host string) string {
	switch c.config.Challenge {
	case HTTP01:
		return fmt.Sprintf("port 80 of %s, as the CA reaches it, must lead to %s on this machine while this runs: see to the DNS, the firewall, and what else listens there; or use --acme-challenge dns-01", host, orDefault(c.config.HTTPAddr, ":80"))
	case TLSALPN01:
		return fmt.Sprintf("port 443 of %s, as the CA reaches it, must lead to %s on this machine while this runs, and no proxy may end TLS before; or use --acme-challenge dns-01", host, orDefault(c.config.TLSAddr, ":443"))
	default:
		return fmt.Sprintf("the TXT record _acme-challenge.%s must be visible to the whole world when the hook returns: see that it goes into the zone that is asked, and that nothing keeps an old one", host)
	}
}
