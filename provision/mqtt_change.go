package provision

import (
	"context"
	"errors"
)

var _ Changer = (*MQTT)(nil)

// errByREST: device provisioning gives credentials out and takes none back.
var errByREST = errors.New("a credential cannot be changed by MQTT: say --url with a login for ThingsBoard's REST API")

// Current fails: nothing can be read back by MQTT.
func (*MQTT) Current(context.Context, Record) (Credential, error) { return Credential{}, errByREST }

// Change fails.
func (*MQTT) Change(context.Context, Record, Credential) error { return errByREST }

// Withdraw fails.
func (*MQTT) Withdraw(context.Context, Record) error { return errByREST }
