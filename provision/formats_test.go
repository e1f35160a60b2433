package provision_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/export"
)

// formatSite is the test's site with a root that can be parsed.
func formatSite(t *testing.T) provision.Site {
	t.Helper()
	root, err := os.ReadFile(filepath.Join("export", "testdata", "ca-root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	site := testSite()
	site.RootPEM = root
	return site
}

// formatBatch gives bundles formats, as they are really written.
func (w *world) formatBatch(t *testing.T, formats ...string) *provision.Batch {
	t.Helper()
	batch := w.batch(board{world: w})
	batch.Site, batch.Exporter, batch.Formats = formatSite(t), export.Exporter{}, formats
	return batch
}

func (w *world) formatRotation(t *testing.T) *provision.Rotation {
	t.Helper()
	rotation := w.rotation()
	rotation.Site, rotation.Exporter = formatSite(t), export.Exporter{}
	return rotation
}

// checkFormats wants the token of ThingsBoard, and no other, in the device's
// header, and the password of its keystore beside that.
func (w *world) checkFormats(t *testing.T, device, stale string) {
	t.Helper()
	bundle := w.bundles[device]
	token := w.board[device].Credential.Token.Reveal()
	header := bundle["tbcert_esp32.h"]
	if token == "" || token == stale || !bytes.Contains(header.Data, []byte(token)) || bytes.Contains(header.Data, []byte(stale)) || !header.Secret {
		t.Errorf("the header does not hold the token %q:\n%s", token, header.Data)
	}
	if !slices.Equal(w.records[device].Formats, []string{"esp32", "truststore", "zip"}) {
		t.Errorf("on record are %q", w.records[device].Formats)
	}
	if len(bundle["truststore.p12"].Data) == 0 || len(bundle[provision.StorePasswordFile].Data) != 21 || !bundle[provision.StorePasswordFile].Secret {
		t.Error("there is no truststore with its password")
	}
}

// Whatever call of a rotation fails, with or without effect: once it was run
// again, no format holds the old token.
func TestRotationLeavesNoStaleFormat(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		failed := true
		for failAt := 1; failed; failAt++ {
			w := newWorld()
			mustRun(t, w.formatBatch(t, "zip", "truststore", "esp32"), named("a"))
			before, password := w.tokens()["a"], w.bundles["a"][provision.StorePasswordFile].Data
			w.calls, w.failAt, w.applied = nil, failAt, applied
			_, summary, err := rotated(t, w.formatRotation(t), "a")
			failed = err != nil || summary.Failed > 0
			w.failAt = 0
			if failed {
				if _, _, err := rotated(t, w.formatRotation(t), "a"); err != nil {
					t.Fatalf("call %d: %v", failAt, err)
				}
			}
			w.checkFormats(t, "a", before)
			if !bytes.Equal(w.bundles["a"][provision.StorePasswordFile].Data, password) {
				t.Errorf("call %d: the keystore has another password", failAt)
			}
			if actions := mustRun(t, w.formatBatch(t), named("a")); actions[0] != provision.ActionUnchanged {
				t.Errorf("call %d: provision then says %v", failAt, actions)
			}
			if failAt > 100 {
				t.Fatal("it fails for ever")
			}
		}
	}
}

// A bundle that is lost comes back with its formats, from the record; a record
// that is lost takes them from the bundle.
func TestFormatsComeBack(t *testing.T) {
	t.Parallel()
	lose := map[string]func(*world){
		"the bundle": func(w *world) { delete(w.bundles, "a") },
		"a file":     func(w *world) { delete(w.bundles["a"], "tbcert_esp32.h") },
		"the record": func(w *world) { delete(w.records, "a") },
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			mustRun(t, w.formatBatch(t, "zip", "truststore", "esp32"), named("a"))
			lose(w)
			mustRun(t, w.formatBatch(t), named("a"))
			w.checkFormats(t, "a", "another")
		})
	}
}

