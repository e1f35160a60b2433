package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

// namePattern takes the CN of a certificate of ours as the device's name.
const namePattern = "(.+)"

// makeChain makes the chain profile, or brings it up to date. A profile that
// provisions in another way is not touched.
func (t *ThingsBoard) makeChain(ctx context.Context) error {
	wanted := &rest.Chain{Certificate: certs.EncodeCertificates(t.Chain.CA), Pattern: namePattern, AllowCreate: true}
	profile, err := t.Client.FindProfile(ctx, t.Chain.Name)
	switch {
	case errors.Is(err, rest.ErrNotFound):
		_, err = t.Client.CreateProfile(ctx, rest.Profile{Name: t.Chain.Name, Strategy: rest.StrategyChain, Chain: wanted})
		if err != nil && rest.Uncertain(err) {
			_, err = t.Client.FindProfile(ctx, t.Chain.Name)
		}
		return err
	case err != nil:
		return err
	case profile.Strategy == rest.StrategyChain && isChainOf(profile.Chain, t.Chain):
		return nil
	case profile.Strategy != rest.StrategyChain && profile.Strategy != rest.StrategyDisabled && profile.Strategy != "":
		return fmt.Errorf("the device profile %s provisions devices in another way (%s); nothing was changed: name another profile with --by-chain", quote(t.Chain.Name), profile.Strategy)
	case profile.Strategy == rest.StrategyChain && !hasCertificate(profile.Chain, t.Chain):
		return fmt.Errorf("the device profile %s lets in the devices of another CA; nothing was changed: name another profile with --by-chain", quote(t.Chain.Name))
	}
	profile.Strategy, profile.Chain, profile.Secret = rest.StrategyChain, wanted, secret.Text{}
	_, err = t.Client.UpdateProfile(ctx, profile)
	return err
}

// isChainOf reports whether a profile's chain is as it should be.
func isChainOf(chain *rest.Chain, wanted *ChainProfile) bool {
	return hasCertificate(chain, wanted) && chain.Pattern == namePattern && chain.AllowCreate
}

func hasCertificate(chain *rest.Chain, wanted *ChainProfile) bool {
	if chain == nil {
		return false
	}
	has, err := certificateFrom(secret.New(string(chain.Certificate)))
	return err == nil && bytes.Equal(has.Chain, certs.EncodeCertificates(wanted.CA))
}

// escaped are the characters before which ThingsBoard puts a backslash when it
// takes a name out of a certificate (SslUtil.parseCommonName, by BouncyCastle's
// IETFUtils.valueToString), so that it would look for another device.
const escaped = `,;+"\\<>=#`

// registerByChain calls nobody: the profile is the registration.
func (t *ThingsBoard) registerByChain(order Order) (Registration, error) {
	if strings.ContainsAny(order.Device.Name, escaped) {
		return Registration{}, fmt.Errorf("device %s: ThingsBoard cannot take a name with one of the characters %s out of a certificate: rename it, or leave out --by-chain", quote(order.Device.Name), escaped)
	}
	if !order.Device.Extra.isZero() || order.Device.Label != "" {
		return Registration{}, fmt.Errorf("device %s: a device that the profile lets in is created when it connects, without a label, a customer or attributes: leave them out, or leave out --by-chain", quote(order.Device.Name))
	}
	return Registration{Profile: t.Chain.Name, Credential: order.Credential.public(), Created: true}, nil
}

// device finds the device of a record.
func (t *ThingsBoard) device(ctx context.Context, record Record) (rest.Device, error) {
	device, err := t.find(ctx, record.Name)
	if errors.Is(err, rest.ErrNotFound) {
		return rest.Device{}, fmt.Errorf("device %s: %w", quote(record.Name), ErrGone)
	}
	if err == nil && record.ThingsBoardID != "" && record.ThingsBoardID != device.ID {
		return rest.Device{}, fmt.Errorf("device %s is another one in ThingsBoard than that on record: it was deleted there and made again; tbcert provision takes that one on, unless a change of the old one was begun: then delete it there", quote(record.Name))
	}
	return device, err
}

