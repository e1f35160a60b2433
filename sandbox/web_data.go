package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// keys is the comma-separated list of a request; nil for all.
func keys(r *http.Request) []string {
	if list := r.URL.Query().Get("keys"); list != "" {
		return strings.Split(list, ",")
	}
	return nil
}

// latest gives the newest value of each key. A key without one has null at the
// present time, as in ThingsBoard.
func (w *web) latest(r *http.Request) (any, error) {
	id, err := deviceID(r)
	if err != nil {
		return nil, err
	}
	found, err := w.store.latest(id)
	if err != nil {
		return nil, err
	}
	asked := keys(r)
	if asked == nil {
		asked = slices.Collect(maps.Keys(found))
	}
	isStrict := r.URL.Query().Get("useStrictDataTypes") == "true"
	answer := map[string]any{}
	for _, key := range asked {
		point := map[string]any{"ts": w.now().UnixMilli(), "value": nil}
		if sample, ok := found[key]; ok {
			point["ts"], point["value"] = sample.TS, text(sample.Value)
			if isStrict {
				point["value"] = jsonOf(sample.Value)
			}
		}
		answer[key] = []any{point}
	}
	return answer, nil
}

// scope is the attribute scope of a request; "" is that of the device.
func scope(r *http.Request) (string, error) {
	switch scope := r.PathValue("scope"); scope {
	case "":
		return scopeClient, nil
	case scopeClient, scopeShared, scopeServer:
		return scope, nil
	default:
		return "", badParameter("Invalid attribute scope: " + scope)
	}
}

// attributes gives attributes of a device.
func (w *web) attributes(r *http.Request) (any, error) {
	found, _, err := w.find(r)
	if err != nil {
		return nil, err
	}
	scope, err := scope(r)
	if err != nil {
		return nil, err
	}
	answer := []any{}
	attributes := w.store.attributes(found.id, scope, keys(r))
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		answer = append(answer, map[string]any{
			"lastUpdateTs": attributes[key].ts, "key": key, "value": jsonOf(attributes[key].value),
		})
	}
	return answer, nil
}

// saveAttributes sets attributes, and tells the device of shared ones.
func (w *web) saveAttributes(r *http.Request) (any, error) {
	found, _, err := w.find(r)
	if err != nil {
		return nil, err
	}
	scope, err := scope(r)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := body(r, &raw); err != nil {
		return nil, err
	}
	attributes, err := device.ParseAttributes(raw)
	if err != nil || scope == scopeClient {
		return nil, badParameter("Invalid attribute scope or values")
	}
	session := w.store.storeAttributes(found.id, scope, attributes)
	if session != nil && scope == scopeShared {
		told := map[string]any{}
		for key, value := range attributes {
			told[key] = jsonOf(value)
		}
		w.tell(session, told)
	}
	return nil, nil
}

// deleteAttributes deletes attributes, and tells the device of shared ones.
func (w *web) deleteAttributes(r *http.Request) (any, error) {
	found, _, err := w.find(r)
	if err != nil {
		return nil, err
	}
	scope, err := scope(r)
	if err != nil {
		return nil, err
	}
	session, err := w.store.dropAttributes(found.id, scope, keys(r))
	if err != nil {
		return nil, err
	}
	if session != nil && scope == scopeShared {
		w.tell(session, map[string]any{"deleted": keys(r)})
	}
	return nil, nil
}

// tell sends shared attributes to a device that has subscribed to them.
func (w *web) tell(session *link, what map[string]any) {
	w.broker.send(session, device.TopicAttributes, packets.Packet{TopicName: device.TopicAttributes, Payload: marshal(what)})
}
