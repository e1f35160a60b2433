package export_test

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/export"
)

// odd is a text that every language would take for something else.
const odd = `a"b'c\d ?? ??/ ??= /* */ // </script> $HOME $(x) %s {{.}} #{x} \n \x41 \u0041 é 😀 ` + "`x` \u2028 1"

// oddDevice has odd texts wherever a text can be.
func oddDevice(t *testing.T, kind provision.CredentialKind) export.Device {
	t.Helper()
	d := device(t, kind)
	d.Info.Device, d.Info.Topic, d.Info.Host = odd, "topic "+odd, "host "+odd
	d.Credential.Token = secret.New("token " + odd)
	if kind == provision.CredentialBasic {
		d.Credential.ClientID, d.Credential.Username, d.Credential.Password = secret.New("client "+odd), secret.New("user "+odd), secret.New("password "+odd)
	}
	return d
}

// A program is compiled with a header of ours.
type program struct {
	format   export.Format
	compiler string
	args     []string // before the source
	source   string   // in testdata/c
	libs     []string
	der      bool // it holds certificates in DER
	noID     bool // it gives a client id of its own where there is none
}

func programs() []program {
	strict := []string{"-Wall", "-Wextra", "-Werror", "-trigraphs"}
	c, cpp := append(strict, "-std=c11"), append(strict, "-std=c++11")
	return []program{
		{format: export.ESP32, compiler: "gcc", args: c, source: "esp32.c", libs: []string{"-lmbedx509", "-lmbedcrypto"}},
		{format: export.Zephyr, compiler: "gcc", args: c, source: "zephyr.c", libs: []string{"-lmbedx509", "-lmbedcrypto"}, der: true},
		{format: export.Arduino, compiler: "g++", args: cpp, source: "arduino.cpp", noID: true},
		{format: export.ESP8266, compiler: "g++", args: cpp, source: "esp8266.cpp", libs: []string{"-lbearssl"}, noID: true},
	}
}

// Every header compiles without a warning, and holds just the bytes that the
// device has; its certificates and keys are parsed by the library of its chip.
func TestHeadersCompile(t *testing.T) {
	t.Parallel()
	shims, err := filepath.Abs(filepath.Join("testdata", "c"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs() {
		for _, kind := range provision.CredentialKinds() {
			t.Run(string(p.format)+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				d := oddDevice(t, kind)
				dir := t.TempDir()
				file := render(t, p.format, d, options())[0]
				put(t, dir, file.Name, file.Data)
				args := append(append([]string{}, p.args...), "-I", dir, "-I", shims, "-o", "out", filepath.Join(shims, p.source))
				runs(t, dir, p.compiler, append(args, p.libs...)...)
				if diff := cmp.Diff(p.want(d), shown(runs(t, dir, filepath.Join(dir, "out")))); diff != "" {
					t.Errorf("the header holds (-want +got):\n%s\n%s", diff, file.Data)
				}
			})
		}
	}
}

// During a rollover a device trusts two roots, and every form has both.
func TestTwoRoots(t *testing.T) {
	t.Parallel()
	d := device(t, provision.CredentialToken)
	second, err := os.ReadFile(filepath.Join("..", "..", "certs", "testdata", "device.pem"))
	if err != nil {
		t.Fatal(err)
	}
	first := credentialsOf(d)["8883/1"]
	d.Roots = append(d.Roots, second...)
	block, _ := pem.Decode(second)
	shims, err := filepath.Abs(filepath.Join("testdata", "c"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs() {
		dir := t.TempDir()
		file := render(t, p.format, d, options())[0]
		put(t, dir, file.Name, file.Data)
		args := append(append([]string{}, p.args...), "-I", dir, "-I", shims, "-o", "out", filepath.Join(shims, p.source))
		runs(t, dir, p.compiler, append(args, p.libs...)...)
		got := shown(runs(t, dir, filepath.Join(dir, "out")))
		want := map[string]string{"root": hexOf(string(d.Roots))}
		if p.der {
			want = map[string]string{"tags": "2", "8883/1": first, "8884/1": hex.EncodeToString(block.Bytes)}
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s is %s, want %s", p.format, name, got[name], value)
			}
		}
	}
	files := render(t, export.DER, d, options())
	if len(files) != 2 || files[1].Name != "ca-root-2.der" || !bytes.Equal(files[1].Data, block.Bytes) {
		t.Errorf("%d files in DER", len(files))
	}
	if module := text(t, export.MicroPython, d); !bytes.Contains(module, []byte(`\x30`)) || bytes.Count(module, []byte("\n    (\n")) != 2 {
		t.Errorf("the module has not two roots:\n%s", module)
	}
}

// shown are the lines of shown.h, by name.
func shown(out string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[name] = value
	}
	return found
}

// want is what the program shows.
func (p program) want(d export.Device) map[string]string {
	want := map[string]string{
		"device": hexOf(d.Info.Device), "topic": hexOf(d.Info.Topic), "host": hexOf(d.Info.Host), "port": fmt.Sprint(d.Info.Ports.MQTTS),
		"username": hexOf(d.Credential.Username.Reveal()), "client_id": hexOf(d.Credential.ClientID.Reveal()),
		"password": hexOf(d.Credential.Password.Reveal()),
	}
	if d.Credential.Kind == provision.CredentialToken {
		want["username"] = hexOf(d.Credential.Token.Reveal())
	}
	if p.noID && want["client_id"] == "" {
		want["client_id"] = want["device"]
	}
	if p.der {
		maps.Copy(want, credentialsOf(d))
	} else {
		want["root"], want["certificate"], want["key"] = hexOf(string(d.Roots)), hexOf(string(d.Credential.Chain)), hexOf(d.Credential.Key.Reveal())
	}
	if p.format == export.ESP8266 && d.Credential.Kind == provision.CredentialX509 {
		want["usages"] = "32 issuer 2" // BR_KEYTYPE_SIGN, BR_KEYTYPE_EC
	}
	maps.DeleteFunc(want, func(_, value string) bool { return value == "" })
	return want
}

// credentialsOf are those that Zephyr gets, by tag and type.
func credentialsOf(d export.Device) map[string]string {
	der := func(text []byte) string {
		block, _ := pem.Decode(text)
		if block == nil {
			return ""
		}
		return hex.EncodeToString(block.Bytes)
	}
	return map[string]string{
		"tags": "1", "8883/1": der(d.Roots), "8883/2": der(d.Credential.Chain), "8883/3": der([]byte(d.Credential.Key.Reveal())),
	}
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }
