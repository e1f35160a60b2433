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
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// A Device is one device as the user asks for it.
type Device struct {
	Name    string      // as ThingsBoard shows it
	Label   string      // "" is none, or whatever is there already
	Profile string      // ThingsBoard's device profile (its "type"); "" is the tenant's default
	Token   secret.Text // the access token it must have; zero: one is made, or the one it has is kept
}

// CredentialToken is the credential kind of a device that proves itself by an
// access token, sent as the MQTT user name.
const CredentialToken = "token"

// RegistrarKind names where a device is registered, as the inventory records it.
type RegistrarKind string

// The registrars there are.
const (
	// RegistrarOffline: nothing is called; the devices are imported into
	// ThingsBoard from a file.
	RegistrarOffline RegistrarKind = "offline"
	// RegistrarThingsBoard: ThingsBoard's REST API.
	RegistrarThingsBoard RegistrarKind = "thingsboard"
)

// readsBack reports whether the token of a registered device can be asked for
// again. Where it cannot, the inventory is the only place that knows it.
func (k RegistrarKind) readsBack() bool { return k == RegistrarThingsBoard }

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
	// StateRegistered: it has the credential on record.
	StateRegistered State = "registered"
)

// A Record is what the inventory knows of a device.
type Record struct {
	Name          string
	Directory     string // EncodeName(Name)
	Label         string
	Profile       string
	Registrar     RegistrarKind
	ThingsBoardID string      // a UUID; "" when it is not known
	Credential    string      // CredentialToken
	Token         secret.Text // only where it cannot be read back
	State         State
	Created       time.Time // to the millisecond, UTC
	Updated       time.Time // to the millisecond, UTC
}

// An Inventory is the durable record of devices. An error of it ends the run:
// without a record nothing may be registered or handed out.
type Inventory interface {
	// Records gives what is known of the named devices, by name; a device that
	// is not on record is not in the map, and that is no error.
	Records(ctx context.Context, names []string) (map[string]Record, error)
	// Holders gives the devices on record that have one of the tokens, by token.
	Holders(ctx context.Context, tokens []secret.Text) (map[string]string, error)
	// Save writes all records or none, and returns once they survive a power
	// cut. A record of the same name is replaced, but for its Created.
	// All of them may be called by several goroutines at once.
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
}

// A Shelf is where bundles stand: the workspace's devices directory.
type Shelf interface {
	// ReadBundle gives the files in a bundle's directory, with Secret and
	// Executable as they are on the disk, in any order, the user's own files
	// among them or not. Where there is no such directory the error is
	// fs.ErrNotExist. It may be called while WriteBundles runs, for other
	// directories.
	ReadBundle(ctx context.Context, directory string) ([]File, error)
	// WriteBundles writes the bundles and returns once they survive a power
	// cut. Each appears whole, by one rename; in a directory that is there
	// already the files that differ are replaced and all others stay. It is
	// called by one goroutine at a time.
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
	// Register makes sure that the device exists and says what token it has.
	// After an error the device may exist or not; the next Register finds out.
	// Many goroutines call it at once.
	Register(ctx context.Context, order Order) (Registration, error)
}

// An Order asks a registrar for one device.
type Order struct {
	// Device is the device to be. When its Token is not zero, that is the token
	// it must have: a device that exists with another gives a
	// *TokenConflictError and stays as it is.
	Device Device
	// Token is the token to create the device with: Device.Token if there is
	// one, else a new one.
	Token secret.Text
	// Begun says that the inventory knows the device already, so that it
	// probably exists.
	Begun bool
}

// A Registration is what a registrar has, after all, for a device.
type Registration struct {
	ThingsBoardID string
	Label         string
	Profile       string
	Token         secret.Text // read back where that is possible
	Created       bool        // false: it existed and was adopted
}
