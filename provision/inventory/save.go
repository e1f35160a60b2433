package inventory

import (
	"cmp"
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

const deviceColumns = `name, directory, label, profile, extra, registrar, thingsboard_id, state, credential, version, created_at, updated_at, replaced_at`

// deviceKinds are the kinds of deviceColumns.
const deviceKinds = "tttttttttiiii"

// addDevices leaves alone what is there.
func addDevices() bulk {
	return bulk{`INSERT INTO devices (` + deviceColumns + `) {rows} ON CONFLICT (name) DO NOTHING`, deviceKinds}
}

// changeDevices changes those that have the version before the new one.
// created_at stays as it is.
func changeDevices() bulk {
	return bulk{`
	WITH n (` + deviceColumns + `) AS ({rows})
	UPDATE devices SET
		directory = n.directory, label = n.label, profile = n.profile, extra = n.extra, registrar = n.registrar,
		thingsboard_id = n.thingsboard_id, state = n.state, credential = n.credential,
		version = n.version, updated_at = n.updated_at, replaced_at = n.replaced_at
	FROM n WHERE devices.name = n.name AND devices.version = n.version - 1`, deviceKinds}
}

func saveCredentials() bulk {
	return bulk{`
	INSERT INTO credentials (device, role, kind, sealed, digest, created_at) {rows}
	ON CONFLICT (device, role) DO UPDATE SET
		kind = excluded.kind, sealed = excluded.sealed, digest = excluded.digest, created_at = excluded.created_at`, "tttbii"}
}

func dropCredentials() bulk {
	return bulk{`
	WITH n (device, role) AS ({rows})
	DELETE FROM credentials WHERE (device, role) IN (SELECT device, role FROM n)`, "tt"}
}

// addCertificates leaves alone what is there: a certificate does not change, and
// stays revoked.
func addCertificates() bulk {
	return bulk{`
	INSERT INTO certificates (fingerprint, serial, device, issuer, subject, not_before, not_after, issued_at, revoked_at, reason)
	{rows} ON CONFLICT (fingerprint) DO NOTHING`, "tttttiiiii"}
}

// A change is what Save does, as rows of its statements.
type change struct {
	added, changed, credentials, dropped, certificates [][]any
}

// Save writes all records in one transaction.
func (s *Store) Save(ctx context.Context, records []provision.Record) error {
	if len(records) == 0 {
		return nil
	}
	change, err := s.prepare(ctx, records)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.where, err)
	}
	conflict := false
	err = s.transact(ctx, func(tx *sql.Tx) error {
		err := s.write(ctx, tx, change)
		conflict = errors.Is(err, errConflict)
		return err
	})
	if conflict {
		return s.conflict(ctx, records)
	}
	if err != nil {
		return err
	}
	for i := range records {
		records[i].Version++
	}
	return nil
}

// errConflict undoes a transaction for the sake of a *provision.ConflictError.
var errConflict = errors.New("records were changed meanwhile")

func (s *Store) write(ctx context.Context, tx *sql.Tx, c change) error {
	for _, step := range []struct {
		bulk  bulk
		rows  [][]any
		exact bool // each row has to be written
	}{
		{addDevices(), c.added, true},
		{changeDevices(), c.changed, true},
		{dropCredentials(), c.dropped, false},
		{saveCredentials(), c.credentials, false},
		{addCertificates(), c.certificates, false},
	} {
		touched, err := s.dialect.run(ctx, tx, step.bulk, step.rows)
		if err != nil {
			return err
		}
		if step.exact && touched != int64(len(step.rows)) {
			return errConflict
		}
	}
	return nil
}

