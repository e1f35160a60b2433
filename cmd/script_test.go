package cmd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tbcert/tbcert/certs/acme/acmetest"
	"github.com/tbcert/tbcert/cmd"
)

// transcript names the file that gets a copy of everything tbcert writes in a
// script, to be searched for secrets.
const transcript = "SCRIPT_TRANSCRIPT"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tbcert": tbcert})
}

// tbcert is the real command in a process of its own; what it writes is kept.
func tbcert() {
	process := cmd.Process{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
	if name := os.Getenv(transcript); name != "" {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
		process.Out, process.Err = io.MultiWriter(os.Stdout, file), io.MultiWriter(os.Stderr, file)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cmd.Run(ctx, os.Args[1:], process))
}

// TestScripts runs testdata/script: a file a behavior. Each script begins in
// an empty directory; after it, nothing that tbcert wrote may hold a secret.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"snapshot":  snapshot,
			"unchanged": unchanged,
			"sandbox":   startSandbox,
			"mosquitto": startMosquitto,
			"pebble":    startPebble,
			"stepca":    startStepCA,
			"jsonis":    jsonIs,
			"mode":      modeIs,
			"holds":     holds,
			"subscribe": func(ts *testscript.TestScript, neg bool, args []string) { subscriberOf(ts).subscribe(ts, neg, args) },
			"received":  func(ts *testscript.TestScript, neg bool, args []string) { subscriberOf(ts).received(ts, neg, args) },
		},
	})
}

// startPebble [eab]: an ACME CA until the script's end; sets ACME to its directory,
// ACMEHTTP to where it looks for http-01, ZONE to its DNS, and writes acme-ca.pem. With
// eab it wants an account that it knows: EABKID, with the key in eab.key.
func startPebble(ts *testscript.TestScript, neg bool, args []string) {
	t, ok := ts.Value(testKey{}).(testing.TB)
	eab := len(args) == 1 && args[0] == "eab"
	if neg || len(args) != 0 && !eab || !ok {
		ts.Fatalf("usage: pebble [eab]")
	}
	var options acmetest.PebbleOptions
	if eab {
		ts.Setenv("EABKID", "kid-1")
		options.EAB = map[string]string{"kid-1": eabCanary}
		ts.Check(os.WriteFile(ts.MkAbs("eab.key"), []byte(eabCanary+"\n"), 0o600))
	}
	server := acmetest.StartPebble(t, options)
	data, err := os.ReadFile(server.CAFile)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("acme-ca.pem"), data, 0o600))
	ts.Setenv("ACME", server.Directory)
	ts.Setenv("ACMEHTTP", server.HTTPAddr)
	ts.Setenv("ZONE", server.DNSManagement())
}

// startStepCA: a company's ACME CA until the script's end, and the primary server of
// the zone that it asks; sets ACME to its directory, ACMEHTTP to where it looks for
// http-01, ZONE to the server, and writes acme-ca.pem and the files of the server's
// keys.
func startStepCA(ts *testscript.TestScript, neg bool, args []string) {
	t, ok := ts.Value(testKey{}).(testing.TB)
	if neg || len(args) != 0 || !ok {
		ts.Fatalf("usage: stepca")
	}
	knot := acmetest.StartKnot(t)
	server := acmetest.StartStepCA(t, knot.Addr)
	files := map[string]string{"acme-ca.pem": server.CAFile}
	for name, file := range knot.Keys {
		files[name+".key"] = file
	}
	for name, file := range files {
		data, err := os.ReadFile(file)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
	}
	ts.Setenv("ACME", server.Directory)
	ts.Setenv("ACMEHTTP", server.HTTPAddr)
	ts.Setenv("ZONE", knot.Addr)
}

// testKey finds the test of a script.
type testKey struct{}

