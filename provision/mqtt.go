package provision

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/device"
)

const (
	// DefaultMQTTTimeout is how long an MQTT registrar waits for an answer. After
	// 10 s ThingsBoard itself gives a request up (its transport's request
	// timeout), and closes the connection.
	DefaultMQTTTimeout = 30 * time.Second
	// DefaultMQTTSessions is how many connections an MQTT registrar has.
	DefaultMQTTSessions = 16
)

// MQTT registers devices by ThingsBoard's device provisioning, with the key and
// the secret of a device profile: no login of an administrator is needed.
//
// What a device has cannot be read back this way. So a request that may have
// been done, and one that was refused because the device exists, are settled by
// connecting as the device with the credential of the order: a CONNECT that is
// accepted says that it has that. Connecting disconnects a device that is at
// work, until it connects again.
//
// It may be used by many goroutines; Close ends its connections.
type MQTT struct {
	// Dial opens a connection to ThingsBoard's MQTT port, verified if it is TLS.
	Dial func(ctx context.Context) (net.Conn, error)
	// DialAs is Dial with a client certificate, which it presents whatever
	// issuers the server names. It is needed for certificates only.
	DialAs func(ctx context.Context, certificate *tls.Certificate) (net.Conn, error)

	Key, Secret secret.Text // of the device profile
	// ServerMade leaves it to ThingsBoard to make access tokens, where none is
	// given. One that was made and whose answer was lost cannot be had again.
	ServerMade bool

	Timeout  time.Duration    // for connecting, and for each answer; 0 is DefaultMQTTTimeout
	Sessions int              // connections at most, of which each has one request at a time; 0 is DefaultMQTTSessions
	Now      func() time.Time // nil is time.Now

	begin  sync.Once
	places chan struct{} // one is taken for each connection in use
	mu     sync.Mutex    // guards what follows
	idle   []*mqttSession
	closed bool
}

var _ Registrar = (*MQTT)(nil)

// Kind is RegistrarMQTT.
func (*MQTT) Kind() RegistrarKind { return RegistrarMQTT }

// probe is the name of a device that cannot be: a character longer than
// ThingsBoard's column for it (Device.name).
func probe() string { return "tbcert-probe-" + strings.Repeat("x", maxText+1-len("tbcert-probe-")) }

// Ready connects, and asks for a device that cannot be. ThingsBoard looks at the
// key and the secret first (DeviceProvisionServiceImpl.provisionDevice), so the
// answer tells whether they are right, and nothing is changed.
func (m *MQTT) Ready(ctx context.Context) error {
	if m.Dial == nil || m.Key.IsZero() || m.Secret.IsZero() {
		return errors.New("devices cannot be provisioned by MQTT without an address, and the provision key and secret of a device profile")
	}
	_, _, err := m.ask(ctx, device.ProvisionRequest{Name: probe(), Key: m.Key, Secret: m.Secret})
	switch {
	case errors.Is(err, device.ErrProvisionFailed):
		return nil
	case errors.Is(err, device.ErrProvisionNotFound):
		return notProvisioning(err)
	case err == nil:
		return fmt.Errorf("the server registered the device %s, whose name is longer than ThingsBoard allows: is this address that of a ThingsBoard? Delete that device", quote(probe()))
	default:
		return fmt.Errorf("try device provisioning by MQTT: %w", err)
	}
}

// notProvisioning says what to do about a wrong key or secret.
func notProvisioning(err error) error {
	return fmt.Errorf("%w: compare them with those in ThingsBoard (device profile, Device provisioning), and see that its strategy there lets devices provision themselves", err)
}

