package sandbox

import (
	"slices"
	"strings"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// Topics that are of no effect here, and not in package device (MqttTopics).
const (
	topicGateway          = "v1/gateway"
	topicRPCRequestShort  = "v2/r/req/"
	topicRPCResponseShort = "v2/r/res/"
)

// A route is what a topic is for.
type route int

const (
	routeUnknown route = iota
	routeTelemetry
	routeAttributes
	routeRequest   // for attributes
	routeAnswer    // to a call by RPC
	routeAccepted  // known to ThingsBoard, and of no effect here
	routeGateway   // for gateways, of which there are none here
	routeProvision // for a session that may do nothing else
)

// routeOf is what a topic is for.
func routeOf(topic string) route {
	switch topic {
	case device.TopicTelemetry, device.TopicTelemetryShort, device.TopicTelemetryShortJSON:
		return routeTelemetry
	case device.TopicAttributes, device.TopicAttributesShort, device.TopicAttributesShortJSON:
		return routeAttributes
	case device.TopicClaim:
		return routeAccepted
	case device.TopicProvisionRequest:
		return routeProvision
	}
	switch {
	case strings.HasPrefix(topic, topicGateway):
		return routeGateway
	case answerOf(topic) != "":
		return routeAnswer
	case strings.HasPrefix(topic, device.TopicRPCRequestPrefix), strings.HasPrefix(topic, topicRPCRequestShort),
		strings.HasPrefix(topic, device.TopicRPCResponsePrefix), strings.HasPrefix(topic, topicRPCResponseShort):
		return routeAccepted
	case requestOf(topic) != request{}:
		return routeRequest
	default:
		return routeUnknown
	}
}

// A channel is one of the forms of what the server sends without being asked: the
// filter that a device subscribes to, and the topic, or the beginning of it, that
// the messages come on.
type channel struct{ filter, topic string }

// attributeChannels are those for changes of shared attributes.
func attributeChannels() []channel {
	return []channel{
		{device.TopicAttributes, device.TopicAttributes},
		{device.TopicAttributesShort, device.TopicAttributesShort},
		{device.TopicAttributesShortJSON, device.TopicAttributesShortJSON},
	}
}

// rpcChannels are those for calls.
func rpcChannels() []channel {
	return []channel{
		{device.TopicRPCRequests, device.TopicRPCRequestPrefix},
		{topicRPCRequestShort + "+", topicRPCRequestShort},
		{topicRPCRequestShort + "j/+", topicRPCRequestShort + "j/"},
	}
}

// subscribed is the first of the channels that the client of a session has
// subscribed to.
func (l *link) subscribed(channels []channel) (channel, bool) {
	for _, one := range channels {
		if _, ok := l.client.State.Subscriptions.Get(one.filter); ok {
			return one, true
		}
	}
	return channel{}, false
}

// answerOf is the id of the call that a topic answers; "" when it answers none.
func answerOf(topic string) string {
	for _, prefix := range []string{device.TopicRPCResponsePrefix, topicRPCResponseShort + "j/", topicRPCResponseShort} {
		if id, found := strings.CutPrefix(topic, prefix); found {
			return id
		}
	}
	return ""
}

// A request is a request for attributes, by its topic.
type request struct {
	id       string // as it was sent
	response string // the prefix of the topic that is answered on
}

// requestOf is the request of a topic; the zero request when it is none. The
// longer prefix comes first: it begins with the shorter.
func requestOf(topic string) request {
	for _, pair := range [][2]string{
		{device.TopicAttributesRequestPrefix, device.TopicAttributesResponsePrefix},
		{device.TopicAttributesRequestPrefixShortJSON, device.TopicAttributesResponsePrefixShortJSON},
		{device.TopicAttributesRequestPrefixShort, device.TopicAttributesResponsePrefixShort},
	} {
		if id, found := strings.CutPrefix(topic, pair[0]); found {
			return request{id: id, response: pair[1]}
		}
	}
	return request{}
}

// subscribable reports whether ThingsBoard takes a subscription of a device, or
// of a session for provisioning (MqttTransportHandler.processSubscribe). Topics
// of gateways and of over-the-air updates are among them; nothing comes on those.
func subscribable(filter string, isProvision bool) bool {
	if isProvision {
		return filter == device.TopicProvisionResponse
	}
	return slices.Contains([]string{
		device.TopicAttributes, device.TopicAttributesShort, device.TopicAttributesShortJSON,
		device.TopicAttributesResponses,
		device.TopicAttributesResponsePrefixShort + "+", device.TopicAttributesResponsePrefixShortJSON + "+",
		device.TopicRPCRequests, topicRPCRequestShort + "+", topicRPCRequestShort + "j/+",
		device.TopicRPCResponsePrefix + "+", topicRPCResponseShort + "+", topicRPCResponseShort + "j/+",
		device.TopicGatewayAttributes, topicGateway + "/attributes/response", topicGateway + "/rpc",
		"v2/fw/response/+/chunk/+", "v2/fw/error", "v2/sw/response/+/chunk/+", "v2/sw/error",
	}, filter)
}
