package provision_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// history runs the devices once with a registrar.
func history(t *testing.T, w *world, registrar provision.Registrar, devices []provision.Device) {
	t.Helper()
	mustRun(t, w.batch(registrar), devices)
	w.counted()
}

// one runs a batch of one device.
func one(t *testing.T, batch *provision.Batch, device provision.Device) provision.Result {
	t.Helper()
	results, _, err := run(t, batch, []provision.Device{device})
	if err != nil || len(results) != 1 {
		t.Fatalf("%d results, error %v", len(results), err)
	}
	return results[0]
}

func plain(name string) provision.Device { return provision.Device{Name: name} }

// What is wrong with a bundle is put right from the record, and the token stays.
func TestRepair(t *testing.T) {
	t.Parallel()
	edit := func(name string, change func(*provision.File)) func(*world) {
		return func(w *world) {
			file := w.bundles["a"][name]
			file.Data = slices.Clone(file.Data)
			change(&file)
			w.bundles["a"][name] = file
		}
	}
	tests := []struct {
		name      string
		damage    func(*world)
		readsBack bool // ThingsBoard has to be asked
	}{
		{"the bundle is gone", func(w *world) { delete(w.bundles, "a") }, true},
		{"the bundle is empty", func(w *world) { w.bundles["a"] = map[string]provision.File{"notes.txt": {Name: "notes.txt"}} }, true},
		{"the token is gone", func(w *world) { delete(w.bundles["a"], provision.TokenFile) }, true},
		{"the token is cut off", edit(provision.TokenFile, func(f *provision.File) { f.Data = nil }), true},
		{"the token has no newline", edit(provision.TokenFile, func(f *provision.File) { f.Data = f.Data[:20] }), false},
		{"the token can be read by others", edit(provision.TokenFile, func(f *provision.File) { f.Secret = false }), false},
		{"the script cannot be run", edit(provision.ConnectFile, func(f *provision.File) { f.Executable = false }), false},
		{"the root is another", edit(provision.RootFile, func(f *provision.File) { f.Data = []byte("old") }), false},
		{"device.json is damaged", edit(provision.InfoFile, func(f *provision.File) { f.Data = []byte("{") }), false},
	}
	for _, test := range tests {
		for _, name := range []string{"offline", "thingsboard"} {
			t.Run(test.name+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld()
				registrar := registrars(w)[name]
				history(t, w, registrar, named("a"))
				records, bundle := maps.Clone(w.records), maps.Clone(w.bundles["a"])
				test.damage(w)
				if result := one(t, w.batch(registrar), plain("a")); result.Action != provision.ActionRepaired || result.Err != nil {
					t.Fatalf("%s, %v, want repaired", result.Action, result.Err)
				}
				counts := w.counted()
				if asked := counts["register"] > 0; asked != (test.readsBack && name == "thingsboard") || counts["save"] != 0 {
					t.Errorf("calls %v", counts)
				}
				if diff := cmp.Diff(records, w.records, secrets()); diff != "" {
					t.Errorf("the record changed:\n%s", diff)
				}
				delete(w.bundles["a"], "notes.txt")
				if diff := cmp.Diff(bundle, w.bundles["a"]); diff != "" {
					t.Errorf("the bundle is not as it was:\n%s", diff)
				}
			})
		}
	}
}

