package cmd_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tbcert/tbcert/cmd"
	"github.com/tbcert/tbcert/templates"
)

var writeRunbooks = flag.Bool("runbooks.update", false, "write docs/runbooks")

const runbookDocs = "../docs/runbooks"

// render gives a runbook as the command writes it.
func render(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	process := cmd.Process{In: strings.NewReader(""), Out: &out, Err: &errOut, Now: func() time.Time { return time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC) }}
	if code := cmd.Run(t.Context(), append([]string{"runbook"}, args...), process); code != 0 {
		t.Fatalf("runbook %v ends with %d:\n%s", args, code, errOut.String())
	}
	return out.String()
}

// docs/runbooks is what the command writes for a site that is not there yet.
func TestRunbookDocs(t *testing.T) {
	t.Parallel()
	names := templates.Names("runbook")
	for _, name := range names {
		text := render(t, name, "-C", "/srv/tbcert")
		file := filepath.Join(runbookDocs, name+".md")
		if *writeRunbooks {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != text {
			t.Errorf("%s is not what the command writes (go test ./cmd -run TestRunbookDocs -runbooks.update): %v", file, err)
		}
		if _, problems := commandsOf(text); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
	found, err := filepath.Glob(runbookDocs + "/*.md")
	if err != nil || len(found) != len(names) {
		t.Errorf("docs/runbooks has %d files, want one for each of %v", len(found), names)
	}
}

// exitMark says in a runbook with which code a command line ends, if not with 0.
var exitMark = regexp.MustCompile(`^(.*\S)\s+# exits (\d+)$`)

// crontab is a line of one: five fields, and the command.
var crontab = regexp.MustCompile(`^(?:\S+\s+){5}(\S.*)$`)

// commandsOf makes a shell script of a runbook's command lines. A block of a kind
// that it does not know is a problem: it might hold command lines.
func commandsOf(text string) (script string, problems []string) {
	var out strings.Builder
	kind := ""
	for number, line := range strings.Split(text, "\n") {
		if fence, ok := strings.CutPrefix(line, "```"); ok {
			kind = fence
			if fence != "" && fence != "sh" && fence != "crontab" {
				problems = append(problems, fmt.Sprintf("line %d: what is a block of %q?", number+1, fence))
			}
			continue
		}
		switch kind {
		case "sh":
			if marked := exitMark.FindStringSubmatch(line); marked != nil {
				line = fmt.Sprintf("code=0; %s || code=$?; test $code = %s", marked[1], marked[2])
			}
			fmt.Fprintln(&out, line)
		case "crontab":
			command := crontab.FindStringSubmatch(line)
			if command == nil {
				problems = append(problems, fmt.Sprintf("line %d is no line of a crontab", number+1))
				continue
			}
			fmt.Fprintln(&out, strings.ReplaceAll(command[1], `\%`, "%"))
		}
	}
	return out.String(), problems
}

// thingsboardService plays ThingsBoard: the sandbox, with the certificate of a file. It
// ends when the world does.
const thingsboardService = `#!/bin/bash
set -euo pipefail
if [ -f "$WORLD/pid" ]; then kill "$(cat "$WORLD/pid")"; fi
mkfifo "$WORLD/ready.$$"
(
	exec 9>"$WORLD/running"; flock 9    # the one before is gone
	exec tbcert sandbox -C "$WORLD/site" --server-pem "$1" \
		--mqtt-port -1 --mqtts-port "$MQTTS" --http-port "$HTTP" -o json > "$WORLD/ready.$$" 2> "$WORLD/sandbox.log"
) < /dev/null &
echo $! > "$WORLD/pid"
head -n 1 "$WORLD/ready.$$" | grep -q '"ok":true' || { cat "$WORLD/sandbox.log" >&2; exit 1; }
`

// systemctl restarts ThingsBoard with what its settings name.
const systemctlProgram = `#!/bin/bash
set -euo pipefail
case "$1" in restart|reload-or-restart) ;; *) exit 0 ;; esac
. "$WORLD/conf/thingsboard.conf"
exec thingsboard "$WORLD/conf/$(basename "$MQTT_SSL_PEM_CERT")"
`

// docker starts ThingsBoard with what the override mounts.
const dockerProgram = `#!/bin/bash
set -euo pipefail
case "$1 $2" in "compose up"|"compose restart") ;; *) echo "docker $*?" >&2; exit 1 ;; esac
pem=$(sed -n 's/^ *MQTT_SSL_PEM_CERT: //p' docker-compose.override.yml)
exec thingsboard "$WORLD$pem"
`

// kubectl keeps the files of a Secret, and starts ThingsBoard with them where the
// patch mounts them.
const kubectlProgram = `#!/bin/bash
set -euo pipefail
test "$1 $2" = "-n thingsboard"; shift 2
mount="$WORLD/etc/thingsboard-mqtts"
case "$1" in
create) mkdir -p "$mount"; for a in "$@"; do case "$a" in --from-file=*) f="${a#--from-file=}"; cp "${f#*=}" "$mount/${f%%=*}" ;; esac; done; echo "kind: Secret" ;;
apply) test "$2 $3" = "-f -"; grep -q "kind: Secret" ;;
patch) pem=$(sed -n '/MQTT_SSL_PEM_CERT/{n;s/^ *value: //p}' "$5"); echo "$pem" > "$WORLD/pem"; exec thingsboard "$WORLD$pem" ;;
rollout) if [ "$2" = restart ]; then exec thingsboard "$WORLD$(cat "$WORLD/pem")"; fi ;;
*) echo "kubectl $*?" >&2; exit 1 ;;
esac
`

// The programs that a runbook needs and a test machine does not have, or must not
// let loose: what they would do is done to the world's own files.
func worldPrograms() map[string]string {
	return map[string]string{
		"thingsboard": thingsboardService, "systemctl": systemctlProgram, "docker": dockerProgram, "kubectl": kubectlProgram,
		"sudo": "#!/bin/sh\nexec \"$@\"\n",
		// There is no user thingsboard here, and this machine's /etc is not the world's.
		"install": "#!/bin/bash\nargs=()\nwhile [ $# -gt 0 ]; do case \"$1\" in -o|-g) shift 2 ;; /etc/*) args+=(\"$WORLD$1\"); shift ;; *) args+=(\"$1\"); shift ;; esac; done\nexec /usr/bin/install \"${args[@]}\"\n",
		"scp":     "#!/bin/bash\nto=\"${@: -1}\"; mkdir -p \"$WORLD/copied/${to%%:*}\"\nexec cp \"${@:1:$#-1}\" \"$WORLD/copied/${to%%:*}/\"\n",
	}
}

// A runbookWorld is a machine of ThingsBoard's, for one runbook.
type runbookWorld struct {
	dir         string
	mqtts, http int
}

func newRunbookWorld(t *testing.T) *runbookWorld {
	t.Helper()
	w := &runbookWorld{dir: t.TempDir(), mqtts: unusedPort(t), http: unusedPort(t)}
	for name, text := range worldPrograms() {
		w.write(t, filepath.Join("bin", name), text, 0o755)
	}
	w.write(t, "conf/thingsboard.conf", "export JAVA_OPTS=\"$JAVA_OPTS -Xmx2G\"\n", 0o644)
	for _, dir := range []string{"home", "units", "compose", "etc"} {
		if err := os.Mkdir(filepath.Join(w.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// The CA of a company.
	made, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
		"-subj", "/O=Company/CN=Company Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
		"-out", filepath.Join(w.dir, "home/company-ca.pem"), "-keyout", filepath.Join(w.dir, "home/company-ca.key")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, made)
	}
	t.Cleanup(func() {
		data, _ := os.ReadFile(filepath.Join(w.dir, "pid"))
		if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	})
	return w
}

func (w *runbookWorld) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func unusedPort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// follow does what a runbook says, line by line.
func (w *runbookWorld) follow(t *testing.T, name string) {
	t.Helper()
	text := render(t, name, "-C", filepath.Join(w.dir, "site"), "--host", "localhost", "--mqtts-port", strconv.Itoa(w.mqtts),
		"--url", fmt.Sprintf("http://127.0.0.1:%d", w.http), "--user", "tenant@thingsboard.org", "--conf-dir", filepath.Join(w.dir, "conf"), "--timer-dir", filepath.Join(w.dir, "units"),
		"--compose-dir", filepath.Join(w.dir, "compose"))
	script, problems := commandsOf(text)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euxo", "pipefail", "-c", script)
	command.Dir = w.dir
	command.Stdin = strings.NewReader("tenant\n") // what is typed
	command.Env = append(os.Environ(),
		"WORLD="+w.dir, "HOME="+filepath.Join(w.dir, "home"), "PATH="+filepath.Join(w.dir, "bin")+":"+os.Getenv("PATH"),
		"MQTTS="+strconv.Itoa(w.mqtts), "HTTP="+strconv.Itoa(w.http), "JAVA_OPTS=")
	command.WaitDelay = time.Second
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("the runbook %s: %v\n%s", name, err, out)
	}
}

// Every command line of every runbook does what the runbook says, on a machine
// where ThingsBoard has been set up by the first of them.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	for _, name := range templates.Names("runbook") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newRunbookWorld(t)
			w.follow(t, "debian")
			if name != "debian" {
				w.follow(t, name)
			}
		})
	}
}

// A runbook whose command fails, or does not fail as it says, fails the test.
func TestCommandsOf(t *testing.T) {
	t.Parallel()
	const text = "# T\n\n```sh\ntrue\nfalse    # exits 1\n```\n\n```crontab\n5 4 * * *  test 50% = 50\\%\n```\n\n```yaml\na: 1\n```\n"
	script, problems := commandsOf(text)
	if want := "true\ncode=0; false || code=$?; test $code = 1\ntest 50% = 50%\n"; script != want {
		t.Errorf("got %q, want %q", script, want)
	}
	if len(problems) != 1 || !strings.Contains(problems[0], "yaml") {
		t.Errorf("the problems are %v", problems)
	}
}
