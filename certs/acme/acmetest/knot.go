package acmetest

import (
	"fmt"
	"net"
	"os"
	"os/exec" //nolint:depguard // this package is for tests
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Zone is the zone that a Knot serves. Every name in it is this machine's.
const Zone = "example.com"

// Keys of a Knot.
const (
	KeyUpdater  = "updater"  // may change every TXT record
	KeyNarrow   = "narrow"   // may change those of _acme-challenge.tb.example.com
	KeyStranger = "stranger" // may change nothing: the server does not know it
)

// secondHost is where the second server is.
const secondHost = "127.0.0.2"

// A Knot is a Knot DNS server.
type Knot struct {
	Addr string // for queries and updates
	// Second is another server of the zone, on the same port, which looks for
	// changes every two seconds; nobody tells it of them.
	Second string
	Keys   map[string]string // its keys' files by name, as Knot's keymgr writes them
	tb     testing.TB
}

// StartKnot starts a Knot. It is the primary server of Zone, which takes updates that
// are signed (TSIG).
func StartKnot(tb testing.TB) *Knot {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		tb.Fatal(err)
	}
	k := &Knot{tb: tb, Addr: free(tb), Keys: map[string]string{}}
	host, port, err := net.SplitHostPort(k.Addr)
	if err != nil {
		tb.Fatal(err)
	}
	k.Second = net.JoinHostPort(secondHost, port)
	known := k.makeKeys(dir)
	write(tb, filepath.Join(dir, "zone"), fmt.Appendf(nil, "@ 3600 SOA ns admin 1 2 1 4800 60\n@ NS ns\nns A %[1]s\n@ NS second\nsecond A %[2]s\n* A %[1]s\n", host, secondHost))
	write(tb, filepath.Join(dir, "knot.conf"), fmt.Appendf(nil, `server:
    rundir: %[1]s
    listen: %[2]s@%[3]s
database:
    storage: %[1]s/db
log:
  - target: stderr
    any: info
key:
%[4]sacl:
  - id: updater
    key: %[5]s
    action: update
    update-type: TXT
  - id: narrow
    key: %[6]s
    action: update
    update-owner: name
    update-owner-match: equal
    update-owner-name: _acme-challenge.tb.%[7]s.
  - id: transfer
    address: 127.0.0.0/8
    action: transfer
zone:
  - domain: %[7]s
    file: %[1]s/zone
    acl: [updater, narrow, transfer]
`, dir, host, port, known, KeyUpdater, KeyNarrow, Zone))
	run(tb, nil, "knotd", "-c", filepath.Join(dir, "knot.conf"))
	k.wait(k.Addr) // else the second one asks too early, and again much later
	k.startSecond(host, port)
	k.wait(k.Second)
	return k
}

// wait waits until a server has the zone.
func (k *Knot) wait(server string) {
	poll(k.tb, func() error {
		_, err := k.ask(server, dns.Fqdn(Zone), dns.TypeSOA)
		return err
	})
}

// makeKeys makes the keys, and gives those that the server is to know.
func (k *Knot) makeKeys(dir string) (known string) {
	for _, name := range []string{KeyUpdater, KeyNarrow, KeyStranger} {
		text, err := exec.CommandContext(k.tb.Context(), "keymgr", "-t", name, "hmac-sha256").Output() //nolint:gosec // constants
		if err != nil {
			k.tb.Fatalf("keymgr (Debian package knot): %v", err)
		}
		k.Keys[name] = filepath.Join(dir, name+".key")
		write(k.tb, k.Keys[name], text)
		if name != KeyStranger {
			_, list, _ := strings.Cut(string(text), "key:\n")
			known += list
		}
	}
	return known
}

// startSecond starts the second server of the zone.
func (k *Knot) startSecond(host, port string) {
	dir := k.tb.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		k.tb.Fatal(err)
	}
	write(k.tb, filepath.Join(dir, "knot.conf"), fmt.Appendf(nil, `server:
    rundir: %[1]s
    listen: %[2]s@%[4]s
database:
    storage: %[1]s/db
log:
  - target: stderr
    any: info
remote:
  - id: primary
    address: %[3]s@%[4]s
zone:
  - domain: %[5]s
    file: %[1]s/zone
    master: primary
`, dir, secondHost, host, port, Zone))
	run(k.tb, nil, "knotd", "-c", filepath.Join(dir, "knot.conf"))
}

// TXT gives the records of a name, as one of the servers has them.
func (k *Knot) TXT(server, name string) (values []string) {
	k.tb.Helper()
	answer, err := k.ask(server, dns.Fqdn(name), dns.TypeTXT)
	if err != nil {
		k.tb.Fatal(err)
	}
	for _, record := range answer.Answer {
		if txt, ok := record.(*dns.TXT); ok {
			values = append(values, strings.Join(txt.Txt, ""))
		}
	}
	return values
}

func (k *Knot) ask(server, name string, kind uint16) (*dns.Msg, error) {
	client := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	answer, _, err := client.ExchangeContext(k.tb.Context(), new(dns.Msg).SetQuestion(name, kind), server)
	if err == nil && answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		err = fmt.Errorf("the server answers %s", dns.RcodeToString[answer.Rcode])
	}
	return answer, err
}
