package provision_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares data with a file in testdata.
func golden(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(data)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	w := newWorld()
	const token = "canary-token"
	batch := w.batch(provision.Offline{})
	batch.Site.Host = "2001:db8::1"
	if result := one(t, batch, device("Zähler <1> &", "Hall 1", "meter", token)); result.Err != nil {
		t.Fatal(result.Err)
	}
	var bundle map[string]provision.File
	for _, bundle = range w.bundles {
	}
	modes := map[string][2]bool{ // secret, executable
		provision.RootFile: {}, provision.TokenFile: {true, false}, provision.InfoFile: {}, provision.ConnectFile: {false, true},
	}
	if len(bundle) != len(modes) {
		t.Errorf("the bundle has %d files, want %d", len(bundle), len(modes))
	}
	for name, mode := range modes {
		file := bundle[name]
		if file.Secret != mode[0] || file.Executable != mode[1] {
			t.Errorf("%s: secret %v, executable %v", name, file.Secret, file.Executable)
		}
		if name != provision.TokenFile && bytes.Contains(file.Data, []byte(token)) {
			t.Errorf("%s holds the token", name)
		}
	}
	if got := string(bundle[provision.TokenFile].Data); got != token+"\n" {
		t.Errorf("the token file is %q", got)
	}
	if got := bundle[provision.RootFile].Data; !bytes.Equal(got, batch.Site.RootPEM) {
		t.Errorf("the root file is %q", got)
	}
	golden(t, "device.json", bundle[provision.InfoFile].Data)
	golden(t, "connect.sh", bundle[provision.ConnectFile].Data)
}

func TestParseInfo(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "device.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := provision.Info{
		Schema: "tbcert.device/v1", Device: "Zähler <1> &", Host: "2001:db8::1",
		Ports: provision.Ports{MQTT: 1883, MQTTS: 8883}, Topic: "v1/devices/me/telemetry",
		Credential: "token", Files: provision.Files{Root: "ca-root.pem", Token: "token"}, Roots: testSite().Roots,
	}
	newer := strings.Replace(string(data), `"host"`, `"flavor": {"x": [1]}, "host"`, 1)
	for _, text := range []string{string(data), newer} {
		got, err := provision.ParseInfo([]byte(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
	}
}

func TestParseInfoRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"empty", "", "is not JSON"},
		{"cut off", `{"schema":"tbcert.device/v1","dev`, "is not JSON"},
		{"another type", `{"schema":"tbcert.device/v1","ports":"8883"}`, "is not JSON as tbcert writes it"},
		{"no schema", `{"device":"a"}`, "tbcert did not write it"},
		{"another file", `{"schema":"tbcert.verify/v1"}`, "tbcert did not write it"},
		{"a newer schema", `{"schema":"tbcert.device/v2"}`, "a newer tbcert wrote it"},
		{"no device", `{"schema":"tbcert.device/v1","host":"h","ports":{"mqtts":1}}`, "lacks"},
		{"no host", `{"schema":"tbcert.device/v1","device":"a","ports":{"mqtts":1}}`, "lacks"},
		{"no port", `{"schema":"tbcert.device/v1","device":"a","host":"h"}`, "lacks"},
		{"a wild port", `{"schema":"tbcert.device/v1","device":"a","host":"h","ports":{"mqtts":65536}}`, "lacks"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			info, err := provision.ParseInfo([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "device.json") {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if diff := cmp.Diff(provision.Info{}, info); diff != "" {
				t.Errorf("an error and yet:\n%s", diff)
			}
		})
	}
}

func TestWriteImport(t *testing.T) {
	t.Parallel()
	records := []provision.Record{
		{Name: "a", Registrar: provision.RegistrarOffline, Credential: provision.TokenCredential(secret.New("TOKEN-a"))},
		{Name: "there", Registrar: provision.RegistrarThingsBoard, ThingsBoardID: "id"},
		{Name: "Zähler, 1", Label: `Hall "2"`, Profile: "meter", Registrar: provision.RegistrarOffline, Credential: provision.TokenCredential(secret.New("T;|"))},
	}
	var out bytes.Buffer
	if err := provision.WriteImport(&out, sequence(records, nil), sequence(records, nil)); err != nil {
		t.Fatal(err)
	}
	want := "NAME,TYPE,LABEL,ACCESS_TOKEN\na,,,TOKEN-a\n\"Zähler, 1\",meter,\"Hall \"\"2\"\"\",T;|\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	devices, err := readManifest(&out, "thingsboard-import.csv")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]provision.Device{device("a", "", "", "TOKEN-a"), device("Zähler, 1", `Hall "2"`, "meter", "T;|")}, devices, secrets()); diff != "" {
		t.Errorf("read as a manifest (-want +got):\n%s", diff)
	}
}

func TestWriteImportFails(t *testing.T) {
	t.Parallel()
	records := []provision.Record{{Name: "a", Registrar: provision.RegistrarOffline, Credential: provision.TokenCredential(secret.New("canary"))}}
	if err := provision.WriteImport(&bytes.Buffer{}, sequence(records, errFault), sequence(records, errFault)); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("the inventory fails: %v", err)
	}
	if err := provision.WriteImport(full{}, sequence(records, nil), sequence(records, nil)); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("the disk is full: %v", err)
	}
}

// full is a disk with no room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFault }

func sequence(records []provision.Record, err error) func(func(provision.Record, error) bool) {
	return func(yield func(provision.Record, error) bool) {
		for _, record := range records {
			if !yield(record, nil) {
				return
			}
		}
		if err != nil {
			yield(provision.Record{}, err)
		}
	}
}
