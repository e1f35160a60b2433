// Package provision makes devices known to ThingsBoard and gives each of them
// its bundle: the directory with everything it needs to connect.
//
// An [Onboarder] takes one device, a [Batch] many. Both go the same way: the
// input is checked as a whole; what is about to happen is written to the
// [Inventory]; the [Registrar] registers the device; the inventory commits what
// came of it; and only then the bundle is written to the [Shelf]. So a run that
// ends anywhere is finished by running it again: no device is made twice, and no
// token is lost.
//
// The package touches neither disk nor network itself. Names become directories
// by [EncodeName]; manifests are read by [ReadManifest].
package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// A Device is one device as the user asks for it.
type Device struct {
	Name    string // as ThingsBoard shows it
	Label   string // "" is none, or whatever is there already
	Profile string // ThingsBoard's device profile (its "type"); "" is the tenant's default
	Extra   Extra
	// Credential is the one it must have. One with a kind alone is made, and a
	// zero one is whatever the device has, or a new token.
	Credential Credential
}

// Extra is what else ThingsBoard is told of a device.
type Extra struct {
	Customer    string // the title of the customer that it is assigned to
	Description string
	Gateway     bool
	Attributes  []Attribute // sorted by scope and key, each once
}

// An Attribute is one of a device's attributes in ThingsBoard.
type Attribute struct {
	Scope AttributeScope  `json:"scope"`
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"` // compact JSON; never null
}

// An AttributeScope says who may read and write an attribute.
type AttributeScope string

// The scopes that an administrator may write.
const (
	ScopeServer AttributeScope = "server" // the device does not see it
	ScopeShared AttributeScope = "shared" // the device is told of it
)

// RegistrarKind names where a device is registered, as the inventory records it.
type RegistrarKind string

// The registrars there are.
const (
	// RegistrarOffline: nothing is called; the devices are imported into
	// ThingsBoard from a file.
	RegistrarOffline RegistrarKind = "offline"
	// RegistrarThingsBoard: ThingsBoard's REST API.
	RegistrarThingsBoard RegistrarKind = "thingsboard"
	// RegistrarMQTT: ThingsBoard's device provisioning by MQTT.
	RegistrarMQTT RegistrarKind = "mqtt"
)

// RegistrarKinds are the registrars there are.
func RegistrarKinds() []RegistrarKind {
	return []RegistrarKind{RegistrarOffline, RegistrarThingsBoard, RegistrarMQTT}
}

// readsBack reports whether the credential of a registered device can be asked
// for again. Where it cannot, the inventory is the only place that knows it.
func (k RegistrarKind) readsBack(credential CredentialKind) bool {
	return k == RegistrarThingsBoard && credential != CredentialX509
}

// remote reports whether registering changes anything outside this workspace,
// so that it has to be announced in the inventory first.
func (k RegistrarKind) remote() bool { return k != RegistrarOffline }

// State is how far a device on record has come.
type State string

// The states of a record.
const (
	// StatePending: its registration was begun; whether it happened is known to
	// the registrar only.
	StatePending State = "pending"
	// StateRefused: its registration was refused, so that it has nothing.
	StateRefused State = "refused"
	// StateRegistered: it has the credential on record.
	StateRegistered State = "registered"
	// StateRotating: its credential is being changed to Record.Next; which of
	// the two it has is known to the registrar only.
	StateRotating State = "rotating"
	// StateProving: it has Record.Credential, which may not be in its bundle yet
	// and was not seen to work; Record.Next is the one that it had before, to go
	// back to, or zero when it was revoked.
	StateProving State = "proving"
	// StateRevoking: its credential is being taken away.
	StateRevoking State = "revoking"
	// StateRevoked: it has no credential any more.
	StateRevoked State = "revoked"
)

// A Record is what the inventory knows of a device.
type Record struct {
	Name          string
	Directory     string // EncodeName(Name)
	Label         string
	Profile       string
	Extra         Extra
	Registrar     RegistrarKind
	ThingsBoardID string // a UUID; "" when it is not known
	State         State
	// Credential is the one that the device has. Of a token that can be read
	// back from ThingsBoard the kind alone is kept.
	Credential Credential
	// Next is the other one of a change that goes on (see State); else zero.
	Next     Credential
	Formats  []string  // that its bundle has beside the credential, by name (see Exporter)
	Version  int64     // how often it was saved; 0 is never
	Created  time.Time // to the millisecond, UTC
	Updated  time.Time // to the millisecond, UTC
	Replaced time.Time // when it got its credential; to the millisecond, UTC
}

// A ConflictError says that records were not saved because others of these
// names, of which the caller did not know, were saved meanwhile.
type ConflictError struct {
	Names []string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%d devices, %s among them, were changed by another tbcert at the same time: run this again", len(e.Names), quote(e.Names[0]))
}

