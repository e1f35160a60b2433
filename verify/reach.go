package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// resolve finds the addresses of the host.
func (r *run) resolve(ctx context.Context) finding {
	host := r.target.Host
	if address, err := netip.ParseAddr(host); err == nil {
		r.addresses = []netip.Addr{address}
		return pass(host + " is an address")
	}
	addresses, err := r.verifier.resolve(ctx, host)
	if err == nil && len(addresses) == 0 {
		err = errors.New("the resolver gave no address")
	}
	if err != nil {
		return unresolved(host, err)
	}
	texts := make([]string, len(addresses))
	for i, address := range addresses {
		r.addresses = append(r.addresses, address.Unmap())
		texts[i] = r.addresses[i].String()
	}
	return pass(host + " is at " + strings.Join(texts, ", "))
}

// unresolved tells a name that does not exist from a resolver that does not
// answer.
func unresolved(host string, err error) finding {
	found := finding{
		id: DNSUnknownName, status: StatusFail,
		detail: fmt.Sprintf("no address for %s: %s", host, resolverText(err)),
		cause:  fmt.Sprintf("No DNS record and no line of the hosts file gives an address for %q: a typing error, a record that is not published, or a name that only another network knows.", host),
		fix: fmt.Sprintf("Ask by 'getent hosts %s'. Add an A or AAAA record for it, or for a test a line with the server's address and %s in /etc/hosts. "+
			"If the server has another name or address, give it with --host.", host, host),
	}
	var dns *net.DNSError
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &dns) && !dns.IsNotFound {
		found.id = DNSNoAnswer
		found.cause = "The DNS server did not answer, or refused to: this machine's network or its DNS server is at fault, not ThingsBoard."
		found.fix = fmt.Sprintf("Look at /etc/resolv.conf and ask by 'getent hosts %s'; a host given as an IP address needs no DNS (its certificate must name that address).", host)
	}
	return found
}

// resolverText leaves out what the rest of the line says already.
func resolverText(err error) string {
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return err.Error()
	}
	if dns.Server != "" {
		return dns.Err + " (asked " + dns.Server + ")"
	}
	return dns.Err
}

// stagger is the wait before the next address is tried as well (RFC 8305,
// section 5, connection attempt delay).
const stagger = 250 * time.Millisecond

// attempt is the outcome of dialing one address.
type attempt struct {
	address netip.AddrPort
	conn    net.Conn
	err     error
}

// tcp connects to the first address that takes the connection.
func (r *run) tcp(ctx context.Context) finding {
	if r.target.Port < 1 || r.target.Port > math.MaxUint16 {
		return finding{
			id: TCPBadPort, status: StatusFail,
			detail: fmt.Sprintf("%d is not a TCP port", r.target.Port),
			cause:  "Ports are numbers from 1 to 65535.",
			fix:    "Give the port of ThingsBoard's MQTT transport: --port 8883, or --plain --port 1883, unless MQTT_SSL_BIND_PORT or MQTT_BIND_PORT say otherwise.",
		}
	}
	won, failed := r.race(ctx)
	if won.conn == nil {
		return r.unreachable(failed)
	}
	r.conn, r.reached = won.conn, won.address
	detail := "connected to " + won.address.String()
	for _, other := range failed {
		detail += fmt.Sprintf(" (%s: %s)", other.address.Addr(), r.dialText(other.err))
	}
	return pass(detail)
}

// race dials the addresses in order, each a moment after the one before it or
// as soon as that failed, and gives the first connection and the failures.
func (r *run) race(ctx context.Context) (won attempt, failed []attempt) {
	if len(r.addresses) == 1 {
		only := attempt{address: netip.AddrPortFrom(r.addresses[0], uint16(r.target.Port))} //nolint:gosec // tcp has looked at the range
		if only.conn, only.err = r.verifier.dial(ctx, only.address.String()); only.err != nil {
			return attempt{}, []attempt{only}
		}
		return only, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan attempt, len(r.addresses))
	next, running := 0, 0
	start := func() {
		address := netip.AddrPortFrom(r.addresses[next], uint16(r.target.Port)) //nolint:gosec // tcp has looked at the range
		next, running = next+1, running+1
		go func() {
			conn, err := r.verifier.dial(ctx, address.String())
			outcomes <- attempt{address, conn, err}
		}()
	}
	start()
	for running > 0 {
		var wait <-chan time.Time
		if next < len(r.addresses) {
			wait = time.After(stagger)
		}
		select {
		case outcome := <-outcomes:
			running--
			if outcome.err == nil {
				go drop(outcomes, running)
				return outcome, failed
			}
			failed = append(failed, outcome)
			if next < len(r.addresses) {
				start()
			}
		case <-wait:
			start()
		}
	}
	return attempt{}, failed
}