func setup(env *testscript.Env) error {
	env.Setenv(transcript, filepath.Join(env.WorkDir, ".transcript"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("NO_COLOR", "1")
	env.Setenv("GORACE", os.Getenv("GORACE")) // see the Makefile
	env.Setenv("PASSPHRASE", passphraseCanary)
	env.Setenv("TOKEN", tokenCanary)
	env.Setenv("PASSWORD", passwordCanary)
	env.Setenv("APIKEY", apiKeyCanary)
	env.Setenv("PROVISION_SECRET", provisionCanary)
	env.Setenv("PATH", env.Getenv("PATH")+":/usr/sbin")
	t, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("testscript gives no testing.TB")
	}
	env.Values[subscriberKey{}] = &subscription{}
	env.Values[testKey{}] = t
	env.Defer(func() { searchForSecrets(t, env.WorkDir) })
	return nil
}

// subscriberKey finds a script's own subscriber.
type subscriberKey struct{}

func subscriberOf(ts *testscript.TestScript) *subscription {
	s, ok := ts.Value(subscriberKey{}).(*subscription)
	if !ok {
		ts.Fatalf("this script has no subscriber")
	}
	return s
}

// exits CODE COMMAND…: the command ends with just this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case err == nil && want == 0:
	case errors.As(err, &exit) && exit.ExitCode() == want:
	default:
		ts.Fatalf("exit code %d wanted, got: %v", want, err)
	}
}

// snapshot DIR remembers a directory; unchanged DIR compares it, byte for byte
// and mode for mode.
func snapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: snapshot DIR")
	}
	ts.Check(os.WriteFile(snapshotFile(ts, args[0]), []byte(picture(ts, args[0])), 0o600))
}

func unchanged(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: unchanged DIR")
	}
	before, err := os.ReadFile(snapshotFile(ts, args[0]))
	ts.Check(err)
	now := picture(ts, args[0])
	if (string(before) == now) == neg {
		ts.Fatalf("%s before:\n%s\nnow:\n%s", args[0], before, now)
	}
}

func snapshotFile(ts *testscript.TestScript, dir string) string {
	return filepath.Join(ts.Getenv("TMPDIR"), "snapshot-"+filepath.Base(ts.MkAbs(dir)))
}

// mode FILE MODE checks a file's mode.
func modeIs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("mode of %s is %s, not %s", args[0], got, args[1])
	}
}

// holds FILE OTHER: the first line of the file OTHER is somewhere in FILE.
func holds(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: holds FILE OTHER")
	}
	line, _, _ := strings.Cut(ts.ReadFile(args[1]), "\n")
	if line == "" || strings.Contains(ts.ReadFile(args[0]), line) == neg {
		ts.Fatalf("%s: whether it holds the first line of %s is %v", args[0], args[1], neg)
	}
}

// jsonis KEY VALUE: the last line of stdout is a JSON object in which KEY has
// that value, written as JSON or as a plain text.
func jsonIs(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: jsonis KEY VALUE")
	}
	var object map[string]any
	ts.Check(json.Unmarshal(lastLine(ts.ReadFile("stdout")), &object))
	value, err := json.Marshal(object[args[0]])
	ts.Check(err)
	same := string(value) == args[1] || fmt.Sprint(object[args[0]]) == args[1]
	if same == neg {
		ts.Fatalf("%s is %s", args[0], value)
	}
}

// startSandbox DIR ARG…: runs `tbcert sandbox` for the workspace DIR on free
// ports until the script's end, and sets MQTT, MQTTS and HTTP to its ports.
func startSandbox(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: sandbox DIR [ARG...]")
	}
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	done := make(chan int, 1)
	args = append([]string{"sandbox", "-o", "json", "-C", ts.MkAbs(args[0]), "--mqtt-port", "0", "--mqtts-port", "0", "--http-port", "0"}, args[1:]...)
	environ := []string{"TBCERT_PASSWORD=" + ts.Getenv("PASSWORD"), "TBCERT_API_KEY=" + ts.Getenv("APIKEY"), "TBCERT_PROVISION_SECRET=" + ts.Getenv("PROVISION_SECRET")}
	go func() {
		code := cmd.Run(ctx, args, cmd.Process{Out: writer, Err: writer, Environ: environ})
		_ = writer.Close()
		done <- code
	}()
	ts.Defer(func() {
		cancel()
		_, _ = io.Copy(io.Discard, reader)
		<-done
	})
	line, err := bufio.NewReader(reader).ReadBytes('\n')
	ts.Check(err)
	var ready struct {
		MQTT  int    `json:"mqtt_port"`
		MQTTS int    `json:"mqtts_port"`
		HTTP  int    `json:"http_port"`
		Error string `json:"error"`
	}
	ts.Check(json.Unmarshal(line, &ready))
	if ready.Error != "" {
		ts.Fatalf("the sandbox did not start: %s", ready.Error)
	}
	ts.Setenv("MQTT", strconv.Itoa(ready.MQTT))
	ts.Setenv("MQTTS", strconv.Itoa(ready.MQTTS))
	ts.Setenv("HTTP", strconv.Itoa(ready.HTTP))
}
