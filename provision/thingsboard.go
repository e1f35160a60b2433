package provision

import (
	"context"
	"errors"
	"fmt"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// A DeviceAPI is what the registrar needs of ThingsBoard's REST API;
// rest.Client has it. Many goroutines call it at once.
type DeviceAPI interface {
	// SystemInfo proves that the server can be reached and takes the login.
	SystemInfo(ctx context.Context) (rest.SystemInfo, error)
	// FindDevice finds a device by its exact name, or gives rest.ErrNotFound.
	FindDevice(ctx context.Context, name string) (rest.Device, error)
	// CreateDevice makes a device with an access token. A name that exists
	// gives rest.ErrExists, a token that another device has rest.ErrTokenTaken.
	CreateDevice(ctx context.Context, device rest.Device, token secret.Text) (rest.Device, error)
	// DeviceCredentials gives what a device proves itself by.
	DeviceCredentials(ctx context.Context, deviceID string) (rest.Credentials, error)
}

// ThingsBoard registers devices by ThingsBoard's REST API, as a tenant
// administrator.
//
// It creates a device with its token, or adopts the one of that name. A creation
// that may have happened, though it was answered with an error or not at all, is
// looked up and never sent again. The token of a [Registration] is always the
// one that ThingsBoard gave back.
type ThingsBoard struct {
	Client DeviceAPI
}

var (
	_ Registrar = (*ThingsBoard)(nil)
	_ DeviceAPI = (*rest.Client)(nil)
)

// A CredentialsError says that a device has another kind of credentials than an
// access token. It was left so.
type CredentialsError struct {
	Device string
	Type   string // ThingsBoard's name for the kind
}

func (e *CredentialsError) Error() string {
	return fmt.Sprintf("device %s has credentials of the type %s in ThingsBoard, not an access token; nothing was changed: change them there (device, Manage credentials), or give this device another name",
		quote(e.Device), quote(e.Type))
}

// Kind is RegistrarThingsBoard.
func (*ThingsBoard) Kind() RegistrarKind { return RegistrarThingsBoard }

// Ready logs in.
func (t *ThingsBoard) Ready(ctx context.Context) error {
	_, err := t.Client.SystemInfo(ctx)
	return err
}

// Register creates or adopts the device and reads its token back.
func (t *ThingsBoard) Register(ctx context.Context, order Order) (Registration, error) {
	device, created, err := t.findOrCreate(ctx, order)
	if err != nil {
		return Registration{}, err
	}
	credentials, err := t.Client.DeviceCredentials(ctx, device.ID)
	if err != nil {
		return Registration{}, fmt.Errorf("device %s: read its credentials back: %w", quote(order.Device.Name), err)
	}
	if credentials.Type != rest.TypeAccessToken {
		return Registration{}, &CredentialsError{Device: order.Device.Name, Type: credentials.Type}
	}
	has := TokenCredential(credentials.CredentialsID)
	if wanted := order.Device.Credential; !has.fits(wanted) {
		return Registration{}, &CredentialConflictError{Device: order.Device.Name, Where: "in ThingsBoard", Has: has.Kind, Given: wanted.Kind}
	}
	return Registration{
		ThingsBoardID: device.ID,
		Label:         device.Label,
		Profile:       device.Type,
		Credential:    has,
		Created:       created,
	}, nil
}

// findOrCreate gives the device of the order's name. One that was begun before
// is looked for first; any other is most likely new, and creating it at once
// saves the look.
func (t *ThingsBoard) findOrCreate(ctx context.Context, order Order) (device rest.Device, created bool, err error) {
	if order.Begun {
		device, err = t.find(ctx, order.Device.Name)
		if !errors.Is(err, rest.ErrNotFound) {
			return device, false, err
		}
	}
	device, err = t.Client.CreateDevice(ctx, rest.Device{Name: order.Device.Name, Label: order.Device.Label, Type: order.Device.Profile}, order.Credential.Token)
	if err == nil {
		return device, true, isDevice(device, order.Device.Name)
	}
	if isRefusal(err) {
		return rest.Device{}, false, err
	}
	device, lookErr := t.find(ctx, order.Device.Name)
	switch {
	case lookErr == nil:
		return device, false, nil
	case errors.Is(lookErr, rest.ErrNotFound):
		return rest.Device{}, false, err
	default:
		return rest.Device{}, false, errors.Join(err, lookErr)
	}
}

// isRefusal reports whether an error is ThingsBoard's no, whatever the device:
// then nothing was created, and looking for it would be refused as well.
func isRefusal(err error) bool {
	for _, refusal := range []error{rest.ErrUnauthorized, rest.ErrForbidden, rest.ErrLimit, rest.ErrTooMany, rest.ErrNoLogin} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// find looks a device up by its name.
func (t *ThingsBoard) find(ctx context.Context, name string) (rest.Device, error) {
	device, err := t.Client.FindDevice(ctx, name)
	if err != nil {
		return rest.Device{}, err
	}
	return device, isDevice(device, name)
}

// isDevice refuses an answer that is about anything else than the device that
// was asked for.
func isDevice(device rest.Device, name string) error {
	if device.Name != name || device.ID == "" {
		return fmt.Errorf("device %s: ThingsBoard was asked for it and gave device %s: is this address that of a ThingsBoard?", quote(name), quote(device.Name))
	}
	return nil
}