// Current reads what the device has.
func (t *ThingsBoard) Current(ctx context.Context, record Record) (Credential, error) {
	device, err := t.device(ctx, record)
	if err != nil {
		return Credential{}, err
	}
	has, err := t.read(ctx, record.Name, device.ID)
	if err == nil && has.Kind == CredentialX509 && has.fits(record.Credential.public()) {
		return record.Credential, nil // with its key
	}
	return has, err
}

// Change replaces the credential that the device has.
func (t *ThingsBoard) Change(ctx context.Context, record Record, to Credential) error {
	device, err := t.device(ctx, record)
	if err != nil {
		return err
	}
	return t.set(ctx, device.ID, to)
}

func (t *ThingsBoard) set(ctx context.Context, id string, to Credential) error {
	has, err := t.Client.DeviceCredentials(ctx, id)
	if err != nil {
		return err
	}
	wanted, err := credentialsFor(to)
	if err != nil {
		return err
	}
	wanted.ID, wanted.DeviceID = has.ID, has.DeviceID
	_, err = t.Client.SetCredentials(ctx, wanted)
	return err
}

// Withdraw gives the device a token that nobody knows. Where its profile lets in
// every device with a certificate of a CA, it is moved to one that does not:
// there ThingsBoard would let the device in whatever credential it has on record
// (DeviceProvisionServiceImpl.provisionDeviceViaX509Chain).
func (t *ThingsBoard) Withdraw(ctx context.Context, record Record) error {
	device, err := t.device(ctx, record)
	if errors.Is(err, ErrGone) && record.Credential.Kind == CredentialX509 {
		return t.blockName(ctx, record)
	}
	if err != nil {
		return err
	}
	profile, err := t.Client.FindProfile(ctx, device.Type)
	if err != nil {
		return err
	}
	if profile.Strategy == rest.StrategyChain {
		revoked, err := t.revokedProfile(ctx)
		if err != nil {
			return err
		}
		if err := t.Client.SetDeviceProfile(ctx, device.ID, revoked.ID); err != nil {
			return err
		}
	}
	nobody, err := NewToken(nil)
	if err != nil {
		return err
	}
	return t.set(ctx, device.ID, TokenCredential(nobody))
}

// revokedProfileName is the profile of devices that must not be let in by their
// certificate's CA.
const revokedProfileName = "tbcert-revoked"

// revokedProfile finds or makes that profile.
func (t *ThingsBoard) revokedProfile(ctx context.Context) (rest.Profile, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if profile, known := t.profiles[revokedProfileName]; known {
		return profile, nil
	}
	profile, err := t.Client.FindProfile(ctx, revokedProfileName)
	if errors.Is(err, rest.ErrNotFound) {
		profile, err = t.Client.CreateProfile(ctx, rest.Profile{Name: revokedProfileName, Strategy: rest.StrategyDisabled})
	}
	if err != nil {
		return rest.Profile{}, err
	}
	t.profiles = map[string]rest.Profile{revokedProfileName: profile}
	return profile, nil
}

// blockName makes a device of the name, so that a profile that lets in every
// certificate of the CA cannot make it.
func (t *ThingsBoard) blockName(ctx context.Context, record Record) error {
	if t.Chain == nil && record.ThingsBoardID != "" {
		return fmt.Errorf("device %s: %w", quote(record.Name), ErrGone)
	}
	if _, err := t.revokedProfile(ctx); err != nil {
		return err
	}
	nobody, err := NewToken(nil)
	if err != nil {
		return err
	}
	_, err = t.Client.CreateDevice(ctx, rest.Device{Name: record.Name, Type: revokedProfileName}, rest.TokenCredentials(nobody))
	if errors.Is(err, rest.ErrExists) {
		return t.Withdraw(ctx, record)
	}
	return err
}

// DefaultAnnounceTimeout is the patience with a device that was told of its new
// credential.
const DefaultAnnounceTimeout = 30 * time.Second

