package sandbox

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/mochi-mqtt/server/v2/packets"
)

// calls are the calls of a device's methods that are not answered yet.
type calls struct {
	last    int // id that was given
	pending []*pendingCall
}

// A pendingCall is a call of a device's method. The store's lock guards isSent.
type pendingCall struct {
	id       int
	isOneWay bool
	isSent   bool
	payload  []byte
	came     chan []byte // the answer; nil for a one-way call that was sent
}

// expect takes a call for a device (DeviceActorMessageProcessor.processRpcRequest).
// It gives the session that it is to be sent to; nil when the device is not
// connected, or has not subscribed to calls: then the call waits for that.
func (s *store) expect(id string, c *pendingCall) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return nil, errNoDevice()
	}
	c.id, c.came = r.calls.last, make(chan []byte, 1)
	r.calls.last++
	r.calls.pending = append(r.calls.pending, c)
	if r.session == nil {
		return nil, nil
	}
	if _, ok := r.session.subscribed(rpcChannels()); !ok {
		return nil, nil
	}
	c.isSent = true
	return r.session, nil
}

// waiting are the calls that were not sent yet, and now are.
func (s *store) waiting(l *link) []*pendingCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[l.device]
	if r == nil || r.session != l {
		return nil
	}
	var found []*pendingCall
	for _, c := range r.calls.pending {
		if !c.isSent {
			c.isSent = true
			found = append(found, c)
		}
	}
	return found
}

// forget ends a call, and reports whether it was sent.
func (s *store) forget(id string, c *pendingCall) (isSent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byID[id]; r != nil {
		r.calls.pending = slices.DeleteFunc(r.calls.pending, func(other *pendingCall) bool { return other == c })
	}
	return c.isSent
}

// answered takes a device's answer to a call; one that nobody waits for is
// dropped.
func (s *store) answered(id, callID string, payload []byte) error {
	number, err := strconv.ParseInt(callID, 10, 32)
	if err != nil {
		return fmt.Errorf("%w: the request id is not a number", errBadPayload)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return nil
	}
	r.state.seen = s.now().UnixMilli()
	for _, c := range r.calls.pending {
		if int64(c.id) == number && c.isSent && !c.isOneWay {
			r.calls.pending = slices.DeleteFunc(r.calls.pending, func(other *pendingCall) bool { return other == c })
			c.came <- slices.Clone(payload)
			return nil
		}
	}
	return nil
}

// call sends a call to a device. A one-way call is done then.
func (b *broker) call(l *link, c *pendingCall) {
	if to, ok := l.subscribed(rpcChannels()); ok {
		b.push(l, to.filter, packets.Packet{TopicName: to.topic + strconv.Itoa(c.id), Payload: c.payload})
	}
	if c.isOneWay {
		b.store.forget(l.device, c)
		c.came <- nil
	}
}
