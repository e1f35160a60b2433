package inventory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// applicationID is what a file of ours says of itself.
const applicationID = 0x74626374 // "tbct"

// How SQLite is set up.
const (
	// busyMilliseconds is how long a statement waits for another process's write.
	busyMilliseconds = "10000"
	// connections that are kept each have a cache of pages.
	maxConnections = 8
)

// Open opens the inventory in the file at path, and makes it when there is none.
// It refuses a file that group or others can read (*ModeError), one that is no
// inventory (ErrForeign), and one with a newer schema (ErrNewer); it changes none
// of them. To make a file, or to bring an older one forward, the caller must be
// the only one to do so: it holds the workspace's lock.
func Open(ctx context.Context, path string, options Options) (*Store, error) {
	if err := prepareFile(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", source(path, url.Values{
		"_busy_timeout": {busyMilliseconds},
		"_foreign_keys": {"on"},
		"_synchronous":  {"full"}, // a commit survives a power cut; it costs one fsync each
		"_txlock":       {"immediate"},
		"_defensive":    {"true"},
		"_dqs":          {"false"},
		"_pragma": {
			"wal_autocheckpoint(4000)", // pages; fewer, larger ones write less
			"temp_store(memory)",       // of what undoes a statement that fails
		},
	}))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(maxConnections)
	s := newStore(path, db, sqliteDialect(), options)
	s.explain = s.explainSQLite
	if err := s.migrateSQLite(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// source is the driver's name for a file and for how every connection to it is
// set up. The file is there: SQLite is not to make it.
func source(path string, query url.Values) string {
	slashed := filepath.ToSlash(path)
	if filepath.VolumeName(path) != "" {
		slashed = "/" + slashed
	}
	query.Set("mode", "rw")
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: slashed}).EscapedPath(), RawQuery: query.Encode()}
	return name.String()
}

// migrateSQLite brings the file's schema to this program's version, if it is not
// there. The file says its version itself, so that one look is enough.
func (s *Store) migrateSQLite(ctx context.Context) error {
	current, err := s.fileVersion(ctx)
	if err != nil {
		return err
	}
	switch {
	case current == schemaVersion:
		return nil
	case current > schemaVersion:
		return s.newer(current)
	}
	// WAL is a property of the file that no transaction can change. The file is
	// marked as ours before goose makes its own table in it, so that it is known
	// again should this be interrupted.
	if _, err := s.db.ExecContext(ctx, fmt.Sprintf("PRAGMA journal_mode = WAL; PRAGMA application_id = %d", applicationID)); err != nil {
		return fmt.Errorf("set up %s: %w", s.where, err)
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	// Schema 1 had tokens in clear: nothing is left of them before the file is
	// said to be current.
	if current > 0 {
		if err := s.scrub(ctx); err != nil {
			return err
		}
	}
	if _, err := s.db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
		return fmt.Errorf("set up %s: %w", s.where, err)
	}
	return nil
}

// fileVersion gives the schema's version, 0 for an empty file.
func (s *Store) fileVersion(ctx context.Context) (int, error) {
	var id, version, tables int
	err := s.db.QueryRowContext(ctx, `
		SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&id, &version, &tables)
	if err != nil {
		return 0, s.readError(err)
	}
	if id != applicationID && (id != 0 || version != 0 || tables != 0) {
		return 0, fmt.Errorf("%s is %w: move it away", s.where, ErrForeign)
	}
	return version, nil
}

// scrub writes a SQLite file anew and empties its journal, so that nothing is
// left of what was removed or replaced. In PostgreSQL that is the business of
// its vacuum.
func (s *Store) scrub(ctx context.Context) error {
	if s.shared() {
		return nil
	}
	// The copy that VACUUM makes is not for the memory.
	const statements = "PRAGMA temp_store = FILE; VACUUM; PRAGMA temp_store = MEMORY; PRAGMA wal_checkpoint(TRUNCATE)"
	if _, err := s.db.ExecContext(ctx, statements); err != nil {
		return fmt.Errorf("clean %s of plain secrets: %w", s.where, err)
	}
	return nil
}

// explainSQLite tells the failures that the user can do something about.
func (s *Store) explainSQLite(err error) error {
	var failed *sqlite.Error
	if !errors.As(err, &failed) {
		return nil
	}
	switch failed.Code() & 0xff { // the primary code
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%s is %w: move it away", s.where, ErrForeign)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%s is damaged (%w): put a copy back, or move it away; tbcert provision then takes the credentials from the bundles", s.where, err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("%s is in use by another program that does not let go: %w", s.where, err)
	}
	return nil
}
