package inventory

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strconv"
	"time"
)

// A Certificate is one that was issued to a device.
type Certificate struct {
	Serial      string // hex
	Fingerprint string // "sha256:" and 64 hex digits
	Device      string
	Issuer      string // RFC 2253
	Subject     string // RFC 2253
	NotBefore   time.Time
	NotAfter    time.Time
	Issued      time.Time // when it was first on record
	Revoked     time.Time // zero is not
	Reason      int       // of the revocation: RFC 5280, 5.3.1
}

const certificateColumns = `serial, fingerprint, device, issuer, subject, not_before, not_after, issued_at, revoked_at, reason`

func scanCertificate(rows *sql.Rows) (Certificate, error) {
	var c Certificate
	var before, after, issued, revoked int64
	err := rows.Scan(&c.Serial, &c.Fingerprint, &c.Device, &c.Issuer, &c.Subject, &before, &after, &issued, &revoked, &c.Reason)
	c.NotBefore, c.NotAfter = time.UnixMilli(before).UTC(), time.UnixMilli(after).UTC()
	c.Issued, c.Revoked = timeOf(issued), timeOf(revoked)
	return c, err
}

func (s *Store) certificates(ctx context.Context, condition string, args ...any) ([]Certificate, error) {
	var found []Certificate
	err := s.read(ctx, selection{`SELECT ` + certificateColumns + ` FROM certificates ` + condition, args},
		func(rows *sql.Rows) error {
			c, err := scanCertificate(rows)
			found = append(found, c)
			return err
		})
	return found, err
}

// CertificatesOf gives the certificates that a device got, oldest first.
func (s *Store) CertificatesOf(ctx context.Context, device string) ([]Certificate, error) {
	return s.certificates(ctx, `WHERE device = $1 ORDER BY issued_at, not_before, fingerprint`, device)
}

// Revoke notes that all certificates of a device are revoked, and gives those
// that were not before. One that is revoked keeps its time and reason.
func (s *Store) Revoke(ctx context.Context, device string, reason int, at time.Time) ([]Certificate, error) {
	const where = ` WHERE device = $1 AND revoked_at = 0 RETURNING ` + certificateColumns
	return s.revoke(ctx, selection{setRevoked + where, []any{device, reason, at.UnixMilli()}})
}

// RevokeCertificate is Revoke for a single certificate, by its fingerprint.
func (s *Store) RevokeCertificate(ctx context.Context, fingerprint string, reason int, at time.Time) ([]Certificate, error) {
	const where = ` WHERE fingerprint = $1 AND revoked_at = 0 RETURNING ` + certificateColumns
	return s.revoke(ctx, selection{setRevoked + where, []any{fingerprint, reason, at.UnixMilli()}})
}

const setRevoked = `UPDATE certificates SET reason = $2, revoked_at = $3`

func (s *Store) revoke(ctx context.Context, update selection) (revoked []Certificate, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		revoked = nil
		rows, err := tx.QueryContext(ctx, update.text, update.args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // rows.Err tells
		for rows.Next() {
			c, err := scanCertificate(rows)
			if err != nil {
				return err
			}
			revoked = append(revoked, c)
		}
		return rows.Err()
	})
	return revoked, err
}

// Revoked gives all certificates that are revoked, those that have expired as
// well, in a fixed order. An error is the last thing it gives.
func (s *Store) Revoked(ctx context.Context) iter.Seq2[Certificate, error] {
	return func(yield func(Certificate, error) bool) {
		for after := ""; ; {
			page, err := s.certificates(ctx, `WHERE revoked_at > 0 AND fingerprint > $1 ORDER BY fingerprint LIMIT $2`, after, pageSize)
			if err != nil {
				yield(Certificate{}, err)
				return
			}
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			after = page[len(page)-1].Fingerprint
		}
	}
}

// NextCRLNumber gives the number for a new CRL: 1, and then one more each time,
// whoever asks. It is on record before it is given, so none is given twice.
func (s *Store) NextCRLNumber(ctx context.Context) (number int64, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		var text string
		err := tx.QueryRowContext(ctx, `
			INSERT INTO meta (key, value) VALUES ('crl_number', '1')
			ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT)
			RETURNING value`).Scan(&text)
		if err != nil {
			return err
		}
		number, err = strconv.ParseInt(text, 10, 64)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("number the CRL: %w", err)
	}
	return number, nil
}
