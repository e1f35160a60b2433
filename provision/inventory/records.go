package inventory

import (
	"context"
	"database/sql"
	"fmt"
	"iter"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// The roles of a credential.
const (
	roleCurrent = "current"
	roleNext    = "next"
)

// pageSize is how many records are read at a time: nobody is kept from writing
// while all are being read.
const pageSize = 512

// selectRecords is followed by a condition.
const selectRecords = `
	SELECT d.name, d.directory, d.label, d.profile, d.extra, d.registrar, d.thingsboard_id, d.state, d.credential,
		d.version, d.created_at, d.updated_at, d.replaced_at, c.sealed, n.kind, n.sealed
	FROM devices d
	LEFT JOIN credentials c ON c.device = d.name AND c.role = 'current'
	LEFT JOIN credentials n ON n.device = d.name AND n.role = 'next'`

// A stored record is one whose secrets are still sealed.
type stored struct {
	provision.Record
	current, next []byte
}

func scanRecord(rows *sql.Rows) (stored, error) {
	var r stored
	var extra string
	var nextKind sql.NullString
	var created, updated, replaced int64
	err := rows.Scan(&r.Name, &r.Directory, &r.Label, &r.Profile, &extra, &r.Registrar, &r.ThingsBoardID, &r.State,
		&r.Credential.Kind, &r.Version, &created, &updated, &replaced, &r.current, &nextKind, &r.next)
	if err != nil {
		return stored{}, err
	}
	r.Next.Kind = provision.CredentialKind(nextKind.String)
	r.Created, r.Updated, r.Replaced = timeOf(created), timeOf(updated), timeOf(replaced)
	if r.Extra, r.Formats, err = decodeExtra(extra); err != nil {
		return stored{}, fmt.Errorf("device %q: %w", r.Name, err)
	}
	return r, nil
}

// unseal opens the credentials of records.
func (s *Store) unseal(ctx context.Context, records []stored) error {
	for i := range records {
		r := &records[i]
		if err := s.unsealOne(ctx, &r.Credential, r.current, place(r.Name, roleCurrent)); err != nil {
			return fmt.Errorf("read %s: device %q: %w", s.where, r.Name, err)
		}
		if err := s.unsealOne(ctx, &r.Next, r.next, place(r.Name, roleNext)); err != nil {
			return fmt.Errorf("read %s: device %q: %w", s.where, r.Name, err)
		}
	}
	return nil
}

func (s *Store) unsealOne(ctx context.Context, into *provision.Credential, sealed []byte, place string) error {
	if len(sealed) == 0 {
		return nil
	}
	keys, err := s.unlock(ctx)
	if err != nil {
		return err
	}
	text, err := keys.open(sealed, place)
	if err != nil {
		return err
	}
	*into, err = decodeCredential(text)
	return err
}

// place is where alone a sealed credential can be opened.
func place(device, role string) string { return role + "\x00" + device }

// Records gives what is known of the named devices.
func (s *Store) Records(ctx context.Context, names []string) (map[string]provision.Record, error) {
	if len(names) == 0 {
		return nil, nil
	}
	list, err := s.dialect.list(names)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.where, err)
	}
	found, err := s.find(ctx, ` WHERE d.name IN `+s.dialect.among(1, kindText), list)
	if err != nil {
		return nil, err
	}
	if err := s.unseal(ctx, found); err != nil {
		return nil, err
	}
	records := make(map[string]provision.Record, len(found))
	for _, r := range found {
		records[r.Name] = r.Record
	}
	return records, nil
}

func (s *Store) find(ctx context.Context, condition string, args ...any) ([]stored, error) {
	var found []stored
	err := s.read(ctx, selection{selectRecords + condition, args}, func(rows *sql.Rows) error {
		r, err := scanRecord(rows)
		found = append(found, r)
		return err
	})
	return found, err
}

