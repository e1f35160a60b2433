package provision

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/tbcert/tbcert/certs/secret"
)

// Offline is the registrar for a ThingsBoard that is out of reach: it takes the
// token that was given or made, and the devices come into ThingsBoard by the
// file that [WriteImport] writes. The inventory keeps the tokens.
type Offline struct{}

var _ Changer = Offline{}

// Kind is RegistrarOffline.
func (Offline) Kind() RegistrarKind { return RegistrarOffline }

// Ready never fails.
func (Offline) Ready(context.Context) error { return nil }

// Register never fails.
func (Offline) Register(_ context.Context, order Order) (Registration, error) {
	return Registration{
		Label:      order.Device.Label,
		Profile:    order.Device.Profile,
		Credential: order.Credential,
		Created:    true,
	}, nil
}

// importHeadings are the columns of the import file that every device has. They
// are the names of the importer's column types (BulkImportColumnType).
func importHeadings() []string {
	return []string{"NAME", "TYPE", "LABEL", "DESCRIPTION", "IS_GATEWAY", "ACCESS_TOKEN", "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD"}
}

// WriteImport writes the devices among the records that were registered offline
// and not revoked as CSV for ThingsBoard's import (Entities, Devices, Import
// device; or POST /api/device/bulk_import). The text holds their tokens.
//
// Its form finds NAME, TYPE and LABEL by itself; for the other columns the type
// has to be chosen by hand, else they become attributes. An empty TYPE gives the
// tenant's default profile, and any other empty value is one that is not there
// (AbstractBulkImportService, DeviceBulkImportService). Of the credentials the
// importer takes the first that a line has: X.509, then the token, then basic.
//
// shapes tell which columns are needed, so that a site of tokens has a file of
// tokens: records in which the registrar, the state, the kind of credential and
// the extras are set, each combination that there is among the records.
func WriteImport(w io.Writer, shapes, records iter.Seq2[Record, error]) error {
	used, attributes, err := importColumns(shapes)
	if err != nil {
		return fmt.Errorf("write the import file: %w", err)
	}
	out := csv.NewWriter(w)
	if err := out.Write(append(pick(importHeadings(), used), attributeHeadings(attributes)...)); err != nil {
		return fmt.Errorf("write the import file: %w", err)
	}
	for record, err := range records {
		if err != nil {
			return fmt.Errorf("write the import file: %w", err)
		}
		if !imported(record) {
			continue
		}
		if err := out.Write(append(pick(importFields(record), used), attributeFields(record, attributes)...)); err != nil {
			return fmt.Errorf("write the import file: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write the import file: %w", err)
	}
	return nil
}

// imported reports whether a record belongs into the import file.
func imported(r Record) bool {
	return r.Registrar == RegistrarOffline && r.State != StateRevoked && r.State != StateRevoking
}

// importColumns finds the columns that some device needs: of the fixed ones by
// position, and of attributes.
func importColumns(records iter.Seq2[Record, error]) (used []bool, attributes []Attribute, err error) {
	const always = 3 // NAME, TYPE and LABEL
	used = make([]bool, len(importHeadings()))
	for record, err := range records {
		if err != nil {
			return nil, nil, err
		}
		if !imported(record) {
			continue
		}
		for i, field := range importFields(withAll(record)) {
			used[i] = used[i] || field != ""
		}
		for _, attribute := range record.Extra.Attributes {
			column := Attribute{Scope: attribute.Scope, Key: attribute.Key}
			if at, found := slices.BinarySearchFunc(attributes, column, compareAttributes); !found {
				attributes = slices.Insert(attributes, at, column)
			}
		}
	}
	for i := range always {
		used[i] = true
	}
	return used, attributes, nil
}

// withAll is a record with a credential that has all the fields that one of its
// kind may have.
func withAll(r Record) Record {
	some := secret.New("x")
	switch r.Credential.Kind {
	case CredentialToken:
		r.Credential.Token = some
	case CredentialBasic:
		r.Credential.ClientID, r.Credential.Username, r.Credential.Password = some, some, some
	case CredentialX509:
		r.Credential.Chain = []byte("-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n")
	}
	return r
}

// compareAttributes orders attributes by scope and key.
func compareAttributes(a, b Attribute) int {
	return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Key, b.Key))
}

func pick(fields []string, used []bool) (picked []string) {
	for i, field := range fields {
		if used[i] {
			picked = append(picked, field)
		}
	}
	return picked
}

// importFields are the fields of a device, by importHeadings.
func importFields(r Record) []string {
	gateway := ""
	if r.Extra.Gateway {
		gateway = "true"
	}
	return []string{
		r.Name, r.Profile, r.Label, r.Extra.Description, gateway,
		r.Credential.Token.Reveal(), leafBase64(r.Credential.Chain),
		r.Credential.ClientID.Reveal(), r.Credential.Username.Reveal(), r.Credential.Password.Reveal(),
	}
}

// leafPEM is the first certificate of a chain in PEM.
func leafPEM(chain []byte) string {
	block, _ := pem.Decode(chain)
	if block == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
}

// leafBase64 is the first certificate of a chain as ThingsBoard keeps it, in one
// line (EncryptionUtil.certTrimNewLines).
func leafBase64(chain []byte) string {
	block, _ := pem.Decode(chain)
	if block == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(block.Bytes)
}

// attributeHeadings name the columns of attributes, in a form that ReadManifest
// takes too.
func attributeHeadings(attributes []Attribute) (headings []string) {
	for _, attribute := range attributes {
		headings = append(headings, strings.ToUpper(string(attribute.Scope))+"_ATTRIBUTE:"+attribute.Key)
	}
	return headings
}

// attributeFields are a device's attributes by their columns. Texts stand
// without their quotes.
func attributeFields(r Record, columns []Attribute) []string {
	fields := make([]string, len(columns))
	for _, attribute := range r.Extra.Attributes {
		if at, found := slices.BinarySearchFunc(columns, attribute, compareAttributes); found {
			var text string
			if json.Unmarshal(attribute.Value, &text) != nil {
				text = string(attribute.Value)
			}
			fields[at] = text
		}
	}
	return fields
}

// errOutOfReach: without a call nothing would be changed where the device is.
var errOutOfReach = errors.New("it is registered in ThingsBoard, which is not called (the registrar is offline); nothing was changed: say --url with a login for ThingsBoard's REST API")

// inReach refuses to change a device offline that is registered in ThingsBoard:
// its record would say what is not so there.
func inReach(changer Changer, record Record) error {
	if changer.Kind() == RegistrarOffline && record.Registrar != RegistrarOffline {
		return errOutOfReach
	}
	return nil
}

// Current is the credential on record: nobody else knows it.
func (Offline) Current(_ context.Context, record Record) (Credential, error) {
	return record.Credential, nil
}

// Change does nothing: the import file has what is on record, and its import
// changes the device.
func (Offline) Change(context.Context, Record, Credential) error { return nil }

// Withdraw does nothing: see the note that the command gives.
func (Offline) Withdraw(context.Context, Record) error { return nil }
