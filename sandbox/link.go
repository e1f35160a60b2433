package sandbox

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
)

const (
	// greeting bounds the time from the connection to the end of CONNECT.
	greeting = time.Minute
	// farewell bounds the time that telling a client of its end may take.
	farewell = 2 * time.Second
	// retirement is how long a session for provisioning lasts after its first
	// answer (MqttTransportHandler.DeviceProvisionCallback).
	retirement = time.Minute
	// maxConnections bounds the open connections of one listener.
	maxConnections = 4096
)

// A link is a connection, and the session on it. mochi-mqtt carries it about as
// the client's connection. All fields but the connection are the business of
// the goroutine that reads from it; client is set before the store knows the
// link, and stays.
type link struct {
	net.Conn
	name   string // the client id that mochi-mqtt sees
	client *mqtt.Client
	watch  *time.Timer // ends the connection when CONNECT does not come
	login  *login      // nil before CONNECT

	device    string // the id of the device; "" for provisioning
	provision bool
	previous  *link       // the session that this one replaces
	after     func()      // what is to be done once the PUBACK is sent; nil for nothing
	retired   *time.Timer // ends a session for provisioning; nil before its first answer
}

// certificate is the leaf that the client presented; nil for none.
func (l *link) certificate() *x509.Certificate {
	conn, ok := l.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if chain := conn.ConnectionState().PeerCertificates; len(chain) > 0 {
		return chain[0]
	}
	return nil
}

// retire ends a session for provisioning after a while.
func (l *link) retire() {
	if l.retired == nil {
		l.retired = time.AfterFunc(retirement, func() { _ = l.Close() })
	}
}

// A listener accepts connections for mochi-mqtt. Unlike that one's own it knows
// those that have not sent CONNECT yet, and Close waits for all to end.
type listener struct {
	id     string
	socket net.Listener
	wrap   func(net.Conn) *link
	gone   func(*link)
	// dismiss says goodbye to the clients of the listener of that name.
	dismiss func(id string)
	log     *slog.Logger

	done chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	links  map[*link]struct{}
}

// Init takes the logger.
func (l *listener) Init(log *slog.Logger) error {
	l.log = log
	return nil
}

// ID is the listener's name.
func (l *listener) ID() string { return l.id }

// Address is where it listens.
func (l *listener) Address() string { return l.socket.Addr().String() }

// Protocol is what it listens to.
func (l *listener) Protocol() string { return l.socket.Addr().Network() }

// Serve accepts connections until Close.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		conn, err := l.socket.Accept()
		if err != nil && !l.pause(err) {
			return
		}
		if err == nil {
			l.start(conn, establish)
		}
	}
}

// pause waits after an error, such as one for too many open files; false when
// the listener is closed.
func (l *listener) pause(err error) bool {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-l.done:
		return false
	case <-timer.C:
		l.log.Warn("a connection cannot be accepted", "error", err)
		return true
	}
}

// start serves a connection, unless there are too many.
func (l *listener) start(conn net.Conn, establish listeners.EstablishFn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.links) >= maxConnections {
		_ = conn.Close()
		return
	}
	link := l.wrap(conn)
	l.links[link] = struct{}{}
	l.wg.Go(func() {
		link.watch = time.AfterFunc(greeting, func() { _ = conn.Close() })
		defer link.watch.Stop()
		l.attend(link, establish)
		l.gone(link)
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.links, link)
	})
}

// attend serves a connection to its end. mochi-mqtt's decoder panics on some
// packets, such as a SUBSCRIBE of MQTT 5 that is cut off before its options
// (https://github.com/mochi-mqtt/server/issues/501): that ends the connection
// which sent it, and not the process.
func (l *listener) attend(link *link, establish listeners.EstablishFn) {
	defer func() {
		if problem := recover(); problem != nil {
			l.log.Error("a packet cannot be handled: its connection is closed",
				"client", link.name, "problem", problem, "stack", string(debug.Stack()))
		}
	}()
	if err := establish(l.id, link); err != nil {
		l.log.Debug("a connection ended", "reason", err, "client", link.name)
	}
}

// Close ends all connections, and waits for that. It says goodbye to the clients
// first, as long as they take it, and not in mochi-mqtt's way, which may hang.
func (l *listener) Close(listeners.CloseFn) {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	l.mu.Unlock()
	_ = l.socket.Close()
	hurry := time.AfterFunc(farewell, l.cut)
	l.dismiss(l.id)
	hurry.Stop()
	l.cut()
	l.wg.Wait()
}

// cut closes all connections.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for link := range l.links {
		_ = link.Close()
	}
}
