package provision

import (
	"fmt"
	"slices"
	"strings"
)

// column is what a manifest's column or field holds.
type column int

const (
	columnName column = iota
	columnLabel
	columnProfile
	columnDescription
	columnGateway
	columnCustomer
	columnCredential
	columnToken
	columnClientID
	columnUsername
	columnPassword
	columnCertificate
	columnRequest
	columnFailure // why the device failed in an earlier run
	columnServer  // attributes: all of them, or in CSV one
	columnShared
	columnUnknown
)

// String is how the column is called in errors.
func (c column) String() string {
	return [...]string{
		"name", "label", "profile", "description", "gateway", "customer", "credential", "token", "client id", "user name", "password",
		"certificate", "certificate request", "error", "server attributes", "shared attributes", "unknown",
	}[c]
}

// spellings are the headings of the column, without case and what joins their
// words. The names of ThingsBoard's column types are among them
// (BulkImportColumnType), and what its import form calls them in English.
func (c column) spellings() []string {
	return [...][]string{
		columnName: {"name", "devicename"}, columnLabel: {"label"}, columnProfile: {"profile", "type", "deviceprofile"},
		columnDescription: {"description"}, columnGateway: {"gateway", "isgateway"}, columnCustomer: {"customer"},
		columnCredential: {"credential", "credentialstype"}, columnToken: {"token", "accesstoken"},
		columnClientID: {"clientid", "mqttclientid"}, columnUsername: {"username", "mqttusername"},
		columnPassword: {"password", "mqttpassword"}, columnCertificate: {"certificate", "x509"}, columnRequest: {"csr"},
		columnFailure: {"error"}, columnServer: {"serverattributes"}, columnShared: {"sharedattributes"},
	}[c]
}

// columnOf finds the column of a heading or field.
func columnOf(heading string) column {
	plain := plainHeading(heading)
	for c := range columnUnknown {
		if slices.Contains(c.spellings(), plain) {
			return c
		}
	}
	return columnUnknown
}

// plainHeading leaves out case, and what joins words.
func plainHeading(heading string) string {
	return strings.NewReplacer(" ", "", "_", "", "-", "", ".", "").Replace(strings.ToLower(strings.TrimSpace(heading)))
}

// A heading is one column of a CSV.
type heading struct {
	column column
	key    string // of the attribute
}

// String is how the column is called in errors.
func (h heading) String() string {
	switch h.column {
	case columnServer, columnShared:
		return string(scopeOf(h.column)) + " attribute " + quote(h.key)
	default:
		return h.column.String()
	}
}

// parseHeading takes a heading; the problem says why it can be none.
func parseHeading(text string) (h heading, problem string) {
	prefix, key, _ := strings.Cut(text, ":")
	h.key = strings.TrimSpace(key)
	switch plain := plainHeading(prefix); plain {
	case "server", "serverattribute":
		h.column = columnServer
	case "shared", "sharedattribute":
		h.column = columnShared
	default:
		h = heading{column: columnOf(text)}
		if h.column >= columnServer { // a column has one attribute, not all
			h.column = columnUnknown
			problem = unknownProblem(text, plain)
		}
		return h, problem
	}
	if h.key == "" {
		return h, fmt.Sprintf("column %s needs the key of the attribute: write %s:KEY", quote(text), strings.TrimSpace(prefix))
	}
	return h, keyProblem(h.key)
}

// unknownProblem tells about a heading that is not known, and about columns that
// ThingsBoard's importer takes and tbcert does not.
func unknownProblem(text, plain string) string {
	switch {
	case plain == "timeseries":
		return "tbcert sends no telemetry for a device: leave out column " + quote(text) + ", or make it an attribute (SERVER_ATTRIBUTE:KEY)"
	case plain == "clientattribute":
		return "client attributes are the device's to write: leave out column " + quote(text) + ", or make it another attribute (SHARED_ATTRIBUTE:KEY)"
	case strings.HasPrefix(plain, "lwm2m"), strings.HasPrefix(plain, "snmp"):
		return "tbcert makes credentials for MQTT only: leave out column " + quote(text)
	}
	return fmt.Sprintf("column %s is unknown; the columns are %s", quote(text), knownColumns())
}

// keyProblem says what is wrong with an attribute's key. ThingsBoard's REST API
// takes keys as a list with commas.
func keyProblem(key string) string {
	switch {
	case key == "":
		return "the key of the attribute is empty"
	case strings.Contains(key, ","):
		return fmt.Sprintf("the key of the attribute %s holds a comma, with which ThingsBoard lists keys", quote(key))
	case textProblem(key) != "":
		return "the key of the attribute " + textProblem(key)
	}
	return ""
}

// knownColumns lists the headings for an error.
func knownColumns() string {
	return "name, label, profile (or type, device_profile), description, gateway, customer, credential, token (or access_token), " +
		"client_id, username, password, certificate (or x509), csr, server:KEY, shared:KEY"
}

// knownFields lists the fields of an object for an error.
func knownFields() string {
	return "name, label, profile (or type), description, gateway, customer, credential, token, " +
		"client_id, username, password, certificate, csr, server_attributes, shared_attributes"
}

// maxColumns is how many columns a CSV may have.
const maxColumns = 256

// readHeadings takes the first row. What is wrong with it is all that is told:
// without headings the rows mean nothing.
func (m *csvManifest) readHeadings(texts []string) {
	if len(texts) > maxColumns {
		m.failField(maxColumns, 0, fmt.Sprintf("there are %d columns: at most %d are taken", len(texts), maxColumns))
		return
	}
	named := false
	for i, text := range texts {
		heading, problem := parseHeading(text)
		switch {
		case problem != "":
			m.failField(i, 0, problem)
		case slices.Contains(m.headings, heading):
			m.failField(i, 0, fmt.Sprintf("there are two columns for the %s: keep one", heading))
		}
		m.headings = append(m.headings, heading)
		named = named || heading.column == columnName
	}
	if !named {
		// The row may be no headings at all but the first device, so nothing
		// of it is shown: it may hold a token.
		m.found = problems{}
		m.failField(0, 0, "there is no column name: the first row must hold the headings, which are "+knownColumns())
	}
}

// separatorOf finds what separates the headings: a comma, unless there is a name
// among them only when they are separated by something else.
func separatorOf(line string) rune {
	for _, separator := range []rune{',', ';', '\t', '|'} {
		headings := strings.Split(line, string(separator))
		for _, heading := range headings {
			if len(headings) > 1 && columnOf(strings.Trim(strings.TrimSpace(heading), `"`)) == columnName {
				return separator
			}
		}
	}
	return ','
}