// An Inventory is the durable record of devices. An error of it ends the run:
// without a record nothing may be registered or handed out. All methods may be
// called by several goroutines at once.
type Inventory interface {
	// Records gives what is known of the named devices, by name; a device that
	// is not on record is not in the map, and that is no error.
	Records(ctx context.Context, names []string) (map[string]Record, error)
	// Holders gives the devices on record that have one of these credentials,
	// by Credential.ID.
	Holders(ctx context.Context, ids []secret.Text) (map[string]string, error)
	// Save writes all records or none, and returns once they survive a power
	// cut. A record of the same name is replaced, but for its Created, when its
	// Version is that of the new record; otherwise nothing is written and the
	// error is a *ConflictError. Save sets the Version of each record it wrote.
	// Every certificate that a Credential or Next holds is on record from then
	// on, though the device may get another.
	Save(ctx context.Context, records []Record) error
}

// A File is one file of a bundle. Its Data is shared with other bundles: nobody
// may change it.
type File struct {
	Name       string
	Data       []byte
	Secret     bool // for its owner's eyes only (0600)
	Executable bool
}

// A Bundle is the directory that a device gets.
type Bundle struct {
	Device    string // the device's name
	Directory string // EncodeName of it: the directory below devices/
	Files     []File // without the files of the user's that may be there as well
	// Remove are files that must not be there any more: those of another kind
	// of credential.
	Remove []string
}

// A Shelf is where bundles stand: the workspace's devices directory.
type Shelf interface {
	// ReadBundle gives the files in a bundle's directory that AllFiles names,
	// with Secret and Executable as they are on the disk, in any order, the
	// user's own files among them or not. Where there is no such directory the error is
	// fs.ErrNotExist. It may be called while WriteBundles runs, for other
	// directories.
	ReadBundle(ctx context.Context, directory string) ([]File, error)
	// WriteBundles writes the bundles and returns once they survive a power
	// cut. Each appears whole, by one rename; in a directory that is there
	// already the files that differ are replaced, those of Remove go, and all
	// others stay. It is called by one goroutine at a time.
	WriteBundles(ctx context.Context, bundles []Bundle) error
}

// A Registrar makes a device known to ThingsBoard.
type Registrar interface {
	// Kind is what the inventory records.
	Kind() RegistrarKind
	// Ready reports whether devices can be registered now: a wrong address or
	// password is told here, before anything is changed. It is called once a
	// run, and only when there is something to register.
	Ready(ctx context.Context) error
	// Register makes sure that the device exists and says what credential it
	// has. After an error the device may exist or not; the next Register finds
	// out. Many goroutines call it at once.
	Register(ctx context.Context, order Order) (Registration, error)
}

// An Order asks a registrar for one device.
type Order struct {
	// Device is the device to be. When its Credential is not zero, that is what
	// it must have: a device that exists with another gives a
	// *CredentialConflictError and stays as it is.
	Device Device
	// Credential is what to create the device with.
	Credential Credential
	// Begun says that the inventory knows the device already, so that it
	// probably exists.
	Begun bool
}

// A Registration is what a registrar has, after all, for a device.
type Registration struct {
	ThingsBoardID string
	Label         string
	Profile       string
	Credential    Credential // read back where that is possible; of a certificate without the key
	Created       bool       // false: it existed and was adopted
}

// A Changer is a registrar that can change the credential of a device that is
// registered. Many goroutines call it at once.
type Changer interface {
	Registrar
	// Current reads the credential that the device has: of a certificate
	// without its key. The error is ErrGone when there is no such device.
	Current(ctx context.Context, record Record) (Credential, error)
	// Change gives the device another credential, which ends its session. After
	// an error it may have either: Current tells.
	Change(ctx context.Context, record Record, to Credential) error
	// Withdraw takes the device's credential away, so that nothing that it ever
	// had lets it in. That the device does not exist is no error.
	Withdraw(ctx context.Context, record Record) error
}

// ErrGone is the error for a device that ThingsBoard does not have any more.
var ErrGone = errors.New("ThingsBoard has no such device")

// An Announcer tells a device which credential it will have, over the session
// that it has now.
type Announcer interface {
	// Announce returns when the device said that it has the new credential. An
	// error is that it did not.
	Announce(ctx context.Context, record Record, next Credential) error
	// Announced ends an announcement, so that nothing of the credential stays
	// where it was announced.
	Announced(ctx context.Context, record Record) error
}

// A Task is one device of a Source.
type Task struct {
	Seq    int64 // the source's own name for it
	Device Device
}

// An Outcome is what came of a Task.
type Outcome struct {
	Seq    int64
	Failed string // why; "" is that it was done
}

// A Source hands out the devices of a run: each was checked before (see
// Device.Validate), and no two have one name or one credential.
type Source interface {
	// Total is how many devices there are in all.
	Total() int
	// Take gives up to n devices that nobody else has, and none once there are
	// none left. Where others share the source it waits until devices that they
	// have are done, or are given back. It is called by one goroutine at a time.
	Take(ctx context.Context, n int) ([]Task, error)
	// Settle says what came of devices that were taken. Those that are not
	// settled are handed out again, to a later run.
	Settle(ctx context.Context, outcomes []Outcome) error
}
