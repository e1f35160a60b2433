package device

import (
	"bytes"
	"errors"
	"fmt"
)

var (
	// ErrClosed is in the chain of every error that comes of the server closing
	// the connection where an answer was due. ThingsBoard does so when a payload
	// cannot be parsed, when another client comes with the same credential, when
	// an address is blocked for wrong credentials, and after a refusal.
	ErrClosed = errors.New("the server closed the connection")

	// ErrCut is in the chain, beside ErrClosed, when the connection ended in the
	// middle of a packet, which no server does that means to.
	ErrCut = errors.New("the connection ended in the middle of a packet")

	// ErrSubscriptionRefused is in the chain when the SUBACK says so.
	ErrSubscriptionRefused = errors.New("the server refused the subscription")

	// ErrNotStored is in the chain of a round trip's error when the server
	// answered, but not with the value that was written.
	ErrNotStored = errors.New("the value that was written did not come back")
)

// A RefusedError is a CONNACK with a return code other than 0.
type RefusedError struct {
	Code ReturnCode
}

// Error says which code came and what it means.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the server refused the login with return code %d: %s", e.Code, Meaning(e.Code))
}

// A ProtocolError is an answer that is not the MQTT that was due. It keeps the
// evidence.
type ProtocolError struct {
	Expected string // what was due, such as "CONNACK"
	Problem  string // what is wrong with what came
	First    []byte // the first bytes that came, at most 32; what is of the login is masked in it
}

// Error says what came instead of what.
func (e *ProtocolError) Error() string {
	text := fmt.Sprintf("expected %s, but %s", e.Expected, e.Problem)
	if len(e.First) > 0 {
		text += fmt.Sprintf(" (it begins with %q)", e.First)
	}
	return text
}

// LooksLike names the protocol that the first bytes are of, "TLS", "HTTP" or
// "SSH"; "" when they are none of these.
func (e *ProtocolError) LooksLike() string {
	switch {
	case len(e.First) >= 2 && e.First[0] >= 0x14 && e.First[0] <= 0x17 && e.First[1] == 3: // RFC 8446, 5.1: type, then version 3.x
		return "TLS"
	case bytes.HasPrefix(e.First, []byte("HTTP/")), bytes.HasPrefix(bytes.TrimSpace(e.First), []byte("<")):
		return "HTTP"
	case bytes.HasPrefix(e.First, []byte("SSH-")):
		return "SSH"
	default:
		return ""
	}
}
