// Package postgrestest runs a real PostgreSQL server for tests: in a temporary
// directory, on a Unix socket there, gone when the test ends. No product package
// imports it.
//
// It needs the server's programs (Debian package postgresql); where they are
// missing the test fails. As root, which PostgreSQL refuses to run as, it becomes
// the user postgres or nobody.
package postgrestest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec" //nolint:depguard // this package is for tests
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	role         = "tbcert"
	startTimeout = 30 * time.Second
	pollEvery    = 20 * time.Millisecond
)

// A Server is a running PostgreSQL.
type Server struct {
	dir     string
	command *exec.Cmd
	exited  chan error
	log     *os.File
}

// Start runs a server for one test and gives the URL of an empty database.
func Start(tb testing.TB) string {
	tb.Helper()
	server, err := Run(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return server.Database(tb)
}

// Run runs a server, which many tests may share, until Stop.
func Run(ctx context.Context) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{exited: make(chan error, 1)}
	if s.dir, err = os.MkdirTemp("", "tbcert-pg-"); err != nil {
		return nil, err
	}
	if err := s.start(ctx, bin); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// programs finds the directory of the server's programs, of the newest version.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL's server is missing: install the package postgresql")
	}
	return filepath.Dir(slices.Max(found)), nil
}

func (s *Server) start(ctx context.Context, bin string) (err error) {
	attributes, err := ownedBySomebody(s.dir)
	if err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	//nolint:gosec // the programs that were found
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", role,
		"-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = s.dir, attributes
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return err
	}
	// No TCP, no syncing: it is gone soon.
	//nolint:gosec // the programs that were found
	s.command = exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(bin, "postgres"), "-D", data, "-k", s.dir,
		"-c", "listen_addresses=", "-c", "max_connections=200",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "wal_level=minimal", "-c", "max_wal_senders=0")
	s.command.Dir, s.command.SysProcAttr = s.dir, attributes
	s.command.Stdout, s.command.Stderr = s.log, s.log
	if err := s.command.Start(); err != nil {
		s.command = nil
		return err
	}
	go func() { s.exited <- s.command.Wait() }()
	return s.ready(ctx)
}

// ready waits until the server answers.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case err := <-s.exited:
			s.exited <- err
			log, _ := os.ReadFile(s.log.Name())
			return fmt.Errorf("PostgreSQL ended: %w\n%s", err, log)
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-ticker.C:
		}
	}
}

func (s *Server) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

// Database makes an empty database and gives its URL.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), s.url("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(tb.Context())) }()
	name := "test_" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(tb.Context(), "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	return s.url(name)
}

// Stop ends the server and removes all that it kept.
func (s *Server) Stop() error {
	var errs []error
	if s.command != nil {
		errs = append(errs, s.command.Process.Signal(os.Interrupt)) // its fast shutdown
		select {
		case <-s.exited: //nolint:errcheck // it was told to
		case <-time.After(startTimeout):
			errs = append(errs, errors.New("PostgreSQL does not stop"), s.command.Process.Kill())
		}
	}
	if s.log != nil {
		if log, err := os.ReadFile(s.log.Name()); err == nil && bytes.Contains(log, []byte("PANIC:")) {
			errs = append(errs, fmt.Errorf("PostgreSQL failed:\n%s", log))
		}
		errs = append(errs, s.log.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}
