package inventory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

func TestSaveAndRead(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		one, two, three := record(1), record(2), record(3)
		one.Extra = provision.Extra{
			Customer: "ACME <&>", Description: "d", Gateway: true,
			Attributes: []provision.Attribute{{Scope: provision.ScopeServer, Key: "k", Value: json.RawMessage(`{"a":"<b>&"}`)}},
		}
		one.Formats, three.Formats = []string{"esp32", "tar.gz"}, []string{"qr"}
		two.Registrar, two.ThingsBoardID, two.State = provision.RegistrarThingsBoard, "784f394c-42b6-435a-983c-b7beff2784f9", provision.StatePending
		two.Credential = provision.Credential{Kind: provision.CredentialToken} // it can be read back
		two.Replaced = time.Time{}
		three.State = provision.StateRotating
		three.Credential = provision.Credential{
			Kind: provision.CredentialBasic, ClientID: secret.New("client"), Username: secret.New("user"), Password: secret.New("pässwörd"),
		}
		three.Next = provision.Credential{Kind: provision.CredentialToken}
		saved := save(t, s, three, one, two)
		for _, r := range saved {
			if r.Version != 1 {
				t.Errorf("%s has the version %d, want 1", r.Name, r.Version)
			}
		}
		one.Version, two.Version, three.Version = 1, 1, 1

		s = p.store()
		got, err := s.Records(t.Context(), []string{"meter-00002", "meter-00001", "nobody", `x" OR 1=1`})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]provision.Record{one.Name: one, two.Name: two}, got, secrets()); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]provision.Record{one, two, three}, all(t, s), secrets()); diff != "" {
			t.Errorf("All (-want +got):\n%s", diff)
		}
		if got, err := s.Records(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("Records of no names: %v, %v", got, err)
		}
		if n, err := s.Count(t.Context()); err != nil || n != 3 {
			t.Errorf("Count is %d, %v", n, err)
		}
	})
}

func TestSaveReplacesAllButTheCreation(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		first := save(t, s, record(1))[0]
		second := provision.Record{
			Name: first.Name, Directory: "elsewhere", Label: "l", Profile: "p", Registrar: provision.RegistrarThingsBoard,
			ThingsBoardID: "id", Credential: provision.Credential{Kind: provision.CredentialToken}, State: provision.StatePending,
			Next:    provision.TokenCredential(secret.New("next")),
			Version: 1, Created: first.Created.Add(time.Minute), Updated: first.Updated.Add(time.Minute), Replaced: first.Updated,
		}
		save(t, s, second)
		second.Version, second.Created = 2, first.Created
		if diff := cmp.Diff([]provision.Record{second}, all(t, s), secrets()); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		second.Credential, second.Next = second.Next, provision.Credential{}
		save(t, s, second)
		second.Version = 3
		if diff := cmp.Diff([]provision.Record{second}, all(t, s), secrets()); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	})
}

func TestSaveIsAllOrNothing(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		one, two := record(1), record(2)
		two.Directory = one.Directory // two devices in one directory: refused by the schema
		records := []provision.Record{one, two}
		err := s.Save(t.Context(), records)
		if err == nil {
			t.Fatal("no error")
		}
		if strings.Contains(err.Error(), one.Credential.Token.Reveal()) || records[0].Version != 0 {
			t.Errorf("the error holds a token, or the version rose: %v", err)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Save(canceled, []provision.Record{one}); !errors.Is(err, context.Canceled) {
			t.Errorf("Save with a context that ended: %v", err)
		}
		if got := all(t, s); len(got) != 0 {
			t.Errorf("%d records were saved", len(got))
		}
		if err := s.Save(t.Context(), nil); err != nil {
			t.Errorf("Save of nothing: %v", err)
		}
	})
}

func TestSaveTellsOfConflicts(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s, other := p.store(), p.store()
		mine := save(t, s, record(1), record(2), record(3))
		theirs := mine[1]
		theirs.Label = "theirs"
		save(t, other, theirs)
		before := all(t, s)
		for name, records := range map[string][]provision.Record{
			"changed":       {mine[0], mine[1], mine[2]},
			"made":          {record(4), record(2)},
			"gone":          {mine[0], {Name: "meter-00002", Directory: "x", Version: 7}},
			"never made":    {mine[0], {Name: "nobody", Directory: "y", Version: 1}},
			"named twice":   {record(5), record(5)},
			"changed twice": {mine[0], mine[0]},
		} {
			versions := []int64{records[0].Version, records[1].Version}
			err := s.Save(t.Context(), records)
			var conflict *provision.ConflictError
			want := records[1].Name
			if !errors.As(err, &conflict) || len(conflict.Names) != 1 || conflict.Names[0] != want {
				t.Errorf("%s: the error is %v, want a conflict about %s", name, err, want)
			}
			if records[0].Version != versions[0] || records[1].Version != versions[1] {
				t.Errorf("%s: the versions rose", name)
			}
		}
		if diff := cmp.Diff(before, all(t, s), secrets()); diff != "" {
			t.Errorf("something was written (-want +got):\n%s", diff)
		}
	})
}

