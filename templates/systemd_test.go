package templates_test

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/templates"
)

const (
	service = "systemd/tbcert-verify.service"
	timer   = "systemd/tbcert-verify.timer"

	renewService = "systemd/tbcert-renew.service"
	renewTimer   = "systemd/tbcert-renew.timer"
)

// watch is the data that the units want.
type watch struct {
	Site, User, Binary, Workspace string
	Directory, Check              string
	Arguments                     []string // of tbcert verify
	Writable                      []string // besides the workspace
	OnCalendar, RandomizedDelay   string
}

func plant() watch {
	return watch{
		Site: "plant", User: "tbcert", Binary: "/usr/bin/true", Workspace: "/srv/tbcert/plant", Directory: "/srv",
		Arguments: []string{"--all", "-q", "--textfile", "/var/lib/prometheus/node-exporter/tbcert.prom"},
		Writable:  []string{"/var/lib/prometheus/node-exporter"}, OnCalendar: "hourly", RandomizedDelay: "10min",
	}
}

func render(t *testing.T, name string, data any) string {
	t.Helper()
	text, err := templates.Render(name, data)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settings are the lines of a unit that say something.
func settings(unit string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(unit) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			found[line] = true
		}
	}
	return found
}

// analyze runs systemd-analyze, which has no complaint when it says nothing.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("%v: install Debian's package systemd", err)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		return err.Error() + "\n" + string(out)
	}
	return string(out)
}

// units writes units to a directory.
func units(t *testing.T, data watch, names ...string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, filepath.Base(name))
		write(t, path, []byte(render(t, name, data)), 0o600)
		paths = append(paths, path)
	}
	return paths
}

func TestVerifyServiceRunsWhatItIsTold(t *testing.T) {
	t.Parallel()
	got := settings(render(t, service, plant()))
	for _, want := range []string{
		"Type=oneshot", "User=tbcert",
		"ExecStart=/usr/bin/true -C /srv/tbcert/plant verify --all -q --textfile /var/lib/prometheus/node-exporter/tbcert.prom",
		"ReadWritePaths=/srv/tbcert/plant /var/lib/prometheus/node-exporter",
		"ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=",
	} {
		if !got[want] {
			t.Errorf("no line %q", want)
		}
	}
	data := plant()
	data.User, data.Arguments, data.Writable = "", []string{"meter-1", "--round-trip"}, nil
	unit := render(t, service, data)
	if got := settings(unit); strings.Contains(unit, "User=") || !got["ExecStart=/usr/bin/true -C /srv/tbcert/plant verify meter-1 --round-trip"] || !got["ReadWritePaths=/srv/tbcert/plant"] {
		t.Errorf("it does not do as told:\n%s", unit)
	}
}

// The condition holds when renew --check says that it is due, or cannot say.
func TestRenewServiceAsksFirst(t *testing.T) {
	t.Parallel()
	data := plant()
	data.Arguments, data.Check = []string{"--before=25%", "--hook=systemctl restart thingsboard"}, " --before 25%"
	got := settings(render(t, renewService, data))
	for _, want := range []string{
		`ExecCondition=/bin/sh -c "! /usr/bin/true -C /srv/tbcert/plant renew --check --quiet --before 25%% > /dev/null"`,
		`ExecStart=/usr/bin/true -C /srv/tbcert/plant renew --before=25%% "--hook=systemctl restart thingsboard"`, "User=tbcert", "WorkingDirectory=/srv",
	} {
		if !got[want] {
			t.Errorf("no line %s in\n%s", want, render(t, renewService, data))
		}
	}
}

