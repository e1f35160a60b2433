package device

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/tbcert/tbcert/certs/secret"
)

var (
	// ErrProvisionNotFound is in the chain when ThingsBoard has no device profile
	// with this provision key and secret, or the profile's strategy does not let
	// devices provision themselves. Nothing was changed.
	ErrProvisionNotFound = errors.New("ThingsBoard has no device profile that takes this provision key and secret")

	// ErrProvisionFailed is in the chain when ThingsBoard has the profile and
	// does not provision the device: it exists already; it is not one of those
	// that were created beforehand, or was provisioned before; its credential is
	// another device's or not a good one; the tenant has as many devices as it
	// may. ThingsBoard has one answer for all of them (DeviceProvisionServiceImpl).
	// Nothing was changed.
	ErrProvisionFailed = errors.New("ThingsBoard did not provision the device")

	// ErrProvisionUncertain is in the chain when a request was sent, or a part of
	// it, and no answer came: the device may be provisioned or not.
	ErrProvisionUncertain = errors.New("the device may be provisioned or not")
)

// A CredentialsType is ThingsBoard's name for a kind of credential
// (DeviceCredentialsType).
type CredentialsType string

// The types that a device can be provisioned with.
const (
	TypeAccessToken CredentialsType = "ACCESS_TOKEN"
	TypeMQTTBasic   CredentialsType = "MQTT_BASIC"
	TypeCertificate CredentialsType = "X509_CERTIFICATE"
)

// A Credential is what a device is to have, or has, in ThingsBoard. Only the
// fields of its type are set; those of TypeMQTTBasic as far as there are any.
type Credential struct {
	Type                         CredentialsType
	Token                        secret.Text
	ClientID, Username, Password secret.Text
	Certificate                  []byte // DER
}

// A ProvisionRequest asks for one device.
type ProvisionRequest struct {
	Name        string
	Key, Secret secret.Text // of the device profile
	Gateway     bool
	// Credential is what the device is to have; with a zero one ThingsBoard makes
	// an access token. ThingsBoard looks at it only when it creates the device.
	Credential Credential
}

// A ProvisionAnswer says what credential the device has. It need not be the one
// of the request: one that was created beforehand keeps its own.
type ProvisionAnswer struct {
	Credential Credential
}

// Provision asks for one device and waits for the answer, which carries no
// number: so each request of a session waits for the one before. The session is
// one that logged in as [UserProvision]. ThingsBoard closes it 60 s after its
// first answer (MqttTransportHandler.DeviceProvisionCallback).
//
// [ErrProvisionNotFound] and [ErrProvisionFailed] are ThingsBoard's answers, and
// the session can be used again. [ErrProvisionUncertain] is in the chain of any
// other error that came once the request was on its way, together with what is
// said at [Session]; with [ErrClosed], because ThingsBoard so answers a request
// that it cannot read or could not carry out, and with a *[ProtocolError] for an
// answer that is none. An error with none of the three means that nothing was
// sent. No error holds anything of the request or the answer.
func Provision(ctx context.Context, session *Session, request ProvisionRequest) (ProvisionAnswer, error) {
	payload, err := request.payload()
	if err != nil {
		return ProvisionAnswer{}, err
	}
	given := request.Credential
	session.wire.secrets = []secret.Text{request.Key, request.Secret, given.Token, given.ClientID, given.Username, given.Password}
	if err := session.listen(ctx); err != nil {
		return ProvisionAnswer{}, err
	}
	if err := session.Publish(ctx, TopicProvisionRequest, payload); err != nil {
		return ProvisionAnswer{}, uncertain(err)
	}
	message, err := session.Next(ctx)
	if err != nil {
		// An answer that comes later would be taken for that of the next request.
		return ProvisionAnswer{}, session.wire.breaks(uncertain(err))
	}
	credential, err := readAnswer(message)
	var protocol *ProtocolError
	if errors.As(err, &protocol) {
		return ProvisionAnswer{}, session.wire.breaks(uncertain(err))
	}
	return ProvisionAnswer{Credential: credential}, err
}

// listen subscribes to the answers, once a session, and makes sure that none is
// there yet.
func (s *Session) listen(ctx context.Context) error {
	if s.wire.broken != nil {
		return s.wire.broken
	}
	if !s.listens {
		if err := s.Subscribe(ctx, TopicProvisionResponse); err != nil {
			return err
		}
		s.listens = true
	}
	if len(s.inbox) > 0 {
		return s.wire.breaks(&ProtocolError{Expected: "nothing before a provision request", Problem: "a message came"})
	}
	return nil
}

func uncertain(err error) error { return fmt.Errorf("%w: %w", ErrProvisionUncertain, err) }

