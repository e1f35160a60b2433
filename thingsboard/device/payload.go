package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
)

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

// ParseTelemetry reads a telemetry payload as ThingsBoard's MQTT transport does
// with its default settings (JsonMqttAdaptor, JsonConverter): Gson's lenient
// grammar; an object, or an array of objects; an object that has both "ts" and
// "values" gives the time and the measurements, any other is measurements
// itself. A text that reads as a number becomes one (JSON_TYPE_CAST_ENABLED). A
// measurement that is null is left out; a payload, an array element or "values"
// that is null is an error. The samples come in the order of the payload.
//
// The error is a *[PayloadError] when the grammar is broken. ThingsBoard closes
// the connection on any of these errors.
func ParseTelemetry(payload []byte) ([]Sample, error) {
	value, err := parseLenient(payload)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	samples := []Sample{}
	for _, element := range list {
		o, ok := element.(*object)
		if !ok {
			return nil, fmt.Errorf("telemetry: %s where an object of measurements is due", kindOf(element))
		}
		if samples, err = appendSamples(samples, o); err != nil {
			return nil, fmt.Errorf("telemetry: %w", err)
		}
	}
	return samples, nil
}

// appendSamples adds the measurements of one object.
func appendSamples(samples []Sample, o *object) ([]Sample, error) {
	ts, hasTS := o.members["ts"]
	values, hasValues := o.members["values"]
	var at Sample
	if hasTS && hasValues {
		var err error
		if at.TS, err = timestamp(ts); err != nil {
			return nil, err
		}
		at.HasTS = true
		nested, ok := values.(*object)
		if !ok {
			return nil, fmt.Errorf(`%s where the object "values" is due`, kindOf(values))
		}
		o = nested
	}
	for _, name := range o.names {
		if o.members[name] == nil {
			continue
		}
		at.Key, at.Value = name, stored(o.members[name])
		samples = append(samples, at)
	}
	return samples, nil
}

// timestamp is the "ts" of a payload: a number, of which only the whole part
// counts, or a text of digits (JsonPrimitive.getAsLong).
func timestamp(value any) (int64, error) {
	text, isText := value.(string)
	if number, ok := value.(json.Number); ok {
		text = number.String()
		if f, err := number.Float64(); err == nil && bytes.ContainsAny([]byte(text), ".eE") && math.Abs(f) < 1<<63 {
			return int64(f), nil
		}
	} else if !isText {
		return 0, fmt.Errorf(`%s where the number "ts" is due`, kindOf(value))
	}
	ts, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errors.New(`"ts" is not a number of milliseconds`)
	}
	return ts, nil
}

// ParseAttributes reads what is published to [TopicAttributes]: an object, with
// the rules and the types of [ParseTelemetry].
func ParseAttributes(payload []byte) (map[string]any, error) {
	o, err := parseObject(payload)
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	attributes := map[string]any{}
	for name, value := range o.members {
		if value != nil {
			attributes[name] = stored(value)
		}
	}
	return attributes, nil
}

// ParseObject reads any JSON object in Gson's lenient grammar, such as an
// attribute request or a provision request. Its values are those that
// encoding/json gives with UseNumber: nil, bool, json.Number, string, []any and
// map[string]any. The error is a *[PayloadError] when the grammar is broken.
func ParseObject(payload []byte) (map[string]any, error) {
	o, err := parseObject(payload)
	if err != nil {
		return nil, err
	}
	return plain(o).(map[string]any), nil
}

func parseObject(payload []byte) (*object, error) {
	value, err := parseLenient(payload)
	if err != nil {
		return nil, err
	}
	o, ok := value.(*object)
	if !ok {
		return nil, fmt.Errorf("%s where an object is due", kindOf(value))
	}
	return o, nil
}

// stored is a value as ThingsBoard keeps it (JsonConverter.parseProtoValues).
func stored(value any) any {
	switch value := value.(type) {
	case string:
		return typed(value)
	case json.Number:
		return number(value.String())
	case *object, []any:
		return json.RawMessage(appendJSON(nil, value))
	default:
		return value
	}
}

// plain is a value in the types of encoding/json.
func plain(value any) any {
	switch value := value.(type) {
	case *object:
		members := make(map[string]any, len(value.members))
		for name, member := range value.members {
			members[name] = plain(member)
		}
		return members
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = plain(element)
		}
		return list
	default:
		return value
	}
}

// appendJSON writes a value in strict JSON, as short as it goes and with the
// members in their order.
func appendJSON(out []byte, value any) []byte {
	switch value := value.(type) {
	case *object:
		out = append(out, '{')
		for i, name := range value.names {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, name), ':')
			out = appendJSON(out, value.members[name])
		}
		return append(out, '}')
	case []any:
		out = append(out, '[')
		for i, element := range value {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendJSON(out, element)
		}
		return append(out, ']')
	case string:
		return appendString(out, value)
	case json.Number:
		return append(out, value...)
	case bool:
		return strconv.AppendBool(out, value)
	default:
		return append(out, "null"...)
	}
}

// appendString writes a string with <, > and & as they are.
func appendString(out []byte, text string) []byte {
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string and a buffer: neither fails
	return append(out, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

// kindOf names a value's kind in a sentence.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null stands"
	case bool:
		return "true or false stands"
	case json.Number:
		return "a number stands"
	case string:
		return "a text stands"
	case []any:
		return "an array stands"
	default:
		return "an object stands"
	}
}
