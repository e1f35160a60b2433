package sandbox

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tbcert/tbcert/certs/secret"
)

// An importJSON asks for a bulk import (BulkImportRequest).
type importJSON struct {
	File    string `json:"file"`
	Mapping struct {
		Columns []struct {
			Type string `json:"type"`
		} `json:"columns"`
		Delimiter string `json:"delimiter"`
		Header    bool   `json:"header"`
		Update    bool   `json:"update"`
	} `json:"mapping"`
}

// An importResult says what came of it (BulkImportResult).
type importResult struct {
	Created    int      `json:"created"`
	Updated    int      `json:"updated"`
	Errors     int      `json:"errors"`
	ErrorsList []string `json:"errorsList"`
}

// bulkImport creates the devices of a CSV text. A line that fails does not stop
// the others.
func (w *web) bulkImport(r *http.Request) (any, error) {
	var it importJSON
	if err := body(r, &it); err != nil {
		return nil, err
	}
	if err := it.check(); err != nil {
		return nil, err
	}
	reader := csv.NewReader(strings.NewReader(it.File))
	reader.FieldsPerRecord = -1
	if it.Mapping.Delimiter != "" {
		reader.Comma, _ = utf8.DecodeRuneInString(it.Mapping.Delimiter)
	}
	result := importResult{ErrorsList: []string{}}
	for isFirst := true; ; isFirst = false {
		fields, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return result, nil
		}
		if err != nil {
			return nil, badParameter("The file is not the CSV that the mapping describes")
		}
		if isFirst && it.Mapping.Header {
			continue
		}
		line, _ := reader.FieldPos(0)
		isNew, err := w.importLine(it, fields)
		switch {
		case err != nil:
			result.Errors++
			result.ErrorsList = append(result.ErrorsList, fmt.Sprintf("Line %d: %s", line, err))
		case isNew:
			result.Created++
		default:
			result.Updated++
		}
	}
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

// importLine creates the device of a line, or updates it when that is asked for.
func (w *web) importLine(it importJSON, fields []string) (isNew bool, err error) {
	device, err := it.device(fields)
	if err != nil {
		return false, err
	}
	existing, err := w.store.named(device.Name)
	if err != nil || !it.Mapping.Update {
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
	_, err = w.store.update(existing.id, device)
	return false, err
}

// device is what a line says.
func (it importJSON) device(fields []string) (Device, error) {
	var device Device
	if len(fields) < len(it.Mapping.Columns) {
		return device, badParameter(fmt.Sprintf("There are %d values for %d columns", len(fields), len(it.Mapping.Columns)))
	}
	for i, column := range it.Mapping.Columns {
		switch column.Type {
		case "NAME":
			device.Name = fields[i]
		case "TYPE":
			device.Type = fields[i]
		case "LABEL":
			device.Label = fields[i]
		case accessToken:
			device.Token = secret.New(fields[i])
		}
	}
	return device, nil
}
