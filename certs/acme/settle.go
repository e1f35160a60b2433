package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// How long the other servers of a zone have to get a record, and each of them to
// answer.
const (
	settleTimeout = time.Minute
	settleEvery   = time.Second
	serverTimeout = 3 * time.Second
)

// settle waits until the zone's other servers have a record: a CA asks any of them.
// One that cannot be reached from here, or does not have the zone, is passed over.
func (u Update) settle(ctx context.Context, zone, name, value string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, errNotSettled)
	defer cancel()
	servers, err := u.others(ctx, zone)
	if err != nil {
		return fmt.Errorf("ask %s for the servers of the zone %s: %w", u.Server, zone, err)
	}
	for _, server := range servers {
		for u.lacks(ctx, server, name, value) {
			select {
			case <-time.After(settleEvery):
			case <-ctx.Done():
				return fmt.Errorf("%s has %s, and %s, which serves the zone, too: %w", u.Server, name, server, context.Cause(ctx))
			}
		}
	}
	return nil
}

var errNotSettled = errors.New("has not got it in a minute; see that it is told of changes (NOTIFY), or is no longer among the zone's NS records")

// others gives the addresses of the zone's servers that are not the primary.
func (u Update) others(ctx context.Context, zone string) (servers []string, err error) {
	answer, err := u.exchange(ctx, new(dns.Msg).SetQuestion(zone, dns.TypeNS))
	if err != nil {
		return nil, err
	}
	primary, _, err := net.SplitHostPort(u.Server)
	if err != nil {
		return nil, err
	}
	for _, record := range answer.Answer {
		ns, ok := record.(*dns.NS)
		if !ok {
			continue
		}
		for _, address := range u.addresses(ctx, ns.Ns) {
			if address.String() != primary {
				servers = append(servers, net.JoinHostPort(address.String(), orDefault(u.Port, "53")))
			}
		}
	}
	slices.Sort(servers)
	return slices.Compact(servers), nil
}

// addresses finds those of a server: the primary server knows them when it is in its
// zones.
func (u Update) addresses(ctx context.Context, name string) (addresses []netip.Addr) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answer, err := u.exchange(ctx, new(dns.Msg).SetQuestion(name, kind))
		if err != nil {
			continue
		}
		for _, record := range answer.Answer {
			var ip net.IP
			switch record := record.(type) {
			case *dns.A:
				ip = record.A
			case *dns.AAAA:
				ip = record.AAAA
			}
			if address, ok := netip.AddrFromSlice(ip); ok {
				addresses = append(addresses, address.Unmap())
			}
		}
	}
	if len(addresses) > 0 {
		return addresses
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	addresses, _ = net.DefaultResolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(name, ".")) // none: nobody finds that server
	return addresses
}

// lacks reports whether a server has the zone, and not the record.
func (u Update) lacks(ctx context.Context, server, name, value string) bool {
	client := &dns.Client{Net: "tcp", Timeout: serverTimeout}
	answer, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), server)
	if ctx.Err() != nil {
		return true
	}
	if err != nil || !answer.Authoritative || (answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError) {
		return false
	}
	return !slices.ContainsFunc(answer.Answer, func(record dns.RR) bool {
		txt, ok := record.(*dns.TXT)
		return ok && strings.Join(txt.Txt, "") == value
	})
}
