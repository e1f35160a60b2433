package verify_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/verify"
)

// neighborhoods are the diagnoses that a user would take for one another, by
// what all of them look like from outside.
func neighborhoods() map[string][]verify.DiagnosisID {
	return map[string][]verify.DiagnosisID{
		"the host has no address that can be used": {verify.DNSUnknownName, verify.DNSNoAnswer, verify.TCPIPv6Only},
		"no connection": {verify.TCPRefused, verify.TCPSilent, verify.TCPNoRoute, verify.TCPIPv6Only, verify.TCPReset, verify.TCPBadPort},
		"a connection, and no TLS": {
			verify.TLSSilent, verify.TLSClosed, verify.TLSAddressBlocked, verify.TLSProxyProtocol, verify.TCPReset,
			verify.TLSPlainMQTT, verify.TLSHTTP, verify.TLSOtherProtocol,
		},
		"TLS, and no end of the handshake": {
			verify.TLSVersion, verify.TLSCipher, verify.TLSKeyMismatch, verify.TLSCertificateRequired, verify.TLSCertificateRefused,
			verify.TLSUnrecognizedName, verify.TLSTooMuch, verify.TLSBroken, verify.TLSSilent,
		},
		"a client certificate that proves nothing": {verify.TLSCertificateNotAsked, verify.ConnectTokenIgnored, verify.ConnectCertificateUnknown},
		"a chain that is refused": {
			verify.ChainMissingIntermediate, verify.ChainOtherCA, verify.ChainRootRemade, verify.ChainRootIsLeaf,
			verify.ChainSelfSigned, verify.ChainNoRoots, verify.ChainRule, verify.UsageNotServer, verify.UsageCA,
		},
		"a certificate for something else": {verify.NameMismatch, verify.NameIP, verify.NameCNOnly, verify.NameSNI},
		"a certificate out of its time":    {verify.DatesExpired, verify.DatesNotYet, verify.DatesClock, verify.DatesEndsSoon},
		"a login that is refused": {
			verify.ConnectBadToken, verify.ConnectBadBasic, verify.ConnectCertificateUnknown, verify.ConnectCertificateExpired,
			verify.ConnectCertificateRefused, verify.ConnectCertificateRequired, verify.ConnectTokenIgnored, verify.ConnectNoUsername,
			verify.ConnectProvisionUser, verify.ConnectIdentifier, verify.ConnectVersion, verify.ConnectUnavailable,
			verify.ConnectRateLimited, verify.ConnectOtherBroker, verify.ConnectUnknownCode,
		},
		"a login without an answer": {
			verify.ConnectSilent, verify.ConnectClosed, verify.ConnectNotMQTT, verify.ConnectHTTP, verify.ConnectTLSPort,
			verify.ConnectBroken, verify.ConnectCertificateRequired, verify.TLSAddressBlocked,
		},
		"a message that does not arrive": {
			verify.PublishPayload, verify.PublishTooLarge, verify.PublishNoPUBACK, verify.PublishSessionTaken,
			verify.PublishRateLimited, verify.PublishClosed, verify.PublishBroken,
		},
		"a message that arrives, and no more": {
			verify.StoredMissing, verify.StoredUnknown, verify.RoundTripSilent, verify.RoundTripClosed, verify.KeepAliveClosed,
		},
		"a device that nobody connects as": {verify.RecordUnknown, verify.BundleUnusable},
	}
}

// coverRows bring diagnoses about once more with other programs than the matrix
// and the blind table have.
func coverRows() []afterRow {
	return []afterRow{
		{"nginx that takes no handshake for a name that it does not have", verify.TLSUnrecognizedName, func(w *blindWorld) blindHost {
			return w.host(w.nginx("http", "server { listen LISTEN ssl; ssl_reject_handshake on; }", nil))
		}},
		{"openssl that demands the name of another server", verify.TLSUnrecognizedName, func(w *blindWorld) blindHost {
			chain, key := w.issuing.leaf(w.t, names("tb.example.com")).files(w.t)
			return w.host(openssl(w.t, w.good, "-servername", "tb.example.com", "-servername_fatal", "-cert2", chain, "-key2", key))
		}},
		{"toxiproxy that swallows every answer", verify.TLSSilent, func(w *blindWorld) blindHost {
			return w.host(w.toxic(w.mosquitto(w.good), `{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`), blindPatient(short))
		}},
		{"haproxy that resets what it accepts", verify.TCPReset, func(w *blindWorld) blindHost {
			return w.host(w.haproxy(w.mosquitto(w.good), nil, "", "tcp-request connection reject"))
		}},
		{"a server that resets as soon as the connection is open", verify.TCPReset, func(w *blindWorld) blindHost {
			return w.host(listener(w.t, resets))
		}},
		{"stunnel before mosquitto's TLS port, which is not to be told by plain MQTT", verify.ConnectClosed, func(w *blindWorld) blindHost {
			return w.host(w.stunnel(w.mosquitto(w.good)))
		}},
		{"openssl that sends session tickets in place of an answer", verify.ConnectBroken, func(w *blindWorld) blindHost {
			return w.host(openssl(w.t, w.root.leaf(w.t), "-num_tickets", "1000000"))
		}},
		{"mosquitto with a limit on packets that the message is over", verify.PublishTooLarge, func(w *blindWorld) blindHost {
			return w.host(w.mosquitto(w.good, "allow_anonymous true", "max_packet_size 100"), blindPayload(`{"text":"`+strings.Repeat("x", 200)+`"}`))
		}},
		{"haproxy with an idle timeout of a second", verify.KeepAliveClosed, func(w *blindWorld) blindHost {
			return w.host(w.haproxy(portOf(w.sandbox("").MQTTSAddr()), nil, "", "timeout client 1s"), keepAlive(patience))
		}},
		{"stunnel with an idle timeout of a second", verify.KeepAliveClosed, func(w *blindWorld) blindHost {
			return w.host(w.stunnel(portOf(w.sandbox("").MQTTAddr()), "TIMEOUTidle = 1"), keepAlive(patience))
		}},
		{"the sandbox has the telemetry of another device alone", verify.StoredMissing, func(w *blindWorld) blindHost {
			server := w.sandbox("")
			return w.thingsboard(server, blindPatient(short), stored(func(ctx context.Context, _ []byte) error {
				if len(server.Telemetry("meter-2")) > 0 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}))
		}},
	}
}

