package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

const (
	// inboxBytes and inboxMessages bound what waits for Next.
	inboxBytes    = 4 << 20
	inboxMessages = 10_000

	// farewell is how long Disconnect tries to say goodbye.
	farewell = 2 * time.Second
)

// A Session is one MQTT connection as a device, made by [Connect]. One
// goroutine uses it at a time. It sends PINGREQs while it waits, and answers
// the messages that come in the meantime; they are kept for Next.
//
// Every method that waits does so no longer than its context. The chain of its
// error then holds os.ErrDeadlineExceeded or context.Canceled, as that of
// [Connect]; [ErrClosed] when the server closed the connection, which is how
// ThingsBoard answers what it does not take; a *[ProtocolError] when it sent
// something that is not due. After an error the session is only good to be
// disconnected; but Next and RoundTrip may be tried again when their context
// ended.
type Session struct {
	wire    *wire
	last    uint16
	inbox   []Message
	size    int  // of the inbox, in bytes
	asked   int  // attribute requests so far
	listens bool // to the answers to provision requests
}

// Publish sends payload to topic with QoS 1 and waits for its PUBACK. For
// ThingsBoard a PUBACK says that its queue took the message, not that it is
// stored; and it acknowledges a topic that it does not know.
func (s *Session) Publish(ctx context.Context, topic string, payload []byte) error {
	if topic == "" || len(topic) > maxString || !isText(topic) || strings.ContainsAny(topic, "+#") {
		return fmt.Errorf("%q is not a topic that can be published to", shorten(topic))
	}
	packet := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	packet.Qos, packet.TopicName, packet.Payload, packet.MessageID = 1, topic, payload, s.nextID()
	if err := s.wire.write(ctx, packet); err != nil {
		return fmt.Errorf("publishing to %s: %w", topic, err)
	}
	_, err := s.await(ctx, "PUBACK", packet.MessageID)
	if err != nil {
		return fmt.Errorf("publishing to %s: waiting for PUBACK: %w", topic, err)
	}
	return nil
}

// Subscribe asks for the messages of a topic filter with QoS 1 and waits for
// the SUBACK; [ErrSubscriptionRefused] is in the chain when that says no.
func (s *Session) Subscribe(ctx context.Context, filter string) error {
	if filter == "" || len(filter) > maxString || !isText(filter) {
		return fmt.Errorf("%q is not a topic filter", shorten(filter))
	}
	packet := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	packet.Topics, packet.Qoss, packet.MessageID = []string{filter}, []byte{1}, s.nextID()
	if err := s.wire.write(ctx, packet); err != nil {
		return fmt.Errorf("subscribing to %s: %w", filter, err)
	}
	answer, err := s.await(ctx, "SUBACK", packet.MessageID)
	if err != nil {
		return fmt.Errorf("subscribing to %s: waiting for SUBACK: %w", filter, err)
	}
	if code := answer.(*packets.SubackPacket).ReturnCodes[0]; code > 1 {
		return fmt.Errorf("subscribing to %s: %w (SUBACK 0x%02x)", filter, ErrSubscriptionRefused, code)
	}
	return nil
}

// Next waits for the next message of what was subscribed. It gives first what
// came while something else was waited for, in the order in which it came.
func (s *Session) Next(ctx context.Context) (Message, error) {
	for len(s.inbox) == 0 {
		packet, err := s.read(ctx, "a message")
		if err != nil {
			return Message{}, fmt.Errorf("waiting for a message: %w", err)
		}
		if packet != nil {
			return Message{}, s.wire.breaks(unexpected("a message", packet))
		}
	}
	return s.take(0), nil
}

// take removes a message from the inbox.
func (s *Session) take(i int) Message {
	message := s.inbox[i]
	s.inbox = slices.Delete(s.inbox, i, i+1)
	s.size -= message.size()
	return message
}

// Disconnect says goodbye and closes the connection. It takes 2 s at most, and
// a server that is gone already, or that does not listen, is no error.
func (s *Session) Disconnect() error {
	giveUp := time.AfterFunc(farewell, func() { _ = s.wire.conn.SetDeadline(past()) })
	defer giveUp.Stop()
	if s.wire.broken == nil {
		s.wire.broken = packets.NewControlPacket(packets.Disconnect).Write(s.wire.conn)
	}
	err := s.wire.close()
	if err != nil && !errors.Is(closedBy(err), ErrClosed) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("closing the connection: %w", err)
	}
	return nil
}

// await reads until the answer with this packet id comes.
func (s *Session) await(ctx context.Context, due string, id uint16) (packets.ControlPacket, error) {
	for {
		packet, err := s.read(ctx, due)
		if err != nil {
			return nil, s.wire.breaks(err) // an answer that comes later would be taken for another's
		}
		if packet == nil {
			continue
		}
		got := packet.Details().MessageID
		if got == id && packetName(packet) == due {
			return packet, nil
		}
		problem := fmt.Sprintf("a %s for packet %d came", packetName(packet), got)
		return nil, s.wire.breaks(&ProtocolError{Expected: fmt.Sprintf("%s for packet %d", due, id), Problem: problem})
	}
}

// read reads one packet. A message goes to the inbox, acknowledged; the packet
// is then nil.
func (s *Session) read(ctx context.Context, due string) (packets.ControlPacket, error) {
	packet, err := s.wire.read(ctx, due)
	if err != nil {
		return nil, err
	}
	publish, ok := packet.(*packets.PublishPacket)
	if !ok {
		return packet, nil
	}
	message := Message{Topic: publish.TopicName, Payload: publish.Payload, Retained: publish.Retain}
	if s.size+message.size() > inboxBytes || len(s.inbox) == inboxMessages {
		return nil, s.wire.breaks(&ProtocolError{Expected: due, Problem: "more messages came than are kept"})
	}
	s.inbox = append(s.inbox, message)
	s.size += message.size()
	if publish.Qos == 0 {
		return nil, nil
	}
	ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	ack.MessageID = publish.MessageID
	return nil, s.wire.write(ctx, ack)
}

// nextID is the next packet id, which is never 0 (2.3.1).
func (s *Session) nextID() uint16 {
	s.last++
	if s.last == 0 {
		s.last++
	}
	return s.last
}

func (m Message) size() int { return len(m.Topic) + len(m.Payload) }

// shorten bounds what an error quotes.
func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
