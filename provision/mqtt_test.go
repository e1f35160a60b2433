package provision_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	tbdevice "github.com/tbcert/tbcert/thingsboard/device"
)

// TestMQTTRegisters registers a device of each kind, and once more as after a
// run that was killed.
func TestMQTTRegisters(t *testing.T) {
	t.Parallel()
	for _, kind := range provision.CredentialKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b := newMQTTBoard(t)
			m := b.registrar()
			order := b.order("Pump 1", kind)
			order.Device.Extra.Gateway = true
			for _, created := range []bool{true, false} {
				got, err := m.Register(within(t), order)
				if err != nil {
					t.Fatal(err)
				}
				want := order.Credential
				want.Key = secret.Text{}
				if !got.Credential.Equal(want) || got.Created != created {
					t.Errorf("registered %s, created %t", got.Credential.Kind, got.Created)
				}
				order.Begun, order.Device.Credential = true, order.Credential
			}
			if !b.known("Pump 1").gateway || len(b.names()) != 1 {
				t.Errorf("registered %q", b.names())
			}
			logins, _ := b.seen()
			if diff := cmp.Diff(map[string]int{"provision": 1, "device": 1}, logins); diff != "" {
				t.Error(diff)
			}
			if kind == provision.CredentialX509 && b.shown != 1 {
				t.Errorf("%d certificates shown: a chain could register the device with another profile", b.shown)
			}
			order.Credential = b.credential("Pump 1", kind)
			var refused *provision.UnprovisionedError
			if _, err := m.Register(within(t), order); !errors.As(err, &refused) || !errors.Is(err, tbdevice.ErrProvisionFailed) || !strings.Contains(err.Error(), "with another credential") {
				t.Errorf("with another credential: %v", err)
			}
		})
	}
}

// TestMQTTServerMade leaves tokens to ThingsBoard, unless one is given.
func TestMQTTServerMade(t *testing.T) {
	t.Parallel()
	b := newMQTTBoard(t)
	m := b.registrar()
	m.ServerMade = true
	got, err := m.Register(within(t), b.order("a", provision.CredentialToken))
	if err != nil || got.Credential.Token.Reveal() != "made-for-a" || !got.Created {
		t.Errorf("got %q, created %t, %v", got.Credential.Token.Reveal(), got.Created, err)
	}
	given := b.order("b", provision.CredentialToken)
	given.Device.Credential = given.Credential
	if got, err := m.Register(within(t), given); err != nil || !got.Credential.Equal(given.Credential) {
		t.Errorf("given: %v", err)
	}
	basic := b.order("c", provision.CredentialBasic)
	if got, err := m.Register(within(t), basic); err != nil || !got.Credential.Equal(basic.Credential) {
		t.Errorf("basic: %v", err)
	}
	b.fail(faultAfter)
	_, err = m.Register(within(t), b.order("d", provision.CredentialToken))
	var lost *provision.UnprovisionedError
	if !errors.As(err, &lost) || !lost.Doubt || !strings.Contains(err.Error(), "lost with a connection") {
		t.Errorf("lost: %v", err)
	}
	again := b.order("d", provision.CredentialToken)
	again.Begun = true
	if _, err := m.Register(within(t), again); err == nil || err.Error() != lost.Error() {
		t.Errorf("and again: %v", err)
	}
	b.fail(faultBefore)
	if got, err := m.Register(within(t), b.order("e", provision.CredentialToken)); err != nil || got.Credential.Token.Reveal() != "made-for-e" {
		t.Errorf("never asked: %v", err)
	}
}

