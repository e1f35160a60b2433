package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd"
	"github.com/tbcert/tbcert/sandbox"
	"github.com/tbcert/tbcert/thingsboard/device"
)

// TestRotateAnnounced: a device at work is told its new token over the session
// that it has, acknowledges it, and is never without a way in.
func TestRotateAnnounced(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"newCredential", "rpc:setCredential"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			board, err := sandbox.Start(t.Context(), sandbox.Config{HTTPAddr: "127.0.0.1:0", MQTTAddr: "127.0.0.1:0", APIKey: secret.New(apiKeyCanary)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = board.Close() })
			dir := filepath.Join(t.TempDir(), "site")
			url := "http://" + board.HTTPAddr().String()
			tbcertOK(t, "init", "-q", "-C", dir, "--host", "localhost")
			tbcertOK(t, "provision", "-q", "-C", dir, "meter-1", "--url", url)
			before := tokenOf(t, dir)
			ready, told := make(chan struct{}), make(chan string, 1)
			go firmware(t, equipment{board.MQTTAddr().String(), before, ready, told})
			<-ready
			out := tbcertOK(t, "rotate", "-C", dir, "meter-1", "--url", url, "--announce", how, "-o", "json")
			after := tokenOf(t, dir)
			if got := <-told; got != after || after == before {
				t.Error("the device was told another token than the one that it has now")
			}
			if strings.Contains(out, `"out":true`) || strings.Contains(out, after) {
				t.Errorf("rotate says %s", out)
			}
			conn, err := net.Dial("tcp", board.MQTTAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := device.Connect(t.Context(), conn, device.Login{Username: secret.New(after)}); err != nil {
				t.Errorf("the new token is refused: %v", err)
			}
		})
	}
}

// firmware is a device that takes new tokens: as a shared attribute, or by RPC.
func firmware(t *testing.T, it equipment) { //nolint:thelper // it is a goroutine of its own
	ready, told := it.ready, it.told
	defer close(told)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := net.Dial("tcp", it.address)
	if err != nil {
		t.Error(err)
		close(ready)
		return
	}
	defer conn.Close()
	session, err := device.Connect(ctx, conn, device.Login{Username: secret.New(it.token)})
	for _, topic := range []string{device.TopicAttributes, device.TopicRPCRequests} {
		if err == nil {
			err = session.Subscribe(ctx, topic)
		}
	}
	close(ready)
	if err != nil {
		t.Error(err)
		return
	}
	message, err := session.Next(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	var told1 struct {
		Attribute *offered `json:"newCredential"`
		Params    *offered `json:"params"`
	}
	if err := json.Unmarshal(message.Payload, &told1); err != nil {
		t.Error(err)
		return
	}
	topic, offer := device.TopicAttributes, told1.Attribute
	var payload []byte
	if offer != nil {
		payload, err = json.Marshal(map[string]string{"newCredential": offer.ID})
	} else {
		offer = told1.Params
		topic = device.TopicRPCResponsePrefix + strings.TrimPrefix(message.Topic, device.TopicRPCRequestPrefix)
		payload = []byte(`{"ok":true}`)
	}
	told <- offer.Token
	if err == nil {
		err = session.Publish(ctx, topic, payload)
	}
	if err != nil {
		t.Error(err)
	}
	_, _ = session.Next(ctx) // until ThingsBoard ends the session
}

type offered struct{ ID, Token string }

// equipment is what a device starts with, and whom it tells what it was told.
type equipment struct {
	address, token string
	ready          chan<- struct{}
	told           chan<- string
}

// tbcertOK runs tbcert in process; it has to end well.
func tbcertOK(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	process := cmd.Process{In: strings.NewReader(""), Out: &out, Err: &out, Environ: []string{"TBCERT_API_KEY=" + apiKeyCanary}}
	if code := cmd.Run(t.Context(), args, process); code != 0 {
		t.Fatalf("tbcert %s ends with %d: %s", args[0], code, out.String())
	}
	return out.String()
}

func tokenOf(t *testing.T, dir string) string {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(dir, "devices", "meter-1", "token"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(token))
}
