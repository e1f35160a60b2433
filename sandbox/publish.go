package sandbox

import (
	"errors"
	"fmt"
	"slices"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/thingsboard/device"
)

var (
	errUnknownTopic = errors.New("the topic is not ThingsBoard's")
	errBadPayload   = errors.New("the payload cannot be parsed")
	errNoField      = errors.New("a field that is needed is not there")
)

// OnPublish takes a PUBLISH. Whatever it gives, mochi-mqtt forwards nothing:
// CodeSuccessIgnore sends the PUBACK and no more, ErrRejectPacket nothing, and
// another code goes into the PUBACK of MQTT 5.
func (b *broker) OnPublish(client *mqtt.Client, packet packets.Packet) (packets.Packet, error) {
	l := linkOf(client)
	if l == nil {
		return packet, packets.ErrRejectPacket
	}
	faults := b.faults.Load()
	switch {
	case faults.closeAfterPublish:
		client.Stop(errFault)
		return packet, packets.ErrRejectPacket
	case faults.noPuback:
		return packet, packets.ErrRejectPacket
	case len(packet.Payload) > device.MaxPayload:
		b.end(l, packets.ErrPacketTooLarge)
		return packet, packets.ErrRejectPacket
	case routeOf(packet.TopicName) == routeGateway && !l.provision:
		// ThingsBoard leaves it at a line in its log when a device is no gateway
		// (MqttTransportHandler.processPublish).
		return packet, packets.ErrRejectPacket
	}
	err := b.take(l, packet)
	if err == nil {
		return packet, packets.CodeSuccessIgnore
	}
	return packet, b.complain(l, packet, err)
}

// complain answers a PUBLISH that was not taken
// (MqttTransportHandler.sendResponseForAdaptorErrorOrCloseContext).
func (b *broker) complain(l *link, packet packets.Packet, err error) error {
	reason := reasonOf(err)
	isBadPayload := errors.Is(err, errBadPayload)
	if l.provision && !isBadPayload { // acknowledged and then ended (processProvisionSessionMsg)
		l.after = func() { b.end(l, reason) }
	}
	switch {
	case l.client.Properties.ProtocolVersion == 5 && packet.FixedHeader.Qos > 0:
		return reason
	case !isBadPayload:
		return packets.CodeSuccessIgnore
	default:
		b.end(l, reason)
		return packets.ErrRejectPacket
	}
}

// reasonOf is what MQTT 5 is told.
func reasonOf(err error) packets.Code {
	switch {
	case errors.Is(err, errUnknownTopic):
		return packets.ErrTopicNameInvalid
	case errors.Is(err, errNoField):
		return packets.ErrImplementationSpecificError
	default:
		return packets.ErrPayloadFormatInvalid
	}
}

// take does what a PUBLISH is for.
func (b *broker) take(l *link, packet packets.Packet) error {
	where := routeOf(packet.TopicName)
	if l.provision != (where == routeProvision) {
		return errUnknownTopic
	}
	switch where {
	case routeTelemetry:
		samples, err := device.ParseTelemetry(packet.Payload)
		if err != nil {
			return fmt.Errorf("%w: %w", errBadPayload, err)
		}
		b.store.storeSamples(l.device, samples)
	case routeAttributes:
		attributes, err := device.ParseAttributes(packet.Payload)
		if err != nil {
			return fmt.Errorf("%w: %w", errBadPayload, err)
		}
		b.store.storeAttributes(l.device, scopeClient, attributes)
	case routeRequest:
		return b.request(l, requestOf(packet.TopicName), packet.Payload)
	case routeProvision:
		return b.provision(l, packet.Payload)
	case routeAnswer:
		return b.store.answered(l.device, answerOf(packet.TopicName), packet.Payload)
	case routeAccepted:
	default:
		return errUnknownTopic
	}
	return nil
}

// OnSubscribed has the calls that waited for it made, after the SUBACK.
func (b *broker) OnSubscribed(client *mqtt.Client, packet packets.Packet, _ []byte) {
	l := linkOf(client)
	if l == nil || l.provision {
		return
	}
	for _, one := range packet.Filters {
		if slices.ContainsFunc(rpcChannels(), func(c channel) bool { return c.filter == one.Filter }) {
			l.after = func() {
				for _, c := range b.store.waiting(l) {
					b.call(l, c)
				}
			}
		}
	}
}

// OnPacketProcessed comes after the PUBACK, or the SUBACK.
func (b *broker) OnPacketProcessed(client *mqtt.Client, _ packets.Packet, err error) {
	l := linkOf(client)
	if l == nil || l.after == nil || err != nil {
		return
	}
	after := l.after
	l.after = nil
	after()
}
