package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tbcert/tbcert/verify/report"
)

// inPage is the data block, as the page's script reads it.
type inPage struct {
	Schema      string
	Generated   int64
	Hows        []string
	Credentials []string
	Causes      []struct{ Diagnosis, Failed, Cause string }
	Latency     *inChart
	Expiry      *inChart
	Rows        [][]any
}

type inChart struct {
	Bars []struct {
		Label string
		Count int
		Late  bool
	}
	Edges []string
	Marks []struct {
		At    float64
		Label string
	}
}

// parsed reads the page as a browser would.
func parsed(t *testing.T, page []byte) *html.Node {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func dataOf(t *testing.T, page []byte) inPage {
	t.Helper()
	var data inPage
	for node := range parsed(t, page).Descendants() {
		if node.Data == "script" && attribute(node, "id") == "data" {
			if err := json.Unmarshal([]byte(node.FirstChild.Data), &data); err != nil {
				t.Fatal(err)
			}
			return data
		}
	}
	t.Fatal("the page has no data block")
	return data
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// words is the text that a reader without JavaScript sees.
func words(t *testing.T, page []byte) string {
	t.Helper()
	var out strings.Builder
	var walk func(*html.Node)
	walk = func(node *html.Node) {
		if node.Type == html.ElementNode && (node.Data == "script" || node.Data == "style" || attribute(node, "id") == "table") {
			return
		}
		if node.Type == html.TextNode {
			out.WriteString(node.Data + " ")
		}
		for child := range node.ChildNodes() {
			walk(child)
		}
	}
	walk(parsed(t, page))
	return strings.Join(strings.Fields(out.String()), " ")
}

func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in the page: %.3000s", part, text)
		}
	}
}

// What matters is there as plain HTML.
func TestPageSaysTheMainThingsWithoutScript(t *testing.T) {
	t.Parallel()
	wants(t, words(t, written(t, sample(1000))),
		"North plant", "tb.example.com:8883", "2026-03-17 12:00:00 UTC", "took 14.2s",
		"31 of 1,000 devices failed", "Passed by connecting 669 66.9%", "Proved by record 200 20.0%", "Proved by server 100 10.0%", "Failed 31 3.1%",
		"41 devices were paused",
		"3 causes for 31 failed devices", "credential-refused 25 devices", "Failed check connect", "tbcert rotate meter-10", "meter-10 meter-50 meter-90", "and 17 more", "Not every device was told the same words",
		"Half within (p50)", "Devices by latency",
		"333 devices have a certificate:", "server ends 2027-02-17: 337 days left",
		"CN=Example Energy Server CA", "signed by", "3f1c9a77 e0b24d58 c6a1930f 5e7d2b44", "2026-01-17 to 2027-02-17", "10.0.4.12",
		"need JavaScript")
}

// The script's data has each row, with the words that rows share as indexes.
func TestDataHasEveryRow(t *testing.T) {
	t.Parallel()
	r := report.New(samplePage())
	r.Add(report.Row{Device: "a", OK: true, How: report.HowConnected, Credential: "x509", Milliseconds: 12.34, At: noon(), Expires: time.Date(2026, 5, 1, 23, 59, 59, 0, time.UTC)})
	r.Add(report.Row{Device: "b", How: report.HowConnected, Credential: "token", Failed: "tcp", Cause: "closed"})
	r.Add(report.Row{Device: "c", OK: true, How: report.HowRecord, Milliseconds: math.NaN()})
	data := dataOf(t, written(t, r))
	got, _ := json.Marshal(data.Rows)
	want := fmt.Sprintf(`[["a",1,0,-1,12.3,%d,0,20574],["b",0,0,0,0,null,1,null],["c",1,1,-1,0,null,-1,null]]`, noon().Unix())
	if string(got) != want {
		t.Errorf("rows are %s, not %s", got, want)
	}
	if fmt.Sprintln(data.Schema, data.Hows, data.Credentials, data.Causes) != "tbcert.report/v1 [connected record] [x509 token] [{tcp tcp closed}]\n" {
		t.Errorf("got %+v", data)
	}
}

