package cmd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd"
	"github.com/tbcert/tbcert/sandbox"
)

// provisionRun runs provision in process, and gives its last line of JSON.
func (s *siege) provisionRun(dir, url string, args ...string) (code int, last map[string]any, all string) {
	s.t.Helper()
	var out bytes.Buffer
	process := cmd.Process{In: strings.NewReader(""), Out: &out, Err: &out, Environ: s.environ}
	args = append([]string{"provision", "-C", dir, "--from", s.csv, "--url", url, "-o", "json"}, args...)
	code = cmd.Run(s.t.Context(), args, process)
	if err := json.Unmarshal(lastLine(out.String()), &last); err != nil {
		s.t.Fatalf("%v\n%s", err, out.String())
	}
	return code, last, out.String()
}

// TestProvisionThroughFaults: of a hundred calls twenty meet a fault, logins run
// out, and a bulk run ends complete all the same.
func TestProvisionThroughFaults(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	dir := s.init()
	faults, err := sandbox.ParseFaults("rest-429=2", "rest-500=5", "rest-503=5", "rest-reset-before=3", "rest-reset-after=3", "rest-stall=2", "login-life=2")
	if err != nil {
		t.Fatal(err)
	}
	board, err := sandbox.Start(t.Context(), sandbox.Config{
		HTTPAddr: "127.0.0.1:0", Username: "tenant@example.com", Password: secret.New(passwordCanary), Faults: faults,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = board.Close() })
	s.board = board
	s.environ = []string{"TBCERT_USER=tenant@example.com", "TBCERT_PASSWORD=" + passwordCanary}
	// A stall of 30 s is met with a patience that is shorter.
	code, summary, all := s.provisionRun(dir, "http://"+board.HTTPAddr().String(), "--call-timeout", "1s", "--jobs", "32")
	if code != 0 || summary["failed"] != 0.0 || summary["left"] != 0.0 {
		t.Fatalf("exit code %d: %s", code, all)
	}
	if retries, _ := summary["retries"].(float64); retries < killedDevices/10 {
		t.Errorf("it says that it made %v calls again", summary["retries"])
	}
	s.check(dir)
}

// A hostile or broken ThingsBoard never makes provision lose, repeat or hang: it
// is told, and when the fault is over the run goes on.
func TestProvisionAgainstHostility(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ fault, want string }{
		{"rest-huge", "too large"},
		{"rest-wrong-types", "not ThingsBoard's REST API"},
		{"rest-reset-before=100", "cannot talk to"},
		{"rest-503=100", "ThingsBoard behind it is down"},
		{"rest-stall=100", "no answer in time"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			t.Parallel()
			s := newSiege(t)
			dir := s.init()
			faults, err := sandbox.ParseFaults(test.fault)
			if err != nil {
				t.Fatal(err)
			}
			s.board.SetFaults(faults)
			code, last, all := s.provisionRun(dir, s.url, "--call-timeout", "200ms")
			if text, _ := last["error"].(string); code != 1 || !strings.Contains(text, test.want) {
				t.Errorf("exit code %d, want 1 and %q: %s", code, test.want, all)
			}
			if n := len(s.board.Devices()); n != 0 {
				t.Errorf("%d devices were made", n)
			}
			s.board.SetFaults(sandbox.Faults{})
			if code, _, all := s.provisionRun(dir, s.url); code != 0 {
				t.Fatalf("afterwards: exit code %d: %s", code, all)
			}
			s.check(dir)
		})
	}
}

