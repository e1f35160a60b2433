package provision_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

func serverSide(key, value string) provision.Attribute {
	return provision.Attribute{Scope: provision.ScopeServer, Key: key, Value: json.RawMessage(value)}
}

func sharedWith(key, value string) provision.Attribute {
	return provision.Attribute{Scope: provision.ScopeShared, Key: key, Value: json.RawMessage(value)}
}

// fullDevice is a device with everything but a certificate.
func fullDevice() provision.Device {
	return provision.Device{
		Name: "Zähler 1", Label: "Hall 1", Profile: "meter",
		Extra: provision.Extra{
			Customer: "Acme", Description: "in the cellar", Gateway: true,
			Attributes: []provision.Attribute{serverSide("building", `{"floor":[1,null,"a\"b"]}`), serverSide("n", "1.5"), sharedWith("on", "true"), sharedWith("text", `"7a"`)},
		},
		Credential: provision.Credential{
			Kind: provision.CredentialBasic, ClientID: secret.New("c1"), Username: secret.New("u1"), Password: secret.New("canary 1"),
		},
	}
}

// The same device in every format.
func TestReadManifestFormats(t *testing.T) {
	t.Parallel()
	const object = `{"name":"Z\u00e4hler 1","label":"Hall 1","type":"meter","description":"in the cellar","gateway":true,"customer":"Acme",` +
		`"credential":"basic","client_id":"c1","username":"u1","password":"canary 1","token":null,"certificate":"",` +
		`"shared_attributes":{"text":"7a","on":true},"server_attributes":{"n":1.5,"building":{ "floor" : [1,null,"a\"b"]}},"error":{"any":["}"]}}`
	const mapping = "  name: Zähler 1\n  label: Hall 1 # comment\n  profile: meter\n\n  description: >-\n    in the\n    cellar\n" +
		"  gateway: true\n  customer: 'Acme'\n  credential: basic\n  client_id: c1\n# comment\n  username: \"u1\"\n  password: canary 1\n  token:\n" +
		"  shared_attributes: {text: 7a, on: true}\n  server_attributes:\n    n: 1.5\n    building:\n      floor:\n      - 1\n      - null\n      - a\"b\n  error: [x]\n"
	const headings = "NAME,TYPE,LABEL,DESCRIPTION,IS_GATEWAY,ACCESS_TOKEN,X509,MQTT_CLIENT_ID,MQTT_USER_NAME,MQTT_PASSWORD,SHARED_ATTRIBUTE:text,SHARED_ATTRIBUTE:on,SERVER_ATTRIBUTE:n,SERVER_ATTRIBUTE:building,customer,error,credential"
	const form = "Name;Device profile;Label;Description;Is Gateway;Access token;X.509;MQTT client ID;MQTT user name;MQTT password;shared: text;shared:on;Server attribute:n;server:building;Customer;Error;CREDENTIAL"
	const row = `Zähler 1,meter,Hall 1,in the cellar,TRUE,,,c1,u1,canary 1,7a,TRUE,1.5,"{""floor"": [1, null, ""a\""b""]}",Acme,"any, ""thing""",basic`
	tests := []struct{ file, text string }{
		{"f.csv", headings + "\n" + row + "\n"},
		{"semicolons.csv", form + "\r\n" + strings.ReplaceAll(strings.ReplaceAll(row, ",", ";"), `; `, ", ") + "\r\n"},
		{"f.json", "\ufeff[\n " + object + "\n]\n"},
		{"member.json", " {\r\n\"devices\" : [" + object + "] }"},
		{"stream.json", strings.ReplaceAll(object, ",", ",\n")},
		{"f.ndjson", "\r\n" + object + "\r\n\n"},
		{"f.yaml", "# comment\n---\n-" + mapping[1:]},
		{"member.yml", "devices: # all\n\n  -\n    " + strings.ReplaceAll(mapping, "\n", "\r\n    ") + "\r\n...\n"},
		{"inline.yaml", "- " + object},
		{"stdin", object},
		{"stdin", "[" + object + "]"},
		{"stdin", "{\"devices\":\n[" + object + "]}"},
		{"stdin", strings.ReplaceAll(object, ",", ",\n")},
		{"stdin", "\n# comment\n-" + mapping[1:]},
		{"stdin", "devices:\n-" + mapping[1:]},
		{"stdin", headings + "\n" + row},
		{"again.ndjson", string(provision.EncodeRow(fullDevice(), "why \"not\""))},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			t.Parallel()
			got, err := readManifest(strings.NewReader(test.text), test.file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]provision.Device{fullDevice()}, got, secrets()); diff != "" {
				t.Errorf("device (-want +got):\n%s", diff)
			}
			if err := got[0].Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReadManifestOrder(t *testing.T) {
	t.Parallel()
	for file, text := range map[string]string{
		"f.json":   "[\n {\"name\":\"a\"}, {\"name\":\"b\"},\n{\"name\":\"c\"}]",
		"f.ndjson": "{\"name\":\"a\"}\n \n {\"name\":\"b\"}\n{\"name\":\"c\"}",
		"f.yaml":   "devices:\n - name: a\n - {name: b}\n\n - \"name\": 'c'\n",
		"f.csv":    "label|name\n\"x\n\"|a\n",
	} {
		rows, err := readRows(strings.NewReader(text), file)
		if file == "f.csv" {
			if err == nil {
				t.Error("a label with a line break is taken")
			}
			continue
		}
		var places [][3]any
		for _, row := range rows {
			places = append(places, [3]any{row.Device.Name, row.Line, row.Column})
		}
		want := map[string][][3]any{
			"f.json":   {{"a", 2, 2}, {"b", 2, 16}, {"c", 3, 1}},
			"f.ndjson": {{"a", 1, 1}, {"b", 3, 2}, {"c", 4, 1}},
			"f.yaml":   {{"a", 2, 2}, {"b", 3, 2}, {"c", 5, 2}},
		}[file]
		if diff := cmp.Diff(want, places); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", file, err, diff)
		}
	}
}