// TestMQTTPreProvisioned has devices that were created beforehand, and keep what
// they have.
func TestMQTTPreProvisioned(t *testing.T) {
	t.Parallel()
	b := newMQTTBoard(t)
	b.pre = true
	for _, name := range []string{"a", "b", "e"} {
		b.devices[name] = &fakeDevice{kind: "ACCESS_TOKEN", token: "token-of-" + name}
	}
	b.devices["c"] = &fakeDevice{kind: "X509_CERTIFICATE", der: []byte("another's")}
	b.devices["d"] = &fakeDevice{kind: "MQTT_BASIC", user: "u", pass: "p"}
	m := b.registrar()
	got, err := m.Register(within(t), b.order("a", provision.CredentialX509))
	if err != nil || got.Credential.Token.Reveal() != "token-of-a" || got.Created {
		t.Errorf("token: %+v, %v", got, err)
	}
	got, err = m.Register(within(t), b.order("d", provision.CredentialToken))
	if err != nil || got.Credential.Kind != provision.CredentialBasic || got.Credential.Password.Reveal() != "p" {
		t.Errorf("basic: %+v, %v", got, err)
	}
	given := b.order("b", provision.CredentialToken)
	given.Device.Credential = given.Credential
	var conflict *provision.CredentialConflictError
	for _, order := range []provision.Order{given, b.order("c", provision.CredentialToken), b.order("e", provision.CredentialToken)} {
		if order.Device.Name == "e" {
			order.Device.Credential.Kind = provision.CredentialX509
		}
		if _, err := m.Register(within(t), order); !errors.As(err, &conflict) || conflict.Device != order.Device.Name {
			t.Errorf("%s: %v", order.Device.Name, err)
		}
	}
	for _, name := range []string{"b", "unknown"} {
		if _, err := m.Register(within(t), b.order(name, provision.CredentialToken)); !errors.Is(err, tbdevice.ErrProvisionFailed) || !strings.Contains(err.Error(), "provisionState") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMQTTFaults ends requests in every way there is.
func TestMQTTFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		faults []fault
		want   string // in the error; "" is that the device is registered
		asked  int
	}{
		"closed before":              {[]fault{faultBefore}, "", 2},
		"closed before, twice":       {[]fault{faultBefore, faultBefore}, "does not have its credential yet", 2},
		"done and closed":            {[]fault{faultAfter}, "", 2},
		"done and closed, twice":     {[]fault{faultAfter, faultAfter}, "", 2},
		"acknowledged and closed":    {[]fault{faultAcked}, "", 2},
		"closed, then done":          {[]fault{faultBefore, faultAfter}, "", 2},
		"no answer":                  {[]fault{faultMute}, "", 1},
		"garbage":                    {[]fault{faultGarbage}, "", 1},
		"nobody can check":           {[]fault{faultBefore, faultUnavailable}, "return code 3", 2},
		"answered, and then closed":  {[]fault{faultBreak}, "", 1},
		"garbage, of no ThingsBoard": {[]fault{faultBefore, faultGarbage}, "", 2},
	} {
		for _, kind := range provision.CredentialKinds() {
			t.Run(name+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				b := newMQTTBoard(t)
				b.fail(test.faults...)
				m := b.registrar()
				if test.faults[0] == faultMute {
					m.Timeout = 2 * time.Second
				}
				order := b.order("Pump 1", kind)
				got, err := m.Register(within(t), order)
				if test.want == "" && (err != nil || got.Credential.ID().Reveal() != order.Credential.ID().Reveal() || !got.Created) {
					t.Fatalf("got %+v, %v", got, err)
				}
				if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary")) {
					t.Fatalf("got %v, want %q", err, test.want)
				}
				if _, asked := b.seen(); asked != test.asked {
					t.Errorf("asked %d times, want %d", asked, test.asked)
				}
				order.Begun = true // whatever came of it, the next run ends it
				if got, err := m.Register(within(t), order); err != nil || got.Credential.ID().Reveal() != order.Credential.ID().Reveal() || len(b.names()) != 1 {
					t.Errorf("and then: %+v, %v", got, err)
				}
			})
		}
	}
}

