package provision

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
)

// A UnprovisionedError says that ThingsBoard did not provision a device, or did not
// answer, and that the device cannot connect with the credential of the order.
type UnprovisionedError struct {
	Device string
	Doubt  bool // an earlier request may have been done, without an answer
	Err    error

	serverMade bool // the request had no credential
}

func (e *UnprovisionedError) Error() string {
	const others = "if it was created for provisioning beforehand, delete its server attribute provisionState"
	text := fmt.Sprintf("device %s: %s", quote(e.Device), e.Err)
	switch {
	case !errors.Is(e.Err, device.ErrProvisionFailed):
		return text + "; it does not have its credential yet, as far as can be seen now: run this again"
	case e.serverMade && e.Doubt:
		return text + ": it exists there, and the token that ThingsBoard made for it may have been lost with a connection: delete the device there and run this again, or give it a new token by REST; " + others
	default:
		return text + ": a device of this name exists there with another credential, or it is none that may be provisioned, or the tenant has as many devices as it may: delete it there and run this again, or register it by REST; " + others
	}
}

// Unwrap gives the cause: [device.ErrProvisionFailed] or
// [device.ErrProvisionUncertain] is in its chain.
func (e *UnprovisionedError) Unwrap() error { return e.Err }

// A CredentialInUseError says that ThingsBoard refused to provision a device
// with a credential that it was given, and that some device there has it. By
// MQTT nobody can tell which.
type CredentialInUseError struct {
	Device string
	Kind   CredentialKind
}

func (e *CredentialInUseError) Error() string {
	return fmt.Sprintf("device %s was not provisioned: a device in ThingsBoard has the %s that it is given; by MQTT nobody can tell whether it is this one: look there, and give this device another if it is not",
		quote(e.Device), e.Kind.noun())
}

// errKeyless: a certificate whose key only the device has proves nothing here.
var errKeyless = errors.New("its key is only on the device, so that nobody else can find out whether it has this certificate: look at it in ThingsBoard, or delete it there and run this again")

// adopt settles a request that was refused or not answered: the device has the
// order's credential, or failed is the error.
//
// That of a device that was never ordered before, and that is refused at once,
// proves nothing when it was given: it may be another device's.
func (m *MQTT) adopt(ctx context.Context, order Order, failed *UnprovisionedError) (Registration, error) {
	name := quote(order.Device.Name)
	err := m.prove(ctx, order.Credential)
	var refused *device.RefusedError
	switch {
	case err == nil && !failed.Doubt && order.Device.Credential.Made():
		return Registration{}, &CredentialInUseError{Device: order.Device.Name, Kind: order.Credential.Kind}
	case err == nil:
		has := order.Credential
		has.Key = secret.Text{}
		return Registration{Credential: has, Created: failed.Doubt && !order.Begun}, nil
	case errors.Is(err, errKeyless):
		return Registration{}, fmt.Errorf("device %s: %w: %w", name, failed.Err, err)
	case errors.As(err, &refused) && refused.Code != device.ServerUnavailable && refused.Code != device.BadProtocolVersion:
		return Registration{}, failed
	default:
		return Registration{}, fmt.Errorf("device %s: %w; and connecting as the device, to see what it has: %w; run this again", name, failed.Err, err)
	}
}

// prove connects as the device. With a certificate it shows the leaf alone: a
// chain could make ThingsBoard create a device, or change one, by a profile that
// has this CA (DefaultTransportApiService.validateOrCreateDeviceX509Certificate).
func (m *MQTT) prove(ctx context.Context, credential Credential) error {
	dial, login := m.Dial, device.Login{}
	switch credential.Kind {
	case CredentialX509:
		certificate, err := clientCertificate(credential)
		if err != nil {
			return err
		}
		if m.DialAs == nil {
			return errors.New("there is no way to connect with a certificate")
		}
		dial = func(ctx context.Context) (net.Conn, error) { return m.DialAs(ctx, certificate) }
	case CredentialToken:
		login.Username = credential.Token
	default:
		login = device.Login{ClientID: credential.ClientID.Reveal(), Username: credential.Username, Password: credential.Password}
	}
	leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	session, err := m.logIn(ctx, dial, login)
	if err != nil {
		return err
	}
	_ = session.Disconnect()
	return nil
}

// clientCertificate is a device's leaf with its key.
func clientCertificate(credential Credential) (*tls.Certificate, error) {
	if credential.Key.IsZero() {
		return nil, errKeyless
	}
	chain, err := certs.ParseCertificates(credential.Chain)
	if err != nil {
		return nil, err
	}
	key, err := certs.ParseKey([]byte(credential.Key.Reveal()), secret.Text{})
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{chain[0].Raw}, PrivateKey: key, Leaf: chain[0]}, nil
}
