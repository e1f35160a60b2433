package sandbox

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// request takes a request for attributes, to be answered after the PUBACK.
func (b *broker) request(l *link, it request, payload []byte) error {
	if _, err := strconv.ParseInt(it.id, 10, 32); err != nil {
		return fmt.Errorf("%w: the request id is not a number", errBadPayload)
	}
	asked, err := device.ParseObject(payload)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadPayload, err)
	}
	clientKeys, wantsClient, err := keyList(asked, "clientKeys")
	if err != nil {
		return err
	}
	sharedKeys, wantsShared, err := keyList(asked, "sharedKeys")
	if err != nil {
		return err
	}
	if b.faults.Load().noAttributes {
		return nil
	}
	isAll := !wantsClient && !wantsShared // without any keys all attributes are meant
	l.after = func() {
		answer := map[string]any{}
		if wantsClient || isAll {
			put(answer, "client", b.store.attributes(l.device, scopeClient, clientKeys))
		}
		if wantsShared || isAll {
			put(answer, "shared", b.store.attributes(l.device, scopeShared, sharedKeys))
		}
		b.send(l, it.response+"+", packets.Packet{TopicName: it.response + it.id, Payload: marshal(answer)})
	}
	return nil
}

// put adds attributes to an answer, if there are any.
func put(answer map[string]any, part string, found map[string]attribute) {
	if len(found) > 0 {
		answer[part] = valuesOf(found)
	}
}

// keyList is a comma-separated list of an attribute request.
func keyList(asked map[string]any, name string) (keys []string, present bool, err error) {
	value, present := asked[name]
	if !present {
		return nil, false, nil
	}
	list, ok := value.(string)
	if !ok {
		return nil, false, fmt.Errorf("%w: %q is not a text", errBadPayload, name)
	}
	return strings.Split(list, ","), true, nil
}

// push sends a message to a client from outside of its own goroutine. One that
// does not read is cut off.
func (b *broker) push(l *link, filter string, packet packets.Packet) {
	hurry := time.AfterFunc(farewell, func() { _ = l.Close() })
	defer hurry.Stop()
	b.send(l, filter, packet)
}

// send sends a message to a client that has subscribed to filter.
func (b *broker) send(l *link, filter string, packet packets.Packet) {
	subscription, ok := l.client.State.Subscriptions.Get(filter)
	if !ok {
		return
	}
	packet.FixedHeader = packets.FixedHeader{Type: packets.Publish, Qos: min(subscription.Qos, 1)}
	if packet.FixedHeader.Qos > 0 {
		id, err := l.client.NextPacketID()
		if err != nil {
			return
		}
		packet.PacketID = uint16(id) //nolint:gosec // mochi-mqtt's ids are of 16 bits
	}
	if err := l.client.WritePacket(packet); err != nil {
		b.log.Debug("a message cannot be sent", "client", l.name, "error", err)
	}
}
