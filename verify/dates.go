package verify

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"
)

// mostWarning is the longest time before the end of a certificate that a
// warning is given.
const mostWarning = 30 * 24 * time.Hour

// judgeDates tells whether every certificate of the path is valid now, the
// root's with them: devices look at that date too.
func (r *run) judgeDates(context.Context) finding {
	certificates := r.chain.dates()
	first := certificates[0]
	var late []*x509.Certificate
	for i, cert := range certificates {
		switch {
		case r.now.Before(cert.NotBefore):
			return r.notYet(i, cert)
		case r.now.After(cert.NotAfter):
			return r.expired(i, cert)
		}
		if cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
		if cert.NotAfter.Sub(r.now) < warning(cert) {
			late = append(late, cert)
		}
	}
	found := pass(fmt.Sprintf("valid; the first to expire is %s, on %s", subject(first), r.when(first.NotAfter)))
	if len(late) > 0 {
		found = finding{
			id: DatesEndsSoon, status: StatusWarn,
			detail: fmt.Sprintf("%s expires on %s", subject(late[0]), r.when(late[0].NotAfter)),
			cause:  "After that moment every device refuses the server.",
			fix:    r.renewFix(late[0]),
		}
	}
	return found
}

// warning is how long before its end a certificate wants attention: 30 days,
// or a third of its life when that is shorter.
func warning(cert *x509.Certificate) time.Duration {
	return min(mostWarning, cert.NotAfter.Sub(cert.NotBefore)/3)
}

func (r *run) expired(place int, cert *x509.Certificate) finding {
	return finding{
		id: DatesExpired, status: StatusFail,
		detail: fmt.Sprintf("%s %s expired on %s", r.place(place, cert), subject(cert), r.when(cert.NotAfter)),
		cause: "The certificate is past its end, so every device with a right clock refuses the server. " +
			"If a new one is installed already, ThingsBoard has not loaded it: versions before 4.2.2.2 and 4.3.1.2 need a restart.",
		fix: r.renewFix(cert),
	}
}

func (r *run) notYet(place int, cert *x509.Certificate) finding {
	return finding{
		id: DatesNotYet, status: StatusFail,
		detail: fmt.Sprintf("%s %s is not valid before %s; this machine's clock says %s", r.place(place, cert), subject(cert), r.when(cert.NotBefore), r.now.UTC().Format(dateTime)),
		cause:  "One of two clocks is wrong: this machine's, or that of the machine that made the certificate, which then stood in the future.",
		fix: "Look at this clock: 'timedatectl' ('sudo timedatectl set-ntp true' sets it). If it is right, issue the certificate again on a machine with a right clock ('tbcert init', which sets its start a day back), install it and restart ThingsBoard. " +
			"Devices need a right clock as well: set it by NTP before they connect.",
	}
}

// place says what a certificate of the path is.
func (r *run) place(place int, cert *x509.Certificate) string {
	switch {
	case place == 0:
		return "the server's certificate"
	case r.chain.dated == cert, r.chain.path != nil && place == len(r.chain.path)-1:
		return "the root"
	default:
		return "the issuing CA"
	}
}

// renewFix says how a certificate is replaced.
func (r *run) renewFix(cert *x509.Certificate) string {
	if cert.Equal(r.chain.leaf()) {
		return "Issue it again: 'tbcert renew --force' in the workspace makes a new one (the root stays), install server/mqttserver.pem on the server, then 'sudo systemctl restart thingsboard'. " +
			"A certificate from another CA is renewed there."
	}
	if !selfIssued(cert) {
		return "The root has to issue this issuing CA again, and the CA the server's certificate: do so where the root's key is, install the server's certificate with the new CA behind it, and restart ThingsBoard (the devices need nothing new). " +
			"For a tbcert workspace, 'tbcert status' says what it needs."
	}
	return "A new root CA is needed, and every device needs it in its ca-root.pem, beside the old one as long as the server has the old certificate. For a tbcert workspace, 'tbcert renew root' does that in three steps ('tbcert runbook rollover'). A CA of your company or a public one publishes its new certificate itself."
}

const dateTime = "2006-01-02 15:04 MST"

// when is a moment with its distance in days.
func (r *run) when(moment time.Time) string {
	const day = 24 * time.Hour
	text := moment.UTC().Format(dateTime)
	switch distance := moment.Sub(r.now); {
	case distance >= day:
		return fmt.Sprintf("%s (in %s)", text, plural(int((distance+time.Minute)/day), "day")) // as init and status count
	case distance >= 0:
		return text + " (in less than a day)"
	case distance > -day:
		return text + " (less than a day ago)"
	default:
		return fmt.Sprintf("%s (%s ago)", text, plural(int(-distance/day), "day"))
	}
}
