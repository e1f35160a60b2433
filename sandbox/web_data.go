package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// errNoDevice is how the calls for data say that there is no such device
// (AccessValidator.validateDevice).
func errNoDevice() error {
	return plainly(http.StatusNotFound, "Device with requested id wasn't found!")
}

// keys are those of a request, each by itself or in a comma-separated list; nil
// for all.
func keys(r *http.Request) []string {
	query := r.URL.Query()
	if query.Has("key") {
		return query["key"]
	}
	if list := query.Get("keys"); list != "" {
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
	found, ok := w.store.latest(id)
	if !ok {
		return nil, errNoDevice()
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

// scopes are those that a request asks for: the one in its path, or all.
func scopes(r *http.Request) ([]scope, error) {
	name := r.PathValue("scope")
	if name == "" {
		return []scope{scopeClient, scopeServer, scopeShared}, nil
	}
	in, ok := scopeOf(name)
	if !ok {
		return nil, badParameter("Invalid attribute scope: " + name)
	}
	return []scope{in}, nil
}

// attributes gives attributes of a device.
func (w *web) attributes(r *http.Request) (any, error) {
	id, scopes, err := w.place(r)
	if err != nil {
		return nil, err
	}
	answer := []any{}
	for _, in := range scopes {
		attributes := w.store.attributes(id, in, keys(r))
		for _, key := range slices.Sorted(maps.Keys(attributes)) {
			answer = append(answer, map[string]any{
				"lastUpdateTs": attributes[key].ts, "key": key, "value": jsonOf(attributes[key].value),
			})
		}
	}
	return answer, nil
}

// place is the device and the scopes of a request.
func (w *web) place(r *http.Request) (id string, in []scope, err error) {
	if id, err = deviceID(r); err != nil {
		return "", nil, err
	}
	if in, err = scopes(r); err != nil {
		return "", nil, err
	}
	if _, _, err := w.store.device(id); err != nil {
		return "", nil, errNoDevice()
	}
	return id, in, nil
}

// saveAttributes sets attributes (TelemetryController.saveAttributes), and tells
// the device of shared ones.
func (w *web) saveAttributes(r *http.Request) (any, error) {
	id, err := deviceID(r)
	if err != nil {
		return nil, err
	}
	in, err := scopes(r)
	if err != nil {
		return nil, err
	}
	if in[0] == scopeClient {
		return nil, plainly(http.StatusBadRequest, fmt.Sprintf("Invalid scope: %s", in[0]))
	}
	attributes, err := readAttributes(r)
	if err != nil {
		return nil, err
	}
	if _, _, err := w.store.device(id); err != nil {
		return nil, errNoDevice()
	}
	if session := w.store.storeAttributes(id, in[0], attributes); session != nil {
		told := map[string]any{}
		for key, value := range attributes {
			told[key] = jsonOf(value)
		}
		w.tell(session, told)
	}
	return nil, nil
}

// readAttributes reads the attributes of a request.
func readAttributes(r *http.Request) (map[string]any, error) {
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, tooLarge()
	}
	attributes, err := device.ParseAttributes(sent)
	switch {
	case err != nil && !bytes.HasPrefix(bytes.TrimSpace(sent), []byte("{")):
		return nil, plainly(http.StatusBadRequest, "Request is not a JSON object")
	case err != nil:
		return nil, plainly(http.StatusBadRequest, "Invalid JSON")
	case len(attributes) == 0:
		return nil, plainly(http.StatusBadRequest, "No attributes data found in request body!")
	}
	for key := range attributes {
		if strings.TrimSpace(key) == "" {
			return nil, plainly(http.StatusBadRequest, "Key cannot be blank")
		}
	}
	return attributes, nil
}

// deleteAttributes deletes attributes, and tells the device of shared ones.
func (w *web) deleteAttributes(r *http.Request) (any, error) {
	asked := keys(r)
	if len(asked) == 0 {
		return nil, plainly(http.StatusBadRequest, "Empty keys: []")
	}
	id, in, err := w.place(r)
	if err != nil {
		return nil, err
	}
	if deleted, session := w.store.deleteAttributes(id, in[0], asked); session != nil && len(deleted) > 0 {
		w.tell(session, map[string]any{"deleted": deleted})
	}
	return nil, nil
}

// tell sends shared attributes to a device that has subscribed to them.
func (w *web) tell(session *link, what map[string]any) {
	if to, ok := session.subscribed(attributeChannels()); ok {
		w.broker.push(session, to.filter, packets.Packet{TopicName: to.topic, Payload: marshal(what)})
	}
}
