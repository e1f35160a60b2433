package monitor_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/tbcert/tbcert/verify/monitor"
)

// evening is when the rounds of these tests end.
func evening() time.Time { return time.Date(2026, 3, 14, 18, 30, 0, 0, time.UTC) }

// hostile is device names that a format could trip over.
func hostile() []string {
	return []string{
		`quo"te`, `apo's`, `back\slash`, "new\nline", "carriage\rreturn", "tab\tbed", "bar|x=1", "semi;colon", "a=b", "<tag>&amp;]]>",
		"nul\x00", "bell\x07", "esc\x1b[2J", "\xff\xfe", "nonchar\uFFFF", "\u202Egnp.exe", "sep\u2028line", "Zähler-7 电表", " ", "{device=\"x\"} 1",
		"# HELP x y", "%!s(int=1)", "$HOME`id`",
	}
}

// passed is a device that got through in 40 ms.
func passed(name string) monitor.Row {
	return monitor.Row{
		Device: name, OK: true, How: monitor.HowConnected, Milliseconds: 40, At: evening(),
		Checks: []monitor.Check{
			{ID: "tls", Status: "pass", Detail: "TLS 1.3", Milliseconds: 12.5},
			{ID: "publish", Status: "pass", Detail: "acknowledged", Milliseconds: 3},
			{ID: "round-trip", Status: "skip", Detail: "not asked for"},
		},
	}
}

// refused is a device whose token is not known.
func refused(name string) monitor.Row {
	cause, fix := "ThingsBoard knows no device with this token.", "Run tbcert rotate "+name+"."
	return monitor.Row{
		Device: name, How: monitor.HowConnected, Failed: "connect", Diagnosis: "token-unknown", Cause: cause, Fix: fix, Milliseconds: 21, At: evening(),
		Checks: []monitor.Check{
			{ID: "tls", Status: "pass", Detail: "TLS 1.3", Milliseconds: 12.5},
			{ID: "connect", Status: "fail", Detail: "CONNACK 5", Cause: cause, Fix: fix, Milliseconds: 8},
			{ID: "publish", Status: "skip", Detail: "connect failed"},
		},
	}
}

func snapshot(rows ...monitor.Row) monitor.Snapshot {
	return monitor.Snapshot{
		Site: "plant", Version: "v1.2.3", Host: "tb.example.com", Port: 8883, TLS: true, At: evening(), Took: 1500 * time.Millisecond,
		Rows: rows, Counts: monitor.Tally(rows),
		ServerNotAfter: evening().AddDate(0, 0, 300), RootNotAfter: evening().AddDate(15, 0, 0),
	}
}

// hostileSnapshot has every hostile text in every place.
func hostileSnapshot() monitor.Snapshot {
	var rows []monitor.Row
	for i, text := range hostile() {
		row := refused(text)
		if i%2 == 0 {
			row = passed(text)
		}
		for j := range row.Checks {
			row.Checks[j].ID += text
			row.Checks[j].Detail, row.Checks[j].Cause, row.Checks[j].Fix = text, text, text
		}
		row.Cause, row.Fix, row.Diagnosis, row.How = text, text, row.Diagnosis+text, text
		rows = append(rows, row)
	}
	s := snapshot(rows...)
	s.Site, s.Host, s.Version = hostile()[0]+hostile()[3]+hostile()[10], "tb|\n\xff.example.com", "v1\n\"\x00"
	return s
}

// fleet is n devices that pass and m that fail.
func fleet(n, m int) (rows []monitor.Row) {
	for i := range n {
		rows = append(rows, passed(fmt.Sprintf("meter-%03d", i)))
	}
	for i := range m {
		rows = append(rows, refused(fmt.Sprintf("pump-%03d", i)))
	}
	return rows
}

// A brokenPipe takes nothing.
type brokenPipe struct{}

var errBroken = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }
