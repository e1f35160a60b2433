// Package inventory keeps the record of a site's devices in SQLite.
//
// The file is in WAL mode and belongs to its owner alone: it holds the tokens of
// devices that were registered offline. Its schema is made and brought forward
// by goose from the embedded migrations; a file whose schema is current is opened
// without it.
package inventory

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"sync"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite", in Go

	"github.com/tbcert/tbcert/provision"
)

// What a file of ours says of itself (see migrations).
const (
	applicationID = 0x74626374 // "tbct"
	schemaVersion = 1          // the number of the last migration
)

// busyMilliseconds is how long a statement waits for another process's write.
const busyMilliseconds = "10000"

//go:embed migrations/*.sql
var migrations embed.FS

// The errors for a file that cannot be used.
var (
	// ErrForeign: the file is something else than an inventory.
	ErrForeign = errors.New("not an inventory of tbcert")
	// ErrNewer: a newer tbcert changed its schema.
	ErrNewer = errors.New("written by a newer tbcert")
)

// SQLite is an inventory in one file. Its methods may be called by many
// goroutines at once; several processes may have it open.
type SQLite struct {
	path   string
	db     *sql.DB
	saving sync.Mutex // SQLite writes one at a time anyhow: waiting here is not polling
}

var _ provision.Inventory = (*SQLite)(nil)

// Open opens the inventory at path, and makes it when there is none. It refuses
// a file that group or others can read (*ModeError), one that is no inventory
// (ErrForeign), and one with a newer schema (ErrNewer); it changes none of them.
// To make a file, or to bring an older one forward, the caller must be the only
// one to do so: it holds the workspace's lock.
func Open(ctx context.Context, path string) (*SQLite, error) {
	if err := prepareFile(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", source(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &SQLite{path: path, db: db}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// source is the driver's name for the file and for how every connection to it
// is set up. FULL makes a commit survive a power cut; it costs one fsync each.
func source(path string) string {
	slashed := filepath.ToSlash(path)
	if filepath.VolumeName(path) != "" {
		slashed = "/" + slashed
	}
	query := url.Values{
		"mode":          {"rw"}, // the file is there: SQLite is not to make it
		"_busy_timeout": {busyMilliseconds},
		"_foreign_keys": {"on"},
		"_synchronous":  {"full"},
		"_txlock":       {"immediate"},
		"_defensive":    {"true"},
		"_dqs":          {"false"},
	}
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: slashed}).EscapedPath(), RawQuery: query.Encode()}
	return name.String()
}

// migrate brings the schema to this program's version, if it is not there.
func (s *SQLite) migrate(ctx context.Context) error {
	current, err := s.version(ctx)
	if err != nil {
		return err
	}
	switch {
	case current == schemaVersion:
		return nil
	case current > schemaVersion:
		return fmt.Errorf("%s was %w (its schema is %d, this tbcert knows %d): update tbcert on this machine", s.path, ErrNewer, current, schemaVersion)
	}
	// WAL is a property of the file that no transaction can change. The file is
	// marked as ours before goose makes its own table in it, so that it is known
	// again should this be interrupted.
	if _, err := s.db.ExecContext(ctx, fmt.Sprintf("PRAGMA journal_mode = WAL; PRAGMA application_id = %d", applicationID)); err != nil {
		return fmt.Errorf("set up %s: %w", s.path, err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.db, files,
		goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("prepare the migrations of %s: %w", s.path, err)
	}
	// The provider is not closed: it would close the database.
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("bring %s to schema %d: %w", s.path, schemaVersion, err)
	}
	return nil
}

// version gives the schema's version, 0 for an empty file.
func (s *SQLite) version(ctx context.Context) (int, error) {
	var id, version, tables int
	err := s.db.QueryRowContext(ctx, `
		SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&id, &version, &tables)
	if err != nil {
		return 0, s.readError(err)
	}
	if id != applicationID && (id != 0 || version != 0 || tables != 0) {
		return 0, fmt.Errorf("%s is %w: move it away", s.path, ErrForeign)
	}
	return version, nil
}

// Close releases the file.
func (s *SQLite) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}
