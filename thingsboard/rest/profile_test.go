package rest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/thingsboard/rest"
)

const (
	profileID = "0f2d7f00-42b6-11f0-983c-b7beff2784f9"
	caPEM     = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
)

// profileAnswer is a profile with things that tbcert does not know.
func profileAnswer(version, name, kind, provisioning string) string {
	return `{"id":{"entityType":"DEVICE_PROFILE","id":"` + profileID + `"},"createdTime":1,"name":"` + name + `","description":"of the site","type":"DEFAULT",` +
		`"transportType":"MQTT","provisionType":"` + kind + `","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"MQTT","deviceTelemetryTopic":"t"},` +
		`"provisionConfiguration":` + provisioning + `,"alarms":[{"id":"1"}]},"provisionDeviceKey":"key","default":false,"version":` + version + `}`
}

const (
	disabled  = `{"type":"DISABLED","provisionDeviceSecret":null}`
	creating  = `{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"canary-s"}`
	chainConf = `{"type":"X509_CERTIFICATE_CHAIN","provisionDeviceSecret":"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n","certificateRegExPattern":"(.+)","allowCreateNewDevicesByX509Certificate":true}`
)

func theChain() *rest.Chain {
	return &rest.Chain{Certificate: []byte(caPEM), Pattern: "(.+)", AllowCreate: true}
}

func searchProfiles(page, answer string) exchange {
	return exchange{method: "GET", uri: "/api/deviceProfileInfos?page=" + page + "&pageSize=100&textSearch=meters+%26+co", login: keyLogin, answer: answer}
}

func readProfile(answer string) exchange {
	return exchange{method: "GET", uri: "/api/deviceProfile/" + profileID, login: keyLogin, answer: answer}
}

func saveProfile(body, answer string) exchange {
	return exchange{method: "POST", uri: "/api/deviceProfile", login: keyLogin, body: body, answer: answer}
}

func sameProfile(want, got rest.Profile) string {
	hidden := cmp.Comparer(func(a, b secret.Text) bool { return a.Reveal() == b.Reveal() })
	return cmp.Diff(want, got, hidden, cmpopts.IgnoreUnexported(rest.Profile{}))
}

const profileName = "meters & co"

