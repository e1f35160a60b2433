package verify

// A DiagnosisID names one cause of a failure or of a warning, in reports and in
// scripts that read them; docs/checks has a page of that name for each.
type DiagnosisID string

// The diagnoses, by the check that finds them.
const (
	DNSUnknownName             DiagnosisID = "dns-unknown-name"
	DNSNoAnswer                DiagnosisID = "dns-no-answer"
	TCPRefused                 DiagnosisID = "tcp-refused"
	TCPSilent                  DiagnosisID = "tcp-silent"
	TCPNoRoute                 DiagnosisID = "tcp-no-route"
	TCPIPv6Only                DiagnosisID = "tcp-ipv6-only"
	TCPReset                   DiagnosisID = "tcp-reset"
	TCPBadPort                 DiagnosisID = "tcp-bad-port"
	TLSSilent                  DiagnosisID = "tls-silent"
	TLSPlainMQTT               DiagnosisID = "tls-plain-mqtt"
	TLSHTTP                    DiagnosisID = "tls-http"
	TLSOtherProtocol           DiagnosisID = "tls-other-protocol"
	TLSProxyProtocol           DiagnosisID = "tls-proxy-protocol"
	TLSClosed                  DiagnosisID = "tls-closed"
	TLSAddressBlocked          DiagnosisID = "tls-address-blocked"
	TLSVersion                 DiagnosisID = "tls-version"
	TLSCipher                  DiagnosisID = "tls-cipher"
	TLSKeyMismatch             DiagnosisID = "tls-key-mismatch"
	TLSCertificateRequired     DiagnosisID = "tls-certificate-required"
	TLSCertificateRefused      DiagnosisID = "tls-certificate-refused"
	TLSUnrecognizedName        DiagnosisID = "tls-unrecognized-name"
	TLSTooMuch                 DiagnosisID = "tls-too-much"
	TLSBroken                  DiagnosisID = "tls-broken"
	TLSCertificateNotAsked     DiagnosisID = "tls-certificate-not-asked"
	ChainMissingIntermediate   DiagnosisID = "chain-missing-intermediate"
	ChainOtherCA               DiagnosisID = "chain-other-ca"
	ChainRootRemade            DiagnosisID = "chain-root-remade"
	ChainRootIsLeaf            DiagnosisID = "chain-root-is-leaf"
	ChainSelfSigned            DiagnosisID = "chain-self-signed"
	ChainNoRoots               DiagnosisID = "chain-no-roots"
	ChainRule                  DiagnosisID = "chain-rule"
	NameMismatch               DiagnosisID = "name-mismatch"
	NameIP                     DiagnosisID = "name-ip"
	NameCNOnly                 DiagnosisID = "name-cn-only"
	NameSNI                    DiagnosisID = "name-sni"
	DatesExpired               DiagnosisID = "dates-expired"
	DatesNotYet                DiagnosisID = "dates-not-yet"
	DatesClock                 DiagnosisID = "dates-clock"
	DatesEndsSoon              DiagnosisID = "dates-ends-soon"
	UsageNotServer             DiagnosisID = "usage-not-server"
	UsageCA                    DiagnosisID = "usage-ca"
	ConnectBadToken            DiagnosisID = "connect-bad-token"
	ConnectBadBasic            DiagnosisID = "connect-bad-basic"
	ConnectCertificateUnknown  DiagnosisID = "connect-certificate-unknown"
	ConnectCertificateExpired  DiagnosisID = "connect-certificate-expired"
	ConnectCertificateRefused  DiagnosisID = "connect-certificate-refused"
	ConnectCertificateRequired DiagnosisID = "connect-certificate-required"
	ConnectTokenIgnored        DiagnosisID = "connect-token-ignored"
	ConnectNoUsername          DiagnosisID = "connect-no-username"
	ConnectProvisionUser       DiagnosisID = "connect-provision-user"
	ConnectIdentifier          DiagnosisID = "connect-identifier"
	ConnectVersion             DiagnosisID = "connect-version"
	ConnectUnavailable         DiagnosisID = "connect-unavailable"
	ConnectRateLimited         DiagnosisID = "connect-rate-limited"
	ConnectOtherBroker         DiagnosisID = "connect-other-broker"
	ConnectUnknownCode         DiagnosisID = "connect-unknown-code"
	ConnectSilent              DiagnosisID = "connect-silent"
	ConnectClosed              DiagnosisID = "connect-closed"
	ConnectNotMQTT             DiagnosisID = "connect-not-mqtt"
	ConnectHTTP                DiagnosisID = "connect-http"
	ConnectTLSPort             DiagnosisID = "connect-tls-port"
	ConnectBroken              DiagnosisID = "connect-broken"
	PublishPayload             DiagnosisID = "publish-payload"
	PublishTooLarge            DiagnosisID = "publish-too-large"
	PublishNoPUBACK            DiagnosisID = "publish-no-puback"
	PublishSessionTaken        DiagnosisID = "publish-session-taken"
	PublishRateLimited         DiagnosisID = "publish-rate-limited"
	PublishClosed              DiagnosisID = "publish-closed"
	PublishBroken              DiagnosisID = "publish-broken"
	StoredMissing              DiagnosisID = "stored-missing"
	StoredUnknown              DiagnosisID = "stored-unknown"
	RoundTripSilent            DiagnosisID = "round-trip-silent"
	RoundTripClosed            DiagnosisID = "round-trip-closed"
	KeepAliveClosed            DiagnosisID = "keep-alive-closed"
	RecordUnknown              DiagnosisID = "record-unknown"
	BundleUnusable             DiagnosisID = "bundle-unusable"
)