// Check refuses a device of which more is asked than provisioning by MQTT can
// set.
func (m *MQTT) Check(device Device) error {
	var asked []string
	for _, field := range []struct {
		what string
		is   bool
	}{
		{"a label", device.Label != ""}, {"a profile", device.Profile != ""}, {"a customer", device.Extra.Customer != ""},
		{"a description", device.Extra.Description != ""}, {"attributes", len(device.Extra.Attributes) > 0},
	} {
		if field.is {
			asked = append(asked, field.what)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	return fmt.Errorf("device %s is given %s, which provisioning by MQTT cannot set (the profile is that of the provision key): leave that out, or register it by ThingsBoard's REST API",
		quote(device.Name), strings.Join(asked, ", "))
}

// Register asks for the device. The error is a *CredentialConflictError, or a
// *UnprovisionedError when ThingsBoard did not provision it and it does not have the
// order's credential either.
func (m *MQTT) Register(ctx context.Context, order Order) (Registration, error) {
	name := order.Device.Name
	if err := m.Check(order.Device); err != nil {
		return Registration{}, err
	}
	request, err := m.request(order)
	if err != nil {
		return Registration{}, fmt.Errorf("device %s: %w", quote(name), err)
	}
	answer, doubt, err := m.ask(ctx, request)
	switch {
	case err == nil:
		return settleMQTT(order, request, answer)
	case ctx.Err() != nil:
		return Registration{}, fmt.Errorf("device %s: %w", quote(name), err)
	case errors.Is(err, device.ErrProvisionFailed):
		return m.adopt(ctx, order, &UnprovisionedError{Device: name, Doubt: doubt || order.Begun, Err: err, serverMade: request.Credential.Type == ""})
	case errors.Is(err, device.ErrProvisionNotFound):
		return Registration{}, fmt.Errorf("device %s: %w", quote(name), notProvisioning(err))
	case doubt:
		return m.adopt(ctx, order, &UnprovisionedError{Device: name, Doubt: true, Err: err, serverMade: request.Credential.Type == ""})
	default:
		return Registration{}, fmt.Errorf("device %s: provision it by MQTT: %w", quote(name), err)
	}
}

// request is what an order asks of ThingsBoard.
func (m *MQTT) request(order Order) (device.ProvisionRequest, error) {
	request := device.ProvisionRequest{Name: order.Device.Name, Key: m.Key, Secret: m.Secret, Gateway: order.Device.Extra.Gateway}
	given := order.Credential
	if m.ServerMade && given.Kind == CredentialToken && !order.Device.Credential.Made() {
		return request, nil
	}
	request.Credential = device.Credential{Token: given.Token, ClientID: given.ClientID, Username: given.Username, Password: given.Password}
	switch given.Kind {
	case CredentialToken:
		request.Credential.Type = device.TypeAccessToken
	case CredentialBasic:
		request.Credential.Type = device.TypeMQTTBasic
	case CredentialX509:
		chain, err := certs.ParseCertificates(given.Chain)
		if err != nil {
			return request, err
		}
		request.Credential.Type, request.Credential.Certificate = device.TypeCertificate, chain[0].Raw
	default:
		return request, fmt.Errorf("there is no credential %s", quote(string(given.Kind)))
	}
	return request, nil
}

// settleMQTT takes ThingsBoard's answer. A device that was created beforehand
// keeps the credential that it has, whatever was asked for
// (DeviceProvisionServiceImpl.processProvision).
func settleMQTT(order Order, request device.ProvisionRequest, answer device.Credential) (Registration, error) {
	has := Credential{Token: answer.Token, ClientID: answer.ClientID, Username: answer.Username, Password: answer.Password}
	wanted := order.Device.Credential
	conflict := &CredentialConflictError{Device: order.Device.Name, Where: "in ThingsBoard", Given: order.Credential.Kind}
	switch answer.Type {
	case device.TypeAccessToken:
		has.Kind = CredentialToken
	case device.TypeMQTTBasic:
		has.Kind = CredentialBasic
	case device.TypeCertificate:
		has.Kind = CredentialX509
		if !bytes.Equal(answer.Certificate, request.Credential.Certificate) { // its key is not here
			conflict.Has = has.Kind
			return Registration{}, conflict
		}
		has.Chain = order.Credential.Chain
	}
	if !has.fits(wanted) {
		conflict.Has = has.Kind
		return Registration{}, conflict
	}
	asked := request.Credential.Type != ""
	return Registration{Credential: has, Created: !order.Begun && (!asked || has.fits(order.Credential))}, nil
}
