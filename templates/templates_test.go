package templates_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/templates"
)

// connect is the data that device/connect.sh wants.
type connect struct {
	Host      string
	MQTTSPort int
	Topic     string
	Files     files
}

// files are the files of a bundle, as connect.sh asks for them.
type files struct{ Root, Token, ClientID, Username, Password, Certificate, Key string }

func TestRenderUnknownTemplate(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "device/nothing", "../go.mod", "device/connect.sh.tmpl"} {
		if _, err := templates.Render(name, nil); !errors.Is(err, templates.ErrUnknown) {
			t.Errorf("Render(%q) gave %v, want ErrUnknown", name, err)
		}
	}
}

func TestRenderWantsEveryField(t *testing.T) {
	t.Parallel()
	tests := map[string]any{
		"struct without the fields": struct{ Host string }{"tb.example.com"},
		"map without the keys":      map[string]any{"Host": "tb.example.com"},
		"nil":                       nil,
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := templates.Render("device/connect.sh", data); err == nil {
				t.Errorf("no error, but:\n%s", out)
			}
		})
	}
}

// Each host must reach mosquitto_pub as one argument, whatever a shell would
// make of it.
func TestConnectScriptQuotesItsHost(t *testing.T) {
	t.Parallel()
	hosts := []string{
		"tb.example.com", "192.0.2.1", "2001:db8::1", "a b", "$(touch pwned)", "`touch pwned`", "x; touch pwned",
		"it's", `"quoted"`, `back\slash`, "*", "~root", "#comment", "", "&", "a'$(touch pwned)'b",
	}
	bin := fakeClient(t)
	for _, host := range hosts {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			script, err := templates.Render("device/connect.sh", connect{host, 8883, "v1/devices/me/telemetry", files{Root: "ca-root.pem", Token: "token"}})
			if err != nil {
				t.Fatal(err)
			}
			args := runWith(t, bin, script)
			want := []string{
				"--cafile", "ca-root.pem", "-d", "-q", "1", "-h", host, "-p", "8883",
				"-t", "v1/devices/me/telemetry", "-u", "TOKEN", "-m", `{"temperature":25}`, "",
			}
			if got := strings.Split(args, "\x00"); strings.Join(got, "|") != strings.Join(want, "|") {
				t.Errorf("mosquitto_pub got\n%q, want\n%q", got, want)
			}
		})
	}
}

// Each kind of credential is given to mosquitto_pub as it has to be.
func TestConnectScriptKnowsEveryCredential(t *testing.T) {
	bin := fakeClient(t)
	for name, test := range map[string]struct {
		files files
		want  []string
	}{
		"basic":       {files{ClientID: "client-id", Username: "username", Password: "password"}, []string{"-i", "CLIENT-ID", "-u", "USERNAME", "-P", "PASSWORD"}},
		"client id":   {files{ClientID: "client-id"}, []string{"-i", "CLIENT-ID"}},
		"certificate": {files{Certificate: "cert.pem", Key: "key.pem"}, []string{"--cert", "cert.pem", "--key", "key.pem"}},
		"own key":     {files{Certificate: "cert.pem"}, []string{"--cert", "cert.pem", "--key", "client-id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.files.Root = "ca-root.pem"
			script, err := templates.Render("device/connect.sh", connect{"tb.example.com", 8883, "v1/devices/me/telemetry", test.files})
			if err != nil {
				t.Fatal(err)
			}
			args := strings.Split(runWith(t, bin, script), "\x00")
			got := args[len(args)-3-len(test.want) : len(args)-3] // before -m, the message and the end
			if strings.Join(got, "|") != strings.Join(test.want, "|") {
				t.Errorf("mosquitto_pub got\n%q, want\n%q", args, test.want)
			}
		})
	}
}

// fakeClient makes a directory with a mosquitto_pub that prints its arguments,
// each ended by a NUL. It is made before anything runs in parallel: a program
// that another fork still holds open for writing cannot be run.
func fakeClient(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	write(t, filepath.Join(bin, "mosquitto_pub"), []byte("#!/bin/sh\nprintf '%s\\0' \"$@\"\n"), 0o755)
	return bin
}

// runWith runs the script in a directory of its own.
func runWith(t *testing.T, bin string, script []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "devices", "with space")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "connect.sh")
	write(t, path, script, 0o755)
	for _, name := range []string{"token", "client-id", "username", "password", "key.pem"} {
		write(t, filepath.Join(dir, name), []byte(strings.ToUpper(name)+"\n"), 0o600)
	}
	cmd := exec.Command("/bin/sh", path)
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "TBCERT_DEVICE_KEY=client-id"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
		t.Error("the host was run as a command")
	}
	return string(out)
}

func write(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}