func TestReadManifestRefusesObjects(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 100_000)
	tests := []struct {
		name, file, text string
		want             []string
	}{
		{"empty", "f.json", " \n", []string{"f.json:2:1: the file is empty"}},
		{"no device", "f.json", "[ ]", []string{"f.json:1:1: the file has no device"}},
		{"no device in the member", "f.json", `{"devices":[]}`, []string{"f.json:1:1: the file has no device"}},
		{"empty lines", "f.ndjson", "\n\n", []string{"f.ndjson:1:1: the file has no device"}},
		{"empty YAML", "f.yaml", "# nothing\n", []string{"f.yaml:1:1: the file has no device"}},
		{"a text", "f.json", `"canary"`, []string{"f.json:1:1: a manifest in JSON is a list of devices"}},
		{"UTF-16", "f.json", "[\x00{\x00", []string{"f.json:1:1: the file is UTF-16"}},
		{"a spreadsheet", "f.json", "PK\x03\x04", []string{"f.json:1:1: the file is a spreadsheet"}},
		{"a list of texts", "f.json", "[\n\"canary\"]", []string{"f.json:2:1: a device is wanted here"}},
		{"a comma at the end", "f.json", `[{"name":"a"},]`, []string{"f.json:1:15: a device is wanted here"}},
		{"no comma", "f.json", `[{"name":"a"}{"name":"b"}]`, []string{"f.json:1:14: a comma or the end of the list"}},
		{"cut off in the list", "f.json", "[{\"name\":\"a\"},\n", []string{"f.json:2:1: the file ends in the middle of the list"}},
		{"cut off in a device", "f.json", "[{\"name\":\"a\"},\n {\"name\":\"b\",\n\"token\":\"canary", []string{"f.json:2:2: the device that begins here has no end"}},
		{"cut off behind the list", "f.json", `{"devices":[{"name":"a"}]`, []string{"f.json:1:26: the file ends in the middle"}},
		{"another member", "f.json", `{"devices":[{"name":"a"}],"x":1}`, []string{"f.json:1:26: the object with the devices must end here"}},
		{"something behind it", "f.json", "[{\"name\":\"a\"}]\n[]", []string{"f.json:2:1: something follows the list"}},
		{"no list", "f.json", `{"devices": 7}`, []string{"f.json:1:13: a list of devices is wanted here"}},
		{"not JSON", "f.json", "[{\"name\":\"a\",\n \"token\": canary}, {]", []string{"f.json:2:11: this is not JSON: invalid character 'c'"}},
		{"lines go on", "f.ndjson", "{\"name\":\"a\"\n{\"name\":\"a/b\"}\ncanary\n{\"name\":\"b\"} x\n{\"name\":\"b\"", []string{
			"f.ndjson:1:12: the device has no end", "f.ndjson:2:9: device name \"a/b\" holds", "f.ndjson:3:1: a device is wanted here",
			"f.ndjson:4:14: this is not JSON", "f.ndjson:5:12: the device has no end",
		}},
		{"not UTF-8", "f.ndjson", "{\"name\":\"a\",\"label\":\"caf\xe9\"}", []string{"f.ndjson:1:25: this is not UTF-8 text"}},
		{"half a character", "f.ndjson", `{"name":"a","label":"\ud800"}`, []string{"f.ndjson:1:21: the label has an escape that is no character"}},
		{"half a character in a key", "f.ndjson", `{"name":"a","server_attributes":{"\udc00":1}}`, []string{"f.ndjson:1:34: the key has an escape"}},
		{"unknown fields", "f.json", "[{\"name\":\"a\",\n \"color\":1,\"token\":\"canary\", \"shared\":{}}]", []string{
			`f.json:2:2: field "color" is unknown; the fields are name, label`, `f.json:2:30: field "shared" is unknown`,
		}},
		{"a field twice", "f.ndjson", `{"name":"a","name":"b","token":"canary1","access_token":"canary2","server_attributes":{},"server_attributes":{}}`, []string{
			"f.ndjson:1:20: the device has two fields for the name", "f.ndjson:1:57: the device has two fields for the token", "f.ndjson:1:90: the device has two fields for the server attributes",
		}},
		{"no name", "f.json", `[{"token":"canary"}]`, []string{"f.json:1:2: the device has no name"}},
		{"kinds of values", "f.json", "[{\"name\":12,\n\"label\":true,\"gateway\":1,\"token\":{\"canary\":1},\"customer\":[],\"server_attributes\":7,\"shared_attributes\":\"canary\"}]", []string{
			"f.json:1:10: the name must be a text in quotes, and is a number", "f.json:2:9: the label must be a text in quotes, and is true or false",
			"f.json:2:24: the gateway must be a text in quotes, and is a number", "f.json:2:34: the token must be a text in quotes, and is an object",
			"f.json:2:58: the customer must be a text in quotes, and is a list", "f.json:2:81: the server attributes must be an object, and are a number",
			"f.json:2:103: the shared attributes must be an object, and are a text",
		}},
		{"attributes", "f.ndjson", `{"name":"a","server_attributes":{"":1,"a":null,"b,c":1,"d":1,"d":2,"\n":1}}`, []string{
			"f.ndjson:1:34: the key of the attribute is empty", `f.ndjson:1:39: the attribute "a" is null`, `f.ndjson:1:48: the key of the attribute "b,c" holds a comma`,
			"f.ndjson:1:68: the key of the attribute holds U+000A", `f.ndjson:1:62: the server attribute "d" is there twice`,
		}},
		{"duplicates", "f.json", "[{\"name\":\"a\",\"token\":\"canary\"},\n{\"name\":\"a\"},\n{\"name\":\"b\",\"token\":\"canary\"}]", []string{
			`f.json:2:9: device name "a" is in line 1 already`, "f.json:3:21: the token is that of the device in line 1 already",
		}},
		{"a long device", "f.json", "[{\"name\":\"" + strings.Repeat("a", 2<<20) + "\"},\n{\"name\":\"b/\"}]", []string{"f.json:1:2: the device is longer than 1 MiB", "f.json:2:9: device name"}},
		{"a long line", "f.ndjson", "{\"name\":\"" + strings.Repeat("a", 2<<20) + "\"}\n{\"name\":\"b/\"}", []string{"f.ndjson:1:1: the line is longer than 1 MiB", "f.ndjson:2:9: device name"}},
		{"a long item", "f.yaml", "- name: a\n" + strings.Repeat("  label: "+strings.Repeat("a", 1000)+"\n", 2000) + "- name: b/\n", []string{"f.yaml:1:1: the device is longer than 64 KiB", "f.yaml:2002:9: device name"}},
		{"a long line of an item", "f.yaml", "- name: a\n  label: " + strings.Repeat("a", 2<<20) + "\n- name: b/\n", []string{"f.yaml:1:1: the device is longer than 64 KiB", "f.yaml:3:9: device name"}},
		{"a long first line", "f.yaml", strings.Repeat("a", 2<<20), []string{"f.yaml:1:1: a manifest in YAML is a list"}},
		{"no list", "f.yaml", "# x\nname: a\n", []string{"f.yaml:2:1: a manifest in YAML is a list"}},
		{"a flow list", "f.yaml", "devices: [{name: a}]\n", []string{"f.yaml:1:1: a manifest in YAML is a list"}},
		{"two documents", "f.yaml", "- name: a\n---\n- name: b\n", []string{"f.yaml:2:1: this is not part of the list"}},
		{"something behind the list", "f.yaml", "devices:\n  - name: a/\nother: 1\n", []string{`f.yaml:2:11: device name "a/" holds`, "f.yaml:3:1: this is not part of the list"}},
		{"texts in YAML", "f.yaml", "- canary\n-\n- - canary\n- name: b/\n", []string{
			"f.yaml:1:1: a device is wanted here", "f.yaml:2:1: a device is wanted here", "f.yaml:3:1: a device is wanted here", "f.yaml:4:9: device name",
		}},
		{"not YAML", "f.yaml", "- name: a\n  token: \"canary\n- name: b/\n", []string{"f.yaml:2:10: this is not YAML", "f.yaml:3:9: device name"}},
		{"YAML with a tab", "f.yaml", "- name: a\n\ttoken: canary\n", []string{"f.yaml:2:1: this is not part of the list"}},
		{"a YAML key twice", "f.yaml", "- name: a\n  token: canary1\n  token: canary2\n", []string{"f.yaml:3:3: this is not YAML: mapping key"}},
		{"columns in YAML are bytes", "f.yaml", "- {name: é, color: é}\n", []string{`f.yaml:1:14: field "color" is unknown`}},
		{"YAML not UTF-8", "f.yaml", "- name: a\n  label: caf\xe9\n", []string{"f.yaml:2:13: this is not UTF-8"}},
		{"aliases", "f.yaml", "- name: &x a\n  label: *x\n- name: !!str b\n- <<: {name: a}\n", []string{
			"f.yaml:1:9: the name must be a text, and is an anchor", "f.yaml:2:10: the label must be a text, and is an anchor", "f.yaml:3:9: the name must be a text, and is a value with a tag", `f.yaml:4:3: field "<<" is unknown`,
		}},
		{"YAML attributes", "f.yaml", "- name: a\n  server_attributes:\n    a: .nan\n    b: ~\n    c: *x\n  shared_attributes: canary\n", []string{
			"f.yaml:3:5: ", `f.yaml:4:5: the attribute "b" is null`, "f.yaml:5:5: the value is an anchor", "f.yaml:6:22: the shared attributes must be a mapping",
		}},
		{"deep YAML", "f.yaml", "- name: " + deep[:60_000] + "\n", []string{"f.yaml:1:1: the device is nested deeper than 200"}},
		{"deep lists", "f.yaml", "- " + strings.Repeat("- ", 30_000) + "\n", []string{"f.yaml:1:1: the device is nested deeper than 200"}},
		{"deep JSON", "f.ndjson", `{"name":` + deep + "}", []string{"f.ndjson:1:"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := readManifest(strings.NewReader(test.text), test.file)
			checkProblems(t, err, test.want)
		})
	}
}

