package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs/secret"
)

// maxString is the largest string in bytes that MQTT can carry (1.5.3).
const maxString = 65_535

// Connect logs in over conn: it writes CONNECT for MQTT 3.1.1 with a clean
// session and a keep-alive of 60 s, and reads the CONNACK. ctx bounds both; it
// does not bound the session after that.
//
// The errors: a *[RefusedError] for a return code other than 0; [ErrClosed] in
// the chain when the connection was closed without a CONNACK; a
// *[ProtocolError] when something other than a CONNACK came;
// os.ErrDeadlineExceeded and context.DeadlineExceeded in the chain when ctx's
// deadline passed, context.Canceled when it was canceled. With TLS 1.3 a refused
// client certificate shows here and not in the handshake: the error of crypto/tls
// is in the chain. No error holds the user name or the password.
//
// The session owns conn from then on. After an error the caller still does.
func Connect(ctx context.Context, conn net.Conn, login Login) (*Session, error) {
	if err := login.check(); err != nil {
		return nil, err
	}
	w := newWire(conn)
	w.secrets = []secret.Text{login.Username, login.Password}
	if err := handshake(ctx, w, login); err != nil {
		w.guard.stop()
		return nil, err
	}
	return &Session{wire: w}, nil
}

// check refuses a login that MQTT 3.1.1 cannot say. Its errors name the field
// and never the value.
func (l Login) check() error {
	for _, field := range []struct{ name, value string }{
		{"client id", l.ClientID}, {"user name", l.Username.Reveal()}, {"password", l.Password.Reveal()},
	} {
		if len(field.value) > maxString {
			return fmt.Errorf("the MQTT %s is %d bytes long, and MQTT carries %d", field.name, len(field.value), maxString)
		}
		if field.name != "password" && !isText(field.value) { // a password is any bytes (3.1.3.5)
			return fmt.Errorf("the MQTT %s is not UTF-8 text without null characters", field.name)
		}
	}
	if l.Username.IsZero() && !l.Password.IsZero() {
		return errors.New("a password without a user name cannot be sent with MQTT 3.1.1 (3.1.2.9)")
	}
	return nil
}

// isText reports whether s is a string as MQTT has them (1.5.3).
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// mask overwrites the parts of text in data, down to four bytes of it.
func mask(data []byte, text string) {
	for i := 0; i < len(data); i++ {
		longest := 0
		for j := range len(text) {
			longest = max(longest, common(data[i:], text[j:]))
		}
		if longest > 0 && longest >= min(4, len(text)) {
			copy(data[i:], strings.Repeat("*", longest))
			i += longest - 1
		}
	}
}

// common is how many bytes data and text have in common at their beginning.
func common(data []byte, text string) int {
	n := 0
	for n < len(data) && n < len(text) && data[n] == text[n] {
		n++
	}
	return n
}

func (l Login) packet() *packets.ConnectPacket {
	packet := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	packet.ProtocolName, packet.ProtocolVersion = "MQTT", 4
	packet.CleanSession = true
	packet.Keepalive = uint16(keepAlive / time.Second)
	packet.ClientIdentifier = l.ClientID
	packet.UsernameFlag, packet.Username = !l.Username.IsZero(), l.Username.Reveal()
	packet.PasswordFlag, packet.Password = !l.Password.IsZero(), []byte(l.Password.Reveal())
	return packet
}

// handshake writes CONNECT and reads CONNACK.
func handshake(ctx context.Context, w *wire, login Login) error {
	wrote := w.write(ctx, login.packet())
	if wrote != nil && !errors.Is(wrote, ErrClosed) {
		return fmt.Errorf("sending CONNECT: %w", wrote)
	}
	// A server that closed the connection may have said why before: an alert,
	// a refusal. That is worth more than the failed write.
	w.broken = nil
	answer, err := w.read(ctx, "CONNACK")
	switch {
	case err != nil && wrote != nil && errors.Is(err, ErrClosed):
		return fmt.Errorf("sending CONNECT: %w", wrote)
	case err != nil:
		return fmt.Errorf("waiting for CONNACK: %w", err)
	}
	connack, ok := answer.(*packets.ConnackPacket)
	if !ok {
		return unexpected("CONNACK", answer)
	}
	if connack.ReturnCode != Accepted {
		return &RefusedError{Code: connack.ReturnCode}
	}
	return nil
}

// unexpected is the error for a packet that is not the one that was due.
func unexpected(due string, packet packets.ControlPacket) error {
	return &ProtocolError{Expected: due, Problem: "a " + packetName(packet) + " came"}
}

// packetName is the packet's name in the standard. Its own String would show
// what is in it.
func packetName(packet packets.ControlPacket) string {
	switch packet.(type) {
	case *packets.ConnackPacket:
		return "CONNACK"
	case *packets.PublishPacket:
		return "PUBLISH"
	case *packets.PubackPacket:
		return "PUBACK"
	case *packets.SubackPacket:
		return "SUBACK"
	default:
		return "packet of another type"
	}
}
