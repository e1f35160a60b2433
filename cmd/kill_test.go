package cmd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd"
	"github.com/tbcert/tbcert/provision/inventory/postgrestest"
	"github.com/tbcert/tbcert/sandbox"
)

const (
	killedDevices = 300 // in a file
	kills         = 100 // at least
)

// A siege is a ThingsBoard, a file of devices, and processes that are killed
// while they provision them.
type siege struct {
	t       *testing.T
	board   *sandbox.Server
	url     string
	csv     string
	environ []string

	mu     sync.Mutex
	random *rand.Rand
}

func newSiege(t *testing.T) *siege {
	t.Helper()
	board, err := sandbox.Start(t.Context(), sandbox.Config{HTTPAddr: "127.0.0.1:0", APIKey: secret.New(apiKeyCanary)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = board.Close() })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := &siege{
		t: t, board: board, url: "http://" + board.HTTPAddr().String(), csv: filepath.Join(t.TempDir(), "devices.csv"),
		random:  rand.New(rand.NewPCG(seed, 0)),
		environ: []string{"PATH=" + os.Getenv("PATH"), "TBCERT_API_KEY=" + apiKeyCanary, "NO_COLOR=1", "GORACE=" + os.Getenv("GORACE")},
	}
	var rows strings.Builder
	rows.WriteString("name,label\n")
	for i := range killedDevices {
		fmt.Fprintf(&rows, "meter-%04d,Hall %d\n", i, i%7)
	}
	if err := os.WriteFile(s.csv, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// init makes a workspace.
func (s *siege) init() string {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "site")
	var out bytes.Buffer
	process := cmd.Process{In: strings.NewReader(""), Out: &out, Err: &out}
	if code := cmd.Run(s.t.Context(), []string{"init", "-q", "-C", dir, "--host", "localhost"}, process); code != 0 {
		s.t.Fatalf("init ends with %d: %s", code, out.String())
	}
	return dir
}

// soon is a moment up to most from now.
func (s *siege) soon(most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.random.Int64N(int64(most)))
}

// provision runs tbcert as a process of its own until it ends by itself, killing
// it at a random moment again and again. It gives how often it was killed.
func (s *siege) provision(dir string, args ...string) (killed int) {
	s.t.Helper()
	most := 100 * time.Millisecond
	for s.kill(5*time.Millisecond+s.soon(most), append([]string{"provision", "-q", "-C", dir, "--from", s.csv, "--url", s.url}, args...)...) {
		killed++
		most += most / 20 // so that it comes to an end on a slow machine, too
	}
	return killed
}

// kill runs tbcert as a process of its own and kills it after a while, unless that
// is too late.
func (s *siege) kill(after time.Duration, args ...string) (killed bool) {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(s.t.Context(), after)
	defer cancel()
	process := exec.CommandContext(ctx, exe)
	process.Args = append([]string{"tbcert"}, args...)
	process.Env, process.Stdout, process.Stderr = s.environ, &out, &out
	err = process.Run()
	var exit *exec.ExitError
	switch {
	case process.ProcessState == nil && ctx.Err() != nil: // before it began
		return true
	case err == nil, process.ProcessState.Success(): // the moment came too late
		return false
	case errors.As(err, &exit) && exit.ExitCode() == -1: // by the signal
		return true
	default:
		s.t.Fatalf("tbcert: %v\n%s", err, out.String())
		return false
	}
}

// check compares the workspaces with ThingsBoard: each device once, and in each
// bundle the token that ThingsBoard takes.
func (s *siege) check(dirs ...string) {
	s.t.Helper()
	tokens := make(map[string]string)
	for _, device := range s.board.Devices() {
		if tokens[device.Name] != "" {
			s.t.Errorf("%s is in ThingsBoard twice", device.Name)
		}
		tokens[device.Name] = device.Token.Reveal()
	}
	if len(tokens) != killedDevices {
		s.t.Errorf("%d devices are in ThingsBoard, want %d", len(tokens), killedDevices)
	}
	bundles := make(map[string]bool)
	for _, dir := range dirs {
		for name := range s.bundlesOf(dir, tokens) {
			bundles[name] = true
		}
	}
	if len(bundles) != killedDevices {
		s.t.Errorf("%d bundles, want %d", len(bundles), killedDevices)
	}
}

// bundlesOf reads the bundles of a workspace.
func (s *siege) bundlesOf(dir string, tokens map[string]string) map[string]bool {
	s.t.Helper()
	found := make(map[string]bool)
	entries, err := os.ReadDir(filepath.Join(dir, "devices"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		found[name] = true
		token, err := os.ReadFile(filepath.Join(dir, "devices", name, "token"))
		if err != nil || strings.TrimSpace(string(token)) != tokens[name] {
			s.t.Errorf("the bundle of %s in %s has not the token that ThingsBoard takes (%v)", name, dir, err)
		}
		for _, file := range []string{"ca-root.pem", "device.json", "connect.sh"} {
			if _, err := os.Stat(filepath.Join(dir, "devices", name, file)); err != nil {
				s.t.Error(err)
			}
		}
	}
	leftovers, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(leftovers) != 0 {
		s.t.Errorf("left behind: %v (%v)", leftovers, err)
	}
	return found
}

// TestKilledProvision kills provision a hundred times, and what it comes to is
// what an undisturbed run comes to.
func TestKilledProvision(t *testing.T) {
	t.Parallel()
	for killed := 0; killed < kills; {
		s := newSiege(t)
		dir := s.init()
		killed += s.provision(dir)
		s.check(dir)
		if s.provision(dir); t.Failed() { // and once more there is nothing to do
			return
		}
		s.check(dir)
	}
}

// TestKilledWorkers does the same with two machines that share the work in
// PostgreSQL.
func TestKilledWorkers(t *testing.T) {
	t.Parallel()
	for killed := 0; killed < kills; {
		s := newSiege(t)
		s.environ = append(s.environ, "TBCERT_INVENTORY="+postgrestest.Start(t))
		one := s.init()
		two := filepath.Join(t.TempDir(), "site")
		if err := os.CopyFS(two, os.DirFS(one)); err != nil {
			t.Fatal(err)
		}
		private(t, two)
		var workers sync.WaitGroup
		counts := make([]int, 2)
		for i, dir := range []string{one, two} {
			workers.Go(func() { counts[i] = s.provision(dir) })
		}
		workers.Wait()
		s.check(one, two)
		if killed += counts[0] + counts[1]; t.Failed() {
			return
		}
	}
}

// private gives the files of a copied workspace the modes that they had.
func private(t *testing.T, dir string) {
	t.Helper()
	walk(t, dir, func(path string, _ os.FileInfo) {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Error(err)
		}
	})
}
