package cmd_test

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/cmd"
)

// run runs a command line in process.
func run(ctx context.Context, args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	code = cmd.Run(ctx, args, cmd.Process{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

// commands are the commands of the contract that this version has.
func commands() []string {
	return []string{"init", "provision", "verify", "status", "inspect", "export", "sandbox", "demo", "version", "completion", "man"}
}

// Every command has help with an example, and each example's command and flags
// exist.
func TestExamplesParse(t *testing.T) {
	t.Parallel()
	for _, name := range commands() {
		code, help, _ := run(t.Context(), name, "--help")
		if code != 0 || !strings.Contains(help, "--dir") {
			t.Errorf("tbcert %s --help ends with %d:\n%s", name, code, help)
		}
		if name == "completion" {
			continue // cobra's own
		}
		_, examples, found := strings.Cut(help, "Examples:\n")
		examples, _, _ = strings.Cut(examples, "\n\n")
		if !found {
			t.Errorf("tbcert %s --help has no example", name)
		}
		for _, line := range strings.Split(examples, "\n") {
			parses(t, line)
		}
	}
}

// The commands of the README and of the pages in docs exist, with these flags.
func TestReadmeCommandsParse(t *testing.T) {
	t.Parallel()
	for file, least := range map[string]int{"../README.md": 10, "../docs/fleet.md": 7, "../docs/export.md": 5} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := regexp.MustCompile("(?m)(?:^|`)(tbcert [a-z][^`\n]+)").FindAllStringSubmatch(string(text), -1)
		if len(lines) < least {
			t.Fatalf("only %d command lines in %s", len(lines), file)
		}
		for _, line := range lines {
			parses(t, line[1])
		}
	}
}

// parses checks a command line by asking for help with it.
func parses(t *testing.T, line string) {
	t.Helper()
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, "|")
	words := strings.Fields(strings.ReplaceAll(line, `"`, ""))
	if len(words) < 2 || words[0] != "tbcert" {
		t.Errorf("%q is not a tbcert command line", line)
		return
	}
	if code, _, errOut := run(t.Context(), append(words[1:], "--help")...); code != 0 {
		t.Errorf("%s: %s", line, errOut)
	}
}

// What the exit codes mean is a promise to runbooks.
func TestExitCodesAreDocumented(t *testing.T) {
	t.Parallel()
	_, root, _ := run(t.Context(), "--help")
	_, verify, _ := run(t.Context(), "verify", "--help")
	want := []string{
		"0  done, or nothing to do", "1  failed", "2  wrong usage or invalid input", "3  some of many failed",
		"5  needs attention", "130  interrupted", "10-18  verify",
	}
	for _, text := range want {
		if !strings.Contains(root, text) {
			t.Errorf("tbcert --help does not say %q", text)
		}
	}
	for _, text := range []string{"10 resolve", "11 tcp", "12 tls", "13 chain", "14 name", "15 dates", "16 connect", "17 publish", "18 round trip"} {
		if !strings.Contains(verify, text) {
			t.Errorf("tbcert verify --help does not say %q", text)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, out, _ := run(ctx, "verify", "--host", "127.0.0.1", "--token", "x", "-o", "json"); code != 130 || !strings.Contains(out, `"exit_code":130`) {
		t.Errorf("verify ends with %d: %s", code, out)
	}
	dir := t.TempDir()
	if code, _, errOut := run(t.Context(), "init", "-q", "-C", dir, "--host", "localhost"); code != 0 {
		t.Fatal(errOut)
	}
	code, _, errOut := run(ctx, "provision", "-C", dir, "a")
	if code != 130 || !strings.Contains(errOut, "interrupted") {
		t.Errorf("provision ends with %d: %s", code, errOut)
	}
}

// The shape of each JSON result is a promise: the keys, in order.
func TestJSONKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cases := []struct {
		args []string
		want string
	}{
		{[]string{"init", "--host", "localhost"}, "schema ok exit_code workspace host changed new_ca new_server_certificate ca_keys_encrypted certificates root_fingerprint next"},
		{[]string{"provision", "a"}, "schema ok device action credential directory registrar"},
		{[]string{"status"}, "schema ok exit_code workspace host root_fingerprint certificates devices attention"},
		{[]string{"verify", "a", "--host", "127.0.0.1", "--port", "1"}, "schema device how ok exit_code target failed diagnosis checks"},
		{[]string{"inspect", dir + "/ca-root.pem"}, "schema ok exit_code source objects"},
		{[]string{"init", "--host", "not a name"}, "schema ok exit_code error"},
	}
	for _, test := range cases {
		_, out, _ := run(t.Context(), append(test.args, "-o", "json", "-C", dir)...)
		line, _, _ := strings.Cut(out, "\n")
		if diff := cmp.Diff(test.want, strings.Join(topKeys(line), " ")); diff != "" {
			t.Errorf("%v:\n%s", test.args, diff)
		}
	}
}

// topKeys lists the keys of a JSON object's first level, in order.
func topKeys(line string) []string {
	var keys []string
	depth, inText, begin := 0, false, 0
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			if inText = !inText; inText {
				begin = i + 1
			} else if depth == 1 && i+1 < len(line) && line[i+1] == ':' {
				keys = append(keys, line[begin:i])
			}
		case inText:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	return keys
}