func TestHolders(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		ids := []secret.Text{secret.New("token-1"), secret.New("next"), secret.New("nobody's"), secret.New("basic"), {}}
		if got, err := s.Holders(t.Context(), ids); err != nil || len(got) != 0 {
			t.Errorf("of an empty inventory: %v, %v", got, err)
		}
		two, three := record(2), record(3)
		two.Next = provision.TokenCredential(secret.New("next"))
		three.Credential = provision.Credential{Kind: provision.CredentialBasic, Username: secret.New("basic")}
		save(t, s, record(1), two, three)
		s = p.store()
		got, err := s.Holders(t.Context(), ids)
		want := map[string]string{"token-1": "meter-00001", "next": "meter-00002", "basic": "meter-00003"}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v; holders (-want +got):\n%s", err, diff)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		stores := []*inventory.Store{p.store(), p.store()}
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				writer := stores[i%2]
				if err := writer.Save(t.Context(), []provision.Record{record(i), record(100 + i)}); err != nil {
					t.Error(err)
				}
				if _, err := writer.Records(t.Context(), []string{record(i).Name}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := all(t, stores[0]); len(got) != 40 {
			t.Errorf("%d records, want 40", len(got))
		}
	})
}

// Two that change the same records, in other orders: one of them wins each time.
func TestConflictsAtOnce(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		stores := []*inventory.Store{p.store(), p.store()}
		const devices, rounds = 40, 15
		first := make([]provision.Record, devices)
		for i := range first {
			first[i] = record(i)
		}
		save(t, stores[0], first...)
		var group sync.WaitGroup
		var won [2]int
		for worker, s := range stores {
			group.Go(func() {
				for won[worker] < rounds {
					records := all(t, s)
					if worker == 1 {
						for i := range devices / 2 {
							records[i], records[devices-1-i] = records[devices-1-i], records[i]
						}
					}
					var conflict *provision.ConflictError
					switch err := s.Save(t.Context(), records); {
					case err == nil:
						won[worker]++
					case !errors.As(err, &conflict):
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		for _, r := range all(t, stores[0]) {
			if r.Version != 1+2*rounds {
				t.Errorf("%s has the version %d, want %d", r.Name, r.Version, 1+2*rounds)
			}
		}
	})
}

// All goes over many pages, in the order of the names' bytes, and records may be
// saved meanwhile.
func TestAllInPages(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		var records []provision.Record
		for i := range 1025 {
			records = append(records, record(i))
		}
		for i, name := range []string{"Zähler", "a", "Z", "_", "é", "0"} {
			r := record(2000 + i)
			r.Name = name
			records = append(records, r)
		}
		save(t, s, records...)
		last, n := "", 0
		for r, err := range s.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Name <= last {
				t.Fatalf("%q comes after %q", r.Name, last)
			}
			last, n = r.Name, n+1
			if n%100 == 0 {
				r.Label = "seen"
				save(t, s, r)
			}
		}
		if n != len(records) {
			t.Errorf("%d records, want %d", n, len(records))
		}
		seen := 0
		for r, err := range s.Overview(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if !r.Credential.Token.IsZero() {
				t.Fatal("Overview tells a token")
			}
			if r.Label == "seen" {
				seen++
			}
		}
		if seen != len(records)/100 {
			t.Errorf("%d records were saved meanwhile", seen)
		}
	})
}

// What a device's fields hold comes back as it was.
func TestOddTexts(t *testing.T) {
	everywhere(t, func(p place) {
		t := p.t
		s := p.store()
		for i, text := range []string{`'; DROP TABLE devices; --`, `{a,"b"}`, `\`, "NULL", strings.Repeat("ü", 255), "{rows}", "$1"} {
			r := record(i)
			r.Name, r.Label, r.Profile, r.Directory = text, text, text, fmt.Sprint(i)
			save(t, s, r)
			r.Version = 1
			got, err := s.Records(t.Context(), []string{text})
			if diff := cmp.Diff(map[string]provision.Record{text: r}, got, secrets()); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
	})
}
