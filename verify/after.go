package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// stored waits until the server has what was published: PUBACK says no more than
// that its queue took it.
func (r *run) stored(ctx context.Context) finding {
	begin := r.verifier.now()
	err := r.target.Stored(ctx, r.target.payload(r.now))
	if err == nil {
		return pass(fmt.Sprintf("ThingsBoard has the telemetry, %.0f ms after its PUBACK", milliseconds(r.verifier.now().Sub(begin))))
	}
	found := finding{
		id:     StoredMissing,
		status: StatusFail,
		detail: "the telemetry that was acknowledged cannot be read from ThingsBoard: " + err.Error(),
		cause:  "The message reached ThingsBoard's queue and not its database: the root rule chain does not save telemetry (node 'save timeseries' missing or failing), the rule engine is behind, or the database is full or down.",
		fix:    "Look at the device's latest telemetry (key tbcert_verify), at the root rule chain's 'save timeseries' node and its errors, and at 'journalctl -u thingsboard'. A slow server wants a longer --timeout.",
	}
	if timedOut(err) {
		found.detail = fmt.Sprintf("the telemetry that was acknowledged is not in ThingsBoard after %s", r.verifier.timeout())
		return found
	}
	found.id, found.status = StoredUnknown, StatusWarn
	found.cause = "ThingsBoard's REST API did not tell whether it stored the telemetry: that says nothing of the device, whose message was acknowledged."
	found.fix = "See that --url and the login are right and that ThingsBoard's web interface answers; without --url the telemetry is not looked for."
	return found
}

// keepAlive keeps the session open without a word but PINGREQ, as a device that
// reports seldom does.
func (r *run) keepAlive(ctx context.Context) finding {
	begin := r.verifier.now()
	quiet, cancel := context.WithTimeout(ctx, r.target.KeepAlive)
	defer cancel()
	for {
		_, err := r.session.Next(quiet)
		switch {
		case err == nil: // a message to the device
		case quiet.Err() != nil && timedOut(err):
			return pass(fmt.Sprintf("the session stayed open for %s without a message", r.target.KeepAlive))
		default:
			return r.notKept(r.verifier.now().Sub(begin), err)
		}
	}
}

func (r *run) notKept(after time.Duration, err error) finding {
	found := finding{
		id:     KeepAliveClosed,
		status: StatusFail,
		detail: fmt.Sprintf("the session ended after %s without a message: %v", after.Round(time.Second), err),
		cause: "Something on the way, a load balancer, a proxy or a NAT, ends connections that are quiet for a while, sooner than MQTT's keep-alive of 60 s speaks (a PINGREQ after 45 s); " +
			"or another client with the same credential took the session.",
		fix: "Let the idle timeout of what stands between be longer than the devices' keep-alive (nginx: proxy_timeout; haproxy: timeout client and timeout server; AWS NLB: 350 s; many NATs: 60 s), or let the devices have a shorter keep-alive.",
	}
	if !errors.Is(err, device.ErrClosed) && timedOut(err) {
		found.cause = "The server did not answer a PINGREQ: it hangs, or the connection was cut on the way without a word."
	}
	return found
}
