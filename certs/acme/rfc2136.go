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
}

// A TSIGKey signs updates.
type TSIGKey struct {
	Name      string
	Algorithm string // such as hmac-sha256
	Secret    secret.Text
}

// ParseTSIGKey reads a key as BIND's tsig-keygen and Knot's keymgr write them for
// BIND: key "NAME" { algorithm hmac-sha256; secret "…"; };
func ParseTSIGKey(text string) (TSIGKey, error) {
	var key TSIGKey
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n{};\"", r) })
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "key":
			key.Name = words[i+1]
		case "algorithm":
			key.Algorithm = strings.ToLower(words[i+1])
		case "secret":
			key.Secret = secret.New(words[i+1])
		}
	}
	if key.Name == "" || key.Algorithm == "" || key.Secret.IsZero() {
		return TSIGKey{}, errors.New(`it is no key as tsig-keygen writes it: key "NAME" { algorithm hmac-sha256; secret "…"; };`)
	}
	if _, err := base64.StdEncoding.DecodeString(key.Secret.Reveal()); err != nil {
		return TSIGKey{}, errors.New("the key's secret is not base64")
	}
	return key, nil
}

var _ DNS = Update{}

// Present adds a record.
func (u Update) Present(ctx context.Context, name, value string) error {
	return u.change(ctx, name, value, (*dns.Msg).Insert)
}

// CleanUp takes it away again, and no other.
func (u Update) CleanUp(ctx context.Context, name, value string) error {
	return u.change(ctx, name, value, (*dns.Msg).Remove)
}

func (u Update) change(ctx context.Context, name, value string, add func(*dns.Msg, []dns.RR)) error {
	name = dns.Fqdn(name)
	zone, err := u.zone(ctx, name)
	if err != nil {
		return err
	}
	update := new(dns.Msg).SetUpdate(zone)
	add(update, []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: recordTTL}, Txt: []string{value},
	}})
	if _, err := u.exchange(ctx, update); err != nil {
		return fmt.Errorf("change %s in the zone %s at %s: %w", name, zone, u.Server, err)
	}
	return nil
}

// zone finds the zone of a name: the closest SOA above it.
func (u Update) zone(ctx context.Context, name string) (string, error) {
	for _, at := range dns.Split(name) {
		above := name[at:]
		answer, err := u.exchange(ctx, new(dns.Msg).SetQuestion(above, dns.TypeSOA))
		var refused *dnsError
		if err != nil && !errors.As(err, &refused) {
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
	return "", fmt.Errorf("%s has no zone for %s", u.Server, name)
}

// dnsError is an answer that is a refusal.
type dnsError struct{ code int }

func (e *dnsError) Error() string {
	text := "the server answers " + dns.RcodeToString[e.code]
	switch e.code {
	case dns.RcodeNotAuth:
		text += ": it does not know the key, or is not the zone's primary server"
	case dns.RcodeRefused:
		text += ": the key may not change this name (allow-update, update-policy or an acl of the server)"
	}
	return text
}

func (u Update) exchange(ctx context.Context, message *dns.Msg) (*dns.Msg, error) {
	client := &dns.Client{Net: "tcp", Timeout: callTimeout}
	name := dns.Fqdn(u.Key.Name)
	client.TsigSecret = map[string]string{name: u.Key.Secret.Reveal()}
	message.SetTsig(name, dns.Fqdn(u.Key.Algorithm), 300, time.Now().Unix())
	answer, _, err := client.ExchangeContext(ctx, message, u.Server)
	if err != nil {
		return nil, err
	}
	if answer.Rcode != dns.RcodeSuccess {
		return nil, &dnsError{answer.Rcode}
	}
	return answer, nil
}
