package provision

import (
	"errors"
	"fmt"
)

// An Action is what was done for a device.
type Action string

// The actions.
const (
	ActionCreated   Action = "created"   // registered, with a new bundle
	ActionAdopted   Action = "adopted"   // it existed in ThingsBoard; its bundle was written
	ActionRepaired  Action = "repaired"  // on record; its bundle was missing or out of date
	ActionUpdated   Action = "updated"   // on record; its label or profile was changed there
	ActionUnchanged Action = "unchanged" // nothing was written
	ActionFailed    Action = "failed"    // see Result.Err
)

// A Result is what came of one device.
type Result struct {
	Device        string
	Directory     string // below devices/
	Action        Action
	Registrar     RegistrarKind // where it is on record
	ThingsBoardID string
	Note          string // what the user should know though nothing failed; "" is nothing
	Err           error  // for ActionFailed
}

// A Summary counts the results of a run.
type Summary struct {
	Total     int // the devices asked for
	Created   int
	Adopted   int
	Repaired  int
	Updated   int
	Unchanged int
	Failed    int
	Left      int // not begun, because the run was interrupted or stopped
}

func (s *Summary) count(action Action) {
	switch action {
	case ActionCreated:
		s.Created++
	case ActionAdopted:
		s.Adopted++
	case ActionRepaired:
		s.Repaired++
	case ActionUpdated:
		s.Updated++
	case ActionUnchanged:
		s.Unchanged++
	case ActionFailed:
		s.Failed++
	}
	s.Left--
}

// ErrElsewhere is the error for a device that only another registrar can
// complete.
var ErrElsewhere = errors.New("registered elsewhere")

// A TokenConflictError says that a device was given a token and has another.
// Nothing was changed.
type TokenConflictError struct {
	Device string
	Where  string // where it has the other: "in ThingsBoard", "in the inventory"
}

func (e *TokenConflictError) Error() string {
	return fmt.Sprintf("device %s has another token %s than the one it was given; nothing was changed: leave the token out to keep the one it has, or change it there first",
		quote(e.Device), e.Where)
}

// A TokenTakenError says that a device was given a token that another device on
// record has. ThingsBoard would refuse it. Nothing was changed.
type TokenTakenError struct {
	Device string
	Holder string // who has it
}

func (e *TokenTakenError) Error() string {
	return fmt.Sprintf("device %s is given the token of device %s; nothing was changed: give it another, or leave the token out to get one",
		quote(e.Device), quote(e.Holder))
}

// A DirectoryError says that a device's directory has another device's bundle in
// it: on a file system that takes upper and lower case for the same, two names
// may share one.
type DirectoryError struct {
	Device    string
	Directory string
	Owner     string
}

func (e *DirectoryError) Error() string {
	return fmt.Sprintf("device %s: its directory %s holds the bundle of device %s: rename one of them, or move that directory away",
		quote(e.Device), e.Directory, quote(e.Owner))
}
