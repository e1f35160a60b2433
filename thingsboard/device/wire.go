package device

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tbcert/tbcert/certs/secret"
)

// firstBytes is how much of an answer a ProtocolError keeps.
const firstBytes = 32

// A wire carries MQTT packets. After an error that leaves the connection in the
// middle of a packet it is broken, and says so ever after.
type wire struct {
	guard  *guard
	conn   net.Conn
	reader *bufio.Reader
	broken error
	pinged bool // a PINGREQ is not answered yet

	// secrets are masked in the evidence that an error holds: the other side may
	// be one that sends back what it got.
	secrets []secret.Text
}

func newWire(conn net.Conn) *wire {
	return &wire{guard: newGuard(conn), conn: conn, reader: bufio.NewReader(conn)}
}

// write sends a packet in one piece.
func (w *wire) write(ctx context.Context, packet packets.ControlPacket) error {
	if w.broken != nil {
		return w.broken
	}
	var frame bytes.Buffer
	if err := packet.Write(&frame); err != nil {
		return err
	}
	if frame.Len() > MaxPacket {
		return fmt.Errorf("a packet of %d bytes is larger than the %d that a session sends", frame.Len(), MaxPacket)
	}
	err := w.guard.run(ctx, func() error {
		_, err := w.conn.Write(frame.Bytes())
		return err
	})
	if err != nil {
		return w.breaks(closedBy(err))
	}
	w.guard.wrote()
	return nil
}

// read waits for the next packet that is not a PINGRESP, sending PINGREQs
// meanwhile. The text says what is due. A context that ends between two packets
// leaves the wire whole.
func (w *wire) read(ctx context.Context, due string) (packets.ControlPacket, error) {
	for {
		if w.broken != nil {
			return nil, w.broken
		}
		err := w.guard.wait(ctx, func() error {
			_, err := w.reader.Peek(1)
			return err
		})
		if errors.Is(err, errPingDue) {
			if err := w.ping(ctx); err != nil {
				return nil, err
			}
			continue
		}
		var ended *endedError
		if errors.As(err, &ended) {
			return nil, err
		}
		if err != nil {
			return nil, w.breaks(closedBy(err))
		}
		var packet packets.ControlPacket
		err = w.guard.run(ctx, func() (err error) {
			packet, err = w.frame(due)
			return err
		})
		if err != nil {
			return nil, w.breaks(closedBy(err))
		}
		if _, pong := packet.(*packets.PingrespPacket); !pong {
			return packet, nil
		}
		if !w.pinged { // or a server that sends them without end would be read without end
			return nil, w.breaks(&ProtocolError{Expected: due, Problem: "a PINGRESP came, and no PINGREQ had been sent"})
		}
		w.pinged = false
	}
}

// ping sends a PINGREQ, unless the last one was not answered.
func (w *wire) ping(ctx context.Context) error {
	if w.pinged {
		return w.breaks(fmt.Errorf("the server did not answer a PINGREQ in %s: %w", pingAfter, os.ErrDeadlineExceeded))
	}
	w.pinged = true
	return w.write(ctx, packets.NewControlPacket(packets.Pingreq))
}

// frame reads one packet. Nothing is set aside for its body before its fixed
// header was found good (2.2).
func (w *wire) frame(due string) (packets.ControlPacket, error) {
	first, err := w.reader.ReadByte()
	if err != nil {
		return nil, err
	}
	seen := append([]byte{first}, w.buffered()...)
	bad := func(format string, args ...any) error {
		for _, text := range w.secrets {
			mask(seen, text.Reveal())
		}
		return &ProtocolError{Expected: due, Problem: fmt.Sprintf(format, args...), First: seen[:min(len(seen), firstBytes)]}
	}
	if problem := checkType(first); problem != "" {
		return nil, bad("%s", problem)
	}
	length, err := readLength(w.reader)
	switch {
	case errors.Is(err, errLength):
		return nil, bad("the packet's length is not a length")
	case err != nil:
		return nil, cut(err)
	case length > MaxPacket:
		return nil, bad("a packet of %d bytes was announced, and more than %d are not taken", length, MaxPacket)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(w.reader, body); err != nil {
		return nil, cut(err)
	}
	packet, problem := unpack(first, body)
	if problem != "" {
		return nil, bad("%s", problem)
	}
	return packet, nil
}

// cut marks the end of a connection within a packet.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrCut, err)
	}
	return err
}

// buffered is a copy of what has come and was not read yet.
func (w *wire) buffered() []byte {
	data, _ := w.reader.Peek(min(w.reader.Buffered(), firstBytes))
	return bytes.Clone(data)
}

// breaks notes that nothing more can be done with the connection.
func (w *wire) breaks(err error) error {
	w.broken = err
	return err
}

// close closes the connection. One that is broken is closed below TLS, which
// would wait 5 s for a server that reads nothing to take its farewell.
func (w *wire) close() error {
	w.guard.stop()
	conn := w.conn
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok && w.broken != nil {
		conn = secure.NetConn()
	}
	w.broken = net.ErrClosed
	return conn.Close()
}

// closedBy wraps ErrClosed around the errors that come of the peer closing the
// connection. Any other, a TLS alert among them, stays as it is.
func closedBy(err error) error {
	for _, closed := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED,
	} {
		if errors.Is(err, closed) {
			return fmt.Errorf("%w (%w)", ErrClosed, err)
		}
	}
	return err
}
