package sandbox

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// An importJSON asks for a bulk import (BulkImportRequest).
type importJSON struct {
	File    string `json:"file"`
	Mapping struct {
		Columns []struct {
			Type string `json:"type"`
			Key  string `json:"key"`
		} `json:"columns"`
		Delimiter string `json:"delimiter"`
		Header    bool   `json:"header"`
		// Update is about attributes and telemetry only: the device of a line is
		// updated whatever it says.
		Update bool `json:"update"`
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
		isNew, err := w.importDevice(it.line(fields), it.Mapping.Update)
		switch {
		case err != nil:
			result.Errors++
			result.ErrorsList = append(result.ErrorsList, fmt.Sprintf("Line %d: %s%s", i+1, classOf(err), err))
		case isNew:
			result.Created++
		default:
			result.Updated++
		}
	}
	return result, nil
}

// classOf is the exception that ThingsBoard names before what it says
// (ExceptionUtils.getRootCauseMessage).
func classOf(err error) string {
	var refusal *restError
	if errors.As(err, &refusal) && refusal.class != "" {
		return refusal.class + ": "
	}
	return ""
}

// check takes the columns that ThingsBoard has (BulkImportColumnType), but for
// those of LwM2M, SNMP and edges.
func (it importJSON) check() error {
	known := []string{
		colName, colType, colLabel, colDescription, colGateway, colToken, colX509, colClientID, colUserName, colPassword,
		colServerAttribute, colSharedAttribute, colTimeseries,
	}
	for _, column := range it.Mapping.Columns {
		if !slices.Contains(known, column.Type) {
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
