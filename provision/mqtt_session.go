package provision

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
)

// mqttSessionLife is how long after its login a session gets another request.
// ThingsBoard closes it 60 s after its first answer, at work or not.
const mqttSessionLife = 40 * time.Second

// An mqttSession is a session for provisioning.
type mqttSession struct {
	*device.Session
	end time.Time // of its use
}

// errMQTTClosed: the registrar was closed.
var errMQTTClosed = errors.New("provision: the MQTT registrar is closed")

// ask sends a request and gives the answer. One whose connection was closed
// before the answer is sent again, once and over a new one: a device that exists
// by then is refused and stays as it is. doubt says that a request may have been
// done without an answer.
func (m *MQTT) ask(ctx context.Context, request device.ProvisionRequest) (has device.Credential, doubt bool, err error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return device.Credential{}, false, err
	}
	defer leave()
	answer, err := m.askOver(ctx, m.rested(), request)
	doubt = errors.Is(err, device.ErrProvisionUncertain)
	var failed *mqttConnectError
	if !errors.Is(err, device.ErrClosed) || errors.As(err, &failed) || ctx.Err() != nil {
		return answer, doubt, err
	}
	again, errAgain := m.askOver(ctx, nil, request)
	switch {
	case errors.Is(errAgain, device.ErrProvisionUncertain):
		return again, true, errAgain
	case errors.As(errAgain, &failed):
		return again, doubt, fmt.Errorf("%w; and then: %w", err, errAgain)
	default:
		return again, doubt, errAgain
	}
}

// askOver sends a request over a session, nil for a new one, and keeps the
// session for the next request if it is still good for that.
func (m *MQTT) askOver(ctx context.Context, session *mqttSession, request device.ProvisionRequest) (device.Credential, error) {
	if session == nil {
		var err error
		if session, err = m.connect(ctx); err != nil {
			return device.Credential{}, err
		}
	}
	ctx, cancel := m.within(ctx)
	defer cancel()
	answer, err := device.Provision(ctx, session.Session, request)
	if err == nil || errors.Is(err, device.ErrProvisionFailed) || errors.Is(err, device.ErrProvisionNotFound) {
		m.rest(session)
	} else {
		_ = session.Disconnect()
	}
	return answer.Credential, err
}

// within bounds a step.
func (m *MQTT) within(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := m.Timeout
	if timeout <= 0 {
		timeout = DefaultMQTTTimeout
	}
	return context.WithTimeout(ctx, timeout)
}

func (m *MQTT) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// An mqttConnectError says that no session could be had: nothing was asked.
type mqttConnectError struct{ err error }

func (e *mqttConnectError) Error() string { return "connect for provisioning: " + e.err.Error() }
func (e *mqttConnectError) Unwrap() error { return e.err }

// connect logs in for provisioning, as anybody may.
func (m *MQTT) connect(ctx context.Context) (*mqttSession, error) {
	session, err := m.logIn(ctx, m.Dial, device.Login{Username: secret.New(device.UserProvision)})
	if err != nil {
		return nil, &mqttConnectError{err}
	}
	return &mqttSession{Session: session, end: m.now().Add(mqttSessionLife)}, nil
}

// logIn connects with a login.
func (m *MQTT) logIn(ctx context.Context, dial func(context.Context) (net.Conn, error), login device.Login) (*device.Session, error) {
	ctx, cancel := m.within(ctx)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	session, err := device.Connect(ctx, conn, login)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return session, nil
}

// enter waits for a place among those that have a connection.
func (m *MQTT) enter(ctx context.Context) (leave func(), err error) {
	m.begin.Do(func() {
		sessions := m.Sessions
		if sessions < 1 {
			sessions = DefaultMQTTSessions
		}
		m.places = make(chan struct{}, sessions)
	})
	select {
	case m.places <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		<-m.places
		return nil, errMQTTClosed
	}
	return func() { <-m.places }, nil
}

// rested gives a session that is at rest, the one that was used last; nil when
// there is none. Those whose time is over are ended.
func (m *MQTT) rested() (session *mqttSession) {
	now := m.now()
	m.mu.Lock()
	var live, over []*mqttSession
	for _, s := range m.idle {
		if now.Before(s.end) {
			live = append(live, s)
		} else {
			over = append(over, s)
		}
	}
	if last := len(live) - 1; last >= 0 {
		live, session = live[:last], live[last]
	}
	m.idle = live
	m.mu.Unlock()
	disconnect(over)
	return session
}

// rest lays a session aside for the next request.
func (m *MQTT) rest(session *mqttSession) {
	m.mu.Lock()
	closed := m.closed
	if !closed {
		m.idle = append(m.idle, session)
	}
	m.mu.Unlock()
	if closed {
		_ = session.Disconnect()
	}
}

func disconnect(sessions []*mqttSession) {
	for _, session := range sessions {
		_ = session.Disconnect()
	}
}

// Close ends the connections that are not in use, and those in use as soon as
// they have their answer. Devices that are registered afterwards fail.
func (m *MQTT) Close() error {
	m.mu.Lock()
	idle := m.idle
	m.idle, m.closed = nil, true
	m.mu.Unlock()
	disconnect(idle)
	return nil
}
