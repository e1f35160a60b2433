package provision_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// errFault is what a part of a world says when it is told to fail.
var errFault = errors.New("fault injected")

// A world is all that outlives a run: the inventory, the shelf, and ThingsBoard.
// Its parts count their calls, and one call can be made to fail.
type world struct {
	mu      sync.Mutex
	calls   []string
	failAt  int  // the call that fails, from 1; 0 is none
	applied bool // it fails after it took effect

	failCall string // the call that fails, by its name
	failNth  int    // how often it is still made until it does, itself included

	records map[string]provision.Record
	bundles map[string]map[string]provision.File
	board   map[string]provision.Registration
	first   map[string]string // the first token on record or in ThingsBoard, by device
	now     func() time.Time
}

func newWorld() *world {
	return &world{
		records: make(map[string]provision.Record),
		bundles: make(map[string]map[string]provision.File),
		board:   make(map[string]provision.Registration),
		first:   make(map[string]string),
		now:     clock(),
	}
}

// step counts a call and has its effect, or not.
func (w *world) step(call string, effect func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, call)
	fails := len(w.calls) == w.failAt
	if call == w.failCall {
		w.failNth--
		fails = fails || w.failNth == 0
	}
	if !fails || w.applied {
		effect()
	}
	if fails {
		return fmt.Errorf("%s: %w", call, errFault)
	}
	return nil
}

// counted gives how often each call was made, and forgets them.
func (w *world) counted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := make(map[string]int)
	for _, call := range w.calls {
		counts[call]++
	}
	w.calls = nil
	return counts
}

func (w *world) keepFirst(device string, token secret.Text) {
	if _, known := w.first[device]; !known && !token.IsZero() {
		w.first[device] = token.Reveal()
	}
}

// store is the world's inventory.
type store struct{ *world }

func (s store) Holders(_ context.Context, tokens []secret.Text) (map[string]string, error) {
	holders := make(map[string]string)
	err := s.step("holders", func() {
		for _, record := range s.records {
			for _, token := range tokens {
				if record.Credential.Token.Reveal() == token.Reveal() {
					holders[token.Reveal()] = record.Name
				}
			}
		}
	})
	return holders, err
}

func (s store) Records(_ context.Context, names []string) (map[string]provision.Record, error) {
	found := make(map[string]provision.Record)
	err := s.step("records", func() {
		for _, name := range names {
			if record, ok := s.records[name]; ok {
				found[name] = record
			}
		}
	})
	return found, err
}

func (s store) Save(ctx context.Context, records []provision.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.step("save", func() {
		for _, record := range records {
			if old, ok := s.records[record.Name]; ok {
				record.Created = old.Created
			}
			s.records[record.Name] = record
			s.keepFirst(record.Name, record.Credential.Token)
		}
	})
}

// shelf is the world's shelf.
type shelf struct{ *world }

func (s shelf) ReadBundle(_ context.Context, directory string) (files []provision.File, err error) {
	err = s.step("read", func() {
		files = slices.Collect(maps.Values(s.bundles[directory]))
	})
	if err == nil && files == nil {
		return nil, fmt.Errorf("open %s: %w", directory, fs.ErrNotExist)
	}
	return files, err
}

// WriteBundles that fails in the middle has written the bundles up to there.
func (s shelf) WriteBundles(ctx context.Context, bundles []provision.Bundle) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, half := range [][]provision.Bundle{bundles[:len(bundles)/2], bundles[len(bundles)/2:]} {
		if err := s.step("write", func() { s.put(half) }); err != nil {
			return err
		}
	}
	return nil
}

func (s shelf) put(bundles []provision.Bundle) {
	for _, bundle := range bundles {
		if s.bundles[bundle.Directory] == nil {
			s.bundles[bundle.Directory] = make(map[string]provision.File)
		}
		for _, file := range bundle.Files {
			s.bundles[bundle.Directory][file.Name] = file
		}
		for _, name := range bundle.Remove {
			delete(s.bundles[bundle.Directory], name)
		}
	}
}

// board is a registrar for the world's ThingsBoard.
type board struct {
	*world
	gate func(name string) // called before a registration; may be nil
}

func (b board) Kind() provision.RegistrarKind { return provision.RegistrarThingsBoard }

// oneWay is a registrar that takes a token and never tells it again.
type oneWay struct{ board }

const kindOneWay provision.RegistrarKind = "one way"

func (oneWay) Kind() provision.RegistrarKind { return kindOneWay }

func (o oneWay) Register(ctx context.Context, order provision.Order) (provision.Registration, error) {
	got, err := o.board.Register(ctx, order)
	if err == nil {
		got.Credential = order.Credential
	}
	return got, err
}

func (b board) Ready(context.Context) error { return b.step("ready", func() {}) }

