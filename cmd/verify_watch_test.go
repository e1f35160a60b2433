package cmd_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tbcert/tbcert/cmd"
)

// A lineEnder calls end after so many lines.
type lineEnder struct {
	mu   sync.Mutex
	text bytes.Buffer
	left int
	end  func()
}

func (l *lineEnder) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left -= bytes.Count(data, []byte("\n")); l.left <= 0 {
		l.end()
	}
	return l.text.Write(data)
}

// A watch tells each round, and records the first result of a device and those
// that differ from the one before; it ends as interrupted.
func TestWatch(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, 2)
	token := filepath.Join(p.dir, "devices", "meter-001", "token")
	if err := os.WriteFile(token, []byte("wrongtoken0000000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const rounds = 3
	out := &lineEnder{left: rounds, end: cancel}
	port := strconv.Itoa(p.board.MQTTSAddr().(*net.TCPAddr).Port)
	code := cmd.Run(ctx, []string{"verify", "-C", p.dir, "--all", "--yes", "--port", port, "--watch", "1s", "-o", "json"},
		cmd.Process{In: strings.NewReader(""), Out: out, Err: &bytes.Buffer{}})
	if code != 130 {
		t.Errorf("it ends with %d, want 130", code)
	}
	lines := strings.Split(strings.TrimSpace(out.text.String()), "\n")
	for _, line := range lines {
		var summary map[string]any
		if err := json.Unmarshal([]byte(line), &summary); err != nil || summary["passed"] != 1.0 || summary["failed"] != 1.0 {
			t.Errorf("a round is told as %s (%v)", line, err)
		}
	}
	if len(lines) < rounds {
		t.Errorf("%d rounds are told, want %d", len(lines), rounds)
	}
	if kept := verifications(t, p.dir); kept != 2 {
		t.Errorf("%d results are on record, want one of each device", kept)
	}
}

// verifications counts what is on record.
func verifications(t *testing.T, dir string) (count int) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "inventory.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM verifications").Scan(&count); err != nil {
		t.Fatal(err)
	}
	return count
}

// A run that is interrupted leaves the page and the metrics of the one before: it
// knows a part of the devices.
func TestInterruptedRunWritesNothing(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, 3)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			cancel()
		}
	}()
	page, metrics := filepath.Join(p.dir, "page.html"), filepath.Join(p.dir, "tbcert.prom")
	var out, problems bytes.Buffer
	port := strconv.Itoa(silent.Addr().(*net.TCPAddr).Port)
	code := cmd.Run(ctx, []string{"verify", "-C", p.dir, "--all", "--yes", "--port", port, "--report", page, "--textfile", metrics},
		cmd.Process{In: strings.NewReader(""), Out: &out, Err: &problems})
	if code != 130 || !strings.Contains(out.String(), "3 left") {
		t.Errorf("it ends with %d and %s", code, &out)
	}
	for _, file := range []string{page, metrics} {
		if _, err := os.Stat(file); err == nil || !strings.Contains(problems.String(), file+" is left as it was") {
			t.Errorf("%s was written (%v), or nothing said of it: %s", file, err, &problems)
		}
	}
}