// What YAML takes for a number is a name as it is written.
func TestReadManifestYAMLScalars(t *testing.T) {
	t.Parallel()
	got, err := readManifest(strings.NewReader("- name: 0012\n  label: 1.50\n  profile: no\n  description: true\n  token: |\n    abc\n"), "f.yaml")
	if err == nil || !strings.Contains(err.Error(), "the token has a line break at position 4") {
		t.Errorf("a token with a line break: %v, %v", got, err)
	}
	got, err = readManifest(strings.NewReader("- name: 0012\n  label: 1.50\n  profile: no\n  description: true\n  customer: 0x1F\n  gateway: false\n"), "f.yaml")
	want := provision.Device{Name: "0012", Label: "1.50", Profile: "no", Extra: provision.Extra{Description: "true", Customer: "0x1F"}}
	if diff := cmp.Diff([]provision.Device{want}, got, secrets()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestSniff(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]provision.Format{
		"":                             provision.FormatCSV,
		"name,token\n":                 provision.FormatCSV,
		"-name,token\n":                provision.FormatCSV,
		" [":                           provision.FormatJSON,
		"{\n":                          provision.FormatJSON,
		"{\"devices\":[{}]}\n":         provision.FormatJSON,
		"{\"name\":\"a\"}\n":           provision.FormatNDJSON,
		"\n{\"name\":\"a\"}\r\n{":      provision.FormatNDJSON,
		"{\"name\":\n":                 provision.FormatJSON,
		"- name: a":                    provision.FormatYAML,
		"#\n\n-\n":                     provision.FormatYAML,
		"devices:":                     provision.FormatYAML,
		"---\n":                        provision.FormatYAML,
		"{\n \"devices\" :\n [":        provision.FormatJSON,
		"devices,name\n":               provision.FormatCSV,
		strings.Repeat("x", 5000):      provision.FormatCSV,
		"\"name\",\"label\"\na,[b]\n{": provision.FormatCSV,
	} {
		if got := provision.Sniff([]byte(text)); got != want {
			t.Errorf("%.20q is %s, want %s", text, got, want)
		}
	}
	for file, want := range map[string]provision.Format{
		"a.CSV": provision.FormatCSV, "a.tsv": provision.FormatCSV, "a.json": provision.FormatJSON, "a.jsonl": provision.FormatNDJSON,
		"x/a.yml": provision.FormatYAML, "-": provision.FormatAny, "json": provision.FormatAny, "": provision.FormatAny,
	} {
		if got := provision.FormatOf(file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
}