// TestFindProfile: only the profile of exactly that name is it, on whatever page.
func TestFindProfile(t *testing.T) {
	t.Parallel()
	others := `{"data":[{"id":{"id":"1"},"name":"meters & co."},{"id":{"id":"2"},"name":"METERS & CO"}],"hasNext":true}`
	found := `{"data":[{"id":{"id":"` + profileID + `"},"name":"meters & co"}],"hasNext":true}`
	for name, test := range map[string]struct {
		answer string
		want   rest.Profile
	}{
		"disabled": {profileAnswer("1", profileName, "DISABLED", disabled), rest.Profile{Strategy: rest.StrategyDisabled}},
		"creating": {profileAnswer("1", profileName, "ALLOW_CREATE_NEW_DEVICES", creating), rest.Profile{Strategy: rest.StrategyCreate, Secret: secret.New("canary-s")}},
		"by chain": {profileAnswer("1", profileName, "X509_CERTIFICATE_CHAIN", chainConf), rest.Profile{Strategy: rest.StrategyChain, Chain: theChain()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.want.ID, test.want.Name, test.want.DeviceKey = profileID, profileName, "key"
			f := thingsBoard(t, searchProfiles("0", others), searchProfiles("1", found), readProfile(test.answer))
			got, err := f.keyed().FindProfile(t.Context(), profileName)
			if diff := sameProfile(test.want, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
	f := thingsBoard(t, searchProfiles("0", found), readProfile(strings.Replace(profileAnswer("1", profileName, "DISABLED", disabled), profileID, deviceID, 1)))
	if _, err := f.keyed().FindProfile(t.Context(), profileName); !errors.Is(err, rest.ErrNotThingsBoard) {
		t.Error(err)
	}
	f = thingsBoard(t, searchProfiles("0", strings.Replace(others, "true", "false", 1)))
	if _, err := f.keyed().FindProfile(t.Context(), profileName); !errors.Is(err, rest.ErrNotFound) {
		t.Error(err)
	}
}

// TestCreateProfile: it is as ThingsBoard's own form makes one.
func TestCreateProfile(t *testing.T) {
	t.Parallel()
	body := func(kind, provisioning, more string) string {
		return `{"name":"meters & co","type":"DEFAULT","transportType":"DEFAULT","provisionType":"` + kind + `","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":` + provisioning + `}` + more + `}`
	}
	for name, test := range map[string]struct {
		profile            rest.Profile
		kind, sends, saved string
	}{
		"nothing said": {rest.Profile{}, "DISABLED", body("DISABLED", `{"type":"DISABLED","allowCreateNewDevicesByX509Certificate":false}`, ""), disabled},
		"by chain":     {rest.Profile{Strategy: rest.StrategyChain, Chain: theChain()}, "X509_CERTIFICATE_CHAIN", body("X509_CERTIFICATE_CHAIN", chainConf, ""), chainConf},
		"by key": {
			rest.Profile{Strategy: rest.StrategyCreate, DeviceKey: "key", Secret: secret.New("canary-s")}, "ALLOW_CREATE_NEW_DEVICES",
			body("ALLOW_CREATE_NEW_DEVICES", `{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"canary-s","allowCreateNewDevicesByX509Certificate":false}`, `,"provisionDeviceKey":"key"`), creating,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.profile.Name = profileName
			f := thingsBoard(t, saveProfile(test.sends, profileAnswer("1", profileName, test.kind, test.saved)))
			got, err := f.keyed().CreateProfile(t.Context(), test.profile)
			if err != nil || got.ID != profileID || got.Strategy != test.kind {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

// TestUpdateProfile: what tbcert does not know stays. What someone else changed
// meanwhile stays too: ThingsBoard tells by the version.
func TestUpdateProfile(t *testing.T) {
	t.Parallel()
	found := `{"data":[{"id":{"id":"` + profileID + `"},"name":"meters & co"}],"hasNext":false}`
	before := func(version string) string { return profileAnswer(version, profileName, "DISABLED", disabled) }
	after := func(version string) string {
		return profileAnswer(version, profileName, "X509_CERTIFICATE_CHAIN", chainConf)
	}
	conflict := refusal(saveProfile(after("1"), ""), 409, 35, "The entity was modified by someone else")
	others := func(version string) string { return strings.Replace(before(version), "of the site", "theirs", 1) }
	merged := strings.Replace(after("2"), "of the site", "theirs", 1)
	for name, test := range map[string]struct {
		script []exchange
		want   error
	}{
		"at once":       {[]exchange{saveProfile(after("1"), after("2"))}, nil},
		"changed":       {[]exchange{conflict, readProfile(others("2")), saveProfile(merged, after("3"))}, nil},
		"changed again": {[]exchange{conflict, readProfile(before("1")), conflict, readProfile(before("1")), conflict, readProfile(before("1")), conflict}, rest.ErrConflict},
		"deleted":       {[]exchange{conflict, refusal(readProfile(""), 404, 32, "no such profile")}, rest.ErrNotFound},
		"another":       {[]exchange{saveProfile(after("1"), strings.Replace(after("2"), profileID, deviceID, 1))}, rest.ErrNotThingsBoard},
		"another name":  {[]exchange{saveProfile(after("1"), strings.Replace(after("2"), profileName, "x", 1))}, rest.ErrNotThingsBoard},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := thingsBoard(t, append([]exchange{searchProfiles("0", found), readProfile(before("1"))}, test.script...)...).keyed()
			profile, err := client.FindProfile(t.Context(), profileName)
			if err != nil {
				t.Fatal(err)
			}
			profile.Strategy, profile.Chain = rest.StrategyChain, theChain()
			got, err := client.UpdateProfile(t.Context(), profile)
			if !errors.Is(err, test.want) || err == nil && (got.ID != profileID || got.Chain == nil) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
	if _, err := thingsBoard(t).keyed().UpdateProfile(t.Context(), rest.Profile{Name: "never read"}); err == nil {
		t.Error("a profile that was not read was saved")
	}
}

// TestSetDeviceProfile: all else of the device stays.
func TestSetDeviceProfile(t *testing.T) {
	t.Parallel()
	device := func(version, profile, kind string) string {
		return `{"id":{"entityType":"DEVICE","id":"` + deviceID + `"},"name":"x","label":"hall","deviceProfileId":{"entityType":"DEVICE_PROFILE","id":"` + profile + `"},"deviceData":{"a":[1]},` + kind + `"version":` + version + `}`
	}
	read := func(answer string) exchange {
		return exchange{method: "GET", uri: "/api/device/" + deviceID, login: keyLogin, answer: answer}
	}
	save := func(body, answer string) exchange {
		return exchange{method: "POST", uri: "/api/device", login: keyLogin, body: body, answer: answer}
	}
	before, after := device("1", "old", `"type":"meters",`), device("2", profileID, `"type":"revoked",`)
	sent := device("1", profileID, "")
	conflict := refusal(save(sent, ""), 409, 35, "The entity was modified by someone else")
	for name, test := range map[string]struct {
		script []exchange
		want   error
	}{
		"at once":         {[]exchange{read(before), save(sent, after)}, nil},
		"there already":   {[]exchange{read(after)}, nil},
		"changed":         {[]exchange{read(before), conflict, read(device("7", "old", "")), save(device("7", profileID, ""), after)}, nil},
		"made twice":      {[]exchange{read(before), conflict, read(after)}, nil},
		"always changed":  {[]exchange{read(before), conflict, read(before), conflict, read(before), conflict, read(before), conflict}, rest.ErrConflict},
		"gone":            {[]exchange{refusal(read(""), 404, 32, "no such device")}, rest.ErrNotFound},
		"gone meanwhile":  {[]exchange{read(before), refusal(save(sent, ""), 404, 32, "no such device")}, rest.ErrNotFound},
		"another":         {[]exchange{read(strings.Replace(before, deviceID, profileID, 1))}, rest.ErrNotThingsBoard},
		"nothing":         {[]exchange{read(`{}`)}, rest.ErrNotThingsBoard},
		"null":            {[]exchange{read(`null`)}, rest.ErrNotThingsBoard},
		"not done":        {[]exchange{read(before), save(sent, before)}, rest.ErrNotThingsBoard},
		"done to another": {[]exchange{read(before), save(sent, strings.Replace(after, deviceID, profileID, 1))}, rest.ErrNotThingsBoard},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := thingsBoard(t, test.script...).keyed().SetDeviceProfile(t.Context(), deviceID, profileID); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}