func (b board) Register(ctx context.Context, order provision.Order) (got provision.Registration, err error) {
	if b.gate != nil {
		b.gate(order.Device.Name)
	}
	if err := ctx.Err(); err != nil {
		return got, err
	}
	err = b.step("register", func() {
		var exists bool
		if got, exists = b.board[order.Device.Name]; !exists {
			got = provision.Registration{
				ThingsBoardID: "id-" + order.Device.Name, Label: order.Device.Label, Profile: order.Device.Profile, Credential: order.Credential,
			}
			b.board[order.Device.Name] = got
			b.keepFirst(order.Device.Name, got.Credential.Token)
			got.Created = true
		}
	})
	if err == nil && !order.Device.Credential.Token.IsZero() && order.Device.Credential.Token.Reveal() != got.Credential.Token.Reveal() {
		return provision.Registration{}, &provision.CredentialConflictError{Device: order.Device.Name, Where: "in ThingsBoard", Has: provision.CredentialToken, Given: provision.CredentialToken}
	}
	return got, err
}

func testSite() provision.Site {
	return provision.Site{
		Host:    "tb.example.com",
		RootPEM: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		Roots: []provision.Root{{
			Fingerprint: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			NotAfter:    time.Date(2046, 1, 2, 3, 4, 5, 0, time.UTC),
		}},
	}
}

// clock gives a later second each time.
func clock() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

func (w *world) batch(registrar provision.Registrar) *provision.Batch {
	return &provision.Batch{
		Onboarder: provision.Onboarder{Site: testSite(), Registrar: registrar, Inventory: store{w}, Shelf: shelf{w}, Now: w.now},
		Jobs:      2,
		Size:      3,
	}
}

// run runs a batch and gives what it reported.
func run(t *testing.T, batch *provision.Batch, devices []provision.Device) ([]provision.Result, provision.Summary, error) {
	t.Helper()
	var results []provision.Result
	source, err := provision.NewList(devices)
	if err != nil {
		return nil, provision.Summary{Total: len(devices), Left: len(devices)}, err
	}
	summary, err := batch.Run(t.Context(), source, func(r provision.Result) { results = append(results, r) })
	return results, summary, err
}

// mustRun runs a batch in which nothing may fail, and gives the actions.
func mustRun(t *testing.T, batch *provision.Batch, devices []provision.Device) []provision.Action {
	t.Helper()
	results, summary, err := run(t, batch, devices)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(devices) || summary.Left != 0 || summary.Total != len(devices) {
		t.Fatalf("%d results for %d devices; summary %+v", len(results), len(devices), summary)
	}
	actions := make([]provision.Action, len(results))
	for i, result := range results {
		if result.Device != devices[i].Name {
			t.Errorf("result %d is of %s, want %s", i, result.Device, devices[i].Name)
		}
		if result.Err != nil {
			t.Errorf("%s: %v", result.Device, result.Err)
		}
		actions[i] = result.Action
	}
	return actions
}

func named(names ...string) []provision.Device {
	devices := make([]provision.Device, len(names))
	for i, name := range names {
		devices[i].Name = name
	}
	return devices
}

// token is the token in a device's bundle.
func (w *world) token(device string) string {
	return string(w.bundles[device][provision.TokenFile].Data)
}

// sound checks that each device is known once everywhere, with one token, the
// first it ever had.
func (w *world) sound(t *testing.T, registrar provision.RegistrarKind, devices []provision.Device) {
	t.Helper()
	if len(w.records) != len(devices) || len(w.bundles) != len(devices) {
		t.Errorf("%d records and %d bundles for %d devices", len(w.records), len(w.bundles), len(devices))
	}
	if registrar != provision.RegistrarOffline && len(w.board) != len(devices) {
		t.Errorf("%d devices in ThingsBoard, want %d", len(w.board), len(devices))
	}
	for _, device := range devices {
		record := w.records[device.Name]
		if registrar != provision.RegistrarOffline && w.board[device.Name].Credential.Token.Reveal() != w.first[device.Name] {
			t.Errorf("the token of %s in ThingsBoard is not its first", device.Name)
		}
		want := w.first[device.Name]
		if given := device.Credential.Token.Reveal(); given != "" && given != want {
			t.Errorf("%s was given the token %q and has %q", device.Name, given, want)
		}
		if want == "" || w.token(device.Name) != want+"\n" {
			t.Errorf("the token of %s is %q, in its bundle it is %q", device.Name, want, w.token(device.Name))
		}
		if record.State != provision.StateRegistered || record.Registrar != registrar {
			t.Errorf("%s is on record as %s, %s", device.Name, record.State, record.Registrar)
		}
		kept := record.Credential.Token.Reveal()
		if registrar == provision.RegistrarThingsBoard && kept != "" || registrar != provision.RegistrarThingsBoard && kept != want {
			t.Errorf("the token of %s on record is %q", device.Name, kept)
		}
	}
}

// list is a source of devices; a bad one panics, and so fails the test.
func list(devices []provision.Device) provision.Source {
	source, err := provision.NewList(devices)
	if err != nil {
		panic(err)
	}
	return source
}
