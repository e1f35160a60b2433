package monitor

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The exit statuses of a plugin (Monitoring Plugins Development Guidelines,
// "Plugin Return Codes").
const (
	NagiosOK       = 0
	NagiosWarning  = 1
	NagiosCritical = 2
	NagiosUnknown  = 3
)

const (
	nagiosLines = 20  // Nagios reads some KiB of a plugin's output, NRPE less
	nagiosNames = 3   // of devices in one of these lines
	nagiosRunes = 400 // of one of these lines
)

// WriteNagios writes the line of a plugin for Nagios, Icinga, Naemon or Checkmk,
// with performance data, and then a line for each failure and each warning,
// twenty at most. It gives the exit status:
//
//   - CRITICAL when a device failed, or a certificate has less than
//     [Limits.CriticalDays] left;
//   - UNKNOWN when nothing was verified, or not all that should have been;
//   - WARNING when a check warns, or a certificate has less than
//     [Limits.WarnDays] left;
//   - OK otherwise.
//
// When the line cannot be written, the status is UNKNOWN.
func WriteNagios(w io.Writer, s Snapshot) (status int, err error) {
	status = nagiosStatus(s)
	name := [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[status]
	var out strings.Builder
	fmt.Fprintf(&out, "TBCERT %s - %s | %s\n", name, oneLine(summary(s)), strings.Join(perfdata(s), " "))
	for _, line := range complaints(s) {
		out.WriteString(line + "\n")
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return NagiosUnknown, fmt.Errorf("write the plugin's output: %w", err)
	}
	return status, nil
}

func nagiosStatus(s Snapshot) int {
	counts, left := s.counts(), math.MaxInt
	for _, c := range certificates(s) {
		left = min(left, c.days)
	}
	switch {
	case counts.Failed > 0, left < s.Limits.critical():
		return NagiosCritical
	case !counts.good():
		return NagiosUnknown
	case left < s.Limits.warn(), warnings(s) > 0:
		return NagiosWarning
	default:
		return NagiosOK
	}
}

func warnings(s Snapshot) (n int) {
	for _, row := range s.Rows {
		for _, check := range row.Checks {
			if check.Status == statusWarn {
				n++
			}
		}
	}
	return n
}

// summary is the text of the first line.
func summary(s Snapshot) string {
	parts := []string{headline(s)}
	for _, c := range certificates(s) {
		switch {
		case c.days < 0:
			parts = append(parts, c.role+" certificate has expired")
		case c.days < s.Limits.warn():
			parts = append(parts, fmt.Sprintf("%s certificate ends in %d days", c.role, c.days))
		}
	}
	switch n := warnings(s); n {
	case 0:
	case 1:
		parts = append(parts, "1 check warns")
	default:
		parts = append(parts, fmt.Sprintf("%d checks warn", n))
	}
	return strings.Join(parts, ", ")
}

func headline(s Snapshot) string {
	c := s.counts()
	switch {
	case c.total() == 0:
		return "nothing was verified at " + s.target()
	case c.Failed > 0 && serverAlone(s):
		return s.target() + " fails: " + reasons(s)
	case c.Failed > 0:
		return fmt.Sprintf("%d of %s fail at %s: %s", c.Failed, many(c.total()), s.target(), reasons(s))
	case c.Interrupted > 0:
		return fmt.Sprintf("the run was ended before %d of %s were verified at %s", c.Interrupted, many(c.total()), s.target())
	case serverAlone(s):
		return s.target() + " answers"
	case c.Recorded > 0:
		return fmt.Sprintf("%d of %s reach %s, %d not connected", c.OK, many(c.total()), s.target(), c.Recorded)
	default:
		return fmt.Sprintf("%d of %s reach %s", c.OK, many(c.total()), s.target())
	}
}

func serverAlone(s Snapshot) bool { return len(s.Rows) == 1 && s.Rows[0].Device == "" }

// reasons counts the checks that failed.
func reasons(s Snapshot) string {
	checks := map[string]int{}
	for f, n := range s.failures() {
		checks[f.check] += n
	}
	var parts []string
	for _, check := range slices.Sorted(maps.Keys(checks)) {
		parts = append(parts, fmt.Sprintf("%s %d", check, checks[check]))
	}
	return strings.Join(parts, ", ")
}

// A certificate is one whose end is known.
type certificate struct {
	role string
	days int // whole days left; less than 0: it has ended
}

func certificates(s Snapshot) (list []certificate) {
	for _, c := range []struct {
		role  string
		until time.Time
	}{{"server", s.ServerNotAfter}, {"root", s.RootNotAfter}} {
		if !c.until.IsZero() {
			list = append(list, certificate{c.role, int(math.Floor(c.until.Sub(s.At).Hours() / 24))})
		}
	}
	return list
}

// perfdata is 'label'=value[UOM];[warn];[crit];[min];[max] of the guidelines. A
// threshold is a range: "30:" alerts below 30, a plain 0 alerts above 0.
func perfdata(s Snapshot) (data []string) {
	c := s.counts()
	n := c.total()
	data = []string{
		fmt.Sprintf("ok=%d;;;0;%d", c.OK, n),
		fmt.Sprintf("failed=%d;;0;0;%d", c.Failed, n),
		fmt.Sprintf("recorded=%d;;;0;%d", c.Recorded, n),
		fmt.Sprintf("interrupted=%d;;;0;%d", c.Interrupted, n),
	}
	if times := s.durations(); len(times) > 0 {
		for _, stat := range []struct {
			label string
			q     float64
		}{{"connect_time", 0.5}, {"connect_time_max", 1}} {
			data = append(data, fmt.Sprintf("%s=%.3fms;;;0", stat.label, quantile(times, stat.q).Seconds()*1000))
		}
	}
	for _, cert := range certificates(s) {
		label := map[string]string{"server": "certificate_days", "root": "root_days"}[cert.role]
		data = append(data, fmt.Sprintf("%s=%d;%d:;%d:", label, cert.days, s.Limits.warn(), s.Limits.critical()))
	}
	return data
}

// A complaint is a failure or a warning that devices have in common.
type complaint struct{ check, cause, fix string }

// complaints is the lines of the long output, failures first. What many devices
// have in common is one line.
func complaints(s Snapshot) []string {
	fails, warns := &grouped{}, &grouped{}
	for _, row := range s.Rows {
		name := cmp.Or(row.Device, s.target())
		if !row.OK && row.Failed != "" {
			fails.add(complaint{row.Failed, row.Cause, row.Fix}, name)
		}
		for _, check := range row.Checks {
			if check.Status == statusWarn {
				warns.add(complaint{check.ID + " warns", cmp.Or(check.Cause, check.Detail), check.Fix}, name)
			}
		}
	}
	all := append(fails.lines(), warns.lines()...)
	if more := len(all) - nagiosLines; more > 0 {
		return append(all[:nagiosLines], fmt.Sprintf("and %d more", more))
	}
	return all
}

// grouped is the names that each complaint is about, in the order of the first.
type grouped struct {
	order []complaint
	names map[complaint][]string
}

func (g *grouped) add(c complaint, name string) {
	if g.names == nil {
		g.names = map[complaint][]string{}
	}
	if g.names[c] == nil {
		g.order = append(g.order, c)
	}
	g.names[c] = append(g.names[c], name)
}

func (g *grouped) lines() (list []string) {
	for _, c := range g.order {
		names := g.names[c]
		who := strings.Join(names[:min(len(names), nagiosNames)], ", ")
		if more := len(names) - nagiosNames; more > 0 {
			who += fmt.Sprintf(" and %d more", more)
		}
		line := who + ": " + c.check + ": " + c.cause
		if c.fix != "" {
			line += " Fix: " + c.fix
		}
		list = append(list, shortened(oneLine(line)))
	}
	return list
}

func shortened(line string) string {
	if utf8.RuneCountInString(line) > nagiosRunes {
		return string([]rune(line)[:nagiosRunes-1]) + "…"
	}
	return line
}
