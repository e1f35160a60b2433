package device

import (
	"context"
	"errors"
	"net"
)

// A Session is one MQTT connection as a device. One goroutine uses it at a
// time.
type Session struct{ conn net.Conn }

var errTODO = errors.New("not written yet")

// Connect logs in over conn.
func Connect(ctx context.Context, conn net.Conn, login Login) (*Session, error) {
	return nil, errTODO
}

// Publish sends payload to topic with QoS 1 and waits for its PUBACK.
func (s *Session) Publish(ctx context.Context, topic string, payload []byte) error { return errTODO }

// Subscribe asks for the messages of a topic filter with QoS 1 and waits for the SUBACK.
func (s *Session) Subscribe(ctx context.Context, filter string) error { return errTODO }

// Next waits for the next message of what was subscribed.
func (s *Session) Next(ctx context.Context) (Message, error) { return Message{}, errTODO }

// RoundTrip writes nonce as a client attribute and reads it back.
func (s *Session) RoundTrip(ctx context.Context, nonce string) error { return errTODO }

// Disconnect says goodbye and closes the connection.
func (s *Session) Disconnect() error { return s.conn.Close() }
