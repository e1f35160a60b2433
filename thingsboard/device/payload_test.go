package device_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/thingsboard/device"
)

func TestParseObjectTakesWhatGsonTakes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		payload string
		want    map[string]any
	}{
		"strict":                      {`{"a":1,"b":"x","c":true,"d":null,"e":[1,{"f":2}]}`, map[string]any{"a": num("1"), "b": "x", "c": true, "d": nil, "e": []any{num("1"), map[string]any{"f": num("2")}}}},
		"what a shell leaves":         {`{temperature:25}`, map[string]any{"temperature": num("25")}},
		"unquoted string":             {`{a:warm day}`, nil},
		"unquoted word":               {`{a:warm}`, map[string]any{"a": "warm"}},
		"unquoted with quotes inside": {`{a"b:c'd}`, map[string]any{`a"b`: `c'd`}},
		"unquoted not ASCII":          {`{größe:µ}`, map[string]any{"größe": "µ"}},
		"single quotes":               {`{'a':'b"c'}`, map[string]any{"a": `b"c`}},
		"equals sign":                 {`{a=1,b=>2,c = 3,d => 4}`, map[string]any{"a": num("1"), "b": num("2"), "c": num("3"), "d": num("4")}},
		"arrow apart":                 {`{a= >2}`, map[string]any{"a": ">2"}}, // > may stand in an unquoted text
		"semicolon":                   {`{a:[1;2];b:3}`, map[string]any{"a": []any{num("1"), num("2")}, "b": num("3")}},
		"comments":                    {"# one\n// two\r/* three\n*/{/**/a/* */:#\n1}// end", map[string]any{"a": num("1")}},
		"left out elements":           {`{a:[,1,]}`, map[string]any{"a": []any{nil, num("1"), nil}}},
		"nothing but a comma":         {`{a:[,]}`, map[string]any{"a": []any{nil, nil}}},
		"empty":                       {` { } `, map[string]any{}},
		"keywords in any case":        {`{a:TRUE,b:False,c:nUlL}`, map[string]any{"a": true, "b": false, "c": nil}},
		"longer than a keyword":       {`{a:trues}`, map[string]any{"a": "trues"}},
		"like a keyword":              {`{a:falſe}`, map[string]any{"a": "falſe"}},
		"not a number":                {`{a:01,b:1.,c:.5,d:+1,e:NaN,f:-}`, map[string]any{"a": "01", "b": "1.", "c": ".5", "d": "+1", "e": "NaN", "f": "-"}},
		"numbers":                     {`{a:-0,b:1e5,c:1.5E-3}`, map[string]any{"a": num("-0"), "b": num("1e5"), "c": num("1.5E-3")}},
		"the last of a name":          {`{a:1,a:2}`, map[string]any{"a": num("2")}},
		"escapes":                     {`{a:"\b\t\n\f\r\"\'\\\/\u00e9\uD83D\uDE00"}`, map[string]any{"a": "\b\t\n\f\r\"'\\/é😀"}},
		"an escaped line break":       {"{a:\"x\\\ny\"}", map[string]any{"a": "x\ny"}},
		"a line break in a string":    {"{a:\"x\ny\"}", map[string]any{"a": "x\ny"}},
		"half a character":            {`{a:"\ud83d",b:"\ud83d\u0041"}`, map[string]any{"a": "\ufffd", "b": "\ufffdA"}},
		"not UTF-8":                   {"{a:\"\xff\xfe\"}", map[string]any{"a": "\ufffd\ufffd"}},
		"byte order mark":             {"\ufeff{a:1}", map[string]any{"a": num("1")}},
		"prefix against scripts":      {")]}'\n{a:1}", map[string]any{"a": num("1")}},
		"a null character":            {"{a\x00:\x00}", map[string]any{"a\x00": "\x00"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := device.ParseObject([]byte(test.payload))
			if (err != nil) != (test.want == nil) {
				t.Fatalf("error: %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func num(text string) json.Number { return json.Number(text) }

func TestParseObjectRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ payload, want string }{
		"nothing":                 {"", "line 1, column 1: the payload ends where a value is due"},
		"only a comment":          {"# a", "line 1, column 4: the payload ends"},
		"comment without end":     {"/*/", "a comment does not end"},
		"no end":                  {"{a:1", "a comma or '}' is missing"},
		"no value":                {"{a:}", "'}' stands where a value is due"},
		"no value before a comma": {"{a:,b:1}", "',' stands where a value is due"},
		"no name":                 {"{:1}", "the name of a member is missing"},
		"a comma at the end":      {"{a:1,}", "the name of a member is missing"},
		"a comma first":           {"{,a:1}", "the name of a member is missing"},
		"no colon":                {"{a 1}", "a colon is missing"},
		"no comma":                {"{\n  a:1\n  b:2}", "line 3, column 3: a comma or '}' is missing"},
		"two values":              {"{a:1}{b:2}", "there is more after the end"},
		"a null character after":  {"{a:1}\x00", "there is more after the end"},
		"string without end":      {`{a:"b}`, "a string does not end"},
		"string ends in an escape": {
			`{a:"\`, "a string ends after a backslash",
		},
		"bad escape":         {`{a:"\x"}`, "'x' does not stand after a backslash"},
		"bad hexadecimal":    {`{a:"\u00g0"}`, "four hexadecimal digits"},
		"short hexadecimal":  {`{a:"\u00`, "four hexadecimal digits"},
		"an array":           {"[1]", "an array stands where an object is due"},
		"null":               {"null", "null stands where an object is due"},
		"empty array":        {"[]", "an array stands"},
		"a text":             {"hello", "a text stands"},
		"array without end":  {"[1", "a comma or ']' is missing"},
		"array of nothing":   {"[", "the payload ends"},
		"a slash alone":      {"{a:/b}", "'/' stands where a value is due"},
		"wrong bracket":      {"{a:[1}}", "a comma or ']' is missing"},
		"deeper than Gson's": {strings.Repeat("[", 256) + strings.Repeat("]", 256), "nest more than 255 deep"},
		"very deep":          {strings.Repeat("{a:", 400_000), "nest more than 255 deep"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := device.ParseObject([]byte(test.payload))
			if got != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v and error %v, want %q", got, err, test.want)
			}
			var syntax *device.PayloadError
			if isSyntax := !strings.Contains(test.want, " stands where an object"); isSyntax && !errors.As(err, &syntax) && !strings.HasPrefix(test.want, "an array") && !strings.HasPrefix(test.want, "a text") {
				t.Errorf("the error is a %T", err)
			}
		})
	}
	deepest := "{a:" + strings.Repeat("[", 254) + strings.Repeat("]", 254) + "}"
	if _, err := device.ParseObject([]byte(deepest)); err != nil {
		t.Errorf("255 deep: %v", err)
	}
}

func TestParseTelemetry(t *testing.T) {
	t.Parallel()
	sample := func(key string, value any) device.Sample { return device.Sample{Key: key, Value: value} }
	for name, test := range map[string]struct {
		payload string
		want    []device.Sample
	}{
		"an object":        {`{temperature:25,on:true,name:x}`, []device.Sample{sample("temperature", int64(25)), sample("on", true), sample("name", "x")}},
		"an array":         {`[{a:1},{a:2}]`, []device.Sample{sample("a", int64(1)), sample("a", int64(2))}},
		"with its time":    {`{"ts":1700000000000,"values":{"a":1.5}}`, []device.Sample{{TS: 1700000000000, HasTS: true, Key: "a", Value: 1.5}}},
		"time in a text":   {`{"ts":"1700000000000","values":{"a":1}}`, []device.Sample{{TS: 1700000000000, HasTS: true, Key: "a", Value: int64(1)}}},
		"time with a part": {`{"ts":1.7e12,"values":{"a":1}}`, []device.Sample{{TS: 1700000000000, HasTS: true, Key: "a", Value: int64(1)}}},
		"time zero":        {`{"ts":0,"values":{"a":1}}`, []device.Sample{{HasTS: true, Key: "a", Value: int64(1)}}},
		"ts alone":         {`{"ts":5}`, []device.Sample{sample("ts", int64(5))}},
		"values alone":     {`{"values":{"a": "b"}}`, []device.Sample{sample("values", json.RawMessage(`{"a":"b"}`))}},
		"nested":           {`{a:{z:1.50,b:[x,null,'<"']},c:[]}`, []device.Sample{sample("a", json.RawMessage(`{"z":1.50,"b":["x",null,"<\""]}`)), sample("c", json.RawMessage(`[]`))}},
		"null left out":    {`{a:null,b:1}`, []device.Sample{sample("b", int64(1))}},
		"nothing":          {`{}`, []device.Sample{}},
		"empty array":      {`[]`, []device.Sample{}},
		"texts that are numbers": {
			`{a:"25",b:"-2.5",c:"1e5",d:"5.",e:"",f:"-",g:"1.2.3",h:" 1"}`,
			[]device.Sample{sample("a", int64(25)), sample("b", -2.5), sample("c", "1e5"), sample("d", "5."), sample("e", ""), sample("f", "-"), sample("g", "1.2.3"), sample("h", " 1")},
		},
		"whole or not": {
			`{a:20.0,b:1e2,c:1.5e1,d:10e-1,e:15e-1,f:-0,g:0e9999}`,
			[]device.Sample{sample("a", 20.0), sample("b", int64(100)), sample("c", int64(15)), sample("d", int64(1)), sample("e", 1.5), sample("f", int64(0)), sample("g", int64(0))},
		},
		"too large": {
			`{a:9223372036854775807,b:9223372036854775808,c:-9223372036854775809,d:1e30,e:1e999999999,f:1e99999999999999999999}`,
			[]device.Sample{
				sample("a", int64(9223372036854775807)), sample("b", "9223372036854775808"), sample("c", "-9223372036854775809"),
				sample("d", "1000000000000000000000000000000"), sample("e", "1e999999999"), sample("f", "1e99999999999999999999"),
			},
		},
		"too many digits": {
			`{a:0.1234567890123456,b:0.12345678901234567,c:1.5e-20,d:-1e-17,e:1e-5000}`,
			[]device.Sample{
				sample("a", 0.1234567890123456), sample("b", "0.12345678901234567"), sample("c", "0.000000000000000000015"),
				sample("d", "-0.00000000000000001"), sample("e", "1e-5000"),
			},
		},
		"float64's end": {`{a:` + strings.Repeat("9", 400) + `.5}`, []device.Sample{sample("a", strings.Repeat("9", 400)+".5")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := device.ParseTelemetry([]byte(test.payload))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseTelemetryRefuses(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		`null`:                       "telemetry: null stands where an object of measurements is due",
		`25`:                         "a number stands where",
		`true`:                       "true or false stands where",
		`[1]`:                        "a number stands where",
		`[{a:1},null]`:               "null stands where",
		`{a:1`:                       "telemetry: line 1, column 5: a comma or '}' is missing",
		`{ts:1,values:null}`:         `null stands where the object "values" is due`,
		`{ts:1,values:[]}`:           `an array stands where the object "values" is due`,
		`{ts:null,values:{a:1}}`:     `null stands where the number "ts" is due`,
		`{ts:true,values:{a:1}}`:     `where the number "ts" is due`,
		`{ts:"soon",values:{a:1}}`:   `"ts" is not a number of milliseconds`,
		`{ts:1e300,values:{a:1}}`:    `"ts" is not a number of milliseconds`,
		`[{ts:{},values:{a:1}}, {}]`: `an object stands where the number "ts" is due`,
	} {
		got, err := device.ParseTelemetry([]byte(payload))
		if got != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v and error %v, want %q", payload, got, err, want)
		}
	}
}

func TestParseAttributes(t *testing.T) {
	t.Parallel()
	got, err := device.ParseAttributes([]byte(`{n:"007",s:x,o:{b:1,a:2},gone:null}`))
	want := map[string]any{"n": int64(7), "s": "x", "o": json.RawMessage(`{"b":1,"a":2}`)}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if _, err := device.ParseAttributes([]byte(`[{a:1}]`)); err == nil {
		t.Error("an array of attributes was taken")
	}
}
