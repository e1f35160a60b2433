package verify

import (
	"fmt"

	"github.com/tbcert/tbcert/thingsboard/device"
)

// CONNACK return codes of MQTT 3.1.1, section 3.2.2.3.
const (
	badVersion    = 1
	badIdentifier = 2
	unavailable   = 3
	badCredential = 4
	notAuthorized = 5
)

// refused explains a CONNACK in ThingsBoard's meaning (ReturnCodeResolver).
func (r *run) refused(code byte) finding {
	found := finding{
		status: StatusFail,
		detail: fmt.Sprintf("CONNACK %d: %s", code, device.Meaning(code)),
	}
	const log = "'journalctl -u thingsboard' or /var/log/thingsboard/thingsboard.log"
	switch code {
	case badVersion:
		found.cause = "The server does not speak MQTT 3.1.1. ThingsBoard does: this is another broker, or one that takes MQTT 5 only."
		found.fix = "See that host and port lead to ThingsBoard's MQTT transport: --host, --port, and the load balancer's targets."
	case badIdentifier:
		found.cause, found.fix = r.identifierRefused()
	case unavailable:
		found.cause = "A fault in the server, not in the credential: ThingsBoard's credentials service failed (database, cache or tb-core not reachable), or the tenant's limit of connections is used up."
		found.fix = "Look for the moment of the try in " + log + "; see that the database runs ('systemctl status postgresql'), and the transport rate limits in the tenant's profile. Then try again."
	case badCredential:
		found.cause = "The broker refused user name or password. ThingsBoard never answers this to MQTT 3.1.1: this is another broker, or a gateway before it."
		found.fix = "See that host and port lead to ThingsBoard's MQTT transport; if the broker is the right one, give its --username and --password-file."
	case notAuthorized:
		found.cause, found.fix = r.credentialRefused()
	default:
		found.detail = fmt.Sprintf("CONNACK %d (0x%02x): %s", code, code, device.Meaning(code))
		found.cause = "MQTT 3.1.1 knows the codes 0 to 5, and ThingsBoard sends no other: this is another broker, one that answers in MQTT 5, or something between that damages the answer."
		found.fix = "See that host and port lead to ThingsBoard's MQTT transport: --host, --port, and what the load balancer or proxy between does with MQTT."
	}
	return found
}

// identifierRefused is code 2, which ThingsBoard gives to a CONNECT with no
// user name.
func (r *run) identifierRefused() (cause, fix string) {
	if r.target.Login.Username.IsZero() {
		return "No user name was sent, and a ThingsBoard device with an access token sends it as its user name.",
			"Give the token: --token-file devices/NAME/token, or the device's name: 'tbcert verify NAME'. For basic credentials give --client-id, --username and --password-file."
	}
	return "The broker does not take this client id. ThingsBoard takes any, and says so only when there is no user name: a proxy between may have dropped it, or this is another broker.",
		"Give another --client-id, and see that host and port lead to ThingsBoard's MQTT transport."
}

// credentialRefused is code 5, for each kind of credential.
func (r *run) credentialRefused() (cause, fix string) {
	const block = " Do not try often in a row: with TB_TRANSPORT_IP_RATE_LIMITS_ENABLED=true ThingsBoard blocks an address for 60 s after 10 wrong credentials."
	login := r.target.Login
	switch {
	case r.target.ClientCertificate != nil:
		return "ThingsBoard knows no device for the client certificate, or the certificate is expired or not yet valid. With a client certificate it does not look at the token at all.",
			"In ThingsBoard: Devices, the device, Manage credentials, X.509: paste the leaf of cert.pem ('tbcert inspect cert.pem' shows its dates). To prove a token, leave --cert and --key away." + block
	case !login.Password.IsZero():
		return "ThingsBoard has no device with these basic credentials: client id, user name and password are compared together.",
			"In ThingsBoard: Devices, the device, Manage credentials, MQTT Basic: compare all three with --client-id, --username and --password-file." + block
	case login.Username.IsZero():
		return "No credential was sent, and the server lets nobody in without one.",
			"Give the token: --token-file devices/NAME/token, or the device's name: 'tbcert verify NAME'."
	default:
		return "The token is not the access token of any device on this server: it was changed or mistyped, the device was deleted, it belongs to another ThingsBoard, or the device has another kind of credential.",
			"In ThingsBoard: Devices, the device, Manage credentials: copy its access token into devices/NAME/token, or register the device with 'tbcert provision NAME' (with registrar offline, import thingsboard-import.csv first)." + block
	}
}
