package sandbox

import (
	"encoding/json"
	"net/http"
	"time"
)

// How long a device has to answer when the caller does not say, and how long it
// has at least (server.rest.server_side_rpc).
const (
	rpcTimeout    = 10 * time.Second
	rpcMinTimeout = 5 * time.Second
)

// rpc makes the handler of calls of a device's methods. status is what the caller
// is told when no answer comes: for a call that was sent, and for one that was not
// (RpcV1Controller and RpcV2Controller, AbstractRpcController.reply).
func (w *web) rpc(isOneWay bool, sent, unsent int) call {
	return func(r *http.Request) (any, error) {
		id, err := deviceID(r)
		if err != nil {
			return nil, err
		}
		c := &pendingCall{isOneWay: isOneWay}
		patience, err := w.readRPC(r, c)
		if err != nil {
			return nil, err
		}
		session, err := w.store.expect(id, c)
		if err != nil {
			return nil, err
		}
		if session != nil {
			w.broker.call(session, c)
		}
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case answer := <-c.came:
			return answerOfDevice(answer)
		case <-r.Context().Done():
		case <-w.closing:
		case <-timer.C:
		}
		if w.store.forget(id, c) {
			return nil, plainly(sent, "")
		}
		return nil, plainly(unsent, "")
	}
}

// readRPC reads a call, and how long the device has for it.
func (w *web) readRPC(r *http.Request, c *pendingCall) (patience time.Duration, err error) {
	var it struct {
		Method     *string         `json:"method"`
		Params     json.RawMessage `json:"params"`
		Timeout    *int64          `json:"timeout"`
		Expiration *int64          `json:"expirationTime"`
	}
	if err := body(r, &it); err != nil || it.Method == nil {
		return 0, badParameter("Invalid request body")
	}
	c.payload = marshal(struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}{*it.Method, it.Params})
	if it.Expiration != nil {
		return time.UnixMilli(*it.Expiration).Sub(w.now()), nil
	}
	patience = rpcTimeout
	if it.Timeout != nil {
		patience = time.Duration(*it.Timeout) * time.Millisecond
	}
	return max(patience, rpcMinTimeout), nil
}

// answerOfDevice is the JSON that a device has answered with; nothing is nothing.
func answerOfDevice(answer []byte) (any, error) {
	switch {
	case len(answer) == 0:
		return nil, nil
	case !json.Valid(answer):
		return nil, plainly(http.StatusNotAcceptable, "")
	default:
		return json.RawMessage(answer), nil
	}
}