// A Diagnosis is an entry of the catalogue.
type Diagnosis struct {
	ID    DiagnosisID
	Check CheckID // that finds it
	Title string  // a line for people
}

// Catalogue gives every diagnosis, in the order of the checks.
func Catalogue() []Diagnosis { //nolint:funlen // a line a diagnosis
	return []Diagnosis{
		{DNSUnknownName, CheckResolve, "The name has no address"},
		{DNSNoAnswer, CheckResolve, "The DNS server does not answer"},
		{TCPRefused, CheckTCP, "Nothing listens on the port"},
		{TCPSilent, CheckTCP, "Nothing answers for the port: a firewall drops, or the machine is off"},
		{TCPNoRoute, CheckTCP, "There is no way to the address"},
		{TCPIPv6Only, CheckTCP, "The name has IPv6 addresses only, and this machine has no way to them"},
		{TCPReset, CheckTCP, "Something between resets the connection"},
		{TCPBadPort, CheckTCP, "The port is no port"},
		{TLSSilent, CheckTLS, "The port takes connections and says nothing"},
		{TLSPlainMQTT, CheckTLS, "The port speaks MQTT without TLS"},
		{TLSHTTP, CheckTLS, "The port is a web server's"},
		{TLSOtherProtocol, CheckTLS, "The port speaks something that is neither TLS, MQTT nor HTTP"},
		{TLSProxyProtocol, CheckTLS, "The port wants a PROXY protocol header before TLS"},
		{TLSClosed, CheckTLS, "The port closes at the first TLS message"},
		{TLSAddressBlocked, CheckTLS, "The server closes this address's connections before TLS"},
		{TLSVersion, CheckTLS, "No TLS version in common"},
		{TLSCipher, CheckTLS, "No cipher in common, or a server that cannot use its certificate"},
		{TLSKeyMismatch, CheckTLS, "The server's key does not belong to its certificate"},
		{TLSCertificateRequired, CheckTLS, "The server demands a client certificate"},
		{TLSCertificateRefused, CheckTLS, "The server refuses the client certificate in the handshake"},
		{TLSUnrecognizedName, CheckTLS, "The server does not know the name that was asked for"},
		{TLSTooMuch, CheckTLS, "The server sends more than a handshake has"},
		{TLSBroken, CheckTLS, "The handshake breaks off"},
		{TLSCertificateNotAsked, CheckTLS, "The server does not ask for the client certificate"},
		{ChainMissingIntermediate, CheckChain, "An intermediate certificate is missing"},
		{ChainOtherCA, CheckChain, "The server's certificate comes from another CA"},
		{ChainRootRemade, CheckChain, "The root was made again under its name"},
		{ChainRootIsLeaf, CheckChain, "The trusted certificate is not a CA"},
		{ChainSelfSigned, CheckChain, "The server's certificate signed itself, and is not trusted"},
		{ChainNoRoots, CheckChain, "There is nothing to trust"},
		{ChainRule, CheckChain, "A certificate on the way breaks a rule for CAs"},
		{NameMismatch, CheckName, "The certificate is for other names"},
		{NameIP, CheckName, "The certificate names no IP address"},
		{NameCNOnly, CheckName, "The certificate has its name in the CN alone"},
		{NameSNI, CheckName, "The server shows another certificate for this name"},
		{DatesExpired, CheckDates, "A certificate is past its end"},
		{DatesNotYet, CheckDates, "A certificate is not valid yet"},
		{DatesClock, CheckDates, "This machine's clock is wrong"},
		{DatesEndsSoon, CheckDates, "A certificate ends soon"},
		{UsageNotServer, CheckUsage, "The certificate is not for a server"},
		{UsageCA, CheckUsage, "The certificate was issued by a CA for devices"},
		{ConnectBadToken, CheckConnect, "No device has this access token"},
		{ConnectBadBasic, CheckConnect, "No device has these basic credentials"},
		{ConnectCertificateUnknown, CheckConnect, "No device has this client certificate"},
		{ConnectCertificateExpired, CheckConnect, "The client certificate is expired or not yet valid"},
		{ConnectCertificateRefused, CheckConnect, "The server refuses the client certificate"},
		{ConnectCertificateRequired, CheckConnect, "The server demands a client certificate"},
		{ConnectTokenIgnored, CheckConnect, "A token was sent with a certificate, and is not looked at"},
		{ConnectNoUsername, CheckConnect, "No user name was sent"},
		{ConnectProvisionUser, CheckConnect, "The user name is that of provisioning, which proves nothing"},
		{ConnectIdentifier, CheckConnect, "The broker does not take the client id"},
		{ConnectVersion, CheckConnect, "The broker does not speak MQTT 3.1.1"},
		{ConnectUnavailable, CheckConnect, "The server cannot check credentials now"},
		{ConnectRateLimited, CheckConnect, "The tenant's connection rate is used up"},
		{ConnectOtherBroker, CheckConnect, "Another broker answers than ThingsBoard"},
		{ConnectUnknownCode, CheckConnect, "The answer's code is none of MQTT 3.1.1"},
		{ConnectSilent, CheckConnect, "The server does not answer CONNECT"},
		{ConnectClosed, CheckConnect, "The server closes without an answer to CONNECT"},
		{ConnectNotMQTT, CheckConnect, "The answer to CONNECT is not MQTT"},
		{ConnectHTTP, CheckConnect, "A web server answers CONNECT"},
		{ConnectTLSPort, CheckConnect, "The port is a TLS port, and plain MQTT was sent to it"},
		{ConnectBroken, CheckConnect, "The login could not be sent"},
		{PublishPayload, CheckPublish, "ThingsBoard cannot parse the payload"},
		{PublishTooLarge, CheckPublish, "The payload is larger than ThingsBoard takes"},
		{PublishNoPUBACK, CheckPublish, "The message is not acknowledged"},
		{PublishSessionTaken, CheckPublish, "Another client has the device's session"},
		{PublishRateLimited, CheckPublish, "The device's message rate is used up"},
		{PublishClosed, CheckPublish, "The server closes after the message"},
		{PublishBroken, CheckPublish, "The connection broke while publishing"},
		{StoredMissing, CheckStored, "The telemetry is acknowledged and not stored"},
		{StoredUnknown, CheckStored, "ThingsBoard could not be asked whether the telemetry is stored"},
		{RoundTripSilent, CheckRoundTrip, "What was written does not come back"},
		{RoundTripClosed, CheckRoundTrip, "The server closes while the attribute is read back"},
		{KeepAliveClosed, CheckKeepAlive, "The connection does not live as long as its keep-alive"},
		{RecordUnknown, CheckRecord, "ThingsBoard could not be asked whether the device is at work"},
		{BundleUnusable, CheckBundle, "The device's bundle cannot be used"},
	}
}
