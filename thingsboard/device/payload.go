package device

import "errors"

// A Sample is one measured value.
type Sample struct {
	// TS is the time of the measurement in milliseconds since 1970, where HasTS
	// says that the payload named one. Otherwise it is 0, and the time is when
	// the server got it.
	TS    int64
	HasTS bool
	Key   string
	// Value is a string, bool, int64, float64, or a json.RawMessage that holds
	// an object or an array.
	Value any
}

var errParse = errors.New("not written yet")

// ParseTelemetry reads a telemetry payload as ThingsBoard does: Gson's lenient
// grammar, and an object, an array of objects, or objects of "ts" and "values".
func ParseTelemetry(payload []byte) ([]Sample, error) { return nil, errParse }

// ParseAttributes reads what is published to [TopicAttributes]; the values are
// of the types of [Sample.Value].
func ParseAttributes(payload []byte) (map[string]any, error) { return nil, errParse }

// ParseObject reads any JSON object in Gson's lenient grammar, such as an
// attribute request or a provision request. Its values are those of
// encoding/json with UseNumber: nil, bool, json.Number, string, []any and
// map[string]any.
func ParseObject(payload []byte) (map[string]any, error) { return nil, errParse }
