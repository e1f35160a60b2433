package sandbox_test

import (
	"fmt"
	"net/http"
	"runtime"
	"testing"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// BenchmarkCreateAndRead registers a device with its credential and reads that
// back, as a run that provisions does.
func BenchmarkCreateAndRead(b *testing.B) {
	for _, known := range []int{0, 100_000} {
		b.Run(fmt.Sprint("known=", known), func(b *testing.B) {
			config := sandbox.Config{HTTPAddr: "127.0.0.1:0", APIKey: secret.New("tb_canary0key")}
			for i := range known {
				config.Devices = append(config.Devices, sandbox.Device{Name: fmt.Sprint("known-", i)})
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			server, err := sandbox.Start(b.Context(), config)
			if err != nil {
				b.Fatal(err)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.Cleanup(func() { server.Close() })
			w := &world{Server: server}
			n := 0
			for b.Loop() {
				n++
				body := fmt.Sprintf(`{"device":{"name":"n-%d"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"canary0t%d"}}`, n, n)
				made := w.try(b, http.DefaultClient, "POST /api/device-with-credentials", body)
				id := idOf(parse[object](b, []byte(made.answer)))
				if got := w.try(b, http.DefaultClient, "GET /api/device/"+id+"/credentials", ""); got.status != 200 {
					b.Fatal(got)
				}
			}
			if known > 0 {
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(known), "B/device")
			}
		})
	}
}