// A liar is a ThingsBoard between tbcert and the sandbox, which changes answers.
type liar struct {
	to     string
	change func(r *http.Request, answer []byte) (status int, changed []byte)

	mu sync.Mutex
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	asked := r.Clone(r.Context())
	asked.RequestURI = ""
	asked.URL.Scheme, asked.URL.Host = "http", l.to
	response, err := http.DefaultTransport.RoundTrip(asked)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(response.Body)
	status, changed := l.change(r, answer.Bytes())
	if status == 0 {
		status = response.StatusCode
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(changed)
}

const gone = `{"status":404,"message":"Device with id [x] is not found","errorCode":32}`

// What a ThingsBoard says that contradicts itself fails the device that it is
// about, and no other; and nothing is in a bundle that ThingsBoard would refuse.
func TestProvisionAgainstLies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want string
		change     func(r *http.Request, answer []byte) (int, []byte)
	}{
		{"a device vanishes between two calls", "not found", func(r *http.Request, answer []byte) (int, []byte) {
			if strings.HasSuffix(r.URL.Path, "/credentials") && r.Method == http.MethodGet {
				return http.StatusNotFound, []byte(gone)
			}
			return 0, answer
		}},
		{"the credentials are those of another device", "not ThingsBoard's REST API", func(r *http.Request, answer []byte) (int, []byte) {
			if strings.HasSuffix(r.URL.Path, "/credentials") && r.Method == http.MethodGet {
				return 0, bytes.ReplaceAll(answer, []byte(`"DEVICE","id":"`), []byte(`"DEVICE","id":"7`))
			}
			return 0, answer
		}},
		{"the token is another device's", "already", func(r *http.Request, answer []byte) (int, []byte) {
			if r.Method == http.MethodPost {
				return http.StatusBadRequest, []byte(`{"status":400,"message":"Specified credentials are already registered!","errorCode":31}`)
			}
			if r.URL.Query().Has("deviceName") {
				return http.StatusNotFound, []byte(gone)
			}
			return 0, answer
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiege(t)
			dir := s.init()
			few := "name\nmeter-1\nmeter-2\n"
			if err := os.WriteFile(s.csv, []byte(few), 0o600); err != nil {
				t.Fatal(err)
			}
			between := httptest.NewServer(&liar{to: s.board.HTTPAddr().String(), change: test.change})
			defer between.Close()
			begin := time.Now()
			code, summary, all := s.provisionRun(dir, between.URL)
			if code != 3 || summary["failed"] != 2.0 || !strings.Contains(all, test.want) {
				t.Errorf("exit code %d, want 3 and %q: %s", code, test.want, all)
			}
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("it took %s", took)
			}
			if entries, err := os.ReadDir(filepath.Join(dir, "devices")); err == nil && len(entries) != 0 {
				t.Errorf("bundles were written: %v", entries)
			}
			if code, _, all := s.provisionRun(dir, s.url); code != 0 {
				t.Fatalf("afterwards: exit code %d: %s", code, all)
			}
			names := make(map[string]string)
			for _, device := range s.board.Devices() {
				names[device.Name] = device.Token.Reveal()
			}
			if len(names) != 2 || len(s.board.Devices()) != 2 {
				t.Errorf("the devices are %v", names)
			}
			if got := s.bundlesOf(dir, names); len(got) != 2 {
				t.Errorf("the bundles are %v", got)
			}
		})
	}
}

// Pages that repeat end the search for a profile, and say so.
func TestPagesThatRepeat(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	dir := s.init()
	if err := os.WriteFile(s.csv, []byte("name\nmeter-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, all := s.provisionRun(dir, s.url, "--credential", "x509", "--by-chain", "factory"); code != 0 {
		t.Fatalf("exit code %d: %s", code, all)
	}
	faults, err := sandbox.ParseFaults("rest-pages-repeat")
	if err != nil {
		t.Fatal(err)
	}
	s.board.SetFaults(faults)
	if err := os.WriteFile(s.csv, []byte("name\nmeter-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, last, all := s.provisionRun(dir, s.url, "--credential", "x509", "--by-chain", "fact")
	if text := fmt.Sprint(last["error"]); code != 1 || !strings.Contains(text, "repeats") {
		t.Errorf("exit code %d: %s", code, all)
	}
}