// payload is the request as JsonConverter.buildProvisionRequestMsg reads it.
func (r ProvisionRequest) payload() ([]byte, error) {
	switch {
	case r.Name == "":
		return nil, errors.New("a provision request needs a device's name: without one ThingsBoard makes one up")
	case r.Key.IsZero() || r.Secret.IsZero():
		return nil, errors.New("a provision request needs the key and the secret of a device profile")
	}
	fields := map[string]any{
		"deviceName": r.Name, "provisionDeviceKey": r.Key.Reveal(), "provisionDeviceSecret": r.Secret.Reveal(),
	}
	if r.Gateway {
		fields["gateway"] = true
	}
	if err := r.Credential.put(fields); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(fields)
	if err == nil && len(payload) > MaxPayload {
		err = fmt.Errorf("the provision request is %d bytes long, and ThingsBoard takes %d", len(payload), MaxPayload)
	}
	return payload, err
}

// put adds a request's fields for the credential. ThingsBoard takes none that is
// empty for one that is not given, and then makes a token.
func (c Credential) put(fields map[string]any) error {
	given := map[string]secret.Text{}
	switch c.Type {
	case "":
		return nil
	case TypeAccessToken:
		given["token"] = c.Token
	case TypeMQTTBasic:
		given["clientId"], given["username"], given["password"] = c.ClientID, c.Username, c.Password
	case TypeCertificate:
		if len(c.Certificate) > 0 {
			given["hash"] = secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate})))
		}
	}
	count := 0
	for name, text := range given {
		if !text.IsZero() {
			fields[name] = text.Reveal()
			count++
		}
	}
	if count == 0 {
		return fmt.Errorf("a provision request cannot be made with an empty credential of the type %q", shorten(string(c.Type)))
	}
	fields["credentialsType"] = string(c.Type)
	return nil
}

// An answer is what JsonConverter.toJson writes of a ProvisionDeviceResponseMsg.
type answer struct {
	Status string          `json:"status"`
	Type   CredentialsType `json:"credentialsType"`
	Value  json.RawMessage `json:"credentialsValue"`
}

// readAnswer is the credential in an answer, or the error that it stands for.
// Nothing that came is shown: it may hold a credential.
func readAnswer(message Message) (Credential, error) {
	bad := func(problem string) error {
		return &ProtocolError{Expected: "the answer to a provision request", Problem: problem}
	}
	if message.Topic != TopicProvisionResponse {
		return Credential{}, bad("a message on another topic came")
	}
	var got answer
	if err := json.Unmarshal(message.Payload, &got); err != nil {
		return Credential{}, bad("what came is not the JSON of one")
	}
	switch got.Status {
	case "SUCCESS":
	case "NOT_FOUND":
		return Credential{}, ErrProvisionNotFound
	case "FAILURE":
		return Credential{}, ErrProvisionFailed
	default:
		return Credential{}, bad("its status is none that ThingsBoard has")
	}
	credential, problem := got.credential()
	if problem != "" {
		return Credential{}, bad(problem)
	}
	return credential, nil
}

// credential reads the value, whose form the type tells, or says what is wrong
// with it.
func (a answer) credential() (c Credential, problem string) {
	c.Type = a.Type
	var text string
	switch a.Type {
	case TypeAccessToken:
		if json.Unmarshal(a.Value, &text) != nil || text == "" {
			return Credential{}, "its access token is missing"
		}
		c.Token = secret.New(text)
	case TypeCertificate:
		if json.Unmarshal(a.Value, &text) != nil {
			return Credential{}, "its certificate is missing"
		}
		if c.Certificate = certificate(text); len(c.Certificate) == 0 {
			return Credential{}, "its certificate is neither PEM nor base64"
		}
	case TypeMQTTBasic:
		var basic struct { // BasicMqttCredentials; ThingsBoard keeps "" for what was not given
			ClientID string `json:"clientId"`
			Username string `json:"userName"`
			Password string `json:"password"`
		}
		if json.Unmarshal(a.Value, &basic) != nil {
			return Credential{}, "its client id, user name and password are missing"
		}
		c.ClientID, c.Username, c.Password = secret.New(basic.ClientID), secret.New(basic.Username), secret.New(basic.Password)
		if c.ClientID.IsZero() && c.Username.IsZero() {
			return Credential{}, "it has neither a client id nor a user name"
		}
	default:
		return Credential{}, "its credential is of a type that is not for MQTT"
	}
	return c, ""
}

// certificate is the DER of a certificate that is in PEM or, as ThingsBoard
// keeps it (EncryptionUtil.certTrimNewLines), the base64 of that alone.
func certificate(text string) []byte {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return block.Bytes
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return der
}
