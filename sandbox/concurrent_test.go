package sandbox_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// TestManyAtOnce has devices publish and log in twice while faults, credentials
// and devices change; it is for the race detector.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const devices, rounds = 8, 10
	w := start(t, func(config *sandbox.Config) {
		for i := range devices {
			config.Devices = append(config.Devices, sandbox.Device{Name: fmt.Sprint("many-", i), Token: secret.New(fmt.Sprint("canary0many", i))})
		}
	})
	var all sync.WaitGroup
	for i := range devices {
		all.Go(func() {
			for round := range rounds {
				old := w.dial(t)
				_ = connect(fmt.Sprint("canary0many", i)).Write(old)
				p := w.dial(t)
				_ = connect(fmt.Sprint("canary0many", i)).Write(p)
				_ = publication("v2/t", fmt.Sprintf(`{"n":%d}`, round)).Write(p)
				_ = publication("v2/a", fmt.Sprintf(`{"n":%d}`, round)).Write(p)
				w.SetFaults(sandbox.Faults{})
				w.Telemetry(fmt.Sprint("many-", i))
			}
		})
	}
	for i := range devices / 2 {
		id := w.find(t, fmt.Sprint("many-", i))
		credentials := w.do(t, "GET", "/api/device/"+id+"/credentials", "")["id"].(object)["id"].(string)
		change := `{"id":{"id":"` + credentials + `"},"deviceId":{"id":"` + id + `"},"credentialsType":"ACCESS_TOKEN","credentialsId":"canary0moved` + fmt.Sprint(i) + `"}`
		w.do(t, "POST", "/api/device/credentials", change)
		w.as(apiKey).call(t, "DELETE /api/device/"+id, "", 200)
	}
	all.Wait()
	if n := len(w.Devices()); n != 2+devices/2 {
		t.Errorf("got %d devices", n)
	}
}

// TestDeviceThatDoesNotRead holds up neither the deletion of it nor the end.
func TestDeviceThatDoesNotRead(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.dial(t)
	p.logInV5(connect(token))
	for i := range 10 {
		p.Write(v5Publish("v2/a", fmt.Sprintf(`{"k%d":"%s"}`, i, strings.Repeat("x", 60_000))))
	}
	p.Write([]byte("\x82\x10\x00\x09\x00\x00\x0av2/a/res/+\x00"))
	if got := p.bytes(6); got[0] != 0x90 { // once this has come, the attributes are stored
		t.Fatalf("got % x, want a SUBACK", got)
	}
	if n := len(w.attributes(t)); n != 10 {
		t.Fatalf("got %d attributes", n)
	}
	p.Write(bytes.Repeat(v5Publish("v2/a/req/1", `{}`), 100)) // the answers are 60 MB
	p.bytes(1 << 20)
	for range 20 { // meanwhile the buffers fill up
		w.attributes(t)
	}
	started := time.Now()
	w.as(apiKey).call(t, "DELETE /api/device/"+w.find(t, "meter-1"), "", 200)
	if took := time.Since(started); took > patience/2 {
		t.Errorf("it took %s", took)
	}
}

// v5Publish is a PUBLISH of MQTT 5 with QoS 0.
func v5Publish(topic, payload string) []byte {
	rest := append([]byte{0, byte(len(topic))}, topic+"\x00"+payload...)
	packet := []byte{0x30}
	for n := len(rest); ; n /= 128 {
		if n < 128 {
			return append(append(packet, byte(n)), rest...)
		}
		packet = append(packet, byte(n%128)|0x80)
	}
}