// drop closes connections that came too late.
func drop(outcomes <-chan attempt, count int) {
	for range count {
		if late := <-outcomes; late.conn != nil {
			_ = late.conn.Close()
		}
	}
}

// unreachable tells a closed port from one that nothing answers for.
func (r *run) unreachable(failed []attempt) finding {
	texts := make([]string, len(failed))
	refused, silent, reset := false, false, false
	for i, f := range failed {
		texts[i] = fmt.Sprintf("%s: %s", f.address, r.dialText(f.err))
		refused = refused || errors.Is(f.err, syscall.ECONNREFUSED)
		silent = silent || timedOut(f.err)
		reset = reset || errors.Is(f.err, syscall.ECONNRESET)
	}
	found := finding{status: StatusFail, detail: strings.Join(texts, "; ")}
	port := r.target.Port
	switch {
	case !refused && !silent && r.onlyIPv6():
		found.id = TCPIPv6Only
		found.cause = fmt.Sprintf("%s has IPv6 addresses only (AAAA records), and this machine has no way to IPv6; devices in such a network have none either.", r.target.Host)
		found.fix = fmt.Sprintf("Give the name an IPv4 address as well (an A record), or give this network IPv6: 'ip -6 route' shows what there is. 'getent ahosts %s' lists the addresses.", r.target.Host)
	case reset:
		found.id = TCPReset
		found.cause = fmt.Sprintf("Something on the way resets connections to port %d: a firewall that rejects, or a load balancer with nothing behind it.", port)
		found.fix = fmt.Sprintf("Look at the firewall's rules for port %d on the way and on the server ('sudo nft list ruleset', the cloud's security group), and at the load balancer's targets. Then try from here: 'nc -vz %s %d'.", port, r.target.Host, port)
	case refused:
		found.id = TCPRefused
		found.cause = fmt.Sprintf("The machine is there, and no program listens on its port %d: ThingsBoard is not running or still starting, %s, or the port is not published by its container.", port, r.listenerSetting())
		found.fix = fmt.Sprintf("On the server: 'sudo ss -ltnp sport = :%d' shows who listens, 'systemctl status thingsboard' whether ThingsBoard runs. %s "+
			"In Docker, publish the port: -p %d:%d.", port, r.listenerFix(), port, port)
	case silent:
		found.id = TCPSilent
		found.cause = fmt.Sprintf("No answer from that address: a firewall or a cloud security group drops port %d, the machine is off, or the address is an old one.", port)
		found.fix = fmt.Sprintf("Open the port on the server and in the cloud's security group: 'sudo ufw allow %d/tcp'. Then try from here: 'nc -vz %s %d'.", port, r.target.Host, port)
	default:
		found.id = TCPNoRoute
		found.cause = "This machine found no way to that address."
		found.fix = fmt.Sprintf("Look at the way there: 'ip route get %s', and whether a VPN is needed; then 'nc -vz %s %d'.", failed[0].address.Addr(), r.target.Host, port)
	}
	return found
}

// onlyIPv6 reports whether the host has no IPv4 address.
func (r *run) onlyIPv6() bool {
	return !slices.ContainsFunc(r.addresses, func(address netip.Addr) bool { return address.Is4() })
}

// listenerSetting says which setting may have left the port closed.
func (r *run) listenerSetting() string {
	if r.target.TLS {
		return "its MQTT over TLS is switched off (MQTT_SSL_ENABLED is false by default) or on another port (MQTT_SSL_BIND_PORT)"
	}
	return "its MQTT listens on another port (MQTT_BIND_PORT)"
}

// listenerFix says how ThingsBoard is made to listen.
func (r *run) listenerFix() string {
	if r.target.TLS {
		return "Put the lines of server/thingsboard.conf into /etc/thingsboard/conf/thingsboard.conf (export MQTT_SSL_ENABLED=true and what follows it), then 'sudo systemctl restart thingsboard'."
	}
	return "See MQTT_ENABLED and MQTT_BIND_PORT in /etc/thingsboard/conf/thingsboard.conf, then 'sudo systemctl restart thingsboard'."
}

// dialText is the reason in a dial's error, without the address.
func (r *run) dialText(err error) string {
	var call syscall.Errno
	switch {
	case timedOut(err):
		return "no answer in " + r.verifier.timeout().String()
	case errors.As(err, &call):
		return call.Error()
	default:
		return err.Error()
	}
}

// timedOut reports whether a step ran out of time.
func timedOut(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &network) && network.Timeout()
}

// address is the target for commands.
func (r *run) address() string {
	return net.JoinHostPort(r.target.Host, strconv.Itoa(r.target.Port))
}
