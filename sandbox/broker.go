package sandbox

import (
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/thingsboard/device"
)

const (
	// maxPacket bounds a packet before memory is set aside for it: the largest
	// payload, and room for its topic and properties.
	maxPacket = device.MaxPayload + 4096

	// sysInterval is how often mochi-mqtt publishes its $SYS topics, in seconds;
	// nobody can subscribe to them.
	sysInterval = 3600
)

// A broker makes a ThingsBoard transport (MqttTransportHandler) of a mochi-mqtt
// server. It is the server's only hook.
type broker struct {
	mqtt.HookBase
	server *mqtt.Server
	store  *store
	log    *slog.Logger
	faults atomic.Pointer[Faults]
	links  atomic.Uint64 // how many there were, for their names
}

func newBroker(store *store, config Config) (*broker, error) {
	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.MaximumPacketSize = maxPacket
	capabilities.MaximumQos = 1 // MqttTransportHandler.MAX_SUPPORTED_QOS_LVL
	capabilities.RetainAvailable = 0
	capabilities.TopicAliasMaximum = 0
	capabilities.Compatibilities.NoInheritedPropertiesOnAck = true
	log := slog.New(discreetHandler{config.Log.Handler()})
	b := &broker{store: store, log: log}
	b.server = mqtt.New(&mqtt.Options{Capabilities: capabilities, Logger: log, SysTopicResendInterval: sysInterval})
	b.setFaults(config.Faults)
	return b, b.server.AddHook(b, nil)
}

func (b *broker) setFaults(faults Faults) { b.faults.Store(&faults) }

// listen adds a socket, which [broker.serve] then serves.
func (b *broker) listen(id string, socket net.Listener) error {
	return b.server.AddListener(&listener{
		id: id, socket: socket, wrap: b.wrap, gone: b.gone, dismiss: b.dismiss, done: make(chan struct{}), links: map[*link]struct{}{},
	})
}

func (b *broker) serve() error { return b.server.Serve() }

func (b *broker) close() error { return b.server.Close() }

// wrap makes the link of a new connection.
func (b *broker) wrap(conn net.Conn) *link {
	return &link{Conn: conn, name: "client-" + strconv.FormatUint(b.links.Add(1), 10)}
}

// gone cleans up after a link. mochi-mqtt itself keeps a client whose CONNACK
// could not be sent, and the subscriptions of one whose packet it panicked on.
func (b *broker) gone(l *link) {
	b.replace(l)
	if l.retired != nil {
		l.retired.Stop()
	}
	if l.client != nil {
		b.server.UnsubscribeClient(l.client)
		b.server.Clients.Delete(l.client.ID)
	}
	if l.device != "" {
		b.store.gone(l.device, l)
	}
}

// dismiss says goodbye to the clients of a listener. mochi-mqtt's own way to do
// so takes a lock twice for reading (Clients.GetByListener), and never ends when
// a client leaves in between.
func (b *broker) dismiss(listener string) {
	for _, client := range b.server.Clients.GetAll() {
		if client.Net.Listener == listener && !client.Closed() {
			_ = b.server.DisconnectClient(client, packets.ErrServerShuttingDown) // gives the reason back as an error
		}
	}
}

// replace ends the session that a new one takes the place of.
func (b *broker) replace(l *link) {
	b.end(l.previous, packets.ErrSessionTakenOver)
	l.previous = nil
}

// end closes a session, which may be nil. MQTT 5 is told the reason before
// (OASIS MQTT 5.0, 3.14); a client that does not read is not waited for.
func (b *broker) end(l *link, reason packets.Code) {
	if l == nil {
		return
	}
	hurry := time.AfterFunc(farewell, func() { _ = l.Close() })
	defer hurry.Stop()
	_ = b.server.DisconnectClient(l.client, reason) // gives the reason back as an error
}

// linkOf is the link of a client; nil for one that is none of ours.
func linkOf(client *mqtt.Client) *link {
	l, _ := client.Net.Conn.(*link)
	return l
}

// ID is the hook's name.
func (b *broker) ID() string { return "thingsboard" }

// Provides says which events the hook takes.
func (b *broker) Provides(event byte) bool {
	switch event {
	case mqtt.OnPacketRead, mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablished,
		mqtt.OnACLCheck, mqtt.OnSubscribed, mqtt.OnPublish, mqtt.OnPacketProcessed, mqtt.OnPacketEncode:
		return true
	default:
		return false
	}
}

// OnPacketEncode makes of mochi-mqtt's packets what ThingsBoard sends.
func (b *broker) OnPacketEncode(client *mqtt.Client, packet packets.Packet) packets.Packet {
	l := linkOf(client)
	if l == nil || l.login == nil {
		return packet
	}
	isV5 := client.Properties.ProtocolVersion == 5
	switch packet.FixedHeader.Type {
	case packets.Connack:
		// The inverse of clean session, in refusals too (createMqttConnAckMsg).
		packet.SessionPresent = !l.login.clean
		packet.Properties = packets.Properties{}
	case packets.Disconnect:
		packet.Properties = packets.Properties{}
		if !isV5 { // the server has none before MQTT 5: this type ends the write with an error
			packet.FixedHeader.Type = packets.Reserved
		}
	case packets.Puback:
		packet.Properties = packets.Properties{}
	case packets.Suback:
		packet.ReasonCodes = subackCodes(packet.ReasonCodes)
	}
	return packet
}

// subackCodes names a topic that is not ThingsBoard's as it does
// (TOPIC_FILTER_INVALID); what is for 3.1.1 stays 0x80.
func subackCodes(codes []byte) []byte {
	named := make([]byte, len(codes))
	for i, code := range codes {
		if code == packets.ErrNotAuthorized.Code {
			code = packets.ErrTopicFilterInvalid.Code
		}
		named[i] = code
	}
	return named
}

// OnACLCheck says which filters can be subscribed to. Whether a topic can be
// published to is decided in OnPublish.
func (b *broker) OnACLCheck(client *mqtt.Client, topic string, write bool) bool {
	l := linkOf(client)
	return l != nil && (write || subscribable(topic, l.provision))
}
