package sandbox

import (
	"slices"
	"strings"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// A route is what a topic is for.
type route int

const (
	routeUnknown route = iota
	routeTelemetry
	routeAttributes
	routeRequest   // for attributes
	routeAccepted  // known to ThingsBoard, and of no effect here
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
	case strings.HasPrefix(topic, device.TopicRPCRequestPrefix), strings.HasPrefix(topic, device.TopicRPCResponsePrefix):
		return routeAccepted
	case requestOf(topic) != request{}:
		return routeRequest
	default:
		return routeUnknown
	}
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

// subscribable reports whether ThingsBoard has such a topic for devices to
// subscribe to (MqttTransportHandler.processSubscribe).
func subscribable(filter string) bool {
	return slices.Contains([]string{
		device.TopicAttributes, device.TopicAttributesShort, device.TopicAttributesShortJSON,
		device.TopicAttributesResponses,
		device.TopicAttributesResponsePrefixShort + "+", device.TopicAttributesResponsePrefixShortJSON + "+",
		device.TopicRPCRequests, device.TopicRPCResponsePrefix + "+",
		device.TopicProvisionResponse,
	}, filter)
}
