package rest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

type operation func(context.Context, *rest.Client) error

// operations are all calls, by what they take of the answers that are JSON and
// nonsense: nothing, what holds no value, or anything.
func operations() (strict, lenient, loose map[string]operation) {
	strict = map[string]operation{
		"info": reads, "set": sets, "create": creates,
		"find": func(ctx context.Context, c *rest.Client) error {
			_, err := c.FindDevice(ctx, "meter 1/é")
			return err
		},
		"credentials": func(ctx context.Context, c *rest.Client) error {
			_, err := c.DeviceCredentials(ctx, deviceID)
			return err
		},
		"move": func(ctx context.Context, c *rest.Client) error { return c.SetDeviceProfile(ctx, deviceID, profileID) },
		"find profile": func(ctx context.Context, c *rest.Client) error {
			_, err := c.FindProfile(ctx, profileName)
			return err
		},
		"create profile": func(ctx context.Context, c *rest.Client) error {
			_, err := c.CreateProfile(ctx, rest.Profile{Name: profileName})
			return err
		},
		"find customer": func(ctx context.Context, c *rest.Client) error {
			_, err := c.FindCustomer(ctx, "x")
			return err
		},
		"assign": func(ctx context.Context, c *rest.Client) error { return c.AssignCustomer(ctx, "c1", deviceID) },
		"list": func(ctx context.Context, c *rest.Client) error {
			for _, err := range c.Devices(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	lenient = map[string]operation{
		"telemetry": func(ctx context.Context, c *rest.Client) error {
			_, err := c.LatestTelemetry(ctx, deviceID, "a")
			return err
		},
	}
	loose = map[string]operation{
		"save": func(ctx context.Context, c *rest.Client) error {
			return c.SaveAttributes(ctx, deviceID, rest.ScopeShared, nil)
		},
		"take": func(ctx context.Context, c *rest.Client) error {
			return c.DeleteAttributes(ctx, deviceID, rest.ScopeShared, "a")
		},
		"delete": func(ctx context.Context, c *rest.Client) error { return c.DeleteDevice(ctx, deviceID) },
		"rpc": func(ctx context.Context, c *rest.Client) error {
			_, err := c.RPC(ctx, deviceID, "m", nil, time.Second)
			return err
		},
	}
	return strict, lenient, loose
}

// always answers every call alike.
func always(t *testing.T, body func() io.Reader) *rest.Client {
	t.Helper()
	transport := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(body()),
		}, nil
	})
	return newClient(t, rest.Config{URL: "http://tb.example.com", APIKey: secret.New(apiKey), HTTP: &http.Client{Transport: transport}, Wait: never(t)})
}

// TestHostileJSON: no call takes nonsense for an answer, whatever its form.
func TestHostileJSON(t *testing.T) {
	t.Parallel()
	strict, lenient, loose := operations()
	wrongTypes := []string{
		`null`, `true`, `7`, `"text"`, `[]`, `{}`, `[{}]`, `[null]`,
		`{"id":1,"name":[],"version":{},"data":{"a":1},"hasNext":7,"title":{},"deviceId":"x","credentialsType":5,"a":9}`,
		`{"id":{"id":{"id":"x"}},"name":{"name":"x"},"version":["4"],"data":[[[]]],"deviceId":{"id":7},"a":{"ts":1}}`,
		`{"id":{"id":"` + deviceID + `"},"name":"another","title":"another","version":7,"data":null,"deviceId":{"id":"` + profileID + `"},"credentialsType":"ACCESS_TOKEN","a":[]}`,
		`{"id":{"id":""},"name":"meter 1/é","title":"x","version":"","data":[{"id":{"id":""}}],"deviceId":{"id":"` + deviceID + `"},"credentialsType":"ACCESS_TOKEN"}`,
	}
	noJSON := []string{
		"<!doctype html><title>canary</title>", `{"id":`, `{"version":"4"}{"version":"5"}`, `{"version":"4"} canary`, "\xff\xfe", "\x00",
		strings.Repeat("[", 100_000), strings.Repeat(`{"id":`, 50_000), `{"version":"4",}`, `{'version':'4'}`, `{"version":NaN}`,
	}
	check := func(t *testing.T, operations map[string]operation, texts []string, orNotFound bool) {
		t.Helper()
		for name, operation := range operations {
			for _, text := range texts {
				err := operation(t.Context(), always(t, func() io.Reader { return strings.NewReader(text) }))
				if !errors.Is(err, rest.ErrNotThingsBoard) && (!orNotFound || !errors.Is(err, rest.ErrNotFound)) {
					t.Errorf("%s takes %.80q: %v", name, text, err)
				}
				noSecrets(t, err)
			}
		}
	}
	check(t, strict, append(wrongTypes, noJSON...), false)
	check(t, lenient, append(wrongTypes, noJSON...), true)
	check(t, loose, noJSON, false)
	check(t, strict, []string{""}, false) // the others may answer so
}

var spaces = bytes.Repeat([]byte(" "), 64<<10)

// A flood is spaces without end, and counts how many were read.
type flood struct{ read int }

func (f *flood) Read(p []byte) (int, error) {
	n := copy(p, spaces)
	f.read += n
	return n, nil
}

// TestHostileLength: of an answer without end no more is read than may be, by any
// call.
func TestHostileLength(t *testing.T) {
	t.Parallel()
	strict, lenient, loose := operations()
	for _, operations := range []map[string]operation{strict, lenient, loose} {
		for name, operation := range operations {
			var floods []*flood
			err := operation(t.Context(), always(t, func() io.Reader {
				floods = append(floods, &flood{})
				return floods[len(floods)-1]
			}))
			if !errors.Is(err, rest.ErrTooLarge) || len(floods) != 1 || floods[0].read > 4<<20 {
				t.Errorf("%s: %d answers, error %v", name, len(floods), err)
			}
		}
	}
}

// TestHostilePacked: what is short on the way and long here is held no more of.
func TestHostilePacked(t *testing.T) { // not parallel: it counts what is allocated
	var packed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.CopyN(writer, &flood{}, 32<<20)
	_ = writer.Close()
	client := newClient(t, rest.Config{APIKey: secret.New(apiKey), Tries: 1, URL: serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = reads(t.Context(), client)
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, rest.ErrTooLarge) || allocated > 16<<20 {
		t.Errorf("%d bytes were allocated, error %v", allocated, err)
	}
}

// TestHostileSlowness: an answer that comes in drops does not come at all.
func TestHostileSlowness(t *testing.T) {
	t.Parallel()
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-ticker.C:
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
			}
		}
	}))
	client := newClient(t, rest.Config{URL: url, APIKey: secret.New(apiKey), Timeout: 60 * time.Millisecond, Tries: 2, Wait: new(stopwatch).wait})
	if err := reads(t.Context(), client); err == nil || !strings.Contains(err.Error(), "it takes longer than 60ms") {
		t.Error(err)
	}
}

// TestHostileHeader: neither do headers have no end.
func TestHostileHeader(t *testing.T) {
	t.Parallel()
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			w.Header().Add("X-Canary", strings.Repeat("x", 1000))
		}
		good(w, r)
	}))
	client := newClient(t, rest.Config{URL: url, APIKey: secret.New(apiKey), Wait: never(t)})
	err := reads(t.Context(), client)
	if err == nil || !strings.Contains(err.Error(), "exceeded") {
		t.Error(err)
	}
	noSecrets(t, err)
}
