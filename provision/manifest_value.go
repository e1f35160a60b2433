package provision

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// parseValue is the value of an attribute that stands as a text in a CSV, as
// ThingsBoard's importer takes it (TypeCastUtil): a number, true or false in
// whatever case, an object or an array where it is one, and else a text. A number
// may have a decimal comma. One that would change its value is a text: a whole
// one of more than 64 bits, or with a leading zero (which the importer drops), a
// fraction of more than 16 digits.
func parseValue(text string) json.RawMessage {
	switch number := strings.Replace(text, ",", ".", 1); {
	case isNumber(number):
		return json.RawMessage(number)
	case strings.EqualFold(text, "true"), strings.EqualFold(text, "false"):
		return json.RawMessage(strings.ToLower(text))
	}
	if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") {
		var out bytes.Buffer
		if json.Compact(&out, []byte(trimmed)) == nil {
			return out.Bytes()
		}
	}
	return textValue(text)
}

// textValue is a text as JSON.
func textValue(text string) json.RawMessage {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a text never fails
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// isNumber reports whether the text is a number in JSON that ThingsBoard keeps
// as it is.
func isNumber(text string) bool {
	if text == "" || strings.Trim(text, "+-.0123456789eE") != "" || !json.Valid([]byte(text)) {
		return false
	}
	if !strings.ContainsAny(text, ".eE") {
		_, err := strconv.ParseInt(text, 10, 64)
		return err == nil
	}
	_, fraction, _ := strings.Cut(text, ".")
	if i := strings.IndexAny(fraction, "eE"); i >= 0 {
		fraction = fraction[:i]
	}
	value, err := strconv.ParseFloat(text, 64)
	return err == nil && !math.IsInf(value, 0) && len(fraction) <= 16
}