// awkward are device names that would break a page that is not careful.
func awkward() []string {
	return []string{
		`</script><script>alert(1)</script>`, `<!--<script>`, `]]>`, `"quoted" 'single' \back\`, "`${x}`", "{{.Site}}", `<img src=x onerror=alert(1)>`,
		"عداد-٧ שלום", "\u202egnp.exe", "📟🔥 métér", "line\nbreak\ttab\x00\x1b[31m", "\u2028\u2029", strings.Repeat("ж", 255), "&lt;&amp;", "",
	}
}

// Any text comes back from the page as it went in, and stays text.
func TestAnyTextIsSafe(t *testing.T) {
	t.Parallel()
	for _, text := range append(awkward(), "not UTF-8 \xff\xfe") {
		page := samplePage()
		page.Site, page.Host, page.Version, page.Notes = text, text, text, []string{text}
		page.Chain[0] = report.Certificate{Role: text, Subject: text, Issuer: text, Fingerprint: text, Key: text, Names: []string{text}}
		r := report.New(page)
		r.Add(report.Row{Device: text, How: text, Credential: text, Failed: text, Diagnosis: text, Cause: text, Fix: text})
		out := written(t, r)
		if data := dataOf(t, out); data.Rows[0][0] != strings.ToValidUTF8(text, "\ufffd") && !strings.Contains(text, "\xff") {
			t.Errorf("%q became %q", text, data.Rows[0][0])
		}
		scripts := 0
		for node := range parsed(t, out).Descendants() {
			if node.Data == "script" && node.Type == html.ElementNode {
				scripts++
			}
			for _, a := range node.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
					t.Errorf("%q made an attribute %s", text, a.Key)
				}
			}
			if node.Data == "img" {
				t.Errorf("%q made an element", text)
			}
		}
		if scripts != 3 {
			t.Errorf("%q: the page has %d scripts, not 3", text, scripts)
		}
	}
}

// Nothing in the page names anything outside, and the policy would not let it.
func TestPageLoadsNothing(t *testing.T) {
	t.Parallel()
	out := written(t, sample(100))
	loads := map[string]bool{"src": true, "srcset": true, "href": true, "xlink:href": true, "action": true, "formaction": true, "data": true, "poster": true, "background": true, "ping": true}
	found := 0
	for node := range parsed(t, out).Descendants() {
		for _, a := range node.Attr {
			if loads[a.Key] && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("<%s %s=%q>", node.Data, a.Key, a.Val)
			}
			if a.Key == "http-equiv" && a.Val == "Content-Security-Policy" {
				found++
				wants(t, attribute(node, "content"), "default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "base-uri 'none'", "form-action 'none'")
				if strings.Contains(attribute(node, "content"), "unsafe") {
					t.Error("the policy allows what is unsafe")
				}
			}
		}
	}
	if found != 1 {
		t.Errorf("the page has %d policies", found)
	}
	if bad := regexp.MustCompile(`(?i)@import|url\(\s*["']?(https?:|//)|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|\beval\(|new Function`).FindAll(out, -1); bad != nil {
		t.Errorf("the page has %q", bad)
	}
}

// The same rows give the same bytes, and writing twice too.
func TestPageIsDeterministic(t *testing.T) {
	t.Parallel()
	r := sample(500)
	first := written(t, r)
	if !bytes.Equal(first, written(t, r)) || !bytes.Equal(first, written(t, sample(500))) {
		t.Error("two pages of the same rows differ")
	}
}

// A fleet of 100,000 has to fit, whatever its causes are worded like.
func TestMemoryStaysSmall(t *testing.T) {
	const devices = 100_000
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	r := report.New(samplePage())
	for i := range devices {
		row := sampleRow(i)
		fail(&row, "chain/another-ca", fmt.Sprintf("Another cause for device %d %s", i, strings.Repeat("x", 500)), "Fix it.")
		row.OK, row.Milliseconds = i%2 == 0, 5
		r.Add(row)
	}
	if each := (heap() - before) / devices; each > 200 {
		t.Errorf("a device costs %d bytes", each)
	}
	wants(t, words(t, written(t, r)), "50,000 of 100,000 devices failed", "another-ca 50,000 devices")
	runtime.KeepAlive(r)
}

// Small and odd fleets have a page too.
func TestHeadlines(t *testing.T) {
	t.Parallel()
	ok, bad := report.Row{Device: "a", OK: true, How: report.HowRecord}, report.Row{Device: "b"}
	for want, rows := range map[string][]report.Row{
		"No device was verified":          nil,
		"The one device passed":           {ok},
		"All 2 devices passed":            {ok, ok},
		"1 of 2 devices failed":           {ok, bad},
		"2 devices verified, none passed": {bad, bad},
	} {
		r := report.New(report.Page{Site: "x", Generated: noon()})
		for _, row := range rows {
			r.Add(row)
		}
		text := words(t, written(t, r))
		wants(t, text, want, "No device's latency was measured", "No certificates are known", "chain is not known")
		if strings.Contains(want, "failed") {
			wants(t, text, "unknown 1 device", "Not known.")
		}
	}
}

// One failed device of very many is neither 0% nor lost from the bar.
func TestOneOfManyIsSeen(t *testing.T) {
	t.Parallel()
	r := report.New(samplePage())
	for i := range 50_000 {
		r.Add(report.Row{Device: fmt.Sprint(i), OK: i > 0, How: report.HowConnected})
	}
	out := written(t, r)
	wants(t, words(t, out), "Passed by connecting 49,999 99.99%", "Failed 1 0.01%")
	wants(t, string(out), `class="failed" x="99.21%" y="0" width="0.79%"`)
}

// full is a writer that fails after some bytes.
type full struct{ left int }

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriteErrorIsGiven(t *testing.T) {
	t.Parallel()
	r := sample(5000)
	size := len(written(t, r))
	for _, left := range []int{0, 1000, size / 2, size - 1} {
		n, err := r.WriteTo(&full{left})
		if !errors.Is(err, errFull) || n != int64(left) {
			t.Errorf("with room for %d bytes: %d, %v", left, n, err)
		}
	}
}

// Devices without a certificate of their own have no empty chart.
func TestNoEmptyCharts(t *testing.T) {
	t.Parallel()
	r := report.New(samplePage())
	r.Add(report.Row{Device: "a", OK: true, How: report.HowConnected, Milliseconds: 3})
	out := written(t, r)
	wants(t, words(t, out), "No device has a certificate of its own", "server ends")
	for node := range parsed(t, out).Descendants() {
		if attribute(node, "id") == "expiry-plot" {
			t.Error("there is a chart of nothing")
		}
	}
}
