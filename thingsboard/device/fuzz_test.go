package device_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// FuzzParse: what encoding/json takes as an object means the same here; what
// is taken at all can be written as strict JSON; nothing panics.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"a":1}`, `{temperature:25}`, `{"ts":1,"values":{"a":"b"}}`, `[{a:1},{b:2}]`, `{'a'=>"\ud83d\ude00";b=[,]}`,
		"# c\n{a:/**/1e-5}", `{"a":{"b":[1,2.5,"x",true]},"a":"last"}`, "{\"\xff\":\"\\ud800\"}", ")]}'\n{}", `{"n":1e999999999}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		samples, err := device.ParseTelemetry(payload)
		if err != nil && samples != nil {
			t.Fatal("samples with an error")
		}
		for _, sample := range samples {
			if raw, ok := sample.Value.(json.RawMessage); ok && !json.Valid(raw) {
				t.Fatalf("%s is not JSON", raw)
			}
		}
		got, err := device.ParseObject(payload)
		want, strict := strictObject(payload)
		if !strict || depth(want) > 255 {
			return
		}
		if err != nil {
			t.Fatalf("strict JSON is refused: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if _, err := device.ParseAttributes(payload); err != nil {
			t.Fatalf("an object is refused as attributes: %v", err)
		}
	})
}

func strictObject(payload []byte) (map[string]any, bool) {
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	var value any
	if !json.Valid(payload) || decoder.Decode(&value) != nil {
		return nil, false
	}
	object, ok := value.(map[string]any)
	return object, ok
}

func depth(value any) int {
	deepest := 0
	switch value := value.(type) {
	case map[string]any:
		for _, member := range value {
			deepest = max(deepest, depth(member))
		}
	case []any:
		for _, element := range value {
			deepest = max(deepest, depth(element))
		}
	default:
		return 0
	}
	return deepest + 1
}
