// Package sandbox is an endpoint that answers as ThingsBoard does, in memory
// and in the same process: MQTT and MQTT over TLS for devices, and the REST
// calls with which devices are registered and read back. It is for demos,
// rehearsals and tests, and misbehaves on demand (see [Faults]).
//
// What it does is what ThingsBoard 4.3 does; comments name the class of
// ThingsBoard's that a rule is from. MQTT framing is mochi-mqtt's, but nothing
// of a broker is left: no message of one client reaches another, nothing is
// retained, and no session outlives its connection. Devices have access tokens,
// MQTT basic credentials or certificates.
package sandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
)

// A Config says what a sandbox listens on and knows. With a zero field a
// feature is off, unless the field says otherwise.
type Config struct {
	// Addresses to listen on, as net.Listen takes them for "tcp"; "" is off, and
	// port 0 takes a free port.
	MQTTAddr, MQTTSAddr, HTTPAddr string

	// Certificate is what MQTTSAddr presents; it must be set for that.
	Certificate *tls.Certificate
	// RootPEM is what the download of the root certificate gives. Without it the
	// answer is 404, as in ThingsBoard when none is configured.
	RootPEM []byte

	// A user who may log in to the REST API, and an API key that it takes.
	Username         string
	Password, APIKey secret.Text

	Devices   []Device  // known from the start
	Profiles  []Profile // by which devices can provision themselves
	Customers []string  // their titles
	Faults    Faults    // from the start; [Server.SetFaults] changes them

	Log *slog.Logger     // nil discards; no token and no payload is logged
	Now func() time.Time // nil: time.Now; for time stamps and the life of logins
}

// A Device is a device with its credential.
type Device struct {
	ID          string // of Config.Devices: a UUID; "" for a new one
	Name, Label string
	Type        string // the name of its profile; "" becomes "default"
	Description string
	Gateway     bool

	// Its credential is one of the following. Of Config.Devices, when none is set,
	// a token is made up.
	Token       secret.Text
	Basic       Basic
	Certificate []byte // in PEM

	Customer string // the title of the customer that it is assigned to; "" for none
}

// A Sample is one measured value that was stored.
type Sample struct {
	TS    int64 // milliseconds since 1970
	Key   string
	Value any // as in device.Sample
}

// A Server is a running sandbox. Its methods may be called concurrently.
type Server struct {
	store  *store
	broker *broker
	web    *web

	mqtt, mqtts, http net.Addr

	once   sync.Once
	closed error
}

// Start listens, and serves until [Server.Close]; the end of ctx ends only the
// start. An error says which address cannot be listened on, or what is wrong
// with the config; nothing listens then.
func Start(ctx context.Context, config Config) (*Server, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.MQTTSAddr != "" && config.Certificate == nil {
		return nil, errors.New("starting the sandbox: MQTT over TLS needs a server certificate")
	}
	s := &Server{store: newStore(config.Now)}
	for _, profile := range config.Profiles {
		if err := s.store.addProfile(profile); err != nil {
			return nil, fmt.Errorf("starting the sandbox: device profile %q: %w", profile.Name, err)
		}
	}
	for _, title := range config.Customers {
		s.store.customerOf(title)
	}
	for _, device := range config.Devices {
		if err := s.store.addDevice(device); err != nil {
			return nil, fmt.Errorf("starting the sandbox: device %q: %w", device.Name, err)
		}
	}
	sockets, err := listenAll(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("starting the sandbox: %w", err)
	}
	if err := s.serve(config, sockets); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the sandbox: %w", err), s.Close(), sockets.Close())
	}
	return s, nil
}

// serve starts the parts on sockets that listen already.
func (s *Server) serve(config Config, sockets sockets) error {
	var err error
	if s.broker, err = newBroker(s.store, config); err != nil {
		return err
	}
	if s.web, err = newWeb(s.store, s.broker, config); err != nil {
		return err
	}
	if sockets.mqtt != nil {
		s.mqtt = sockets.mqtt.Addr()
		if err := s.broker.listen("mqtt", sockets.mqtt); err != nil {
			return err
		}
	}
	if sockets.mqtts != nil {
		s.mqtts = sockets.mqtts.Addr()
		settings, err := s.broker.serverTLS(config.Certificate)
		if err != nil {
			return err
		}
		if err := s.broker.listen("mqtts", tls.NewListener(sockets.mqtts, settings)); err != nil {
			return err
		}
	}
	if err := s.broker.serve(); err != nil {
		return err
	}
	if sockets.http != nil {
		s.http = sockets.http.Addr()
		s.web.serve(sockets.http)
	}
	return nil
}

// MQTTAddr is where plain MQTT listens; nil when off.
func (s *Server) MQTTAddr() net.Addr { return s.mqtt }

// MQTTSAddr is where MQTT over TLS listens; nil when off.
func (s *Server) MQTTSAddr() net.Addr { return s.mqtts }

// HTTPAddr is where the REST API listens; nil when off.
func (s *Server) HTTPAddr() net.Addr { return s.http }

// Devices are the devices that exist now, in the order of their creation, each
// with its present credential.
func (s *Server) Devices() []Device { return s.store.devices() }

// Telemetry gives what a device has stored, oldest first: at most the last
// 1,000 samples, and fewer when they are large. It is nil when there is no such
// device.
func (s *Server) Telemetry(name string) []Sample { return s.store.telemetry(name) }

// Attributes gives a device's attributes of a scope: CLIENT_SCOPE, SERVER_SCOPE or
// SHARED_SCOPE. It is nil when there is no such device or scope. The values are
// as in device.Sample.
func (s *Server) Attributes(name, scope string) map[string]any {
	in, ok := scopeOf(scope)
	if !ok {
		return nil
	}
	return s.store.attributesNamed(name, in)
}

// Calls counts what the REST API was asked: by its route, such as "POST
// /api/device" or "GET /api/device/{id}/credentials", the calls that reached it,
// whatever came of them; and by its name, such as "rest-429", those that met a
// fault. A call that meets rest-reset-after counts as both.
func (s *Server) Calls() map[string]int { return s.web.counts() }

// SetFaults replaces the faults. Connections that are open stay, and meet them
// with their next packet.
func (s *Server) SetFaults(faults Faults) { s.broker.setFaults(faults) }

// Close ends every connection and returns once nothing of the sandbox runs any
// more. A second call gives what the first gave.
func (s *Server) Close() error {
	s.once.Do(func() {
		if s.web != nil {
			s.closed = s.web.close()
		}
		if s.broker != nil {
			s.closed = errors.Join(s.closed, s.broker.close())
		}
	})
	return s.closed
}
