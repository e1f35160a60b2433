package sandbox

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// The columns of a bulk import.
const (
	colName            = "NAME"
	colType            = "TYPE"
	colLabel           = "LABEL"
	colDescription     = "DESCRIPTION"
	colGateway         = "IS_GATEWAY"
	colToken           = accessToken
	colX509            = "X509"
	colClientID        = "MQTT_CLIENT_ID"
	colUserName        = "MQTT_USER_NAME"
	colPassword        = "MQTT_PASSWORD"
	colServerAttribute = "SERVER_ATTRIBUTE"
	colSharedAttribute = "SHARED_ATTRIBUTE"
	colTimeseries      = "TIMESERIES"
)

// An importLine is what a line of a bulk import says; an empty value is one that
// is not there.
type importLine struct {
	fields map[string]string         // by column
	values map[string]map[string]any // by column, and then by key
}

func (it importJSON) line(fields []string) importLine {
	line := importLine{fields: map[string]string{}, values: map[string]map[string]any{}}
	for i, value := range fields {
		if value == "" {
			continue
		}
		column := it.Mapping.Columns[i]
		switch column.Type {
		case colServerAttribute, colSharedAttribute, colTimeseries:
			if column.Key == "" {
				continue
			}
			if line.values[column.Type] == nil {
				line.values[column.Type] = map[string]any{}
			}
			line.values[column.Type][column.Key] = cast(value)
		default:
			line.fields[column.Type] = value
		}
	}
	return line
}

// cast finds the type of a value: number, boolean, JSON or text
// (TypeCastUtil.castValue).
func cast(value string) any {
	number := strings.ReplaceAll(value, ",", ".")
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(number, 64); err == nil && !strings.ContainsAny(number, "xXpPnNyY_") {
		return f
	}
	if strings.EqualFold(value, "true") || strings.EqualFold(value, "false") {
		return strings.EqualFold(value, "true")
	}
	if first, _, _ := strings.Cut(strings.TrimSpace(value), " "); strings.HasPrefix(first, "{") || strings.HasPrefix(first, "[") {
		if json.Valid([]byte(value)) {
			return json.RawMessage(value)
		}
	}
	return value
}

// credential is the one that a line gives
// (DeviceBulkImportService.createDeviceCredentials): a certificate before basic
// ones, those before a token; isGiven is false when it gives none.
func (line importLine) credential() (c credential, isGiven bool, err error) {
	clientID, userName, password := line.fields[colClientID], line.fields[colUserName], line.fields[colPassword]
	token := line.fields[colToken]
	switch {
	case line.fields[colX509] != "":
		c, err = newCredential(x509Certificate, "", line.fields[colX509])
	case clientID+userName+password != "":
		c, err = newCredential(mqttBasic, "", basicOf(clientID, userName, password))
	case token != "":
		c, err = newCredential(accessToken, token, "")
	default:
		c, err = newCredential(accessToken, newToken(), "")
		return c, false, err
	}
	if err != nil {
		return c, true, badCredential("Invalid device credentials: " + err.Error())
	}
	return c, true, nil
}

// spec is what the device of a line is to be; what the line does not say stays.
func (line importLine) spec(existing entry) (spec, error) {
	it := spec{
		name: line.fields[colName], label: existing.label, kind: existing.kind, customerID: existing.customerID, info: existing.info,
	}
	if label, ok := line.fields[colLabel]; ok {
		it.label = label
	}
	if kind, ok := line.fields[colType]; ok {
		it.kind = kind
	}
	info := map[string]any{}
	if existing.info != nil && json.Unmarshal(existing.info, &info) != nil {
		return spec{}, badParameter("The additional info of the device is no JSON object")
	}
	if description, ok := line.fields[colDescription]; ok {
		info["description"] = description
	}
	if gateway, ok := line.fields[colGateway]; ok {
		info["gateway"] = strings.EqualFold(gateway, "true")
	}
	it.info = marshal(info)
	return it, nil
}

// importDevice creates the device of a line, or updates the one of its name. The
// values are stored for a new one, and for an old one when update says so.
func (w *web) importDevice(line importLine, update bool) (isNew bool, err error) {
	c, isGiven, err := line.credential()
	if err != nil {
		return false, err
	}
	existing, err := w.store.named(line.fields[colName])
	isNew = err != nil
	it, err := line.spec(existing)
	if err != nil {
		return false, err
	}
	if isNew {
		existing, err = w.store.create(it, c)
	} else {
		err = w.updateImported(existing.id, it, c, isGiven)
	}
	if err != nil {
		return isNew, err
	}
	if isNew || update {
		w.storeImported(existing.id, line)
	}
	return isNew, nil
}

func (w *web) updateImported(id string, it spec, c credential, isGiven bool) error {
	given := &c
	if !isGiven {
		given = nil
	}
	_, session, err := w.store.update(id, it, given)
	w.end(session)
	return err
}

// storeImported stores the attributes and the telemetry of a line.
func (w *web) storeImported(id string, line importLine) {
	w.store.storeAttributes(id, scopeServer, line.values[colServerAttribute])
	if shared := line.values[colSharedAttribute]; len(shared) > 0 {
		if session := w.store.storeAttributes(id, scopeShared, shared); session != nil {
			told := map[string]any{}
			for key, value := range shared {
				told[key] = jsonOf(value)
			}
			w.tell(session, told)
		}
	}
	var samples []device.Sample
	for _, key := range slices.Sorted(maps.Keys(line.values[colTimeseries])) {
		samples = append(samples, device.Sample{Key: key, Value: line.values[colTimeseries][key]})
	}
	if len(samples) > 0 {
		w.store.storeSamples(id, samples)
	}
}
