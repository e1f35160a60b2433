package sandbox

import (
	"errors"
	"math"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/thingsboard/device"
)

var (
	errRefused = errors.New("the login was refused")
	errFault   = errors.New("a fault ends the connection")
)

// maxKeepAlive is the longest keep-alive interval in seconds of which mochi-mqtt
// can take one and a half: it counts them in 16 bits.
const maxKeepAlive = math.MaxUint16 / 3 * 2

// A login is what CONNECT said.
type login struct {
	known                    bool // the protocol level is one of ours
	clean                    bool
	clientID                 string
	username, password       string
	hasUsername, hasPassword bool
}

// A verdict is the answer to a login, in both versions (ReturnCodeResolver).
type verdict struct {
	v3, v5 byte
}

// accepted, badProtocol, badCredentials, badClientID and notAuthorized are the
// verdicts that can come without a fault.
func accepted() verdict       { return verdict{0, 0} }
func badProtocol() verdict    { return verdict{1, 0x84} }
func badClientID() verdict    { return verdict{2, 0x85} }
func badCredentials() verdict { return verdict{5, 0x86} }
func notAuthorized() verdict  { return verdict{5, 0x87} }

// OnPacketRead takes the login out of a CONNECT, and leaves mochi-mqtt one that
// it has no objection to and that holds no secret. The client id becomes
// unique: ThingsBoard takes any, and two devices may have the same. Sessions are
// always clean, and wills are dropped, as ThingsBoard does.
func (b *broker) OnPacketRead(client *mqtt.Client, packet packets.Packet) (packets.Packet, error) {
	l := linkOf(client)
	if packet.FixedHeader.Type == packets.Publish && strings.HasPrefix(packet.TopicName, "$") {
		packet.TopicName = "unknown" // mochi-mqtt answers nothing to $SYS, which ThingsBoard does not know
	}
	if packet.FixedHeader.Type != packets.Connect || l == nil || l.login != nil {
		return packet, nil
	}
	known, ok := protocol(packet)
	if !ok {
		return packet, packets.ErrRejectPacket // closes the connection
	}
	l.login = &login{
		known: known,
		clean: packet.Connect.Clean, clientID: packet.Connect.ClientIdentifier,
		username: string(packet.Connect.Username), hasUsername: packet.Connect.UsernameFlag,
		password: string(packet.Connect.Password), hasPassword: packet.Connect.PasswordFlag,
	}
	if packet.ProtocolVersion != 5 {
		packet.ProtocolVersion = 4 // 3 has the same packets
	}
	packet.Connect = packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, ClientIdentifier: l.name,
		Keepalive: min(packet.Connect.Keepalive, maxKeepAlive),
	}
	packet.Properties.SessionExpiryInterval, packet.Properties.SessionExpiryIntervalFlag = 0, false
	return packet, nil
}

// protocol reports whether a CONNECT has a protocol level that is known, and
// whether it is MQTT at all.
func protocol(packet packets.Packet) (known, ok bool) {
	level := packet.ProtocolVersion
	switch name := string(packet.Connect.ProtocolName); {
	case packet.ReservedBit != 0:
		return false, false
	case name == "MQTT":
		return level == 4 || level == 5, true
	default:
		return level == 3, name == "MQIsdp"
	}
}

// OnConnect answers a CONNECT that is refused. An error ends the connection.
func (b *broker) OnConnect(client *mqtt.Client, _ packets.Packet) error {
	l := linkOf(client)
	if l == nil || l.login == nil {
		return errRefused
	}
	l.client = client
	l.watch.Stop()
	faults := b.faults.Load()
	if faults.closeBeforeConnack {
		return errFault
	}
	verdict := verdict{faults.connack, faults.connack}
	if faults.connack == 0 {
		verdict = b.judge(l)
	}
	if verdict == accepted() {
		return nil
	}
	code := verdict.v3
	if client.Properties.ProtocolVersion == 5 {
		code = verdict.v5
	}
	return errors.Join(errRefused, client.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code,
	}))
}

// judge decides a login in the order of MqttTransportHandler.processConnect, and
// opens the session of a good one.
func (b *broker) judge(l *link) verdict {
	it := l.login
	switch {
	case !it.known:
		return badProtocol()
	case it.username == device.UserProvision, it.clientID == device.UserProvision:
		l.provision = true
		return accepted()
	}
	// With a certificate, user name and password are not looked at
	// (MqttTransportHandler.processX509CertConnect).
	if leaf := l.certificate(); leaf != nil {
		if previous, ok := b.store.openCertificate(leaf, l); ok {
			l.previous = previous
			return accepted()
		}
		return notAuthorized()
	}
	if previous, ok := b.store.open(l); ok {
		l.previous = previous
		return accepted()
	}
	switch {
	case it.hasUsername, it.hasPassword:
		return badCredentials()
	case strings.TrimSpace(it.clientID) != "":
		return badClientID()
	default:
		return notAuthorized()
	}
}

// OnConnectAuthenticate has nothing left to refuse.
func (b *broker) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnSessionEstablished comes after CONNACK: the new session is in, and the old
// one is ended.
func (b *broker) OnSessionEstablished(client *mqtt.Client, _ packets.Packet) {
	if l := linkOf(client); l != nil {
		b.replace(l)
	}
}