// Formats are added, and ended; those of others' files stay.
func TestFormatsChange(t *testing.T) {
	t.Parallel()
	w := newWorld()
	mustRun(t, w.formatBatch(t, "esp32"), named("a"))
	mustRun(t, w.formatBatch(t, "qr", "esp32"), named("a"))
	w.bundles["a"]["notes.txt"] = provision.File{Name: "notes.txt", Data: []byte("mine")}
	w.bundles["a"]["publish.py"] = provision.File{Name: "publish.py", Data: []byte("mine")}
	only := w.formatBatch(t, "der")
	only.OnlyFormats = true
	mustRun(t, only, named("a"))
	var names []string
	for name := range w.bundles["a"] {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"ca-root.der", "ca-root.pem", "connect.sh", "device.json", "notes.txt", "publish.py", "token"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("the bundle has (-want +got):\n%s", diff)
	}
	result := one(t, w.formatBatch(t, "python"), plain("a"))
	var inTheWay *provision.InTheWayError
	if !errors.As(result.Err, &inTheWay) || string(w.bundles["a"]["publish.py"].Data) != "mine" {
		t.Errorf("error %v", result.Err)
	}
	if !slices.Equal(w.records["a"].Formats, []string{"der"}) {
		t.Errorf("on record are %q", w.records["a"].Formats)
	}
}

// What a format cannot carry fails before anything is registered or changed.
func TestFormatsThatDoNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld()
	result := one(t, w.formatBatch(t, "p12"), plain("a"))
	var unfit *export.UnfitError
	if !errors.As(result.Err, &unfit) || len(w.board) != 0 || len(w.records) != 0 || len(w.bundles) != 0 {
		t.Errorf("error %v; ThingsBoard has %v", result.Err, w.board)
	}
	if result := one(t, w.formatBatch(t, "floppy"), plain("a")); result.Err == nil || len(w.board) != 0 {
		t.Errorf("error %v", result.Err)
	}
	mustRun(t, w.formatBatch(t), named("a"))
	record := w.records["a"]
	record.Formats = []string{"p12"}
	w.records["a"] = record
	before := w.tokens()["a"]
	results, _, err := rotated(t, w.formatRotation(t), "a")
	if err != nil || !errors.As(results["a"].Err, &unfit) || w.tokens()["a"] != before || w.records["a"].State != provision.StateRegistered {
		t.Errorf("error %v, %v", err, results["a"].Err)
	}
	none := w.formatBatch(t)
	none.Exporter = nil
	if result := one(t, none, plain("a")); result.Err == nil || !strings.Contains(result.Err.Error(), "nothing to write them") {
		t.Errorf("error %v", result.Err)
	}
}

// A password of one's own replaces the one that was made, and one that cannot be
// used is replaced.
func TestStorePassword(t *testing.T) {
	t.Parallel()
	w := newWorld()
	mustRun(t, w.formatBatch(t, "truststore"), named("a"))
	made := w.bundles["a"]["truststore.p12"].Data
	own := w.formatBatch(t)
	own.StorePassword = secret.New("canary-own-password")
	mustRun(t, own, named("a"))
	file := w.bundles["a"][provision.StorePasswordFile]
	if string(file.Data) != "canary-own-password\n" || bytes.Equal(made, w.bundles["a"]["truststore.p12"].Data) {
		t.Errorf("the password is %q", file.Data)
	}
	mustRun(t, w.formatBatch(t), named("a"))
	if again := w.bundles["a"][provision.StorePasswordFile]; !bytes.Equal(again.Data, file.Data) {
		t.Errorf("the password became %q", again.Data)
	}
	file.Data = []byte("short\n")
	w.bundles["a"][provision.StorePasswordFile] = file
	mustRun(t, w.formatBatch(t), named("a"))
	if again := w.bundles["a"][provision.StorePasswordFile]; len(again.Data) != 21 {
		t.Errorf("the password became %q", again.Data)
	}
}

// A device.json names no file outside its directory, nor one of the bundle
// itself: those that it lists are taken away.
func TestExportsOf(t *testing.T) {
	t.Parallel()
	const text = `{"schema":"tbcert.device/v1","exports":[
		{"format":"esp32","file":"tbcert_esp32.h","secret":true}, {"format":"x","file":"../ca/root.key"}, {"format":"x","file":"token"},
		{"format":"x","file":"/etc/passwd"}, {"format":"x","file":".bashrc"}, {"format":"x","file":"a\\b"}, {"format":"x","file":""}]}`
	want := []provision.Export{{Format: "esp32", File: "tbcert_esp32.h", Secret: true}}
	if diff := cmp.Diff(want, provision.ExportsOf([]byte(text))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, text := range []string{"", "{", `{"exports":[{"file":"a"}]}`, `{"schema":"tbcert.verify/v1","exports":[{"file":"a"}]}`, `{"schema":"tbcert.device/v1","exports":"x"}`} {
		if got := provision.ExportsOf([]byte(text)); len(got) != 0 {
			t.Errorf("%s gives %v", text, got)
		}
	}
}
