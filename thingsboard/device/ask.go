package device

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A ReasonCode is that of a CONNACK, a PUBACK or a DISCONNECT of MQTT 5 (OASIS
// Standard, 7 March 2019, 2.4).
type ReasonCode = byte

// The reason codes that ThingsBoard has for what MQTT 3.1.1 does not tell apart
// (ReturnCodeResolver, MqttReasonCodes).
const (
	ReasonSuccess            ReasonCode = 0x00
	ReasonUnsupportedVersion ReasonCode = 0x84
	ReasonBadClientID        ReasonCode = 0x85
	ReasonBadCredentials     ReasonCode = 0x86
	ReasonNotAuthorized      ReasonCode = 0x87
	ReasonUnavailable        ReasonCode = 0x88
	ReasonTakenOver          ReasonCode = 0x8e
	ReasonTooLarge           ReasonCode = 0x95
	ReasonRateTooHigh        ReasonCode = 0x96
	ReasonQuotaExceeded      ReasonCode = 0x97
	ReasonAdministrative     ReasonCode = 0x98
	ReasonBadPayload         ReasonCode = 0x99
	ReasonConnectionRate     ReasonCode = 0x9f
)

// An Answer is what a server told in MQTT 5.
type Answer struct {
	Connack    ReasonCode
	Puback     ReasonCode // of the message, when there was one
	Taken      bool       // the PUBACK came
	Disconnect ReasonCode // 0 when the server did not send one
	Left       bool       // the server sent a DISCONNECT
	Closed     bool       // the server closed the connection
}

// A Question is what is asked beside the login: the message is published with
// QoS 1, and then it is listened for Stay whether the server ends the session.
type Question struct {
	Message *Message // nil: the login alone
	Stay    time.Duration
}

// Ask logs in with MQTT 5, whose answers are more exact than those of 3.1.1, asks
// the question, and disconnects. It closes conn. An error is that of a server
// that did not answer the login in MQTT 5.
func Ask(ctx context.Context, conn net.Conn, login Login, question Question) (Answer, error) {
	defer func() { _ = conn.Close() }() // every answer was had
	if err := login.check(); err != nil {
		return Answer{}, err
	}
	// No more is read than a session keeps: what is asked takes a few packets.
	a := &asker{guard: newGuard(conn), conn: conn, reader: bufio.NewReader(io.LimitReader(conn, inboxBytes))}
	defer a.guard.stop()
	var answer Answer
	err := a.guard.run(ctx, func() error { return a.logIn(login, &answer) })
	if err != nil || answer.Connack != ReasonSuccess {
		return answer, err
	}
	if question.Message != nil { // what comes of it stands in the answer
		a.tell(ctx, question, &answer)
	}
	if !answer.Left && !answer.Closed {
		_, _ = conn.Write([]byte{packets.Disconnect << 4, 0})
	}
	return answer, nil
}

// tell publishes the message and listens what comes of it.
func (a *asker) tell(ctx context.Context, question Question, answer *Answer) {
	_ = a.guard.run(ctx, func() error { return a.publish(*question.Message, answer) })
	if question.Stay <= 0 || answer.Left || answer.Closed {
		return
	}
	staying, cancel := context.WithTimeout(ctx, question.Stay)
	defer cancel()
	_ = a.guard.run(staying, func() error { return a.read(answer, func() bool { return false }) })
}

// An asker is one connection of MQTT 5.
type asker struct {
	guard  *guard
	conn   net.Conn
	reader *bufio.Reader
}

func (a *asker) logIn(login Login, answer *Answer) error {
	packet := packets.Packet{
		ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), Clean: true, Keepalive: uint16(keepAlive / time.Second), ClientIdentifier: login.ClientID,
			UsernameFlag: !login.Username.IsZero(), Username: []byte(login.Username.Reveal()),
			PasswordFlag: !login.Password.IsZero(), Password: []byte(login.Password.Reveal()),
		},
	}
	if err := a.send(packet.ConnectEncode); err != nil {
		return err
	}
	kind, body, err := a.frame()
	if err != nil {
		return closedBy(err)
	}
	var connack packets.Packet
	connack.ProtocolVersion, connack.FixedHeader.Type = 5, packets.Connack // which says what properties it may have
	switch {
	case kind == packets.Connack && len(body) == 2: // a server of 3.1.1 that answers as such
		connack.ReasonCode = body[1]
		if connack.ReasonCode == BadProtocolVersion {
			connack.ReasonCode = ReasonUnsupportedVersion
		}
	case kind != packets.Connack || connack.ConnackDecode(body) != nil:
		return &ProtocolError{Expected: "CONNACK", Problem: "the answer to a CONNECT of MQTT 5 is no CONNACK of it"}
	}
	answer.Connack = connack.ReasonCode
	return nil
}

// publish sends a message and waits for what the server says to it.
func (a *asker) publish(message Message, answer *Answer) error {
	packet := packets.Packet{
		ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1},
		TopicName: message.Topic, Payload: message.Payload, PacketID: 1,
	}
	if err := a.send(packet.PublishEncode); err != nil {
		return err
	}
	return a.read(answer, func() bool { return answer.Taken })
}

// read notes what comes, until it is enough or the server has left.
func (a *asker) read(answer *Answer, enough func() bool) error {
	for !enough() {
		kind, body, err := a.frame()
		if err != nil {
			answer.Closed = errors.Is(closedBy(err), ErrClosed)
			return err
		}
		code := ReasonSuccess
		switch kind {
		case packets.Puback:
			if len(body) > 2 { // left out when it is success (3.4.2.1)
				code = body[2]
			}
			answer.Puback, answer.Taken = code, true
		case packets.Disconnect:
			if len(body) > 0 {
				code = body[0]
			}
			answer.Disconnect, answer.Left = code, true
			return nil
		}
	}
	return nil
}

func (a *asker) send(encode func(*bytes.Buffer) error) error {
	var frame bytes.Buffer
	if err := encode(&frame); err != nil {
		return fmt.Errorf("asking in MQTT 5: %w", err)
	}
	_, err := a.conn.Write(frame.Bytes())
	if err != nil {
		return fmt.Errorf("asking in MQTT 5: %w", closedBy(err))
	}
	return nil
}

// frame reads one packet.
func (a *asker) frame() (kind byte, body []byte, err error) {
	first, err := a.reader.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	length, err := readLength(a.reader)
	if err != nil {
		return 0, nil, err
	}
	if length > MaxPacket {
		return 0, nil, &ProtocolError{Expected: "a packet", Problem: fmt.Sprintf("one of %d bytes was announced", length)}
	}
	body = make([]byte, length)
	_, err = io.ReadFull(a.reader, body)
	return first >> 4, body, err
}