// Each of these is told from its neighbors.
func TestCoverRows(t *testing.T) {
	t.Parallel()
	w := newBlindWorld(t)
	for _, row := range coverRows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.tell(t, w)
		})
	}
}

// tell runs a row and wants its diagnosis: no neighbor's, and no other check's.
func (row afterRow) tell(t *testing.T, w *blindWorld) {
	t.Helper()
	report := row.host(w.in(t)).report(t)
	if report.Diagnosis == row.want {
		return
	}
	likeness := "which nobody would take for it"
	if slices.Contains(neighborsOf(row.want), report.Diagnosis) {
		likeness = "its neighbor"
	}
	t.Errorf("the diagnosis is %q, %s, want %q: %s", report.Diagnosis, likeness, row.want, report.Problem())
}

// neighborsOf gives the diagnoses that one could be taken for.
func neighborsOf(id verify.DiagnosisID) []verify.DiagnosisID {
	var all []verify.DiagnosisID
	for _, group := range neighborhoods() {
		if !slices.Contains(group, id) {
			continue
		}
		for _, other := range group {
			if other != id && !slices.Contains(all, other) {
				all = append(all, other)
			}
		}
	}
	return all
}

// producers are where each diagnosis is brought about, and held to be that one
// and no other.
func producers() map[verify.DiagnosisID][]string {
	all := map[verify.DiagnosisID][]string{}
	for _, row := range rows() {
		all[row.diagnosis] = append(all[row.diagnosis], "TestFaultMatrix/"+row.name)
	}
	for _, row := range afterRows() {
		all[row.want] = append(all[row.want], "TestAfterTheMessage/"+row.name)
	}
	for _, row := range coverRows() {
		all[row.want] = append(all[row.want], "TestCoverRows/"+row.name)
	}
	for _, id := range elsewhere() {
		all[id] = append(all[id], "package cmd")
	}
	return all
}

// blindAlone are the rows of the blind table whose diagnosis no other test brings
// about, one for each.
func blindAlone() []blindRow {
	seen := producers()
	var alone []blindRow
	for _, row := range blindRows() {
		if len(seen[row.want]) == 0 {
			seen[row.want] = []string{"TestBlindAlone"}
			alone = append(alone, row)
		}
	}
	return alone
}

// The blind table may be wrong in one row of twenty. Here it may not, where
// nothing else shows that a diagnosis is ever given.
func TestBlindAlone(t *testing.T) {
	t.Parallel()
	w := newBlindWorld(t)
	for _, row := range blindAlone() {
		t.Run(string(row.want), func(t *testing.T) {
			t.Parallel()
			host := row.host(w.in(t))
			if host.apart {
				if got := host.verify(t).got; got != row.want {
					t.Errorf("the diagnosis is %q, want %q", got, row.want)
				}
				return
			}
			afterRow{name: row.setup, want: row.want, host: func(*blindWorld) blindHost { return host }}.tell(t, w)
		})
	}
}

// Every diagnosis of the catalogue is brought about where nothing but it is right,
// has neighbors, and each neighbor is brought about likewise: so each of them is
// told from what looks like it.
func TestEveryDiagnosisIsToldFromItsNeighbours(t *testing.T) {
	t.Parallel()
	made := producers()
	for _, row := range blindAlone() {
		made[row.want] = append(made[row.want], "TestBlindAlone/"+string(row.want))
	}
	known := map[verify.DiagnosisID]bool{}
	for _, entry := range verify.Catalogue() {
		known[entry.ID] = true
		neighbors := neighborsOf(entry.ID)
		if len(made[entry.ID]) == 0 {
			t.Errorf("nothing brings %s about: add a row", entry.ID)
		}
		if len(neighbors) == 0 {
			t.Errorf("%s has no neighbors: say what it could be taken for", entry.ID)
		}
		t.Logf("%s: by %s; not %s", entry.ID, made[entry.ID], fmt.Sprint(neighbors))
	}
	for like, group := range neighborhoods() {
		for _, id := range group {
			if !known[id] {
				t.Errorf("%q is not in the catalogue, and stands under %q", id, like)
			}
		}
	}
}
