package inventory

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// verificationsKept is how long verifications of a device stay on record before
// its last one.
const verificationsKept = 90 * 24 * time.Hour

// A Verification is what tbcert verify found for a device.
type Verification struct {
	Device      string
	At          time.Time // to the millisecond, UTC
	OK          bool
	ExitCode    int
	FailedCheck string // the id of the check; "" is none
	Cause       string
	Took        time.Duration // to the millisecond
	How         string        // what was verified: "bundle", "mqtts" …
}

const verificationColumns = `device, at, ok, exit_code, failed_check, cause, milliseconds, how`

// SaveVerifications writes verifications in one transaction. Those of the same
// devices that are long past are forgotten.
func (s *Store) SaveVerifications(ctx context.Context, verifications []Verification) error {
	rows := make([][]any, len(verifications))
	old := make([][]any, len(verifications))
	for i, v := range verifications {
		ok := int64(0)
		if v.OK {
			ok = 1
		}
		rows[i] = []any{v.Device, v.At.UnixMilli(), ok, int64(v.ExitCode), v.FailedCheck, v.Cause, v.Took.Milliseconds(), v.How}
		old[i] = []any{v.Device, v.At.Add(-verificationsKept).UnixMilli()}
	}
	return s.transact(ctx, func(tx *sql.Tx) error {
		_, err := s.dialect.run(ctx, tx, bulk{`
			INSERT INTO verifications (` + verificationColumns + `) {rows} ON CONFLICT (device, at) DO NOTHING`, "tiiittit"}, rows)
		if err != nil {
			return err
		}
		_, err = s.dialect.run(ctx, tx, bulk{`
			WITH n (device, at) AS ({rows})
			DELETE FROM verifications WHERE (device, at) IN (
				SELECT v.device, v.at FROM n JOIN verifications v ON v.device = n.device AND v.at < n.at)`, "ti"}, old)
		return err
	})
}

// LastVerifications gives the last verification of each of the named devices
// that has one, by name.
func (s *Store) LastVerifications(ctx context.Context, names []string) (map[string]Verification, error) {
	last := make(map[string]Verification)
	if len(names) == 0 {
		return last, nil
	}
	list, err := s.dialect.list(names)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.where, err)
	}
	err = s.read(ctx, selection{`
		SELECT ` + verificationColumns + ` FROM verifications v
		WHERE device IN ` + s.dialect.among(1, kindText) + `
		AND at = (SELECT max(at) FROM verifications WHERE device = v.device)`, []any{list}},
		func(rows *sql.Rows) error {
			var v Verification
			var at, took, ok int64
			err := rows.Scan(&v.Device, &at, &ok, &v.ExitCode, &v.FailedCheck, &v.Cause, &took, &v.How)
			v.At, v.OK, v.Took = time.UnixMilli(at).UTC(), ok != 0, time.Duration(took)*time.Millisecond
			last[v.Device] = v
			return err
		})
	return last, err
}
