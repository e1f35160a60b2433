package provision

import (
	"context"
	"fmt"
)

// A Row is one device of a manifest, and where it stands there.
type Row struct {
	Line   int // from 1
	Column int // from 1, in bytes
	Device Device
}

// A Spool keeps the rows of a manifest while it is being checked, outside of
// memory, and hands them out when it was found to be sound.
type Spool interface {
	// Add keeps a row. When an earlier row has its name or its credential the
	// error is a *DuplicateError, and more rows can be added; so they can after
	// a *UnfitError. Any other error is of the spool itself.
	Add(ctx context.Context, row Row) error
}

// A DuplicateError says that an earlier row of a manifest has the same name or
// the same credential.
type DuplicateError struct {
	Credential bool // the credential; false is the name
	Line       int  // of the earlier row
}

func (e *DuplicateError) Error() string {
	if e.Credential {
		return fmt.Sprintf("the credential is that of the device in line %d already: each device needs its own", e.Line)
	}
	return fmt.Sprintf("the device name is in line %d already", e.Line)
}

// A UnfitError says that a row, though it is well formed, cannot be used. It
// holds no secret.
type UnfitError struct {
	Problem string
}

func (e *UnfitError) Error() string { return e.Problem }
