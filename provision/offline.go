package provision

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
)

// Offline is the registrar for a ThingsBoard that is out of reach: it takes the
// token that was given or made, and the devices come into ThingsBoard by the
// file that [WriteImport] writes. The inventory keeps the tokens.
type Offline struct{}

var _ Registrar = Offline{}

// Kind is RegistrarOffline.
func (Offline) Kind() RegistrarKind { return RegistrarOffline }

// Ready never fails.
func (Offline) Ready(context.Context) error { return nil }

// Register never fails.
func (Offline) Register(_ context.Context, order Order) (Registration, error) {
	return Registration{
		Label:   order.Device.Label,
		Profile: order.Device.Profile,
		Token:   order.Token,
		Created: true,
	}, nil
}

// WriteImport writes the devices among the records that were registered offline
// as CSV for ThingsBoard's import (Entities, Devices, Import device; or
// POST /api/device/bulk_import). The text holds their tokens.
//
// The headings are the names of the importer's column types
// (BulkImportColumnType). Its form finds NAME, TYPE and LABEL by itself; for
// ACCESS_TOKEN the column type has to be chosen by hand, else the token becomes
// a server attribute. An empty TYPE gives the tenant's default profile, and an
// empty LABEL none (AbstractBulkImportService, DeviceBulkImportService).
func WriteImport(w io.Writer, records iter.Seq2[Record, error]) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"NAME", "TYPE", "LABEL", "ACCESS_TOKEN"}); err != nil {
		return fmt.Errorf("write the import file: %w", err)
	}
	for record, err := range records {
		if err != nil {
			return fmt.Errorf("write the import file: %w", err)
		}
		if record.Registrar != RegistrarOffline {
			continue
		}
		if err := out.Write([]string{record.Name, record.Profile, record.Label, record.Token.Reveal()}); err != nil {
			return fmt.Errorf("write the import file: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write the import file: %w", err)
	}
	return nil
}