// TestMQTTSomebodyElsesToken is not taken for that of the device.
func TestMQTTSomebodyElsesToken(t *testing.T) {
	t.Parallel()
	b := newMQTTBoard(t)
	m := b.registrar()
	first := b.order("a", provision.CredentialToken)
	if _, err := m.Register(within(t), first); err != nil {
		t.Fatal(err)
	}
	second := provision.Order{Device: provision.Device{Name: "b", Credential: first.Credential}, Credential: first.Credential}
	_, err := m.Register(within(t), second)
	var inUse *provision.CredentialInUseError
	if !errors.As(err, &inUse) || inUse.Device != "b" || strings.Contains(err.Error(), first.Credential.Token.Reveal()) {
		t.Errorf("got %v", err)
	}
	// Where the inventory was lost, the token is that of the device's own bundle.
	found := provision.Order{Device: provision.Device{Name: "a"}, Credential: first.Credential}
	if got, err := m.Register(within(t), found); err != nil || got.Created {
		t.Errorf("from its bundle: %v", err)
	}
}

// TestMQTTKeyOnTheDevice cannot be used to connect.
func TestMQTTKeyOnTheDevice(t *testing.T) {
	t.Parallel()
	b := newMQTTBoard(t)
	m := b.registrar()
	order := b.order("a", provision.CredentialX509)
	order.Credential.Key = secret.Text{}
	if _, err := m.Register(within(t), order); err != nil {
		t.Fatal(err)
	}
	order.Begun = true
	if _, err := m.Register(within(t), order); err == nil || !strings.Contains(err.Error(), "its key is only on the device") {
		t.Errorf("got %v", err)
	}
	order = b.order("a", provision.CredentialX509)
	m.DialAs = nil
	if _, err := m.Register(within(t), order); err == nil || !strings.Contains(err.Error(), "no way to connect with a certificate") {
		t.Errorf("without DialAs: %v", err)
	}
}

// TestMQTTReady tells a wrong key, secret or address before anything is done.
func TestMQTTReady(t *testing.T) {
	t.Parallel()
	b := newMQTTBoard(t)
	if err := b.registrar().Ready(within(t)); err != nil || len(b.names()) != 0 {
		t.Errorf("%v, and the devices %q", err, b.names())
	}
	errDial := errors.New("no route")
	for name, test := range map[string]struct {
		change func(*provision.MQTT)
		is     error
		want   string
	}{
		"key":       {func(m *provision.MQTT) { m.Key = secret.New("canary-wrong") }, tbdevice.ErrProvisionNotFound, "Device provisioning"},
		"secret":    {func(m *provision.MQTT) { m.Secret = secret.New("canary-wrong") }, tbdevice.ErrProvisionNotFound, "Device provisioning"},
		"no key":    {func(m *provision.MQTT) { m.Key = secret.Text{} }, nil, "provision key"},
		"no dialer": {func(m *provision.MQTT) { m.Dial = nil }, nil, "without an address"},
		"address": {func(m *provision.MQTT) {
			m.Dial = func(context.Context) (net.Conn, error) { return nil, errDial }
		}, errDial, "connect for provisioning: no route"},
		"closed": {func(m *provision.MQTT) { _ = m.Close() }, nil, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			m := b.registrar()
			test.change(m)
			err := m.Ready(within(t))
			if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v", err)
			}
			if m.Dial == nil {
				return
			}
			_, err = m.Register(within(t), b.order("a", provision.CredentialToken))
			if err == nil || test.is != nil && !errors.Is(err, test.is) || strings.Contains(err.Error(), "canary") {
				t.Errorf("Register: %v", err)
			}
		})
	}
	if names := b.names(); len(names) != 0 {
		t.Errorf("registered %q", names)
	}
}

