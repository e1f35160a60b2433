package inventory

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// schemaVersion is the number of the last migration.
const schemaVersion = 3

//go:embed migrations
var migrations embed.FS

func (s *Store) newer(version int) error {
	return fmt.Errorf("%s was %w (its schema is %d, this tbcert knows %d): update tbcert on this machine", s.where, ErrNewer, version, schemaVersion)
}

// migrate runs the migrations that are missing.
func (s *Store) migrate(ctx context.Context) error {
	directory := "migrations/sqlite"
	options := []goose.ProviderOption{
		goose.WithLogger(goose.NopLogger()),
		goose.WithDisableGlobalRegistry(true),
		goose.WithTableName(s.dialect.versions),
	}
	if s.shared() {
		directory = "migrations/postgres"
	} else {
		options = append(options, goose.WithGoMigrations(
			goose.NewGoMigration(schemaVersion, &goose.GoFunc{RunTx: s.takeSchema1}, nil)))
	}
	files, err := fs.Sub(migrations, directory)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	provider, err := goose.NewProvider(s.dialect.goose, s.db, files, options...)
	if err != nil {
		return fmt.Errorf("prepare the migrations of %s: %w", s.where, err)
	}
	// The provider is not closed: it would close the database.
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("bring %s to schema %d: %w", s.where, schemaVersion, err)
	}
	return nil
}

// schema1Page is how many devices of schema 1 are taken at a time.
const schema1Page = 512

// takeSchema1 takes the devices of schema 1, seals their tokens, and drops the
// table in which these were plain.
func (s *Store) takeSchema1(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO devices (name, directory, label, profile, extra, registrar, thingsboard_id, state, credential,
			version, created_at, updated_at, replaced_at)
		SELECT name, directory, label, profile, '', registrar, thingsboard_id, state, credential,
			1, created_at, updated_at, updated_at FROM devices_1`)
	if err != nil {
		return err
	}
	if err := s.sealSchema1(ctx, tx); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DROP TABLE devices_1`)
	return err
}

func (s *Store) sealSchema1(ctx context.Context, tx *sql.Tx) error {
	for after := ""; ; {
		records, err := tokensOfSchema1(ctx, tx, after)
		if err != nil || len(records) == 0 {
			return err
		}
		keys, err := s.unlockBy(ctx, tx)
		if err != nil {
			return err
		}
		rows := make([][]any, len(records))
		for i, record := range records {
			rows[i] = holding{device: record.Name, role: roleCurrent, credential: record.Credential, since: record.Updated}.row(keys)
		}
		if _, err := s.dialect.run(ctx, tx, saveCredentials(), rows); err != nil {
			return err
		}
		after = records[len(records)-1].Name
	}
}

func tokensOfSchema1(ctx context.Context, tx *sql.Tx, after string) ([]provision.Record, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT name, token, updated_at FROM devices_1
		WHERE name > $1 AND token IS NOT NULL ORDER BY name LIMIT $2`, after, schema1Page)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	var records []provision.Record
	for rows.Next() {
		var record provision.Record
		var token string
		var updated int64
		if err := rows.Scan(&record.Name, &token, &updated); err != nil {
			return nil, err
		}
		record.Credential = provision.TokenCredential(secret.New(token))
		record.Updated = timeOf(updated)
		records = append(records, record)
	}
	return records, rows.Err()
}
