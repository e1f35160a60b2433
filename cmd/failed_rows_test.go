package cmd_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/cmd"
	"github.com/tbcert/tbcert/provision"
)

// An interrupter is an output that ends the run once a row has failed.
type interrupter struct{ cancel context.CancelFunc }

func (i interrupter) Write(text []byte) (int, error) {
	if bytes.Contains(text, []byte(`"ok":false`)) {
		i.cancel()
	}
	return len(text), nil
}

// The file of the failed rows, given back, stays when the run is interrupted: it
// alone has the rows that were not tried.
func TestFailedRowsOutliveAnInterruptedRun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "site")
	tbcertOK(t, "init", "-q", "-C", dir, "--host", "localhost")
	tbcertOK(t, "provision", "-q", "-C", dir, "meter-0")
	rows := `{"name":"meter-0","token":"` + tokenCanary + `"}` + "\n"
	for i := range 12 * provision.DefaultSize {
		rows += fmt.Sprintf("{\"name\":\"meter-%d\"}\n", i+1)
	}
	file := filepath.Join(dir, "provision-failed.ndjson")
	if err := os.WriteFile(file, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	process := cmd.Process{In: strings.NewReader(""), Out: interrupter{cancel}, Err: io.Discard}
	if code := cmd.Run(ctx, []string{"provision", "-C", dir, "--from", file, "-o", "json"}, process); code != 130 {
		t.Errorf("it ends with %d", code)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != rows {
		t.Errorf("the file of the failed rows has %d bytes, and had %d; %v", len(after), len(rows), err)
	}
}