// Holders gives the devices that have one of the credentials, now or as the next
// one, by Credential.ID.
func (s *Store) Holders(ctx context.Context, ids []secret.Text) (map[string]string, error) {
	holders := make(map[string]string)
	if len(ids) == 0 {
		return holders, nil
	}
	if empty, err := s.empty(ctx); empty || err != nil {
		return holders, err // and no passphrase is asked for
	}
	keys, err := s.unlock(ctx)
	if err != nil {
		return nil, err
	}
	digests := make([]int64, 0, len(ids))
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		if !id.IsZero() {
			digests = append(digests, keys.digest(id))
			wanted[id.Reveal()] = true
		}
	}
	list, err := s.dialect.list(digests)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.where, err)
	}
	err = s.read(ctx, selection{
		`SELECT device, role, sealed FROM credentials WHERE digest IN ` + s.dialect.among(1, kindInteger), []any{list},
	}, func(rows *sql.Rows) error {
		var device, role string
		var sealed []byte
		if err := rows.Scan(&device, &role, &sealed); err != nil {
			return err
		}
		var credential provision.Credential
		if err := s.unsealOne(ctx, &credential, sealed, place(device, role)); err != nil {
			return fmt.Errorf("device %q: %w", device, err)
		}
		if id := credential.ID().Reveal(); wanted[id] {
			holders[id] = device
		}
		return nil
	})
	return holders, err
}

// empty reports whether there is no credential on record.
func (s *Store) empty(ctx context.Context) (empty bool, err error) {
	if err := s.db.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM credentials)`).Scan(&empty); err != nil {
		return false, s.readError(err)
	}
	return empty, nil
}

// All gives every record, sorted by name, as it is when it is come to. An error
// is the last thing it gives.
func (s *Store) All(ctx context.Context) iter.Seq2[provision.Record, error] {
	return s.pages(func(after string) ([]stored, error) {
		page, err := s.page(ctx, after)
		if err != nil {
			return nil, err
		}
		return page, s.unseal(ctx, page)
	})
}

// Overview is All without secrets, so that no passphrase is asked for: of
// credentials the kind alone is given.
func (s *Store) Overview(ctx context.Context) iter.Seq2[provision.Record, error] {
	return s.pages(func(after string) ([]stored, error) { return s.page(ctx, after) })
}

func (s *Store) page(ctx context.Context, after string) ([]stored, error) {
	return s.find(ctx, ` WHERE d.name > $1 ORDER BY d.name LIMIT $2`, after, pageSize)
}

// Holdings is All in less time: records with name, label, profile, extras,
// registrar, state and credential alone.
func (s *Store) Holdings(ctx context.Context) iter.Seq2[provision.Record, error] {
	const text = `
		SELECT d.name, d.label, d.profile, d.extra, d.registrar, d.state, d.credential, c.sealed
		FROM devices d LEFT JOIN credentials c ON c.device = d.name AND c.role = 'current'
		WHERE d.name > $1 ORDER BY d.name LIMIT $2`
	return s.pages(func(after string) ([]stored, error) {
		page := make([]stored, 0, pageSize)
		err := s.read(ctx, selection{text, []any{after, pageSize}}, func(rows *sql.Rows) error {
			var r stored
			var extra string
			err := rows.Scan(&r.Name, &r.Label, &r.Profile, &extra, &r.Registrar, &r.State, &r.Credential.Kind, &r.current)
			if err == nil {
				r.Extra, r.Formats, err = decodeExtra(extra)
			}
			page = append(page, r)
			return err
		})
		if err != nil {
			return nil, err
		}
		return page, s.unseal(ctx, page)
	})
}

// Shapes gives what the records have in common: a record for each combination of
// registrar, state, kind of credential and extras that there is, with nothing
// else in it.
func (s *Store) Shapes(ctx context.Context) iter.Seq2[provision.Record, error] {
	return func(yield func(provision.Record, error) bool) {
		var found []provision.Record
		err := s.read(ctx, selection{`SELECT DISTINCT registrar, state, credential, extra FROM devices`, nil}, func(rows *sql.Rows) error {
			var r provision.Record
			var extra string
			if err := rows.Scan(&r.Registrar, &r.State, &r.Credential.Kind, &extra); err != nil {
				return err
			}
			var err error
			r.Extra, r.Formats, err = decodeExtra(extra)
			found = append(found, r)
			return err
		})
		if err != nil {
			yield(provision.Record{}, err)
			return
		}
		for _, r := range found {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// pages gives every record, a page at a time.
func (s *Store) pages(read func(after string) ([]stored, error)) iter.Seq2[provision.Record, error] {
	return func(yield func(provision.Record, error) bool) {
		for after := ""; ; {
			page, err := read(after)
			if err != nil {
				yield(provision.Record{}, err)
				return
			}
			for _, r := range page {
				if !yield(r.Record, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			after = page[len(page)-1].Name
		}
	}
}

// Count is how many devices are on record.
func (s *Store) Count(ctx context.Context) (n int, err error) {
	if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM devices`).Scan(&n); err != nil {
		return 0, s.readError(err)
	}
	return n, nil
}