// A site that changed is in every bundle after the next run, without a call.
func TestAChangedSiteIsWrittenToTheBundles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"offline", "thingsboard"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			registrar := registrars(w)[name]
			history(t, w, registrar, sevenDevices())
			batch := w.batch(registrar)
			batch.Site.Host = "new.example.com"
			if diff := cmp.Diff(repeat(provision.ActionRepaired, 7), mustRun(t, batch, sevenDevices())); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			w.sound(t, registrar.Kind(), sevenDevices())
			if counts := w.counted(); counts["register"]+counts["save"] != 0 {
				t.Errorf("calls %v", counts)
			}
			for _, file := range []string{provision.InfoFile, provision.ConnectFile} {
				if !strings.Contains(string(w.bundles["c"][file].Data), "new.example.com") {
					t.Errorf("%s has the old host", file)
				}
			}
		})
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		device provision.Device
		note   string
		fails  bool
	}{
		{"as it is", plain("a"), "", false},
		{"with its own token", device("a", "", "", "THEIRS"), "", false},
		{"with its label and profile", device("a", "Hall 1", "meter", ""), "", false},
		{"with another label", device("a", "Hall 2", "", ""), `its label is "Hall 1" in ThingsBoard and was left so, not "Hall 2"`, false},
		{"with another profile", device("a", "", "valve", ""), `its profile is "meter" in ThingsBoard and was left so, not "valve"`, false},
		{"with another token", device("a", "", "", "OTHER"), "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			theirs := provision.Registration{ThingsBoardID: "id", Label: "Hall 1", Profile: "meter", Credential: provision.TokenCredential(secret.New("THEIRS"))}
			w.board["a"] = theirs
			result := one(t, w.batch(board{world: w}), test.device)
			if diff := cmp.Diff(theirs, w.board["a"], secrets()); diff != "" {
				t.Errorf("ThingsBoard's device changed:\n%s", diff)
			}
			if test.fails {
				var conflict *provision.CredentialConflictError
				if !errors.As(result.Err, &conflict) || strings.Contains(result.Err.Error(), "THEIRS") || w.bundles["a"] != nil {
					t.Errorf("error %v, bundle %v", result.Err, w.bundles["a"])
				}
				return
			}
			if result.Action != provision.ActionAdopted || result.Note != test.note || result.ThingsBoardID != "id" || w.token("a") != "THEIRS\n" {
				t.Errorf("result %+v, token %q", result, w.token("a"))
			}
			if record := w.records["a"]; record.Label != "Hall 1" || record.Profile != "meter" {
				t.Errorf("the record is %+v", record)
			}
		})
	}
}

// The inventory was lost, and the bundles are there: devices may be using their
// tokens.
func TestATokenOnTheShelfIsNotReplaced(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"offline", "thingsboard"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			registrar := registrars(w)[name]
			history(t, w, registrar, sevenDevices())
			before := w.token("a")
			clear(w.records)
			clear(w.board)
			results, _, err := run(t, w.batch(registrar), sevenDevices())
			if err != nil {
				t.Fatal(err)
			}
			if w.token("a") != before || !strings.Contains(results[0].Note, "the token in its bundle was kept") {
				t.Errorf("the token was %q and is %q; note %q", before, w.token("a"), results[0].Note)
			}
			w.sound(t, registrar.Kind(), sevenDevices())
		})
	}
}

func TestTokenGivenLater(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"offline", "thingsboard"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			registrar := registrars(w)[name]
			history(t, w, registrar, []provision.Device{device("a", "", "", "ONE")})
			if result := one(t, w.batch(registrar), device("a", "", "", "ONE")); result.Action != provision.ActionUnchanged {
				t.Errorf("the same token: %s, %v", result.Action, result.Err)
			}
			records := maps.Clone(w.records)
			result := one(t, w.batch(registrar), device("a", "", "", "TWO"))
			var conflict *provision.CredentialConflictError
			if !errors.As(result.Err, &conflict) || w.token("a") != "ONE\n" {
				t.Errorf("another token: %v, and the bundle has %q", result.Err, w.token("a"))
			}
			if diff := cmp.Diff(records, w.records, secrets()); diff != "" {
				t.Errorf("the record changed:\n%s", diff)
			}
		})
	}
}

