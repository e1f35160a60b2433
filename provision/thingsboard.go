package provision

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tbcert/tbcert/certs"
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
	// CreateDevice makes a device with credentials. A name that exists gives
	// rest.ErrExists, a credential that another device has rest.ErrTokenTaken.
	CreateDevice(ctx context.Context, device rest.Device, credentials rest.Credentials) (rest.Device, error)
	// DeviceCredentials gives what a device proves itself by.
	DeviceCredentials(ctx context.Context, deviceID string) (rest.Credentials, error)
	// SetCredentials changes that.
	SetCredentials(ctx context.Context, credentials rest.Credentials) (rest.Credentials, error)
	// SetDeviceProfile moves a device to another profile.
	SetDeviceProfile(ctx context.Context, deviceID, profileID string) error

	// FindProfile finds a device profile by its exact name, or gives
	// rest.ErrNotFound; CreateProfile and UpdateProfile save one.
	FindProfile(ctx context.Context, name string) (rest.Profile, error)
	CreateProfile(ctx context.Context, profile rest.Profile) (rest.Profile, error)
	UpdateProfile(ctx context.Context, profile rest.Profile) (rest.Profile, error)

	// FindCustomer finds a customer by its exact title, or gives
	// rest.ErrNotFound; AssignCustomer assigns a device to it.
	FindCustomer(ctx context.Context, title string) (id string, err error)
	AssignCustomer(ctx context.Context, customerID, deviceID string) error

	// SaveAttributes sets attributes of a scope, DeleteAttributes deletes some,
	// Attributes reads some; hidden values are kept out of errors.
	SaveAttributes(ctx context.Context, deviceID, scope string, values map[string]json.RawMessage, hidden ...string) error
	DeleteAttributes(ctx context.Context, deviceID, scope string, keys ...string) error
	Attributes(ctx context.Context, deviceID, scope string, keys ...string) (map[string]json.RawMessage, error)
	// RPC calls a method of a connected device.
	RPC(ctx context.Context, deviceID, method string, params any, patience time.Duration, hidden ...string) (json.RawMessage, error)
}

// ThingsBoard registers devices by ThingsBoard's REST API, as a tenant
// administrator.
//
// It creates a device with its credential, or adopts the one of that name. A
// creation that may have happened, though it was answered with an error or not at
// all, is looked up before it is sent again. The credential of a [Registration]
// is always the one that ThingsBoard gave back.
type ThingsBoard struct {
	Client DeviceAPI
	// Chain, when it is set, registers devices with certificates by their CA: one
	// profile is made, and no call is made for a device.
	Chain *ChainProfile
	// Wait waits before a creation is sent again; nil waits by the clock. It gives
	// ctx's error when ctx ends first.
	Wait func(ctx context.Context, pause time.Duration) error

	mu        sync.Mutex
	customers map[string]string // ids by title
	profiles  map[string]rest.Profile
}

var (
	_ Changer   = (*ThingsBoard)(nil)
	_ DeviceAPI = (*rest.Client)(nil)
)

// A ChainProfile is a device profile that lets in every device that presents a
// certificate of a CA, and creates those that are not known (ThingsBoard's
// strategy X509_CERTIFICATE_CHAIN, from 3.5).
type ChainProfile struct {
	Name string
	CA   *x509.Certificate
}

// A CredentialsError says that a device has a kind of credentials that is none of
// ours. It was left so.
type CredentialsError struct {
	Device string
	Type   string // ThingsBoard's name for the kind
}

func (e *CredentialsError) Error() string {
	return fmt.Sprintf("device %s has credentials of the type %s in ThingsBoard; nothing was changed: change them there (device, Manage credentials), or give this device another name",
		quote(e.Device), quote(e.Type))
}

// Kind is RegistrarThingsBoard.
func (*ThingsBoard) Kind() RegistrarKind { return RegistrarThingsBoard }

// Ready logs in, and makes the chain profile.
func (t *ThingsBoard) Ready(ctx context.Context) error {
	if _, err := t.Client.SystemInfo(ctx); err != nil {
		return err
	}
	if t.Chain == nil {
		return nil
	}
	return t.makeChain(ctx)
}

