package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// sockets are what a sandbox listens on; nil what is off.
type sockets struct {
	mqtt, mqtts, http net.Listener
}

// Close closes those that are not closed yet.
func (s sockets) Close() error {
	var problems error
	for _, socket := range []net.Listener{s.mqtt, s.mqtts, s.http} {
		if socket == nil {
			continue
		}
		if err := socket.Close(); !errors.Is(err, net.ErrClosed) {
			problems = errors.Join(problems, err)
		}
	}
	return problems
}

// listenAll takes all addresses, or none.
func listenAll(ctx context.Context, config Config) (sockets, error) {
	var s sockets
	for _, want := range []struct {
		what, address string
		socket        *net.Listener
	}{
		{"MQTT", config.MQTTAddr, &s.mqtt},
		{"MQTT over TLS", config.MQTTSAddr, &s.mqtts},
		{"the REST API", config.HTTPAddr, &s.http},
	} {
		if want.address == "" {
			continue
		}
		socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", want.address)
		if err != nil {
			err = fmt.Errorf("%s cannot listen on %s; choose another port, or stop what listens there: %w", want.what, want.address, err)
			return sockets{}, errors.Join(err, s.Close())
		}
		*want.socket = socket
	}
	if s == (sockets{}) {
		return s, errors.New("there is nothing to listen on: every address is off")
	}
	return s, nil
}