// The token in ThingsBoard was changed there, and is given now: the bundle is
// what is out of date.
func TestTokenChangedInThingsBoard(t *testing.T) {
	t.Parallel()
	w := newWorld()
	history(t, w, board{world: w}, []provision.Device{device("a", "", "", "ONE")})
	changed := w.board["a"]
	changed.Credential = provision.TokenCredential(secret.New("TWO"))
	w.board["a"] = changed
	if result := one(t, w.batch(board{world: w}), device("a", "", "", "TWO")); result.Action != provision.ActionRepaired || w.token("a") != "TWO\n" {
		t.Errorf("result %+v, token %q", result, w.token("a"))
	}
}

// A device that was deleted in ThingsBoard is made again when its token is
// wanted, and its record follows.
func TestDeletedInThingsBoard(t *testing.T) {
	t.Parallel()
	w := newWorld()
	history(t, w, board{world: w}, named("a"))
	record := w.records["a"]
	record.ThingsBoardID = "old"
	w.records["a"] = record
	delete(w.board, "a")
	delete(w.bundles, "a")
	delete(w.first, "a")
	if result := one(t, w.batch(board{world: w}), plain("a")); result.Action != provision.ActionCreated || result.ThingsBoardID != "id-a" {
		t.Errorf("result %+v", result)
	}
	w.sound(t, provision.RegistrarThingsBoard, named("a"))
	if got := w.records["a"]; got.ThingsBoardID != "id-a" || !got.Created.Equal(record.Created) || !got.Updated.After(record.Updated) {
		t.Errorf("the record is %+v", got)
	}
}

// Offline devices are registered in ThingsBoard later, with the tokens they have,
// whether the import file was used meanwhile or not.
func TestFromOfflineToThingsBoard(t *testing.T) {
	t.Parallel()
	w := newWorld()
	history(t, w, provision.Offline{}, sevenDevices())
	w.board["a"] = provision.Registration{ThingsBoardID: "id-a", Credential: provision.TokenCredential(w.records["a"].Credential.Token)}
	w.board["c"] = provision.Registration{ThingsBoardID: "id-c", Credential: provision.TokenCredential(secret.New("ANOTHER"))}
	kept := w.records["c"].Credential.Token.Reveal()
	results, summary, err := run(t, w.batch(board{world: w}), sevenDevices())
	if err != nil || summary.Failed != 1 || summary.Adopted != 1 || summary.Created != 5 {
		t.Fatalf("summary %+v, error %v, results %+v", summary, err, results)
	}
	if c := w.records["c"]; c.State != provision.StatePending || c.Credential.Token.Reveal() != kept || w.token("c") != kept+"\n" {
		t.Errorf("the token of c was lost: %+v, bundle %q", c, w.token("c"))
	}
	w.board["c"] = provision.Registration{ThingsBoardID: "id-c", Credential: provision.TokenCredential(secret.New(kept))} // put right by hand
	mustRun(t, w.batch(board{world: w}), sevenDevices())
	w.sound(t, provision.RegistrarThingsBoard, sevenDevices())
}

// What is on record for an offline device goes to ThingsBoard with it, and a
// token given only then is refused.
func TestWhatIsOnRecordGoesToThingsBoard(t *testing.T) {
	t.Parallel()
	w := newWorld()
	history(t, w, provision.Offline{}, []provision.Device{device("a", "Hall 1", "meter", "ONE")})
	var conflict *provision.CredentialConflictError
	if result := one(t, w.batch(board{world: w}), device("a", "", "", "TWO")); !errors.As(result.Err, &conflict) || len(w.board) != 0 {
		t.Errorf("error %v, in ThingsBoard %v", result.Err, w.board)
	}
	if result := one(t, w.batch(board{world: w}), plain("a")); result.Action != provision.ActionCreated {
		t.Errorf("result %+v", result)
	}
	want := provision.Registration{ThingsBoardID: "id-a", Label: "Hall 1", Profile: "meter", Credential: provision.TokenCredential(secret.New("ONE"))}
	if diff := cmp.Diff(want, w.board["a"], secrets()); diff != "" {
		t.Errorf("in ThingsBoard (-want +got):\n%s", diff)
	}
}