// Register creates or adopts the device and reads its credential back.
func (t *ThingsBoard) Register(ctx context.Context, order Order) (Registration, error) {
	if t.Chain != nil && order.Credential.Kind == CredentialX509 {
		return t.registerByChain(order)
	}
	device, made, err := t.findOrCreate(ctx, order)
	if err != nil {
		return Registration{}, err
	}
	has, err := t.read(ctx, order.Device.Name, device.ID)
	if err != nil {
		return Registration{}, err
	}
	wanted := order.Device.Credential
	if has.Kind == CredentialX509 {
		wanted = order.Credential.public() // another certificate is of no use: its key is not here
	}
	if !has.fits(wanted) {
		return Registration{}, &CredentialConflictError{Device: order.Device.Name, Where: "in ThingsBoard", Has: has.Kind, Given: order.Credential.Kind}
	}
	if err := t.complete(ctx, device, order.Device.Extra); err != nil {
		return Registration{}, fmt.Errorf("device %s: %w", quote(order.Device.Name), err)
	}
	return Registration{
		ThingsBoardID: device.ID,
		Label:         device.Label,
		Profile:       device.Type,
		Credential:    has,
		Created:       made == madeNow || (made == madeMaybe && has.fits(order.Credential.public())),
	}, nil
}

// read gives the credential that a device has now; of a certificate without its
// key.
func (t *ThingsBoard) read(ctx context.Context, name, id string) (Credential, error) {
	got, err := t.Client.DeviceCredentials(ctx, id)
	if err != nil {
		return Credential{}, fmt.Errorf("device %s: read its credentials back: %w", quote(name), err)
	}
	has, err := credentialFrom(name, got)
	if err == nil {
		err = has.validate()
	}
	if err != nil {
		return Credential{}, fmt.Errorf("device %s: the credential that it has in ThingsBoard cannot be used: %w", quote(name), err)
	}
	return has, nil
}

// credentialFrom is ThingsBoard's credential as ours.
func credentialFrom(name string, got rest.Credentials) (Credential, error) {
	switch got.Type {
	case rest.TypeAccessToken:
		return Credential{Kind: CredentialToken, Token: got.CredentialsID}, nil
	case rest.TypeBasic:
		basic, err := got.Basic()
		return Credential{Kind: CredentialBasic, ClientID: basic.ClientID, Username: basic.Username, Password: basic.Password}, err
	case rest.TypeX509:
		return certificateFrom(got.Value)
	default:
		return Credential{}, &CredentialsError{Device: name, Type: got.Type}
	}
}

// certificateFrom reads a certificate as ThingsBoard keeps it: base64 without
// header, footer and line breaks (EncryptionUtil.certTrimNewLines), or PEM.
func certificateFrom(value secret.Text) (Credential, error) {
	chain, err := certs.ParseCertificates([]byte(value.Reveal()))
	if err != nil {
		if chain, err = certs.ParseBase64(value.Reveal()); err != nil {
			return Credential{}, fmt.Errorf("%w: its certificate cannot be read", rest.ErrNotThingsBoard)
		}
	}
	return Credential{Kind: CredentialX509, Chain: certs.EncodeCertificates(chain...)}, nil
}

// credentialsFor is our credential as ThingsBoard's.
func credentialsFor(c Credential) (rest.Credentials, error) {
	switch c.Kind {
	case CredentialToken:
		return rest.TokenCredentials(c.Token), nil
	case CredentialBasic:
		return rest.BasicCredentials(rest.Basic{ClientID: c.ClientID, Username: c.Username, Password: c.Password})
	case CredentialX509:
		return rest.CertificateCredentials([]byte(leafPEM(c.Chain))), nil
	default:
		return rest.Credentials{}, fmt.Errorf("there is no credential %s", quote(string(c.Kind)))
	}
}

// createTries is how often a creation is tried of which it is not known whether
// it was done, and which then was seen not to have been.
const createTries = 6

// origin says who made a device.
type origin int

const (
	madeBefore origin = iota
	madeMaybe         // by a creation that was not answered, or before
	madeNow
)

// findOrCreate gives the device of the order's name. One that was begun before
// is looked for first; any other is most likely new, and creating it at once
// saves the look.
func (t *ThingsBoard) findOrCreate(ctx context.Context, order Order) (device rest.Device, made origin, err error) {
	if order.Begun {
		device, err = t.find(ctx, order.Device.Name)
		if !errors.Is(err, rest.ErrNotFound) {
			return device, madeBefore, err
		}
	}
	return t.create(ctx, order)
}

