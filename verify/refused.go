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
		found.id = ConnectVersion
		found.cause = "The server does not speak MQTT 3.1.1. ThingsBoard does: this is another broker, or one that takes MQTT 5 only."
		found.fix = "See that host and port lead to ThingsBoard's MQTT transport: --host, --port, and the load balancer's targets."
	case badIdentifier:
		found.id, found.cause, found.fix = r.identifierRefused()
	case unavailable:
		found.id = ConnectUnavailable
		found.cause = "A fault in the server, not in the credential: ThingsBoard's credentials service failed (database, cache or tb-core not reachable), or the tenant's limit of connections is used up."
		found.fix = "Look for the moment of the try in " + log + "; see that the database runs ('systemctl status postgresql'), and the transport rate limits in the tenant's profile. Then try again."
	case badCredential:
		found.id = ConnectOtherBroker
		found.cause = "The broker refused user name or password. ThingsBoard never answers this to MQTT 3.1.1: this is another broker, or a gateway before it."
		found.fix = "See that host and port lead to ThingsBoard's MQTT transport; if the broker is the right one, give its --username and --password-file."
	case notAuthorized:
		found.id, found.cause, found.fix = r.credentialRefused()
	default:
		found.id = ConnectUnknownCode
		found.detail = fmt.Sprintf("CONNACK %d (0x%02x): %s", code, code, device.Meaning(code))
		found.cause = "MQTT 3.1.1 knows the codes 0 to 5, and ThingsBoard sends no other: this is another broker, one that answers in MQTT 5, or something between that damages the answer."
		found.fix = "See that host and port lead to ThingsBoard's MQTT transport: --host, --port, and what the load balancer or proxy between does with MQTT."
	}
	return found
}

// identifierRefused is code 2, which ThingsBoard gives to a CONNECT with no
// user name.
func (r *run) identifierRefused() (id DiagnosisID, cause, fix string) {
	if r.target.Login.Username.IsZero() {
		return ConnectNoUsername, "No user name was sent, and a ThingsBoard device with an access token sends it as its user name.",
			"Give the token: --token-file devices/NAME/token, or the device's name: 'tbcert verify NAME'. For basic credentials give --client-id, --username and --password-file."
	}
	return ConnectIdentifier, "The broker does not take this client id. ThingsBoard takes any, and says so only when there is no user name: a proxy between may have dropped it, or this is another broker.",
		"Give another --client-id, and see that host and port lead to ThingsBoard's MQTT transport."
}

// block warns of too many tries.
const block = " Do not try often in a row: with TB_TRANSPORT_IP_RATE_LIMITS_ENABLED=true ThingsBoard blocks an address for 60 s after 10 wrong credentials."

// certificateRefused tells why a client certificate is refused: by its dates,
// which can be seen from here, or because no device has it.
func (r *run) certificateRefused() (id DiagnosisID, cause, fix string) {
	leaf := r.target.ClientCertificate.Leaf
	switch {
	case leaf != nil && r.now.After(leaf.NotAfter):
		return ConnectCertificateExpired, fmt.Sprintf("The client certificate expired on %s, and ThingsBoard refuses expired ones (MQTT_SSL_SKIP_VALIDITY_CHECK_FOR_CLIENT_CERT=false).", r.when(leaf.NotAfter)),
			"Give the device a new certificate: 'tbcert rotate NAME', and copy its bundle to it."
	case leaf != nil && r.now.Before(leaf.NotBefore):
		return ConnectCertificateExpired, fmt.Sprintf("The client certificate is not valid before %s, and ThingsBoard refuses it until then.", r.when(leaf.NotBefore)),
			"Compare the clocks of this machine and of ThingsBoard's ('timedatectl'); one of them made the certificate with a wrong one. 'tbcert rotate NAME' makes a new certificate."
	case !r.target.Login.Username.IsZero():
		return ConnectTokenIgnored, "ThingsBoard knows no device for the client certificate. A token was given as well, and with a client certificate ThingsBoard does not look at it at all.",
			"To prove the token, leave --cert and --key away. To prove the certificate, register its leaf: Devices, the device, Manage credentials, X.509." + block
	default:
		return ConnectCertificateUnknown, "ThingsBoard knows no device for the client certificate.",
			"In ThingsBoard: Devices, the device, Manage credentials, X.509: paste the leaf of cert.pem, or register it with 'tbcert provision NAME --credential x509'." + block
	}
}

// credentialRefused is code 5, for each kind of credential.
func (r *run) credentialRefused() (id DiagnosisID, cause, fix string) {
	login := r.target.Login
	switch {
	case r.target.ClientCertificate != nil:
		return r.certificateRefused()
	case !login.Password.IsZero():
		return ConnectBadBasic, "ThingsBoard has no device with these basic credentials: client id, user name and password are compared together.",
			"In ThingsBoard: Devices, the device, Manage credentials, MQTT Basic: compare all three with --client-id, --username and --password-file." + block
	case login.Username.IsZero():
		return ConnectNoUsername, "No credential was sent, and the server lets nobody in without one.",
			"Give the token: --token-file devices/NAME/token, or the device's name: 'tbcert verify NAME'."
	default:
		return ConnectBadToken, "The token is not the access token of any device on this server: it was changed or mistyped, the device was deleted, it belongs to another ThingsBoard, or the device has another kind of credential.",
			"In ThingsBoard: Devices, the device, Manage credentials: copy its access token into devices/NAME/token, or register the device with 'tbcert provision NAME' (with registrar offline, import thingsboard-import.csv first)." + block
	}
}
