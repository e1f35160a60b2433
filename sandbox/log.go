package sandbox

import (
	"context"
	"log/slog"
	"slices"
)

// A discreetHandler keeps packets out of the log: mochi-mqtt logs whole ones,
// and a payload or a CONNECT holds tokens.
type discreetHandler struct {
	slog.Handler
}

// Handle passes a record on without the attributes that hold a packet.
func (h discreetHandler) Handle(ctx context.Context, record slog.Record) error {
	kept := slog.NewRecord(record.Time, record.Level, record.Message, record.PC)
	record.Attrs(func(attr slog.Attr) bool {
		if !holdsPacket(attr) {
			kept.AddAttrs(attr)
		}
		return true
	})
	return h.Handler.Handle(ctx, kept)
}

// WithAttrs is the same handler with more attributes.
func (h discreetHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return discreetHandler{h.Handler.WithAttrs(slices.DeleteFunc(slices.Clone(attrs), holdsPacket))}
}

// WithGroup is the same handler in a group.
func (h discreetHandler) WithGroup(name string) slog.Handler {
	return discreetHandler{h.Handler.WithGroup(name)}
}

func holdsPacket(attr slog.Attr) bool { return attr.Key == "packet" || attr.Key == "pk" }
