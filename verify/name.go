package verify

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/tbcert/tbcert/certs"
)

// mostNames is how many names of a certificate a text tells.
const mostNames = 12

// judgeName tells whether the certificate is for the host. Only subject
// alternative names count (RFC 9525, section 6.3); an address needs an IP
// entry.
func (r *run) judgeName(context.Context) finding {
	host, leaf := r.target.Host, r.chain.leaf()
	hosts := certs.Hosts(leaf)
	names := strings.Join(hosts, ", ")
	if len(hosts) > mostNames {
		names = fmt.Sprintf("%s and %d more", strings.Join(hosts[:mostNames], ", "), len(hosts)-mostNames)
	}
	if leaf.VerifyHostname(host) == nil {
		return pass(fmt.Sprintf("is for %s", names))
	}
	found := finding{
		id: NameMismatch, status: StatusFail,
		detail: fmt.Sprintf("the certificate is for %s, not for %s", names, host),
		cause:  "The server's certificate was made for other names than the one that devices connect to.",
		fix:    r.nameFix(),
	}
	isIP := net.ParseIP(host) != nil
	switch {
	case len(hosts) == 0:
		found.id = NameCNOnly
		found.detail = fmt.Sprintf("the certificate names no host at all in its subject alternative names (its CN is %q), so it is not for %s", leaf.Subject.CommonName, host)
		found.cause = "The certificate has its name in the CN alone, which today's TLS libraries do not read."
	case isIP && len(leaf.IPAddresses) == 0:
		found.id = NameIP
		found.detail += fmt.Sprintf(": it names no IP address, and %s is one", host)
		found.cause = "Devices connect to an IP address, and the certificate holds DNS names only. An address must stand in it as an IP entry of its own."
		found.fix = "Connect to the name: " + r.useName(leaf.DNSNames) + " Or: " + found.fix
	case !isIP && len(leaf.DNSNames) > 0:
		found.fix += " Or, if one of its names leads to this server as well, connect to that: " + r.useName(leaf.DNSNames)
	}
	return found
}

// nameFix is how the certificate gets the name.
func (r *run) nameFix() string {
	return fmt.Sprintf("Issue the server's certificate for this name as well: 'tbcert init --host %s' in the workspace (the root stays, the devices need nothing new), install server/mqttserver.pem on the server, then 'sudo systemctl restart thingsboard'.", r.target.Host)
}

// useName is the command with a name that the certificate has.
func (r *run) useName(names []string) string {
	for _, name := range names {
		if !strings.HasPrefix(name, "*") {
			return fmt.Sprintf("'tbcert verify --host %s'.", name)
		}
	}
	return "'tbcert verify --host NAME' with a name that the wildcard covers."
}
