package sandbox_test

import (
	"net"
	"testing"
	"time"
	"io"

	"github.com/tbcert/tbcert/sandbox"
	"github.com/tbcert/tbcert/certs/secret"
)

func FuzzProbe(f *testing.F) {
	server, err := sandbox.Start(f.Context(), sandbox.Config{MQTTAddr: "127.0.0.1:0", Devices: []sandbox.Device{{Name: "a", Token: secret.New("tok")}}})
	if err != nil { f.Fatal(err) }
	f.Cleanup(func() { server.Close() })
	v4 := "\x10\x11\x00\x04MQTT\x04\x82\x00\x3c\x00\x00\x00\x03tok"
	v5 := "\x10\x12\x00\x04MQTT\x05\x82\x00\x3c\x00\x00\x00\x00\x03tok"
	for _, c := range []string{v4, v5} {
		for _, p := range []string{"", "\x32\x0b\x00\x04v2/t\x00\x09\x00{}", "\x34\x0b\x00\x04v2/t\x00\x09\x00{}", "\x82\x0a\x00\x09\x00\x00\x04v2/a\x01", "\x82\x10\x00\x09\x00\x00\x0av2/a/res/+\x00\x32\x0f\x00\x0av2/a/req/1\x00\x01{}",
			"\xa2\x08\x00\x09\x00\x00\x04v2/a", "\xe0\x02\x00\x00", "\xf0\x02\x18\x00", "\x62\x02\x00\x09", "\x40\x02\x00\x01", "\x50\x02\x00\x01", "\x70\x02\x00\x01", "\xc0\x00", "\x20\x02\x00\x00", "\x90\x03\x00\x01\x00", "\xb0\x02\x00\x01",
			"\x31\x13\x00\x04v2/t\x0a\x01\x01\x02\x00\x00\x00\x05\x23\x00\x01{}" } {
			f.Add([]byte(c + p))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		conn, err := net.Dial("tcp", server.MQTTAddr().String())
		if err != nil { t.Fatal(err) }
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Second))
		conn.Write(data)
		conn.(*net.TCPConn).CloseWrite()
		io.ReadAll(conn)
	})
}
