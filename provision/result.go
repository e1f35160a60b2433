package provision

import (
	"errors"
	"fmt"
	"time"
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
	ActionRotated   Action = "rotated"   // it has a new credential
	ActionRevoked   Action = "revoked"   // it has no credential any more
	ActionFailed    Action = "failed"    // see Result.Err
)

// A Result is what came of one device.
type Result struct {
	Device        string
	Wanted        Device // as it was asked for
	Credential    CredentialKind
	Directory     string // below devices/
	Action        Action
	Registrar     RegistrarKind // where it is on record
	ThingsBoardID string
	Note          string // what the user should know though nothing failed; "" is nothing
	Out           bool   // it cannot connect until its bundle reaches it
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
	Rotated   int
	Revoked   int
	Failed    int
	Left      int // not begun, because the run was interrupted or stopped
	Elsewhere int // done by other machines, or by an earlier run of a job that is shared
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
	case ActionRotated:
		s.Rotated++
	case ActionRevoked:
		s.Revoked++
	case ActionFailed:
		s.Failed++
	}
	s.Left--
}

// ErrElsewhere is the error for a device that only another registrar can
// complete.
var ErrElsewhere = errors.New("registered elsewhere")

// A CredentialConflictError says that a device was given a credential and has
// another. Nothing was changed.
type CredentialConflictError struct {
	Device     string
	Where      string // where it has the other: "in ThingsBoard", "in the inventory"
	Has, Given CredentialKind
}

func (e *CredentialConflictError) Error() string {
	if e.Has != e.Given {
		return fmt.Sprintf("device %s has a credential of the kind %s %s, not %s; nothing was changed: tbcert rotate --credential %s changes it",
			quote(e.Device), e.Has, e.Where, e.Given, e.Given)
	}
	return fmt.Sprintf("device %s has another %s %s than the one it was given; nothing was changed: leave it out to keep the one it has, or give it a new one with tbcert rotate",
		quote(e.Device), e.Has.noun(), e.Where)
}

// noun is what a credential of the kind is called in a sentence.
func (k CredentialKind) noun() string {
	switch k {
	case CredentialToken:
		return "token"
	case CredentialX509:
		return "certificate"
	default:
		return "user name or password"
	}
}

// A StateError says that a device is not one to be provisioned: its credential
// was taken away, or is being changed.
type StateError struct {
	Device string
	State  State
	Since  time.Time
}

func (e *StateError) Error() string {
	since := e.Since.Format(time.DateOnly)
	switch e.State {
	case StateRotating, StateProving:
		return fmt.Sprintf("device %s: the change of its credential was begun on %s and not finished: finish it with tbcert rotate", quote(e.Device), since)
	case StatePending:
		return fmt.Sprintf("device %s: its registration was begun on %s and not finished: finish it with tbcert provision", quote(e.Device), since)
	case StateRevoking:
		return fmt.Sprintf("device %s: its revocation was begun on %s and not finished: finish it with tbcert revoke", quote(e.Device), since)
	default:
		return fmt.Sprintf("device %s was revoked on %s: tbcert rotate gives it a new credential", quote(e.Device), since)
	}
}

// A TokenTakenError says that a device was given a credential that another device
// on record has. ThingsBoard would refuse it. Nothing was changed.
type TokenTakenError struct {
	Device string
	Holder string // who has it
}

func (e *TokenTakenError) Error() string {
	return fmt.Sprintf("device %s is given the credential of device %s; nothing was changed: give it another, or leave it out to get one",
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

// outcomeOf is what a source is told of a result.
func outcomeOf(seq int64, result Result) Outcome {
	outcome := Outcome{Seq: seq}
	if result.Err != nil {
		outcome.Failed = result.Err.Error()
	}
	return outcome
}
