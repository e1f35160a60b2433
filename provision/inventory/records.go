package inventory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

const columns = `name, directory, label, profile, registrar, thingsboard_id, credential, token, state, created_at, updated_at`

// created_at stays as it is when a record is replaced.
const saveRecord = `
	INSERT INTO devices (` + columns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (name) DO UPDATE SET
		directory = excluded.directory, label = excluded.label, profile = excluded.profile,
		registrar = excluded.registrar, thingsboard_id = excluded.thingsboard_id,
		credential = excluded.credential, token = excluded.token,
		state = excluded.state, updated_at = excluded.updated_at`

// Records gives what is known of the named devices.
func (s *SQLite) Records(ctx context.Context, names []string) (map[string]provision.Record, error) {
	list, err := json.Marshal(names)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	records := make(map[string]provision.Record)
	query := `SELECT ` + columns + ` FROM devices WHERE name IN (SELECT value FROM json_each(?))`
	for record, err := range s.query(ctx, query, string(list)) {
		if err != nil {
			return nil, err
		}
		records[record.Name] = record
	}
	return records, nil
}

// Holders gives the devices that have one of the tokens, by token.
func (s *SQLite) Holders(ctx context.Context, tokens []secret.Text) (map[string]string, error) {
	plain := make([]string, len(tokens))
	for i, token := range tokens {
		plain[i] = token.Reveal()
	}
	list, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	holders := make(map[string]string)
	query := `SELECT ` + columns + ` FROM devices WHERE token IN (SELECT value FROM json_each(?))`
	for record, err := range s.query(ctx, query, string(list)) {
		if err != nil {
			return nil, err
		}
		holders[record.Credential.Token.Reveal()] = record.Name
	}
	return holders, nil
}

// All gives every record, sorted by name. An error is the last thing it gives.
func (s *SQLite) All(ctx context.Context) iter.Seq2[provision.Record, error] {
	return s.query(ctx, `SELECT `+columns+` FROM devices ORDER BY name`)
}

func (s *SQLite) query(ctx context.Context, query string, args ...any) iter.Seq2[provision.Record, error] {
	return func(yield func(provision.Record, error) bool) {
		rows, err := s.db.QueryContext(ctx, query, args...)
		if err != nil {
			yield(provision.Record{}, s.readError(err))
			return
		}
		defer func() { _ = rows.Close() }() // rows.Err tells
		for rows.Next() {
			record, err := scan(rows)
			if err != nil {
				yield(provision.Record{}, s.readError(err))
				return
			}
			if !yield(record, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(provision.Record{}, s.readError(err))
		}
	}
}

func scan(rows *sql.Rows) (provision.Record, error) {
	var r provision.Record
	var token sql.NullString
	var created, updated int64
	err := rows.Scan(&r.Name, &r.Directory, &r.Label, &r.Profile, &r.Registrar, &r.ThingsBoardID,
		&r.Credential.Kind, &token, &r.State, &created, &updated)
	r.Credential.Token = secret.New(token.String)
	r.Created, r.Updated = time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	return r, err
}

// Save writes all records in one transaction.
func (s *SQLite) Save(ctx context.Context, records []provision.Record) error {
	if len(records) == 0 {
		return nil
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	if err := saveAll(ctx, tx, records); err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	return nil
}

func saveAll(ctx context.Context, tx *sql.Tx, records []provision.Record) error {
	statement, err := tx.PrepareContext(ctx, saveRecord)
	if err != nil {
		return err
	}
	defer func() { _ = statement.Close() }() // it ends with the transaction
	for _, r := range records {
		token := sql.NullString{String: r.Credential.Token.Reveal(), Valid: !r.Credential.Token.IsZero()}
		_, err := statement.ExecContext(ctx, r.Name, r.Directory, r.Label, r.Profile, string(r.Registrar), r.ThingsBoardID,
			string(r.Credential.Kind), token, string(r.State), r.Created.UnixMilli(), r.Updated.UnixMilli())
		if err != nil {
			return fmt.Errorf("device %q: %w", r.Name, err)
		}
	}
	return nil
}
