package templates_test

import (
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
)

// watch is the data that the units want.
type watch struct {
	Site, User, Binary, Workspace string
	Arguments                     []string // of tbcert verify
	Writable                      []string // besides the workspace
	OnCalendar, RandomizedDelay   string
}

func plant() watch {
	return watch{
		Site: "plant", User: "tbcert", Binary: "/usr/bin/true", Workspace: "/srv/tbcert/plant",
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

// units writes both units to a directory.
func units(t *testing.T, data watch) (servicePath, timerPath string) {
	t.Helper()
	dir := t.TempDir()
	servicePath, timerPath = filepath.Join(dir, filepath.Base(service)), filepath.Join(dir, filepath.Base(timer))
	write(t, servicePath, []byte(render(t, service, data)), 0o600)
	write(t, timerPath, []byte(render(t, timer, data)), 0o600)
	return servicePath, timerPath
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
			servicePath, timerPath := units(t, data)
			if said := analyze(t, "verify", servicePath, timerPath); said != "" {
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
	servicePath, _ := units(t, plant())
	if said := analyze(t, "security", "--offline=true", "--no-pager", "--threshold=15", servicePath); strings.Contains(said, "exit status") {
		t.Errorf("it is rated above 1.5:\n%s", said)
	}
}
