package device

import "strconv"

// The topics of ThingsBoard's MQTT API for devices (its class MqttTopics).
// Those with "Short" in their name are the version 2 forms of the same.
const (
	TopicTelemetry          = "v1/devices/me/telemetry" // publish measurements
	TopicTelemetryShort     = "v2/t"                    // in the payload type of the device profile
	TopicTelemetryShortJSON = "v2/t/j"                  // JSON whatever the device profile says

	TopicAttributes          = "v1/devices/me/attributes" // publish client attributes; subscribe for changes of shared ones
	TopicAttributesShort     = "v2/a"
	TopicAttributesShortJSON = "v2/a/j"

	// A request for attributes goes to the request prefix and a number, and its
	// answer comes to the response prefix and the same number.
	TopicAttributesRequestPrefix           = "v1/devices/me/attributes/request/"
	TopicAttributesRequestPrefixShort      = "v2/a/req/"
	TopicAttributesRequestPrefixShortJSON  = "v2/a/req/j/"
	TopicAttributesResponsePrefix          = "v1/devices/me/attributes/response/"
	TopicAttributesResponsePrefixShort     = "v2/a/res/"
	TopicAttributesResponsePrefixShortJSON = "v2/a/res/j/"
	TopicAttributesResponses               = TopicAttributesResponsePrefix + "+" // the filter to subscribe

	// Remote procedure calls.
	TopicRPCRequestPrefix  = "v1/devices/me/rpc/request/"
	TopicRPCRequests       = TopicRPCRequestPrefix + "+" // the filter to subscribe
	TopicRPCResponsePrefix = "v1/devices/me/rpc/response/"

	TopicClaim = "v1/devices/me/claim"

	// Provisioning: a session that logged in as UserProvision may use these
	// topics and no others.
	TopicProvisionRequest  = "/provision/request"
	TopicProvisionResponse = "/provision/response"

	TopicGatewayTelemetry  = "v1/gateway/telemetry"
	TopicGatewayAttributes = "v1/gateway/attributes"
	TopicGatewayConnect    = "v1/gateway/connect"
	TopicGatewayDisconnect = "v1/gateway/disconnect"
)

// UserProvision is the user name, or the client id, with which ThingsBoard lets
// anyone in for provisioning and nothing else (MqttTransportHandler). A CONNACK
// 0 for it proves nothing about a device.
const UserProvision = "provision"

// AttributesRequestTopic is where attribute request id is published.
func AttributesRequestTopic(id int) string { return TopicAttributesRequestPrefix + strconv.Itoa(id) }

// AttributesResponseTopic is where the answer to attribute request id comes.
func AttributesResponseTopic(id int) string { return TopicAttributesResponsePrefix + strconv.Itoa(id) }
