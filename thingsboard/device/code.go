package device

import "fmt"

// A ReturnCode is the second byte of a CONNACK (MQTT 3.1.1, table 3.1).
type ReturnCode = byte

// The return codes of MQTT 3.1.1. ThingsBoard sends 0, 2, 3 and 5 to a client
// that speaks 3.1.1 (ReturnCodeResolver).
const (
	Accepted              ReturnCode = 0
	BadProtocolVersion    ReturnCode = 1
	ClientIDRejected      ReturnCode = 2
	ServerUnavailable     ReturnCode = 3
	BadUsernameOrPassword ReturnCode = 4
	NotAuthorized         ReturnCode = 5
)

// Meaning says what ThingsBoard means by a return code, in one line that goes
// into a sentence after a colon. Codes that ThingsBoard never sends are named as
// the standard names them, so that another broker is recognized.
func Meaning(code byte) string {
	switch code {
	case Accepted:
		return "accepted"
	case BadProtocolVersion:
		return "the server does not speak MQTT 3.1.1"
	case ClientIDRejected:
		return "neither a user name nor a password was sent, and the client presented no certificate"
	case ServerUnavailable:
		return "the server cannot check credentials now, or the tenant's connection rate is exceeded"
	case BadUsernameOrPassword:
		return "malformed user name or password; ThingsBoard never sends this to MQTT 3.1.1, so another broker answers here"
	case NotAuthorized:
		return "no device has this credential, or its certificate has expired or is not valid yet"
	default:
		return fmt.Sprintf("code %d is not one of MQTT 3.1.1", code)
	}
}

// Reason says what ThingsBoard means by a reason code of MQTT 5.
func Reason(code ReasonCode) string {
	known := map[ReasonCode]string{ //nolint:gosec // the names of reasons
		ReasonSuccess: "success", ReasonBadClientID: "client identifier not valid", ReasonBadCredentials: "bad user name or password",
		ReasonNotAuthorized: "not authorized", ReasonUnavailable: "server unavailable", ReasonTakenOver: "session taken over",
		ReasonTooLarge: "packet too large", ReasonRateTooHigh: "message rate too high", ReasonQuotaExceeded: "quota exceeded",
		ReasonAdministrative: "administrative action", ReasonBadPayload: "payload format invalid", ReasonConnectionRate: "connection rate exceeded",
	}
	if text := known[code]; text != "" {
		return text
	}
	return fmt.Sprintf("which is none that ThingsBoard sends (%d)", code)
}
