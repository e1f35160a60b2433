package acme

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/tbcert/tbcert/certs/secret"
)

// recordTTL is how long others may keep a challenge's record, in seconds.
const recordTTL = 60

// An Update puts records into a zone by RFC 2136, signed with a key that the
// server knows (TSIG, RFC 8945).
type Update struct {
	Server string // host:port of the zone's primary server
	Key    TSIGKey
	Port   string // where the zone's other servers are asked; "" is 53
}

// A TSIGKey signs updates.
type TSIGKey struct {
	Name      string
	Algorithm string // such as hmac-sha256
	Secret    secret.Text
}

// ParseTSIGKey reads a key as BIND's tsig-keygen writes it, key "NAME" { algorithm
// hmac-sha256; secret "…"; };, or Knot's keymgr -t, a YAML list with id, algorithm and
// secret.
func ParseTSIGKey(text string) (TSIGKey, error) {
	var key TSIGKey
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n{};\"", r) })
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "key", "id:":
			key.Name = words[i+1]
		case "algorithm", "algorithm:":
			key.Algorithm = strings.ToLower(words[i+1])
		case "secret", "secret:":
			key.Secret = secret.New(words[i+1])
		}
	}
	if key.Name == "" || key.Algorithm == "" || key.Secret.IsZero() {
		return TSIGKey{}, errors.New(`it is no key as tsig-keygen or keymgr -t writes it: key "NAME" { algorithm hmac-sha256; secret "…"; };`)
	}
	if _, err := base64.StdEncoding.DecodeString(key.Secret.Reveal()); err != nil {
		return TSIGKey{}, errors.New("the key's secret is not base64")
	}
	return key, nil
}

var _ DNS = Update{}

// Present adds a record, and waits until all servers of the zone have it.
func (u Update) Present(ctx context.Context, name, value string) error {
	zone, err := u.change(ctx, name, value, (*dns.Msg).Insert)
	if err != nil {
		return err
	}
	return u.settle(ctx, zone, name, value)
}

// CleanUp takes it away again, and no other.
func (u Update) CleanUp(ctx context.Context, name, value string) error {
	_, err := u.change(ctx, name, value, (*dns.Msg).Remove)
	return err
}

func (u Update) change(ctx context.Context, name, value string, add func(*dns.Msg, []dns.RR)) (zone string, err error) {
	if zone, err = u.zone(ctx, dns.Fqdn(name)); err != nil {
		return "", err
	}
	update := new(dns.Msg).SetUpdate(zone)
	add(update, []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: recordTTL}, Txt: []string{value},
	}})
	if _, err := u.exchange(ctx, update); err != nil {
		return "", fmt.Errorf("change %s in the zone %s at %s: %w", name, zone, u.Server, err)
	}
	return zone, nil
}

// zone finds the zone of a name: the closest SOA above it.
func (u Update) zone(ctx context.Context, name string) (string, error) {
	for _, at := range dns.Split(name) {
		above := name[at:]
		answer, err := u.exchange(ctx, new(dns.Msg).SetQuestion(above, dns.TypeSOA))
		var refused *dnsError
		if err != nil && (!errors.As(err, &refused) || refused.tsig != 0) {
			return "", fmt.Errorf("ask %s for the zone of %s: %w", u.Server, name, err)
		}
		if err != nil {
			continue // it is not there: the zone is above
		}
		for _, record := range answer.Answer {
			if soa, ok := record.(*dns.SOA); ok && strings.EqualFold(soa.Hdr.Name, above) {
				return above, nil
			}
		}
	}
	return "", fmt.Errorf("%s has no zone for %s: name the zone's primary server", u.Server, name)
}

// dnsError is an answer that is a refusal.
type dnsError struct {
	code int
	tsig uint16 // what is wrong with the signature (RFC 8945, 3); 0 is nothing
	key  TSIGKey
}

func (e *dnsError) Error() string {
	text := "the server answers " + dns.RcodeToString[e.code]
	switch {
	case e.tsig == dns.RcodeBadKey:
		return fmt.Sprintf("%s (BADKEY): it does not know the key %s with %s, or the key may not change this name", text, e.key.Name, e.key.Algorithm)
	case e.tsig == dns.RcodeBadSig:
		return fmt.Sprintf("%s (BADSIG): the secret of the key %s is not the server's", text, e.key.Name)
	case e.tsig == dns.RcodeBadTime:
		return text + " (BADTIME): the clocks of this machine and of the server are more than five minutes apart"
	case e.code == dns.RcodeNotAuth:
		return text + ": it is not the zone's primary server"
	case e.code == dns.RcodeRefused:
		return text + ": the key may not change this name (allow-update, update-policy or an acl of the server)"
	}
	return text
}

func (u Update) exchange(ctx context.Context, message *dns.Msg) (*dns.Msg, error) {
	client := &dns.Client{Net: "tcp", Timeout: callTimeout}
	name := dns.Fqdn(u.Key.Name)
	client.TsigSecret = map[string]string{name: u.Key.Secret.Reveal()}
	message.SetTsig(name, dns.Fqdn(u.Key.Algorithm), 300, time.Now().Unix())
	answer, _, err := client.ExchangeContext(ctx, message, u.Server)
	if errors.Is(err, dns.ErrKeyAlg) {
		return nil, fmt.Errorf("the key %s: there is no algorithm %s", u.Key.Name, u.Key.Algorithm)
	}
	if answer != nil && answer.Rcode != dns.RcodeSuccess {
		// It may not be signed, and is believed all the same: it is only a refusal.
		refused := &dnsError{code: answer.Rcode, key: u.Key}
		if signature := answer.IsTsig(); signature != nil {
			refused.tsig = signature.Error
		}
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}
