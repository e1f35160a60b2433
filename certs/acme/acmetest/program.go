// Package acmetest starts the programs that tests of ACME talk to, until a test ends:
// Pebble (Let's Encrypt's ACME server for tests), step-ca (the one that companies
// run), and Knot DNS, whose zone takes updates.
package acmetest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec" //nolint:depguard // this package is for tests
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds the wait for a server.
const patience = 20 * time.Second

// build gives the directory of the programs of a module's version, which the go
// command makes outside of this module: it wants none of theirs. What was built
// once stays in the user's cache.
func build(module, version string, commands ...string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, "tbcert-test", path.Base(commands[0])+"-"+version)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o700); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(final), "building-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is not there when all went well
	arguments := []string{"install"}
	for _, command := range commands {
		arguments = append(arguments, module+"/"+command+"@"+version)
	}
	install := exec.Command("go", arguments...) //nolint:noctx // a constant; it ends
	install.Dir = dir
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod -ldflags=-w", "CGO_ENABLED=0")
	if text, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	// Another process may have been quicker: what it made is as good.
	if err := os.Rename(dir, final); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return final, nil
}

// run starts a program, to be ended with the test.
func run(tb testing.TB, environ []string, program string, arguments ...string) {
	tb.Helper()
	var log output
	process := exec.Command(program, arguments...) //nolint:gosec,noctx // ended with the test
	process.Env, process.Stdout, process.Stderr = append(os.Environ(), environ...), &log, &log
	if err := process.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		_ = process.Wait()
		if tb.Failed() {
			tb.Logf("%s says:\n%s", filepath.Base(program), log.String())
		}
	})
}

// output is what a program wrote.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// poll asks until there is no error.
func poll(tb testing.TB, ask func() error) {
	tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatal(err)
		}
	}
}

// get asks a web server until there is an answer.
func get(tb testing.TB, roots *x509.CertPool, address string) (body []byte) {
	tb.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address, nil)
	if err != nil {
		tb.Fatal(err)
	}
	poll(tb, func() error {
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err = io.ReadAll(answer.Body)
		return err
	})
	return body
}

func free(tb testing.TB) string {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func portOf(tb testing.TB, address string) int {
	tb.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

func write(tb testing.TB, file string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil { //nolint:gosec // the test's own
		tb.Fatal(err)
	}
}