// Announcer tells devices of their new credential by the shared attribute how, or
// by the RPC method that follows "rpc:" in it. patience is how long each has to
// acknowledge it.
func (t *ThingsBoard) Announcer(how string, patience time.Duration) Announcer {
	if method, isRPC := strings.CutPrefix(how, "rpc:"); isRPC {
		return &rpcAnnouncer{board: t, method: method, patience: patience}
	}
	return &attributeAnnouncer{board: t, key: how, patience: patience, poll: announcePoll}
}

// announcePoll is how often an acknowledgment is looked for.
const announcePoll = 500 * time.Millisecond

// An announcement is what a device is told.
type announcement struct {
	ID       string `json:"id"` // to be acknowledged
	Token    string `json:"token,omitempty"`
	ClientID string `json:"clientId,omitempty"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// announce describes a credential, and gives the parts of it that must not be
// shown. Its id is a hash, of which nothing can be learnt.
func announce(c Credential) (told announcement, hidden []string, err error) {
	if c.Kind == CredentialX509 {
		return announcement{}, nil, errors.New("a certificate's key cannot be handed over this way")
	}
	told = announcement{
		ID: sha3Hex(c.ID().Reveal() + "|" + c.Password.Reveal())[:16], Token: c.Token.Reveal(),
		ClientID: c.ClientID.Reveal(), Username: c.Username.Reveal(), Password: c.Password.Reveal(),
	}
	return told, []string{told.Token, told.Username, told.Password}, nil
}

// An rpcAnnouncer calls a method of the device: its answer is the
// acknowledgment.
type rpcAnnouncer struct {
	board    *ThingsBoard
	method   string
	patience time.Duration
}

func (a *rpcAnnouncer) Announce(ctx context.Context, record Record, next Credential) error {
	told, hidden, err := announce(next)
	if err != nil {
		return err
	}
	device, err := a.board.device(ctx, record)
	if err != nil {
		return err
	}
	_, err = a.board.Client.RPC(ctx, device.ID, a.method, told, a.patience, hidden...)
	return err
}

func (a *rpcAnnouncer) Announced(context.Context, Record) error { return nil }

// An attributeAnnouncer sets a shared attribute, and waits for the client
// attribute of the same key.
type attributeAnnouncer struct {
	board    *ThingsBoard
	key      string
	patience time.Duration
	poll     time.Duration
}

func (a *attributeAnnouncer) Announce(ctx context.Context, record Record, next Credential) error {
	told, hidden, err := announce(next)
	if err != nil {
		return err
	}
	device, err := a.board.device(ctx, record)
	if err != nil {
		return err
	}
	value, err := json.Marshal(told) //nolint:gosec // it is what the device is told
	if err != nil {
		return err
	}
	client := a.board.Client
	if err := client.SaveAttributes(ctx, device.ID, rest.ScopeShared, map[string]json.RawMessage{a.key: value}, hidden...); err != nil {
		return err
	}
	if err := a.wait(ctx, device.ID, told.ID); err != nil {
		return errors.Join(err, a.take(ctx, device.ID))
	}
	return nil
}

// wait looks for the acknowledgment.
func (a *attributeAnnouncer) wait(ctx context.Context, deviceID, id string) error {
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	ticker := time.NewTicker(a.poll)
	defer ticker.Stop()
	for {
		has, err := a.board.Client.Attributes(ctx, deviceID, rest.ScopeClient, a.key)
		var got string
		if err == nil && json.Unmarshal(has[a.key], &got) == nil && got == id {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("it did not acknowledge within %s: it is not connected, or its firmware does not know %s", a.patience, quote(a.key)), err)
		}
	}
}

// Announced takes the attribute away.
func (a *attributeAnnouncer) Announced(ctx context.Context, record Record) error {
	device, err := a.board.device(ctx, record)
	if err != nil {
		return err
	}
	return a.take(ctx, device.ID)
}

func (a *attributeAnnouncer) take(ctx context.Context, deviceID string) error {
	return a.board.Client.DeleteAttributes(ctx, deviceID, rest.ScopeShared, a.key)
}
