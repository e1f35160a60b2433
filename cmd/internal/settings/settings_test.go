package settings_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/cmd/internal/settings"
)

func TestPrecedence(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name       string
		args, env  []string
		file       map[string][]string
		want       string
		wantSource settings.Source
	}{
		{name: "default", want: "none", wantSource: settings.FromDefault},
		{name: "file", file: map[string][]string{"org": {"f"}}, want: "f", wantSource: settings.FromFile},
		{name: "environment over file", env: []string{"TBCERT_ORG=e"}, file: map[string][]string{"org": {"f"}}, want: "e", wantSource: settings.FromEnvironment},
		{name: "empty variable is none", env: []string{"TBCERT_ORG="}, file: map[string][]string{"org": {"f"}}, want: "f", wantSource: settings.FromFile},
		{name: "flag over all", args: []string{"--org", "a"}, env: []string{"TBCERT_ORG=e"}, file: map[string][]string{"org": {"f"}}, want: "a", wantSource: settings.FromFlag},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			org := flags.String("org", "none", "")
			if err := flags.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			origins, err := settings.Resolve(flags, settings.Environment(test.env), test.file)
			if err != nil {
				t.Fatal(err)
			}
			if *org != test.want {
				t.Errorf("org is %q, want %q", *org, test.want)
			}
			if diff := cmp.Diff([]settings.Origin{{Name: "org", Source: test.wantSource}}, origins); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadVariableIsNamed(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Duration("timeout", time.Second, "")
	_, err := settings.Resolve(flags, settings.Environment([]string{"TBCERT_TIMEOUT=soon"}), nil)
	if err == nil || !strings.Contains(err.Error(), "TBCERT_TIMEOUT") {
		t.Errorf("error is %v", err)
	}
}

// A secret comes from the environment alone: never from a flag of its name,
// the file, or a variable that is not in the register.
func TestSecrets(t *testing.T) {
	t.Parallel()
	env := settings.Environment([]string{"TBCERT_TOKEN=canary", "TBCERT_URL=http://x"})
	if got := settings.Secret(env, "token").Reveal(); got != "canary" {
		t.Errorf("token is %q", got)
	}
	for _, name := range []string{"url", "nothing", "password"} {
		if !settings.Secret(env, name).IsZero() {
			t.Errorf("%s is given as a secret", name)
		}
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	token := flags.String("token", "", "")
	if _, err := settings.Resolve(flags, env, nil); err != nil || *token != "" {
		t.Errorf("the variable went into the flag: %q, %v", *token, err)
	}
	for _, key := range settings.Keys() {
		if key.Sensitive && key.InFile {
			t.Errorf("%s is a secret and may stand in tbcert.yaml", key.Name)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	got := settings.Unknown([]string{"PATH=x", "TBCERT_HOST=a", "TBCERT_HSOT=b", "TBCERT_=c"})
	if diff := cmp.Diff([]string{"TBCERT_", "TBCERT_HSOT"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDir(t *testing.T) {
	t.Parallel()
	env := settings.Environment([]string{"TBCERT_DIR=/env"})
	none := settings.Environment(nil)
	for _, test := range []struct {
		flag string
		env  settings.Lookup
		want string
	}{{"/flag", env, "/flag"}, {"", env, "/env"}, {"", none, "."}} {
		if got := settings.Dir(test.flag, test.env); got != test.want {
			t.Errorf("Dir(%q) = %q, want %q", test.flag, got, test.want)
		}
	}
}

func site() settings.Site {
	return settings.Site{Hosts: []string{"tb.example.com", "::1"}, Organization: "Ex: \"ample\"", Registrar: "thingsboard", URL: "https://tb.example.com", User: "t@example.com", Profile: "default", SingleTier: true}.WithDefaults()
}

func TestSiteRoundTrip(t *testing.T) {
	t.Parallel()
	data, err := site().Format()
	if err != nil {
		t.Fatal(err)
	}
	got, err := settings.ParseSite(data, "tbcert.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if diff := cmp.Diff(site(), got); diff != "" {
		t.Error(diff)
	}
	again, err := settings.Update(data, got, got)
	if err != nil || string(again) != string(data) {
		t.Errorf("an update with nothing to change: %v\n%s", err, again)
	}
}

func TestUpdateKeepsTheRest(t *testing.T) {
	t.Parallel()
	const before = "# mine\norg: Ours # really\nhost:\n  - a.example # first\nprofile: p\n"
	old, err := settings.ParseSite([]byte(before), "tbcert.yaml")
	if err != nil {
		t.Fatal(err)
	}
	wanted := old.WithDefaults()
	wanted.Hosts = []string{"a.example", "b.example"}
	wanted.ServerDays = 90
	data, err := settings.Update([]byte(before), old, wanted)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, kept := range []string{"# mine\n", "org: Ours # really\n", "profile: p\n", "b.example", "server-days: 90\n"} {
		if !strings.Contains(text, kept) {
			t.Errorf("%q is not in it:\n%s", kept, text)
		}
	}
	if strings.Contains(text, "root-years") {
		t.Errorf("a default that nobody asked for was written:\n%s", text)
	}
	got, err := settings.ParseSite(data, "tbcert.yaml")
	if err != nil || !slices.Equal(got.Hosts, wanted.Hosts) || got.ServerDays != 90 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSiteFaultsAreLocated(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		text         string
		line, column int
		problem      string
	}{
		"unknown key":  {"host: [a.example]\nhots: 1\n", 2, 1, `unknown key "hots"`},
		"secret":       {"token: canary\n", 1, 1, "TBCERT_TOKEN"},
		"secret, _":    {"api_key: canary\n", 1, 1, "TBCERT_API_KEY"},
		"wrong kind":   {"server-days: canary\n", 1, 14, "a whole number"},
		"list wanted":  {"host: canary\n", 1, 7, "a list, not a single value"},
		"no mapping":   {"- canary\n", 1, 1, "a mapping"},
		"not YAML":     {"host: [a\n", 1, 7, ""},
		"twice":        {"org: a\norg: b\n", 2, 1, "already defined"},
		"bad host":     {"host:\n  - a.example\n  - b_1\n", 3, 5, "underscore"},
		"bad type":     {"key-type: dsa\n", 1, 11, "p256"},
		"days":         {"server-days: 9999\n", 1, 14, "between 1 and 3650"},
		"port":         {"mqtts-port: 70000\n", 1, 13, "between 1 and 65535"},
		"registrar":    {"registrar: x\n", 1, 12, "offline, thingsboard"},
		"url":          {"url: tb.example.com\n", 1, 6, "https://"},
		"url, login":   {"url: https://a:canary@tb.example.com\n", 1, 6, "no user and password"},
		"organization": {"org: \"a\\nb\"\n", 1, 6, "one line"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := settings.ParseSite([]byte(test.text), "tbcert.yaml")
			var fault *settings.FileError
			if !errors.As(err, &fault) {
				t.Fatalf("error is %v", err)
			}
			if fault.Line != test.line || fault.Column != test.column || !strings.Contains(fault.Problem, test.problem) {
				t.Errorf("error is %v, want line %d, column %d, %q", err, test.line, test.column, test.problem)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("a value is in the error: %v", err)
			}
			if len(got.Hosts) != 0 {
				t.Errorf("a site comes with the error: %+v", got)
			}
		})
	}
	if _, err := settings.ParseSite(nil, "tbcert.yaml"); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func FuzzParseSite(f *testing.F) {
	for _, seed := range []string{"", "host: [a.example]\n", "host: [a\n", "a: &b [*b]\n", "org: \"\\x00\"\n", "- 1\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := settings.ParseSite(data, "tbcert.yaml")
		if err != nil || len(got.Hosts) == 0 {
			return
		}
		formatted, err := got.Format()
		if err != nil {
			t.Fatal(err)
		}
		again, err := settings.ParseSite(formatted, "tbcert.yaml")
		if err != nil {
			t.Fatalf("%v\n%s", err, formatted)
		}
		if diff := cmp.Diff(got.Values(), again.Values()); diff != "" && got.WithDefaults().ServerDays == again.ServerDays {
			for name, value := range got.Values() {
				if !slices.Equal(again.Values()[name], value) {
					t.Fatalf("%s:\n%s", name, diff)
				}
			}
		}
	})
}
