package device

import (
	"strconv"
	"strings"
)

const (
	// maxScale is how many digits after the point ThingsBoard keeps as a number;
	// with more the value becomes text.
	maxScale = 16

	// maxPlain bounds the text that a number with an exponent is written out to.
	maxPlain = 1024
)

// typed is a text as ThingsBoard stores it: a number where it reads as one
// (NumberUtils.isParsable: digits with at most one point, which is not last, and
// a minus before them).
func typed(text string) any {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || strings.HasSuffix(digits, ".") || strings.Count(digits, ".") > 1 {
		return text
	}
	for _, c := range []byte(digits) {
		if c != '.' && !isDigit(c) {
			return text
		}
	}
	return number(text)
}

// number is a number as ThingsBoard stores it (JsonConverter's
// buildNumericKeyValueProto): whole numbers of 64 bits as int64, others as
// float64, and as text what neither holds. A number written with a point and
// without an exponent is never whole: 20.0 stays 20.0.
func number(text string) any {
	d, ok := parseDecimal(text)
	if !ok {
		return text // beyond what any number type holds
	}
	if d.whole {
		return d.integer()
	}
	if d.scale > maxScale {
		return d.text()
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	return f
}

// A decimal is unscaled times ten to the power of minus scale.
type decimal struct {
	written  string
	sign     string
	unscaled string
	scale    int64
	whole    bool // as ThingsBoard sees it
}

// parseDecimal takes a JSON number, or digits with a point and a minus.
func parseDecimal(text string) (decimal, bool) {
	d := decimal{written: text}
	mantissa, power, hasExponent := strings.Cut(lower(text), "e")
	exponent := int64(0)
	if hasExponent {
		var err error
		if exponent, err = strconv.ParseInt(power, 10, 32); err != nil {
			return d, false
		}
	}
	if strings.HasPrefix(mantissa, "-") {
		d.sign, mantissa = "-", mantissa[1:]
	}
	before, after, hasPoint := strings.Cut(mantissa, ".")
	d.unscaled = strings.TrimLeft(before+after, "0")
	d.scale = int64(len(after)) - exponent
	if hasPoint && !hasExponent {
		return d, true
	}
	zeros := len(d.unscaled) - len(strings.TrimRight(d.unscaled, "0"))
	d.whole = d.unscaled == "" || d.scale <= int64(zeros)
	return d, true
}

// integer is a whole number as int64, or as text when it does not fit.
func (d decimal) integer() any {
	if d.unscaled == "" {
		return int64(0)
	}
	plain, _, _ := strings.Cut(d.text(), ".")
	if n, err := strconv.ParseInt(plain, 10, 64); err == nil {
		return n
	}
	return plain
}

// text writes the number without an exponent; as it came when that takes too
// many digits.
func (d decimal) text() string {
	digits := d.unscaled
	switch {
	case d.scale > maxPlain || -d.scale > maxPlain:
		return d.written
	case d.scale <= 0:
		return d.sign + digits + strings.Repeat("0", int(-d.scale))
	}
	if missing := int(d.scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - int(d.scale)
	return d.sign + digits[:point] + "." + digits[point:]
}
