package sandbox

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// text is a stored value as a string, which is how the REST API gives telemetry
// unless strict types are asked for (KvEntry.getValueAsString).
func text(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	return string(jsonOf(value))
}

// jsonOf is a stored value in JSON.
func jsonOf(value any) json.RawMessage {
	switch value := value.(type) {
	case float64:
		return json.RawMessage(double(value))
	case json.RawMessage:
		return value
	default:
		return marshal(value)
	}
}

// marshal is json.Marshal for what cannot fail, with <, > and & as they are.
func marshal(value any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// double writes a number as Java's Double.toString does: 20.0, 1.0E7.
func double(f float64) string {
	if magnitude := math.Abs(f); f == 0 || magnitude >= 1e-3 && magnitude < 1e7 {
		return pointed(strconv.FormatFloat(f, 'f', -1, 64))
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
	sign := strings.TrimPrefix(exponent[:1], "+")
	return pointed(mantissa) + "E" + sign + strings.TrimLeft(exponent[1:], "0")
}

func pointed(digits string) string {
	if strings.Contains(digits, ".") {
		return digits
	}
	return digits + ".0"
}
