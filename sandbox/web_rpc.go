package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// rpcTimeout is how long a device has to answer when the caller does not say, and
// what it may say at least (server.rest.server_side_rpc).
const (
	rpcTimeout    = 10 * time.Second
	rpcMinTimeout = 5 * time.Second
)

// rpc calls a method of a device that is connected and has subscribed to such
// calls (RpcV2Controller).
func (w *web) rpc(r *http.Request) (any, error) {
	id, err := deviceID(r)
	if err != nil {
		return nil, err
	}
	var it struct {
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params"`
		Timeout int64           `json:"timeout"`
	}
	if err := body(r, &it); err != nil {
		return nil, err
	}
	session, err := w.store.sessionOf(id)
	if err != nil {
		return nil, err
	}
	if session == nil || !session.subscribed(device.TopicRPCRequests) {
		return nil, &restError{status: http.StatusConflict, message: "No active connection to the remote device"}
	}
	patience := rpcTimeout
	if it.Timeout > 0 {
		patience = max(time.Duration(it.Timeout)*time.Millisecond, rpcMinTimeout)
	}
	answers := session.expect()
	defer session.forget(answers.id)
	w.broker.send(session, device.TopicRPCRequests, packets.Packet{
		TopicName: device.TopicRPCRequestPrefix + strconv.Itoa(answers.id),
		Payload:   marshal(map[string]any{"method": it.Method, "params": it.Params}),
	})
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	select {
	case answer := <-answers.came:
		return answer, nil
	case <-ctx.Done():
		return nil, &restError{status: http.StatusGatewayTimeout, message: "Timeout to process the request"}
	}
}

// An expected is a call that a device has not answered yet.
type expected struct {
	id   int
	came chan json.RawMessage
}

// expect makes room for an answer.
func (l *link) expect() expected {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	it := expected{id: l.calls, came: make(chan json.RawMessage, 1)}
	if l.answers == nil {
		l.answers = map[int]chan json.RawMessage{}
	}
	l.answers[it.id] = it.came
	return it
}

func (l *link) forget(id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.answers, id)
}

// answered takes a device's answer to a call; one that nobody waits for is
// dropped.
func (l *link) answered(id string, payload []byte) error {
	number, err := strconv.Atoi(id)
	if err != nil {
		return fmt.Errorf("%w: the request id is not a number", errBadPayload)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if came := l.answers[number]; came != nil {
		answer := json.RawMessage(payload)
		if !json.Valid(answer) {
			answer = marshal(string(payload))
		}
		came <- answer
		delete(l.answers, number)
	}
	return nil
}

// subscribed reports whether the client of a session has subscribed to a filter.
func (l *link) subscribed(filter string) bool {
	_, ok := l.client.State.Subscriptions.Get(filter)
	return ok
}
