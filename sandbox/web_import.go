package sandbox

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tbcert/tbcert/certs/secret"
)

// An importJSON asks for a bulk import (BulkImportRequest). ThingsBoard's
// "update" is about attributes and telemetry only, which are not imported here:
// the device of a line is updated whatever it says.
type importJSON struct {
	File    string `json:"file"`
	Mapping struct {
		Columns []struct {
			Type string `json:"type"`
		} `json:"columns"`
		Delimiter string `json:"delimiter"`
		Header    bool   `json:"header"`
	} `json:"mapping"`
}

// An importResult says what came of it (BulkImportResult).
type importResult struct {
	Created    int      `json:"created"`
	Updated    int      `json:"updated"`
	Errors     int      `json:"errors"`
	ErrorsList []string `json:"errorsList"`
}

// bulkImport creates the devices of a CSV text. The text is read whole before,
// and a line that fails then does not stop the others
// (AbstractBulkImportService).
func (w *web) bulkImport(r *http.Request) (any, error) {
	var it importJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	if err := it.check(); err != nil {
		return nil, err
	}
	lines, err := it.lines()
	if err != nil {
		return nil, err
	}
	result := importResult{ErrorsList: []string{}}
	for i, fields := range lines {
		if i == 0 && it.Mapping.Header {
			continue
		}
		isNew, err := w.importDevice(it.device(fields))
		switch {
		case err != nil:
			result.Errors++
			result.ErrorsList = append(result.ErrorsList, fmt.Sprintf("Line %d: %s", i+1, err))
		case isNew:
			result.Created++
		default:
			result.Updated++
		}
	}
	return result, nil
}

// check takes the columns that the sandbox knows.
func (it importJSON) check() error {
	for _, column := range it.Mapping.Columns {
		switch column.Type {
		case "NAME", "TYPE", "LABEL", accessToken:
		default:
			return badParameter(fmt.Sprintf("The sandbox imports no column of type %q", column.Type))
		}
	}
	return nil
}

// lines are the lines of the text. One may be shorter than the mapping.
func (it importJSON) lines() ([][]string, error) {
	reader := csv.NewReader(strings.NewReader(it.File))
	reader.FieldsPerRecord = -1
	if it.Mapping.Delimiter != "" {
		reader.Comma, _ = utf8.DecodeRuneInString(it.Mapping.Delimiter)
	}
	lines, err := reader.ReadAll()
	if err != nil { // which quotes nothing, but counts otherwise than ThingsBoard
		return nil, badParameter("The file is not the CSV that the mapping describes")
	}
	for i, fields := range lines {
		if len(fields) > len(it.Mapping.Columns) {
			return nil, badParameter(fmt.Sprintf("Line %d: there are %d values for %d columns", i+1, len(fields), len(it.Mapping.Columns)))
		}
	}
	return lines, nil
}

// device is what a line says; an empty value is one that is not there.
func (it importJSON) device(fields []string) Device {
	var device Device
	for i, value := range fields {
		switch it.Mapping.Columns[i].Type {
		case "NAME":
			device.Name = value
		case "TYPE":
			device.Type = value
		case "LABEL":
			device.Label = value
		case accessToken:
			device.Token = secret.New(value)
		}
	}
	return device
}

// importDevice creates a device, or updates the one of its name: what the line
// does not say stays.
func (w *web) importDevice(device Device) (isNew bool, err error) {
	existing, err := w.store.named(device.Name)
	if err != nil {
		_, err := w.store.create(device)
		return true, err
	}
	if !device.Token.IsZero() {
		session, err := w.store.setToken(existing.id, device.Token.Reveal())
		if err != nil {
			return false, err
		}
		w.end(session)
	}
	device.Label = cmp.Or(device.Label, existing.label)
	_, err = w.store.update(existing.id, device)
	return false, err
}
