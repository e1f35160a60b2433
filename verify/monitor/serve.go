package monitor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// headerTime bounds how long a scraper may take for its request's header.
const headerTime = 10 * time.Second

// Serve serves a handler at an address, such as 127.0.0.1:9817, until ctx ends.
// It returns where it listens, and the error of listening.
func Serve(ctx context.Context, address string, handler http.Handler) (net.Addr, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTime, MaxHeaderBytes: 16 << 10}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			_ = listener.Close() // nothing more can be served; /healthz tells by its silence
		}
	}()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return listener.Addr(), nil
}