// A task is what Windows takes: XML, and arguments that are one each.
func TestWindowsTask(t *testing.T) {
	t.Parallel()
	type task struct {
		Site, Binary, Start string
		Words               []string
	}
	text := render(t, "windows/tbcert-renew.xml", task{
		Site: "a & <b>", Binary: `C:\Program Files\tbcert.exe`, Start: "2026-01-31T04:00:00",
		Words: []string{"-C", `C:\a site\`, "renew", "", `--hook=x "y z"`, `a\"b`},
	})
	var parsed struct {
		Description string `xml:"RegistrationInfo>Description"`
		Start       string `xml:"Triggers>CalendarTrigger>StartBoundary"`
		Command     string `xml:"Actions>Exec>Command"`
		Arguments   string `xml:"Actions>Exec>Arguments"`
	}
	if err := xml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	// As CommandLineToArgvW takes them apart: 2n backslashes and a quote are n
	// backslashes and the end of quoting, 2n+1 are n and a quote.
	if want := `-C "C:\a site\\" renew "" "--hook=x \"y z\"" "a\\\"b"`; parsed.Arguments != want {
		t.Errorf("the arguments are %s, want %s", parsed.Arguments, want)
	}
	if parsed.Description != "Renew the server certificate of a & <b> when it is due" || parsed.Command != `C:\Program Files\tbcert.exe` || parsed.Start != "2026-01-31T04:00:00" {
		t.Errorf("got %+v", parsed)
	}
}

func TestVerifyTimerSpreadsAndMakesUp(t *testing.T) {
	t.Parallel()
	got := settings(render(t, timer, plant()))
	for _, want := range []string{"OnCalendar=hourly", "RandomizedDelaySec=10min", "FixedRandomDelay=yes", "Persistent=yes", "WantedBy=timers.target"} {
		if !got[want] {
			t.Errorf("no line %q", want)
		}
	}
}

func TestSystemdAcceptsTheUnits(t *testing.T) {
	t.Parallel()
	odd := plant()
	// systemd takes no quote and no backslash in the name of a program.
	bin := filepath.Join(t.TempDir(), "50%t $HOME", "tb cert")
	if err := os.MkdirAll(filepath.Dir(bin), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, bin, []byte("#!/bin/sh\n"), 0o700)
	odd.Site, odd.Binary, odd.User = "100% Zähler; 'plant' \"7\" \\ x", bin, "1000"
	odd.Workspace = `/srv/a "b' \c 50%h $HOME`
	odd.Writable = append(odd.Writable, `/srv/d "e`, "/srv/f;g #h")
	odd.Arguments = append(odd.Arguments, "", `"`, `\`, "$HOME", "${HOME}", "%h", "; rm", "a  b", "'")
	odd.OnCalendar = "Mon..Fri *-*-* 06,18:00:00 Europe/Berlin"
	root := plant()
	root.User = ""
	for name, data := range map[string]watch{"plain": plant(), "odd": odd, "root": root} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			paths := units(t, data, service, timer, renewService, renewTimer)
			if said := analyze(t, append([]string{"verify"}, paths...)...); said != "" {
				t.Errorf("%s\n%s", said, render(t, service, data))
			}
		})
	}
}

// What systemd-analyze cannot show: each odd argument stays one argument.
func TestVerifyServiceQuotesItsArguments(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"plain-1.2": `plain-1.2`, "": `""`, "a b": `"a b"`, `"`: `"\""`, `a\b`: `"a\\b"`, "$HOME": "$$HOME", "a ${B}": `"a $${B}"`,
		"50%": "50%%", "%h %": `"%%h %%"`, ";": `";"`, "'": `"'"`, "#": `"#"`, "é": `"é"`,
	}
	for argument, want := range tests {
		t.Run(argument, func(t *testing.T) {
			t.Parallel()
			data := plant()
			data.Arguments = []string{argument, "end"}
			if line := "ExecStart=/usr/bin/true -C /srv/tbcert/plant verify " + want + " end"; !settings(render(t, service, data))[line] {
				t.Errorf("no line %s in\n%s", line, render(t, service, data))
			}
		})
	}
}

// A value with a new line could say ExecStart= itself.
func TestUnitsRefuseWhatTheyCannotHold(t *testing.T) {
	t.Parallel()
	const forged = "x\nExecStart=/bin/evil"
	tests := map[string]struct {
		template string
		change   func(*watch)
	}{
		"site":                {service, func(w *watch) { w.Site = forged }},
		"site of the timer":   {timer, func(w *watch) { w.Site = forged }},
		"user":                {service, func(w *watch) { w.User = forged }},
		"binary":              {service, func(w *watch) { w.Binary = "/" + forged }},
		"workspace":           {service, func(w *watch) { w.Workspace = "/" + forged }},
		"argument":            {service, func(w *watch) { w.Arguments = []string{forged} }},
		"writable":            {service, func(w *watch) { w.Writable = []string{"/" + forged} }},
		"calendar":            {timer, func(w *watch) { w.OnCalendar = forged }},
		"delay":               {timer, func(w *watch) { w.RandomizedDelay = forged }},
		"relative binary":     {service, func(w *watch) { w.Binary = "tbcert" }},
		"binary with -":       {service, func(w *watch) { w.Binary = "-/usr/bin/tbcert" }},
		"relative workspace":  {service, func(w *watch) { w.Workspace = "." }},
		"relative directory":  {service, func(w *watch) { w.Writable = []string{"metrics"} }},
		"site with backslash": {service, func(w *watch) { w.Site = `plant\` }},
		"calendar, continued": {timer, func(w *watch) { w.OnCalendar = `hourly\` }},
		"no calendar":         {timer, func(w *watch) { w.OnCalendar = "" }},
		"no site":             {service, func(w *watch) { w.Site = " " }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := plant()
			test.change(&data)
			if out, err := templates.Render(test.template, data); err == nil {
				t.Errorf("no error, but:\n%s", out)
			}
		})
	}
}

// systemd-analyze rates what a unit could do from 0 (nothing) to 10.
func TestVerifyServiceIsHardened(t *testing.T) {
	t.Parallel()
	paths := units(t, plant(), service)
	if said := analyze(t, "security", "--offline=true", "--no-pager", "--threshold=15", paths[0]); strings.Contains(said, "exit status") {
		t.Errorf("it is rated above 1.5:\n%s", said)
	}
}