// create creates the device, unless it turns out to exist.
func (t *ThingsBoard) create(ctx context.Context, order Order) (device rest.Device, made origin, err error) {
	wanted, err := t.deviceFor(ctx, order.Device)
	if err != nil {
		return rest.Device{}, madeBefore, err
	}
	credentials, err := credentialsFor(order.Credential)
	if err != nil {
		return rest.Device{}, madeBefore, fmt.Errorf("device %s: %w", quote(order.Device.Name), err)
	}
	for tries := 1; ; tries++ {
		device, err = t.Client.CreateDevice(ctx, wanted, credentials)
		if err == nil {
			return device, madeNow, isDevice(device, order.Device.Name)
		}
		if isRefusal(err) {
			return rest.Device{}, madeBefore, err
		}
		if rest.Uncertain(err) {
			made = madeMaybe
		}
		device, lookErr := t.find(ctx, order.Device.Name)
		switch {
		case lookErr == nil:
			return device, made, nil
		case !errors.Is(lookErr, rest.ErrNotFound):
			return rest.Device{}, made, errors.Join(err, lookErr)
		case !rest.Uncertain(err) || tries == createTries:
			return rest.Device{}, made, err
		}
		if waitErr := t.wait(ctx, createPause<<(tries-1)); waitErr != nil {
			return rest.Device{}, made, errors.Join(err, waitErr)
		}
	}
}

// createPause is the pause before the second try; each one after is twice as
// long.
const createPause = 100 * time.Millisecond

func (t *ThingsBoard) wait(ctx context.Context, pause time.Duration) error {
	if t.Wait != nil {
		return t.Wait(ctx, pause)
	}
	return rest.WaitByClock(ctx, pause)
}

// deviceFor is what a device is created as.
func (t *ThingsBoard) deviceFor(ctx context.Context, device Device) (rest.Device, error) {
	wanted := rest.Device{
		Name: device.Name, Label: device.Label, Type: device.Profile,
		Description: device.Extra.Description, Gateway: device.Extra.Gateway,
	}
	if device.Extra.Customer == "" {
		return wanted, nil
	}
	id, err := t.customer(ctx, device.Extra.Customer)
	if err != nil {
		return rest.Device{}, fmt.Errorf("device %s: %w", quote(device.Name), err)
	}
	wanted.CustomerID = id
	return wanted, nil
}

// customer gives the id of a customer, which is asked for once.
func (t *ThingsBoard) customer(ctx context.Context, title string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id := t.customers[title]; id != "" {
		return id, nil
	}
	id, err := t.Client.FindCustomer(ctx, title)
	if errors.Is(err, rest.ErrNotFound) {
		return "", fmt.Errorf("ThingsBoard has no customer %s: create it there (Customers, +), or leave it out", quote(title))
	}
	if err != nil {
		return "", err
	}
	if t.customers == nil {
		t.customers = make(map[string]string)
	}
	t.customers[title] = id
	return id, nil
}

// complete sets what a device cannot be created with, and what an adopted one
// may lack.
func (t *ThingsBoard) complete(ctx context.Context, device rest.Device, extra Extra) error {
	if extra.Customer != "" {
		id, err := t.customer(ctx, extra.Customer)
		if err != nil {
			return err
		}
		if device.CustomerID != id {
			if err := t.Client.AssignCustomer(ctx, id, device.ID); err != nil {
				return err
			}
		}
	}
	scopes := map[AttributeScope]string{ScopeServer: rest.ScopeServer, ScopeShared: rest.ScopeShared}
	for _, scope := range []AttributeScope{ScopeServer, ScopeShared} {
		values := make(map[string]json.RawMessage)
		for _, attribute := range extra.Attributes {
			if attribute.Scope == scope {
				values[attribute.Key] = attribute.Value
			}
		}
		if len(values) == 0 {
			continue
		}
		if err := t.Client.SaveAttributes(ctx, device.ID, scopes[scope], values); err != nil {
			return err
		}
	}
	return nil
}

// isRefusal reports whether an error is ThingsBoard's no, whatever the device:
// then nothing was created, and looking for it would be refused as well.
func isRefusal(err error) bool {
	for _, refusal := range []error{rest.ErrUnauthorized, rest.ErrForbidden, rest.ErrLimit, rest.ErrTooMany, rest.ErrNoLogin, rest.ErrRedirect} {
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
