package rest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A call that may be made again is made this often at most, and this often
	// before anything was ever heard of ThingsBoard.
	defaultTries, firstTries = 10, 4
	// While ThingsBoard throttles and still lets other calls through, a call is
	// made this often at most.
	mostTries = 200
	// A pause that is made longer while it lasts is waited for this often.
	mostPauses = 10

	// The pause before that doubles, within bounds; one that ThingsBoard asks for
	// is kept, within bounds.
	firstPause, longestPause = 250 * time.Millisecond, 30 * time.Second
	longestAsked             = 60 * time.Second
)

// Stats count what a client did.
type Stats struct {
	Calls     int64 // requests sent, logins too
	Retries   int64 // of them, those sent again
	Throttled int64 // answers that asked to wait
	Logins    int64
	Waited    time.Duration // before calls that were held back or made again, of all callers together
}

// counters are Stats in the making.
type counters struct {
	calls, retries, throttled, logins, waited atomic.Int64
}

// Stats gives what the client did so far.
func (c *Client) Stats() Stats {
	return Stats{
		Calls: c.counters.calls.Load(), Retries: c.counters.retries.Load(),
		Throttled: c.counters.throttled.Load(), Logins: c.counters.logins.Load(), Waited: time.Duration(c.counters.waited.Load()),
	}
}

// A gate holds back all calls of a client together, when ThingsBoard asked to
// wait: its limits are the tenant's, not one connection's.
type gate struct {
	mu    sync.Mutex
	until time.Time
	level int // pauses in a row that ThingsBoard did not name the length of
	count int // of calls that were answered
}

// shut holds all calls back for as long as ThingsBoard asked, or longer each
// time when it did not say.
func (g *gate) shut(now time.Time, asked time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Before(g.until) && asked == 0 {
		return // another call's pause, of the same burst
	}
	pause := asked
	if asked == 0 {
		pause = backoff(g.level)
		g.level++
	}
	if until := now.Add(pause); until.After(g.until) {
		g.until = until
	}
}

// left is how long calls are still held back.
func (g *gate) left(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until.Sub(now)
}

// pass notes a call that was answered.
func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.level = 0
	g.count++
}

// passed is how many calls were answered so far.
func (g *gate) passed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

// backoff is the pause after a number of failures in a row.
func backoff(failures int) time.Duration {
	if failures > 16 {
		return longestPause
	}
	return min(firstPause<<failures, longestPause)
}

// jitter spreads the callers that wait for the same, so that they do not come
// back at one moment.
func jitter(pause time.Duration) time.Duration {
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails
	return pause + pause/4*time.Duration(binary.BigEndian.Uint16(random[:]))/math.MaxUint16
}

// waitForGate waits until calls are let through.
func (c *Client) waitForGate(ctx context.Context) error {
	for range mostPauses {
		left := c.gate.left(c.config.Now())
		if left <= 0 {
			return nil
		}
		if err := c.wait(ctx, jitter(left)); err != nil {
			return err
		}
	}
	return nil
}

// wait waits, and counts that.
func (c *Client) wait(ctx context.Context, pause time.Duration) error {
	c.counters.waited.Add(int64(pause))
	return c.config.Wait(ctx, pause)
}

// hold shuts the gate when an answer asks to wait. It is done before anything
// else, so that the callers behind this one see it.
func (c *Client) hold(got answer) {
	asked := c.asked(got)
	if asked == 0 && got.status != http.StatusTooManyRequests {
		return
	}
	c.counters.throttled.Add(1)
	c.gate.shut(c.config.Now(), asked)
}

// An unavailableError is the answer of a proxy, or of ThingsBoard, that it does
// not work now.
type unavailableError struct {
	text string
	held bool // it said when to come again
}

func (e *unavailableError) Error() string { return e.text }
func (e *unavailableError) Unwrap() error { return ErrUnavailable }

// asked is how long an answer asks to wait; 0 when it does not. ThingsBoard does
// not say how long (ThingsboardErrorResponseHandler), proxies may.
func (c *Client) asked(got answer) time.Duration {
	if got.status != http.StatusTooManyRequests && got.status < http.StatusInternalServerError {
		return 0
	}
	value := got.header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return min(time.Duration(seconds), longestAsked/time.Second) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(at.Sub(c.config.Now()), longestAsked))
	}
	return 0
}

// Uncertain reports whether a call that ended with this error may have been done
// all the same: it was sent, and no answer of ThingsBoard's says no.
func Uncertain(err error) bool {
	var refused *Error
	no := []error{ErrExists, ErrTokenTaken, ErrNotFound, ErrUnauthorized, ErrForbidden, ErrLimit, ErrTooMany, ErrRedirect, ErrNoLogin}
	switch {
	case err == nil, notSent(err), slices.ContainsFunc(no, func(kind error) bool { return errors.Is(err, kind) }):
		return false
	case errors.As(err, &refused):
		return refused.Status >= http.StatusInternalServerError
	default:
		return true
	}
}

// notSent reports whether it is certain that a request never left: no connection
// was made.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// verdict says what to do after a call failed.
type verdict int

const (
	giveUp verdict = iota
	again          // after a pause of its own
	held           // after the pause that all calls make
)

// judge decides whether a failed call is made again. One that sets a state may
// be; a creation only when it is certain that nothing was done.
func (c *Client) judge(ctx context.Context, it call, err error) verdict {
	isUnwell, saysWhen := unwell(err)
	switch {
	case ctx.Err() != nil:
		return giveUp
	case errors.Is(err, ErrTooMany):
		return held
	case saysWhen:
		return it.repeat(held)
	case isUnwell:
		return it.repeat(again)
	case !isBroken(err):
		return giveUp
	case !notSent(err):
		return it.repeat(again)
	case c.reached.Load():
		return again
	default:
		return giveUp // most likely the address is wrong
	}
}

// unwell reports whether the answer was that ThingsBoard cannot do anything now,
// and whether it said when to come again.
func unwell(err error) (isUnwell, saysWhen bool) {
	var refused *Error
	var down *unavailableError
	switch {
	case errors.As(err, &down):
		return true, down.held
	case errors.As(err, &refused):
		return refused.Status >= http.StatusInternalServerError, refused.held
	default:
		return false, false
	}
}

// repeat is v for a call that may be made twice.
func (it call) repeat(v verdict) verdict {
	if it.once {
		return giveUp
	}
	return v
}

// isBroken reports whether a request got no answer, or half of one, for a reason
// that may pass.
func isBroken(err error) bool {
	var reach *reachError
	return errors.As(err, &reach) && reach.passes
}

// tries is how often a call is made at most.
func (c *Client) tries() int {
	if c.reached.Load() {
		return c.config.Tries
	}
	return min(c.config.Tries, firstTries)
}

// pauseBefore waits before a call is made again.
func (c *Client) pauseBefore(ctx context.Context, v verdict, tries int) error {
	c.counters.retries.Add(1)
	if v == held {
		return nil // the gate is shut
	}
	return c.wait(ctx, jitter(backoff(tries)))
}
