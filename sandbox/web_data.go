package sandbox

import (
	"maps"
	"net/http"
	"slices"
	"strings"
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

// attributes gives client attributes. There are none of the other scopes here.
func (w *web) attributes(r *http.Request) (any, error) {
	found, _, err := w.find(r)
	if err != nil {
		return nil, err
	}
	answer := []any{}
	switch scope := r.PathValue("scope"); scope {
	case "", "CLIENT_SCOPE":
		attributes := w.store.attributes(found.id, keys(r))
		for _, key := range slices.Sorted(maps.Keys(attributes)) {
			answer = append(answer, map[string]any{
				"lastUpdateTs": attributes[key].ts, "key": key, "value": jsonOf(attributes[key].value),
			})
		}
	case "SHARED_SCOPE", "SERVER_SCOPE":
	default:
		return nil, badParameter("Invalid attribute scope: " + scope)
	}
	return answer, nil
}
