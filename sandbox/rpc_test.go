package sandbox_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang/packets"
)

// calling makes a call in the background, and gives what comes of it.
func (w *world) calling(t *testing.T, path, body string) <-chan string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.HTTPAddr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Authorization", apiKey)
	came := make(chan string, 1)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			came <- err.Error()
			return
		}
		defer response.Body.Close()
		answer := make([]byte, 1000)
		n, _ := response.Body.Read(answer)
		came <- fmt.Sprintf("%d %s", response.StatusCode, answer[:n])
	}()
	return came
}

func TestRPC(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ filter, request, response string }{
		{"v1/devices/me/rpc/request/+", "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"},
		{"v2/r/req/+", "v2/r/req/", "v2/r/res/"},
		{"v2/r/req/j/+", "v2/r/req/j/", "v2/r/res/j/"},
	} {
		t.Run(row.filter, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			id := w.find(t, "meter-1")
			p := w.dial(t).logIn(token)
			p.subscribed(row.filter)
			for payload, want := range map[string]string{`{"ok":true}`: `200 {"ok":true}`, `7`: `200 7`, ``: `200 `, `no JSON`: `406 `} {
				came := w.calling(t, "/api/rpc/twoway/"+id, `{"method":"m","params":{"a":1}}`)
				request := receive[*paho.PublishPacket](p)
				number, found := strings.CutPrefix(request.TopicName, row.request)
				if !found || string(request.Payload) != `{"method":"m","params":{"a":1}}` {
					t.Fatalf("got %s on %s", request.Payload, request.TopicName)
				}
				p.published(row.response+"99999", `{"other":1}`) // which nobody waits for
				p.published(row.response+number, payload)
				if got := <-came; got != want {
					t.Errorf("%q: got %q, want %q", payload, got, want)
				}
			}
			came := w.calling(t, "/api/plugins/rpc/oneway/"+id, `{"method":"m"}`)
			if request := receive[*paho.PublishPacket](p); string(request.Payload) != `{"method":"m","params":null}` {
				t.Errorf("got %s", request.Payload)
			}
			if got := <-came; got != "200 " {
				t.Errorf("got %q", got)
			}
			p.publish(row.response+"x", `{}`)
			p.wantClosed()
		})
	}
}

// TestRPCWaits for the subscription, and not for ever.
func TestRPCWaits(t *testing.T) {
	t.Parallel()
	w := start(t)
	id := w.find(t, "meter-1")
	came := w.calling(t, "/api/rpc/twoway/"+id, `{"method":"m"}`)
	waitFor(t, func() bool { return w.Calls()["POST /api/rpc/twoway/{id}"] == 1 })
	p := w.dial(t).logIn(token)
	p.subscribed("v1/devices/me/rpc/request/+")
	request := receive[*paho.PublishPacket](p)
	p.published(strings.Replace(request.TopicName, "request", "response", 1), `"late"`)
	if got := <-came; got != `200 "late"` {
		t.Errorf("got %q", got)
	}
	soon := fmt.Sprintf(`{"method":"m","expirationTime":%d}`, time.Now().Add(50*time.Millisecond).UnixMilli())
	for call, want := range map[string]string{"/api/rpc/twoway/": "504 ", "/api/plugins/rpc/twoway/": "408 "} {
		if got := <-w.calling(t, call+id, soon); got != want {
			t.Errorf("%s with no answer: got %q, want %q", call, got, want)
		}
	}
	id2 := w.find(t, "meter-2")
	for call, want := range map[string]string{"/api/rpc/oneway/": "504 ", "/api/plugins/rpc/oneway/": "409 "} {
		if got := <-w.calling(t, call+id2, soon); got != want {
			t.Errorf("%s to nobody: got %q, want %q", call, got, want)
		}
	}
	for call, want := range map[string]string{
		"/api/rpc/twoway/00000000-0000-0000-0000-000000000000": "404 Device with requested id wasn't found!",
		"/api/rpc/twoway/x": `400 {"errorCode":31`,
	} {
		if got := <-w.calling(t, call, `{"method":"m"}`); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", call, got, want)
		}
	}
	if got := <-w.calling(t, "/api/rpc/twoway/"+id, `{}`); !strings.Contains(got, "Invalid request body") {
		t.Errorf("without a method: got %q", got)
	}
}
