package acme

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	lib "github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
)

// readTimeout bounds what somebody may keep a challenge's port busy for.
const readTimeout = 10 * time.Second

// A door listens while there is a challenge to be answered.
type door struct {
	mu     sync.Mutex
	open   int // challenges
	closer io.Closer
}

// enter opens the door for a challenge.
func (d *door) enter(open func() (io.Closer, error)) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == 0 {
		if d.closer, err = open(); err != nil {
			return err
		}
	}
	d.open++
	return nil
}

// leave closes it after the last one.
func (d *door) leave() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == 0 {
		return nil // it never opened
	}
	if d.open--; d.open > 0 {
		return nil
	}
	return d.closer.Close()
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the CA's question: %w; another program may have the port, and ports below 1024 want root", err)
	}
	return listener, nil
}

// webSolver answers http-01 (RFC 8555, 8.3).
type webSolver struct {
	address string
	door    door
	answers sync.Map // by path
}

func (s *webSolver) Present(ctx context.Context, challenge lib.Challenge) error {
	s.answers.Store(challenge.HTTP01ResourcePath(), challenge.KeyAuthorization)
	return s.door.enter(func() (io.Closer, error) {
		listener, err := listen(ctx, s.address)
		if err != nil {
			return nil, err
		}
		server := &http.Server{Handler: s, ReadTimeout: readTimeout, WriteTimeout: readTimeout, MaxHeaderBytes: 1 << 14}
		go func() { _ = server.Serve(listener) }() // until it is closed
		return server, nil
	})
}

func (s *webSolver) CleanUp(_ context.Context, challenge lib.Challenge) error {
	s.answers.Delete(challenge.HTTP01ResourcePath())
	return s.door.leave()
}

// ServeHTTP gives the answer to a challenge, and nothing else.
func (s *webSolver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, ok := s.answers.Load(r.URL.Path)
	text, isText := answer.(string)
	if !ok || !isText || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.WriteString(w, text) //nolint:gosec // the CA's own token; whoever asked may be gone
}

// alpnSolver answers tls-alpn-01 (RFC 8737).
type alpnSolver struct {
	address      string
	door         door
	certificates sync.Map // by server name
}

func (s *alpnSolver) Present(ctx context.Context, challenge lib.Challenge) error {
	certificate, err := acmez.TLSALPN01ChallengeCert(challenge)
	if err != nil {
		return fmt.Errorf("make the challenge's certificate: %w", err)
	}
	s.certificates.Store(serverName(challenge.Identifier), certificate)
	return s.door.enter(func() (io.Closer, error) {
		listener, err := listen(ctx, s.address)
		if err != nil {
			return nil, err
		}
		config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acmez.ACMETLS1Protocol}, GetCertificate: s.certificate}
		go s.serve(ctx, listener, config)
		return listener, nil
	})
}

// serverName is what the CA asks for: an address as its name in the reverse zone
// (RFC 8738, 6).
func serverName(identifier lib.Identifier) string {
	if reverse, err := dns.ReverseAddr(identifier.Value); err == nil {
		return strings.TrimSuffix(reverse, ".")
	}
	return identifier.Value
}

func (s *alpnSolver) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	found, _ := s.certificates.Load(hello.ServerName)
	certificate, ok := found.(*tls.Certificate)
	if !ok {
		return nil, fmt.Errorf("nobody asked about %q", hello.ServerName)
	}
	return certificate, nil
}

// serve shakes hands, which is the whole answer.
func (s *alpnSolver) serve(ctx context.Context, listener net.Listener, config *tls.Config) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(readTimeout))
			secure := tls.Server(conn, config)
			if secure.HandshakeContext(ctx) == nil {
				_, _ = secure.Read(make([]byte, 1)) // until the CA hangs up
			}
		}()
	}
}

func (s *alpnSolver) CleanUp(_ context.Context, challenge lib.Challenge) error {
	s.certificates.Delete(serverName(challenge.Identifier))
	return s.door.leave()
}

// dnsSolver answers dns-01 (RFC 8555, 8.4).
type dnsSolver struct{ dns DNS }

func (s dnsSolver) Present(ctx context.Context, challenge lib.Challenge) error {
	return s.dns.Present(ctx, challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
}

func (s dnsSolver) CleanUp(ctx context.Context, challenge lib.Challenge) error {
	return s.dns.CleanUp(ctx, challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
}
