package provision

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/tbcert/tbcert/certs/secret"
)

// column is what a manifest's column holds.
type column int

const (
	columnName column = iota
	columnLabel
	columnProfile
	columnToken
	columnUnknown
)

// String is the heading by which the column is known.
func (c column) String() string {
	return [...]string{"name", "label", "profile", "token", "unknown"}[c]
}

// columnOf finds the column of a heading. NAME, TYPE, LABEL and ACCESS_TOKEN are
// the column types of ThingsBoard's importer (BulkImportColumnType).
func columnOf(heading string) column {
	switch strings.ToLower(strings.TrimSpace(heading)) {
	case "name":
		return columnName
	case "label":
		return columnLabel
	case "profile", "type", "device_profile":
		return columnProfile
	case "token", "access_token":
		return columnToken
	default:
		return columnUnknown
	}
}

// knownColumns lists the headings for an error.
func knownColumns() string {
	return "name, label, profile (or type, device_profile), token (or access_token)"
}

// readHeadings takes the first row. What is wrong with it is all that is told:
// without headings the rows mean nothing.
func (m *manifest) readHeadings(headings []string) error {
	var seen [columnUnknown]bool
	for i, heading := range headings {
		column := columnOf(heading)
		m.columns = append(m.columns, column)
		switch {
		case column == columnUnknown:
			continue
		case seen[column]:
			m.fail(i, 0, fmt.Sprintf("there are two columns for the %s: keep one", column))
		}
		seen[column] = true
	}
	if !seen[columnName] {
		// The row may be no headings at all but the first device, so nothing
		// of it is shown: it may hold a token.
		m.found = problems{}
		m.fail(0, 0, noNameProblem(headings))
		return m.found.join("column")
	}
	for i, column := range m.columns {
		if column == columnUnknown {
			m.fail(i, 0, fmt.Sprintf("column %s is unknown; the columns are %s", quote(headings[i]), knownColumns()))
		}
	}
	return m.found.join("column")
}

func noNameProblem(headings []string) string {
	if len(headings) == 1 {
		for _, separator := range []string{";", "\t", "|"} {
			if first, _, found := strings.Cut(headings[0], separator); found && columnOf(first) != columnUnknown {
				return fmt.Sprintf("the fields are separated by %q: save the file with commas", separator)
			}
		}
	}
	return "there is no column name: the first row must hold the headings, which are " + knownColumns()
}

// digest stands for a token where tokens are compared, so that a long manifest
// keeps no second copy of them.
func digest(token secret.Text) [sha256.Size]byte {
	return sha256.Sum256([]byte(token.Reveal()))
}
