package inventory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tbcert/tbcert/certs/secret"
)

// What PostgreSQL calls the conditions that are looked for (its documentation,
// appendix A).
const (
	codeSerialization  = "40001"
	codeDeadlock       = "40P01"
	codeUndefinedTable = "42P01"
)

// migrationLock is the advisory lock of those who bring the schema forward.
const migrationLock = applicationID

// ErrDatabaseURL says that the address of the database cannot be read. It may
// hold a password, so nothing of it is told.
var ErrDatabaseURL = errors.New("the address of the inventory's database is not valid: write it as postgres://USER:PASSWORD@HOST:5432/DATABASE, with %XX for special characters in the password")

// OpenPostgres opens the inventory in a PostgreSQL database, and makes its
// tables when there are none, in the schema tbcert unless the URL has another
// search_path. Many machines may do that at once. No error holds the password.
//
// A connection to another machine is encrypted and the server's certificate is
// checked (sslmode verify-full, with sslrootcert for a CA of one's own) unless
// the URL names sslmode disable, require or verify-ca itself; "prefer" and
// "allow", which fall back to plain, are not for such connections.
func OpenPostgres(ctx context.Context, address secret.Text, options Options) (*Store, error) {
	config, err := parseAddress(address.Reveal())
	if err != nil {
		return nil, err
	}
	if config.RuntimeParams["search_path"] == "" {
		config.RuntimeParams["search_path"] = postgresSchema
	}
	for name, value := range sessionSettings() {
		config.RuntimeParams[name] = value
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	s := newStore(placeOf(config), db, postgresDialect(), options)
	if err := s.migratePostgres(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// sessionSettings are for every connection. A machine that lost its power must
// not keep a transaction open, for which others wait. All queries find their rows
// by an index: a planner that has not seen the tables grow must not read them as
// a whole instead.
func sessionSettings() map[string]string {
	return map[string]string{
		"application_name":                    "tbcert",
		"idle_in_transaction_session_timeout": "60s",
		"tcp_keepalives_idle":                 "30",
		"tcp_keepalives_interval":             "10",
		"tcp_keepalives_count":                "3",
		"enable_seqscan":                      "off",
		"enable_hashjoin":                     "off",
		"enable_mergejoin":                    "off",
	}
}

func parseAddress(address string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, ErrDatabaseURL
	}
	if local(config) || !fallsBack(config) {
		return config, nil
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme == "" { // key=value words
		config, err = pgx.ParseConfig(address + " sslmode=verify-full")
	} else {
		query := parsed.Query()
		query.Set("sslmode", "verify-full")
		parsed.RawQuery = query.Encode()
		config, err = pgx.ParseConfig(parsed.String())
	}
	if err != nil {
		return nil, ErrDatabaseURL
	}
	return config, nil
}

// fallsBack reports whether the configuration would try without TLS what fails
// with it, or the other way round.
func fallsBack(config *pgx.ConnConfig) bool {
	for _, fallback := range config.Fallbacks {
		if (fallback.TLSConfig == nil) != (config.TLSConfig == nil) {
			return true
		}
	}
	return false
}

// local reports whether all hosts are this machine: a socket's directory or a
// loopback address.
func local(config *pgx.ConnConfig) bool {
	hosts := []string{config.Host}
	for _, fallback := range config.Fallbacks {
		hosts = append(hosts, fallback.Host)
	}
	return !slices.ContainsFunc(hosts, func(host string) bool {
		ip := net.ParseIP(host)
		return !strings.HasPrefix(host, "/") && host != "localhost" && (ip == nil || !ip.IsLoopback())
	})
}

// placeOf names the database for messages.
func placeOf(config *pgx.ConnConfig) string {
	return "the inventory " + config.Database + " on " + net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
}

// migratePostgres brings the schema to this program's version, if it is not
// there. One machine does it, and the others wait for it.
func (s *Store) migratePostgres(ctx context.Context) error {
	if current, err := s.databaseVersion(ctx); err != nil || current == schemaVersion {
		return err
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return s.readError(err)
	}
	defer func() { _ = conn.Close() }() // back to the pool
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, migrationLock); err != nil {
		return s.readError(err)
	}
	err = s.migrateLocked(ctx)
	// Should the connection be gone, so is the lock.
	_, unlockErr := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, migrationLock)
	return errors.Join(err, unlockErr)
}

func (s *Store) migrateLocked(ctx context.Context) error {
	current, err := s.databaseVersion(ctx)
	if err != nil || current == schemaVersion {
		return err
	}
	// IF NOT EXISTS wants the right to make it even where it is there.
	var schema sql.NullString
	if err := s.db.QueryRowContext(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
		return s.readError(err)
	}
	if !schema.Valid {
		if _, err := s.db.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS `+postgresSchema); err != nil {
			return fmt.Errorf("make the schema %s in %s: %w", postgresSchema, s.where, err)
		}
	}
	return s.migrate(ctx)
}

// databaseVersion gives the schema's version, 0 for an empty database. Where
// goose's table is missing, tables of our names are somebody else's.
func (s *Store) databaseVersion(ctx context.Context) (int, error) {
	var version, tables int
	err := s.db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+s.dialect.versions+` WHERE is_applied`).Scan(&version)
	if sqlState(err) == codeUndefinedTable {
		err = s.db.QueryRowContext(ctx, `
			SELECT count(*) FROM pg_tables
			WHERE schemaname = current_schema() AND tablename IN ('devices', 'credentials', 'jobs', 'meta')`).Scan(&tables)
	}
	switch {
	case err != nil:
		return 0, s.readError(err)
	case tables > 0:
		return 0, fmt.Errorf("%s is %w: give it a database or a schema of its own", s.where, ErrForeign)
	case version > schemaVersion:
		return 0, s.newer(version)
	}
	return version, nil
}

func sqlState(err error) string {
	var failed *pgconn.PgError
	if errors.As(err, &failed) {
		return failed.Code
	}
	return ""
}

// isDeadlock reports whether PostgreSQL ended a transaction for the sake of
// another one, so that it can be tried again.
func isDeadlock(err error) bool {
	code := sqlState(err)
	return code == codeDeadlock || code == codeSerialization
}
