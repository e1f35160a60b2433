package device

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// errLength: the remaining length goes on after its fourth byte (2.2.3).
var errLength = errors.New("malformed remaining length")

// readLength reads a remaining length: 7 bits a byte, least significant first,
// at most 4 bytes.
func readLength(r io.ByteReader) (int, error) {
	length := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		length |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return length, nil
		}
	}
	return 0, errLength
}

// checkType says what is wrong with the first byte of a packet from a server;
// "" when nothing is. The low four bits are fixed but for PUBLISH (table 2.2).
func checkType(first byte) string {
	kind, flags := first>>4, first&0x0f
	switch kind {
	case packets.Publish:
		switch qos := flags >> 1 & 3; qos {
		case 0, 1:
			return ""
		default:
			return fmt.Sprintf("a PUBLISH of QoS %d came, where QoS 1 was asked for", qos)
		}
	case packets.Connack, packets.Puback, packets.Suback, packets.Pingresp:
		if flags == 0 {
			return ""
		}
		return fmt.Sprintf("its first byte, 0x%02x, is not MQTT's", first)
	default:
		if name := packets.PacketNames[kind]; name != "" && flags == 0 {
			return "a " + name + " came, which a server does not send here"
		}
		return fmt.Sprintf("its first byte, 0x%02x, is not MQTT's", first)
	}
}

// unpack makes a packet of its first byte and its body. The lengths are judged
// here, because paho's own parser pads what is short with zeros.
func unpack(first byte, body []byte) (packets.ControlPacket, string) {
	header := packets.FixedHeader{
		MessageType: first >> 4, Dup: first&8 != 0, Qos: first >> 1 & 3, Retain: first&1 != 0, RemainingLength: len(body),
	}
	name := packets.PacketNames[header.MessageType]
	if header.MessageType == packets.Publish {
		if problem := checkPublish(header.Qos, body); problem != "" {
			return nil, problem
		}
	} else if due := bodyLength(header.MessageType); len(body) != due {
		return nil, fmt.Sprintf("a %s has a body of %d bytes and not %d", name, len(body), due)
	}
	if header.MessageType == packets.Connack && body[0]&^1 != 0 {
		return nil, fmt.Sprintf("the CONNACK's flags are 0x%02x", body[0]) // 3.2.2.1: the upper seven bits are 0
	}
	packet, err := packets.NewControlPacketWithHeader(header)
	if err == nil {
		err = packet.Unpack(bytes.NewBuffer(body))
	}
	if err != nil {
		return nil, fmt.Sprintf("a %s cannot be read: %v", name, err)
	}
	return packet, ""
}

// bodyLength is the length that a packet of this type has, PUBLISH apart. A
// SUBACK answers one filter here.
func bodyLength(kind byte) int {
	switch kind {
	case packets.Connack, packets.Puback:
		return 2
	case packets.Suback:
		return 3
	default:
		return 0
	}
}

// checkPublish says what is wrong with the lengths in a PUBLISH.
func checkPublish(qos byte, body []byte) string {
	need := 2
	if len(body) >= 2 {
		need += int(binary.BigEndian.Uint16(body))
	}
	if qos > 0 {
		need += 2
	}
	if len(body) < need {
		return fmt.Sprintf("a PUBLISH has a body of %d bytes, and its topic and number need %d", len(body), need)
	}
	return ""
}