// conflict finds the records whose version is another. Versions only rise, so
// there is one, if it is not gone.
func (s *Store) conflict(ctx context.Context, records []provision.Record) error {
	names := make([]string, len(records))
	for i, r := range records {
		names[i] = r.Name
	}
	list, err := s.dialect.list(names)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.where, err)
	}
	versions := make(map[string]int64)
	err = s.read(ctx, selection{`SELECT name, version FROM devices WHERE name IN ` + s.dialect.among(1, kindText), []any{list}},
		func(rows *sql.Rows) error {
			var name string
			var version int64
			err := rows.Scan(&name, &version)
			versions[name] = version
			return err
		})
	if err != nil {
		return err
	}
	var others []string
	for _, r := range records {
		if versions[r.Name] != r.Version {
			others = append(others, r.Name)
		}
		versions[r.Name]++ // of one that comes twice
	}
	if len(others) == 0 {
		others = names
	}
	return &provision.ConflictError{Names: others}
}

// prepare makes the rows, sorted by name: in that order two machines never wait
// for each other, and SQLite is quickest.
func (s *Store) prepare(ctx context.Context, records []provision.Record) (change, error) {
	sorted := make([]*provision.Record, len(records))
	for i := range records {
		sorted[i] = &records[i]
	}
	slices.SortStableFunc(sorted, func(a, b *provision.Record) int { return cmp.Compare(a.Name, b.Name) })
	var c change
	for _, r := range sorted {
		if err := s.prepareOne(ctx, r, &c); err != nil {
			return change{}, fmt.Errorf("device %q: %w", r.Name, err)
		}
	}
	return c, nil
}

func (s *Store) prepareOne(ctx context.Context, r *provision.Record, c *change) error {
	extra, err := encodeExtra(r.Extra, r.Formats)
	if err != nil {
		return err
	}
	row := []any{
		r.Name, r.Directory, r.Label, r.Profile, extra, string(r.Registrar), r.ThingsBoardID, string(r.State),
		string(r.Credential.Kind), r.Version + 1, milliseconds(r.Created), milliseconds(r.Updated), milliseconds(r.Replaced),
	}
	if r.Version == 0 {
		c.added = append(c.added, row)
	} else {
		c.changed = append(c.changed, row)
	}
	current := holding{device: r.Name, role: roleCurrent, credential: r.Credential, since: r.Replaced}
	if err := s.hold(ctx, current, r, c); err != nil {
		return err
	}
	return s.hold(ctx, holding{device: r.Name, role: roleNext, credential: r.Next, since: r.Updated}, r, c)
}

// hold notes what becomes of a record's credential of one role. Of a current one
// whose kind is all that is known there is nothing to seal.
func (s *Store) hold(ctx context.Context, h holding, r *provision.Record, c *change) error {
	if h.credential.IsZero() || h.role == roleCurrent && bare(h.credential) {
		if r.Version > 0 {
			c.dropped = append(c.dropped, []any{h.device, h.role})
		}
		return nil
	}
	if len(h.credential.Chain) > 0 {
		leaf, err := h.credential.Leaf()
		if err != nil {
			return fmt.Errorf("its certificate: %w", err)
		}
		h.leaf = leaf
		c.certificates = append(c.certificates, h.certificateRow(s.now()))
	}
	keys, err := s.unlock(ctx)
	if err != nil {
		return err
	}
	c.credentials = append(c.credentials, h.row(keys))
	return nil
}

// A holding is a credential of a device.
type holding struct {
	device, role string
	credential   provision.Credential
	leaf         *x509.Certificate // of its chain
	since        time.Time
}

// row is for saveCredentials.
func (h holding) row(k *keys) []any {
	sealed := []byte{}
	if !bare(h.credential) {
		sealed = k.seal(appendCredential(make([]byte, 0, 128), h.credential), place(h.device, h.role))
	}
	return []any{h.device, h.role, string(h.credential.Kind), sealed, k.digest(h.id()), milliseconds(h.since)}
}

func (h holding) id() secret.Text {
	if h.leaf != nil {
		return secret.New(certs.CredentialsID(h.leaf))
	}
	return h.credential.ID()
}

// certificateRow is for addCertificates.
func (h holding) certificateRow(now int64) []any {
	cert := h.leaf
	return []any{
		certs.Fingerprint(cert), cert.SerialNumber.Text(16), h.device,
		cert.Issuer.String(), cert.Subject.String(), cert.NotBefore.UnixMilli(), cert.NotAfter.UnixMilli(),
		now, int64(0), int64(0),
	}
}
