package sandbox

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"net/http"
	"slices"
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
			Key  string `json:"key"`
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

// check takes the columns that ThingsBoard has (BulkImportColumnType).
func (it importJSON) check() error {
	known := []string{
		"NAME", "TYPE", "LABEL", "DESCRIPTION", "IS_GATEWAY", accessToken, "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD",
		"SERVER_ATTRIBUTE", "SHARED_ATTRIBUTE",
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

// An imported is what a line says; an empty value is one that is not there.
type imported struct {
	device     Device
	basic      basicJSON
	attributes map[string]map[string]any // by scope
}

func (it importJSON) device(fields []string) imported {
	line := imported{attributes: map[string]map[string]any{}}
	for i, value := range fields {
		if value == "" {
			continue
		}
		column := it.Mapping.Columns[i]
		texts := map[string]*string{
			"NAME": &line.device.Name, "TYPE": &line.device.Type, "LABEL": &line.device.Label, "DESCRIPTION": &line.device.Description,
			"MQTT_CLIENT_ID": &line.basic.ClientID, "MQTT_USER_NAME": &line.basic.UserName, "MQTT_PASSWORD": &line.basic.Password,
		}
		if text := texts[column.Type]; text != nil {
			*text = value
			continue
		}
		switch column.Type {
		case "IS_GATEWAY":
			line.device.Gateway = strings.EqualFold(value, "true")
		case accessToken:
			line.device.Token = secret.New(value)
		case "X509":
			line.device.Certificate = []byte(value)
		case "SERVER_ATTRIBUTE", "SHARED_ATTRIBUTE":
			scope := strings.TrimSuffix(column.Type, "ATTRIBUTE") + "SCOPE"
			if line.attributes[scope] == nil {
				line.attributes[scope] = map[string]any{}
			}
			line.attributes[scope][column.Key] = value
		}
	}
	return line
}

// credential is the one that a line gives, the first of its kinds
// (DeviceBulkImportService.createDeviceCredentials); ok is that it gives one.
func (line imported) credential() (given credential, ok bool, err error) {
	switch {
	case !line.device.Token.IsZero():
		return credential{kind: accessToken, id: line.device.Token.Reveal()}, true, nil
	case line.basic != basicJSON{}:
		given, err = basicCredential(line.basic)
		return given, true, err
	case len(line.device.Certificate) > 0:
		given, err = certificateCredential(string(line.device.Certificate))
		return given, true, err
	default:
		return credential{kind: accessToken, id: newToken()}, false, nil
	}
}

// importDevice creates a device, or updates the one of its name: what the line
// does not say stays.
func (w *web) importDevice(line imported) (isNew bool, err error) {
	given, hasCredential, err := line.credential()
	if err != nil {
		return false, err
	}
	device := line.device
	existing, err := w.store.named(device.Name)
	if err != nil {
		w.store.mu.Lock()
		existing, err = w.store.add(device, given)
		w.store.mu.Unlock()
		if err != nil {
			return true, err
		}
		isNew = true
	} else if hasCredential {
		session, err := w.store.setCredential(existing.id, given)
		if err != nil {
			return false, err
		}
		w.end(session)
	}
	for scope, values := range line.attributes {
		w.store.storeAttributes(existing.id, scope, values)
	}
	if isNew {
		return true, nil
	}
	device.Label, device.Description = cmp.Or(device.Label, existing.label), cmp.Or(device.Description, existing.description)
	device.Gateway, device.customer = device.Gateway || existing.gateway, existing.customer
	_, err = w.store.update(existing.id, device)
	return false, err
}