// TestMQTTCheck names all that cannot be set.
func TestMQTTCheck(t *testing.T) {
	t.Parallel()
	b := newMQTTBoard(t)
	m := b.registrar()
	order := b.order("a", provision.CredentialToken)
	order.Device.Label, order.Device.Profile = "l", "p"
	order.Device.Extra = provision.Extra{Customer: "c", Description: "d", Attributes: []provision.Attribute{{Scope: provision.ScopeServer, Key: "k"}}}
	_, err := m.Register(within(t), order)
	if err == nil || !strings.Contains(err.Error(), "a label, a profile, a customer, a description, attributes") || m.Check(order.Device) == nil {
		t.Errorf("got %v", err)
	}
	if _, asked := b.seen(); asked > 0 {
		t.Errorf("asked %d times", asked)
	}
	if err := m.Check(provision.Device{Name: "a", Extra: provision.Extra{Gateway: true}}); err != nil {
		t.Error(err)
	}
}

// TestMQTTSessions shares a few sessions among many, and replaces those that
// the server closed or is about to close.
func TestMQTTSessions(t *testing.T) {
	t.Parallel()
	b := newMQTTBoard(t)
	m := b.registrar()
	m.Sessions = 3
	var mu sync.Mutex
	now := time.Now()
	m.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	next := 0
	many := func(count int) {
		t.Helper()
		var all sync.WaitGroup
		for range count {
			next++
			order := b.order(fmt.Sprint("device ", next), provision.CredentialToken)
			all.Go(func() {
				if got, err := m.Register(within(t), order); err != nil || !got.Credential.Equal(order.Credential) {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	many(60)
	if logins, _ := b.seen(); logins["provision"] > 3 {
		t.Errorf("%d sessions", logins["provision"])
	}
	b.closeAll()
	many(1)
	before, _ := b.seen()
	many(1)
	if logins, _ := b.seen(); logins["provision"] != before["provision"] {
		t.Error("a session at rest was not used")
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	many(1)
	before["provision"]++
	after, _ := b.seen()
	if diff := cmp.Diff(before, after); diff != "" || after["device"]+after["refused"] > 0 {
		t.Errorf("after a minute: %s", diff)
	}
}

// TestMQTTCanceled ends with the context, and proves nothing then.
func TestMQTTCanceled(t *testing.T) {
	t.Parallel()
	b := newMQTTBoard(t)
	b.fail(faultMute)
	m := b.registrar()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-b.muted
		cancel()
	}()
	if _, err := m.Register(ctx, b.order("a", provision.CredentialToken)); !errors.Is(err, context.Canceled) || !errors.Is(err, tbdevice.ErrProvisionUncertain) || strings.Contains(err.Error(), "as the device") {
		t.Errorf("got %v", err)
	}
	if logins, _ := b.seen(); logins["device"]+logins["refused"] > 0 {
		t.Errorf("logged in: %v", logins)
	}
	if _, err := m.Register(ctx, b.order("a", provision.CredentialToken)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestMQTTBatch ends a run at every step, and again, until the next one has no
// more to do: every device is registered once, with the token in its bundle.
func TestMQTTBatch(t *testing.T) {
	t.Parallel()
	devices := named("a", "b", "c", "d")
	for failAt := 1; ; failAt++ {
		b, w := newMQTTBoard(t), newWorld()
		m := b.registrar()
		b.fail(faultNone, faultAfter, faultNone, faultBefore, faultNone)
		w.failAt, w.applied = failAt, failAt%2 == 0
		_, _, err := run(t, w.batch(m), devices)
		ended := len(w.calls) < failAt
		w.failAt = 0
		if !ended {
			mustRun(t, w.batch(m), devices)
		} else if err != nil {
			t.Fatal(err)
		}
		names := b.names()
		if len(names) != len(devices) {
			t.Errorf("call %d: registered %q", failAt, names)
		}
		for _, name := range names {
			if w.token(name) != b.known(name).token+"\n" || w.records[name].State != provision.StateRegistered {
				t.Errorf("call %d: device %s has another token in its bundle, or none", failAt, name)
			}
		}
		if ended {
			return
		}
	}
}
