package sandbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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

// serverTLS wants a client certificate and does not require one. An unknown one
// passes the handshake and is refused in CONNECT (MqttSslHandlerProvider's trust
// manager); a chain whose signatures do not fit ends the handshake.
func serverTLS(certificate *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:            tls.VersionTLS12,
		Certificates:          []tls.Certificate{*certificate},
		ClientAuth:            tls.RequestClientCert,
		VerifyPeerCertificate: checkChain,
		// Without tickets every handshake is whole, and shows the certificate.
		SessionTicketsDisabled: true,
	}
}

// checkChain checks that each certificate is signed by the next.
func checkChain(raw [][]byte, _ [][]*x509.Certificate) error {
	var previous *x509.Certificate
	for _, der := range raw {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("the client's certificate cannot be read: %w", err)
		}
		if previous != nil {
			if err := previous.CheckSignatureFrom(certificate); err != nil {
				return fmt.Errorf("the client's certificate chain: %w", err)
			}
		}
		previous = certificate
	}
	return nil
}
