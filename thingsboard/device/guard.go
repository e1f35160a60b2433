package device

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// keepAlive is what CONNECT promises: never longer than this without a packet.
	keepAlive = 60 * time.Second

	// pingAfter is when a session that has nothing to say sends a PINGREQ.
	pingAfter = keepAlive * 3 / 4
)

// errPingDue ends a wait for a packet when a PINGREQ has to be sent first.
var errPingDue = errors.New("a PINGREQ is due")

// A guard ends what is done with a connection when the context of it ends, and
// a wait for a packet when a PINGREQ is due. Nothing else sets the connection's
// deadlines; between two operations there is none.
type guard struct {
	conn  net.Conn
	pings *time.Timer

	mu      sync.Mutex // guards what follows, against the timer's goroutine
	waiting bool
	pingDue bool
}

// past is a deadline that has passed whatever the clock says.
func past() time.Time { return time.Unix(1, 0) }

func newGuard(conn net.Conn) *guard {
	g := &guard{conn: conn}
	_ = conn.SetDeadline(time.Time{}) // a connection that cannot, fails in the first operation
	g.pings = time.AfterFunc(pingAfter, g.ping)
	return g
}

// stop ends the guard's timer.
func (g *guard) stop() { g.pings.Stop() }

// ping notes that a PINGREQ is due, and ends a wait that is under way.
func (g *guard) ping() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pingDue = true
	if g.waiting {
		_ = g.conn.SetReadDeadline(past())
	}
}

// wrote counts anew to the next PINGREQ: what a server minds is how long the
// client sent nothing (3.1.2.10).
func (g *guard) wrote() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pingDue = false
	g.pings.Reset(pingAfter)
}

// wait runs read, which takes nothing from the connection that it cannot give
// again. It gives errPingDue when a PINGREQ is due before something comes.
func (g *guard) wait(ctx context.Context, read func() error) error {
	g.mu.Lock()
	if g.pingDue {
		g.mu.Unlock()
		return errPingDue
	}
	g.waiting = true
	g.mu.Unlock()

	err := g.run(ctx, read)

	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = false
	if !g.pingDue {
		return err
	}
	_ = g.conn.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		return errPingDue
	}
	return err
}

// run runs do and cuts it short when ctx ends; the error is then an endedError.
func (g *guard) run(ctx context.Context, do func() error) error {
	if ctx.Err() != nil {
		return &endedError{cause: context.Cause(ctx), context: ctx.Err()}
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = g.conn.SetDeadline(past())
	})
	err := do()
	if !stop() {
		<-woken
		_ = g.conn.SetDeadline(time.Time{})
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return &endedError{cause: context.Cause(ctx), context: ctx.Err()}
	}
	return err
}

// An endedError says that the context ended before the server answered.
type endedError struct{ cause, context error }

func (e *endedError) Error() string {
	switch {
	case !errors.Is(e.context, context.DeadlineExceeded):
		return e.cause.Error()
	case errors.Is(e.cause, context.DeadlineExceeded):
		return "no answer in time"
	default:
		return "no answer in time: " + e.cause.Error()
	}
}

// Unwrap gives the context's error and cause, and for a deadline also
// os.ErrDeadlineExceeded, which is what the connection would have said.
func (e *endedError) Unwrap() []error {
	if errors.Is(e.context, context.DeadlineExceeded) {
		return []error{e.context, e.cause, os.ErrDeadlineExceeded}
	}
	return []error{e.context, e.cause}
}
