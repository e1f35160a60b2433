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

// A Knot is a Knot DNS server.
type Knot struct {
	Addr string            // for queries and updates
	Keys map[string]string // its keys' files by name, as Knot's keymgr writes them
	tb   testing.TB
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
	known := ""
	for _, name := range []string{KeyUpdater, KeyNarrow, KeyStranger} {
		text, err := exec.CommandContext(tb.Context(), "keymgr", "-t", name, "hmac-sha256").Output() //nolint:gosec // constants
		if err != nil {
			tb.Fatalf("keymgr (Debian package knot): %v", err)
		}
		k.Keys[name] = filepath.Join(dir, name+".key")
		write(tb, k.Keys[name], text)
		if name != KeyStranger {
			_, list, _ := strings.Cut(string(text), "key:\n")
			known += list
		}
	}
	write(tb, filepath.Join(dir, "zone"), fmt.Appendf(nil, "@ 3600 SOA ns admin 1 900 300 4800 60\n@ NS ns\nns A %[1]s\n* A %[1]s\n", host))
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
zone:
  - domain: %[7]s
    file: %[1]s/zone
    acl: [updater, narrow]
`, dir, host, port, known, KeyUpdater, KeyNarrow, Zone))
	run(tb, nil, "knotd", "-c", filepath.Join(dir, "knot.conf"))
	poll(tb, func() error {
		_, err := k.ask(dns.Fqdn(Zone), dns.TypeSOA)
		return err
	})
	return k
}

// TXT gives the records of a name.
func (k *Knot) TXT(name string) (values []string) {
	k.tb.Helper()
	answer, err := k.ask(dns.Fqdn(name), dns.TypeTXT)
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

func (k *Knot) ask(name string, kind uint16) (*dns.Msg, error) {
	client := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	answer, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, kind), k.Addr)
	if err == nil && answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		err = fmt.Errorf("the server answers %s", dns.RcodeToString[answer.Rcode])
	}
	return answer, err
}