// Without ThingsBoard at hand its devices are left alone, and their bundles
// written as far as that can be done.
func TestFromThingsBoardToOffline(t *testing.T) {
	t.Parallel()
	w := newWorld()
	history(t, w, board{world: w}, named("a", "b", "c"))
	delete(w.bundles, "b")
	delete(w.bundles["c"], provision.RootFile)
	results, _, err := run(t, w.batch(provision.Offline{}), []provision.Device{plain("a"), plain("b"), plain("c"), plain("d")})
	if err != nil {
		t.Fatal(err)
	}
	want := []provision.Action{provision.ActionUnchanged, provision.ActionFailed, provision.ActionRepaired, provision.ActionCreated}
	var got []provision.Action
	for _, result := range results {
		got = append(got, result.Action)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	if err := results[1].Err; !errors.Is(err, provision.ErrElsewhere) || !strings.Contains(err.Error(), "thingsboard") {
		t.Errorf("b: %v", err)
	}
	var conflict *provision.CredentialConflictError
	if result := one(t, w.batch(provision.Offline{}), device("a", "", "", "OTHER")); !errors.As(result.Err, &conflict) {
		t.Errorf("a with another token: %+v", result)
	}
	if w.records["a"].Registrar != provision.RegistrarThingsBoard || results[0].Registrar != provision.RegistrarThingsBoard {
		t.Errorf("a is on record as %s", w.records["a"].Registrar)
	}
}

func TestOfflineLabelsAndProfilesCanBeChanged(t *testing.T) {
	t.Parallel()
	w := newWorld()
	history(t, w, provision.Offline{}, []provision.Device{device("a", "Hall 1", "meter", "")})
	token, created := w.token("a"), w.records["a"].Created
	for _, step := range []struct {
		device         provision.Device
		want           provision.Action
		label, profile string
	}{
		{plain("a"), provision.ActionUnchanged, "Hall 1", "meter"},
		{device("a", "Hall 2", "", ""), provision.ActionUpdated, "Hall 2", "meter"},
		{device("a", "", "valve", ""), provision.ActionUpdated, "Hall 2", "valve"},
	} {
		if result := one(t, w.batch(provision.Offline{}), step.device); result.Action != step.want {
			t.Errorf("%+v: %s, want %s", step.device, result.Action, step.want)
		}
		if r := w.records["a"]; r.Label != step.label || r.Profile != step.profile || !r.Created.Equal(created) || w.token("a") != token {
			t.Errorf("the record is %+v, the token %q", r, w.token("a"))
		}
	}
}

// Where the file system takes A and a for one, the directory of the second is
// that of the first.
func TestADirectoryOfAnotherDeviceIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld()
	history(t, w, provision.Offline{}, named("a"))
	w.bundles["A"] = w.bundles["a"]
	token := w.token("a")
	result := one(t, w.batch(provision.Offline{}), plain("A"))
	var mixed *provision.DirectoryError
	if !errors.As(result.Err, &mixed) || mixed.Owner != "a" || w.token("a") != token || len(w.records) != 1 {
		t.Errorf("error %v, token %q, %d records", result.Err, w.token("a"), len(w.records))
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"offline", "thingsboard"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			registrar := registrars(w)[name]
			history(t, w, registrar, named("a", "b"))
			delete(w.bundles, "b")
			records, bundles := maps.Clone(w.records), maps.Clone(w.bundles)
			batch := w.batch(registrar)
			batch.DryRun = true
			want := []provision.Action{provision.ActionUnchanged, provision.ActionRepaired, provision.ActionCreated}
			if diff := cmp.Diff(want, mustRun(t, batch, named("a", "b", "c"))); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			counts := w.counted()
			if counts["save"]+counts["write"]+counts["register"]+counts["ready"] != 0 {
				t.Errorf("calls %v", counts)
			}
			if diff := cmp.Diff(records, w.records, secrets()); diff != "" || len(w.bundles) != len(bundles) {
				t.Errorf("something changed:\n%s", diff)
			}
		})
	}
}
