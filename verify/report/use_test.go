package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/tbcert/tbcert/verify/report"
)

// press types keys, as nothing but a keyboard does.
func (b *browser) press(keys ...string) {
	b.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// tabTo goes on with the tabulator until the element has the focus.
func (b *browser) tabTo(selector string) {
	b.Helper()
	for range 80 {
		b.press(kb.Tab)
		if evaluate[bool](b, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			outline := evaluate[string](b, `getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth`)
			if outline != "solid3px" {
				b.Errorf("the focus is not seen on %s: %s", selector, outline)
			}
			return
		}
	}
	b.Fatalf("the tabulator never came to %s", selector)
}

func (b *browser) column(n int) []string {
	b.Helper()
	return evaluate[[]string](b, fmt.Sprintf(`[...document.querySelectorAll("#rows tr")].map((tr) => tr.children[%d].innerText)`, n))
}

func (b *browser) found() string {
	b.Helper()
	return evaluate[string](b, `document.getElementById("found").textContent`)
}

// Searching, sorting and paging 10,000 devices takes a keyboard alone.
func TestTableByKeyboard(t *testing.T) {
	b := openReady(t, sample(10_000))
	if got := b.column(1); len(got) != 50 || !strings.HasPrefix(got[0], "✗ Failed") {
		t.Fatalf("the failed devices do not come first: %q", got)
	}
	b.tabTo("#query")
	b.press(strings.Split("METER-999 connect", "")...)
	b.until(`document.getElementById("found").textContent.startsWith("8 of 10,000 devices")`)
	for _, name := range b.column(0) {
		if !strings.HasPrefix(name, "meter-999") {
			t.Errorf("%s was found", name)
		}
	}
	for range 20 {
		b.press(kb.Backspace)
	}
	b.until(`document.getElementById("found").textContent.startsWith("10,000 of 10,000 devices")`)

	b.tabTo(`th[data-key="device"] button`)
	b.press(kb.Enter)
	if got := b.column(0)[:3]; !slices.Equal(got, []string{"meter-1", "meter-2", "meter-3"}) {
		t.Errorf("names are not sorted as people count: %q", got)
	}
	b.sorted("device", "ascending")
	b.press(kb.Enter)
	b.sorted("device", "descending")
	if got := b.column(0)[0]; got != "meter-10000" {
		t.Errorf("the last is %s", got)
	}
	b.tabTo(`th[data-key="latency"] button`)
	b.press(" ")
	b.sorted("latency", "ascending")
	if got := b.column(4); got[0] == "–" || got[0] > got[49] {
		t.Errorf("latencies are not sorted: %q", got)
	}

	b.tabTo("#next")
	b.press(kb.Enter, kb.Enter)
	if got := b.found(); got != "10,000 of 10,000 devices, showing 101 to 150" {
		t.Errorf("after two pages: %s", got)
	}
	b.tabTo("#last")
	b.press(kb.Enter)
	if got := evaluate[string](b, `document.getElementById("page").textContent + document.activeElement.id + document.getElementById("next").getAttribute("aria-disabled")`); got != "Page 200 of 200lasttrue" {
		t.Errorf("on the last page: %s", got)
	}
	b.quiet()
}

// sorted looks that one column says it is sorted.
func (b *browser) sorted(key, direction string) {
	b.Helper()
	if got := evaluate[string](b, `[...document.querySelectorAll("th[aria-sort]")].map((th) => th.dataset.key + " " + th.getAttribute("aria-sort")).join()`); got != key+" "+direction {
		b.Errorf("sorted is %s, not %s %s", got, key, direction)
	}
}

// A cause leads to its devices.
func TestCauseShowsItsDevices(t *testing.T) {
	b := openReady(t, sample(1000))
	b.tabTo(`button.show[data-find="device-clock"]`)
	b.press(kb.Enter)
	if got := b.found(); got != "4 of 1,000 devices, showing 1 to 4" {
		t.Error(got)
	}
	if got := evaluate[string](b, `document.activeElement.id + document.getElementById("result").value`); got != "queryfailed" {
		t.Error(got)
	}
	b.quiet()
}

// The scheme follows the system until the button says otherwise.
func TestThemeButton(t *testing.T) {
	b := openReady(t, sample(10), media("", "dark"))
	ground := func() string {
		return evaluate[string](b, `getComputedStyle(document.body).backgroundColor + document.getElementById("theme").getAttribute("aria-pressed")`)
	}
	dark := ground()
	b.do(media("", "light"))
	b.until(`document.getElementById("theme").getAttribute("aria-pressed") === "false"`)
	light := ground()
	if dark != "rgb(15, 20, 27)true" || light != "rgb(244, 246, 249)false" {
		t.Errorf("dark is %s, light is %s", dark, light)
	}
	b.tabTo("#theme")
	b.press(" ")
	if got := ground(); got != dark {
		t.Errorf("the button made it %s", got)
	}
	b.chartsAreDrawn()
	b.axe()
	b.contrast()
	b.quiet()
}

// What a screen reader is told: landmarks, headings in order, names.
func TestAccessibilityTree(t *testing.T) {
	b := openReady(t, sample(1000))
	evaluate[int](b, `document.querySelectorAll("details").forEach((d) => { d.open = true; }), 0`)
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		var s string
		_ = json.Unmarshal([]byte(v.Value), &s)
		return s
	}
	seen := map[string]bool{}
	for _, node := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if !node.Ignored {
			seen[text(node.Role)+" "+text(node.Name)] = true
		}
	}
	for _, want := range []string{
		"banner ", "main ", "contentinfo ", "navigation Sections", "navigation Pages of the table", "search Devices",
		"region State of the fleet", "region Causes of failure", "region Latency", "region Expiry of certificates", "region The server’s chain", "region Devices",
		"heading North plant", "heading credential-refused 25 devices", "heading Devices", "searchbox Search", "combobox Result", "button Dark colors",
		"table All verified devices. Times are UTC.", "table Devices by latency", "table Devices by the end of their certificate", "table Certificates that the server sent, its own first",
		"columnheader Device", "rowheader meter-10", "status ",
		"image Of 1,000 devices: Passed by connecting 669 (66.9%), Proved by record 200 (20.0%), Proved by server 100 (10.0%), Failed 31 (3.1%).",
		"image The server's chain: server CN=tb.example.com,O=Example Energy, 337 days left; signed by issuing CA CN=Example Energy Server CA,O=Example Energy, 3,593 days left; signed by root CN=Example Energy Root,O=Example Energy, 7,246 days left.",
	} {
		if !seen[want] {
			t.Errorf("the accessibility tree has no %q", want)
		}
	}
	levels := evaluate[[]int](b, `[...document.querySelectorAll("h1,h2,h3,h4")].map((h) => Number(h.tagName[1]))`)
	for i, level := range levels {
		if (i == 0) != (level == 1) || i > 0 && level > levels[i-1]+1 {
			t.Errorf("headings are not in order: %v", levels)
		}
	}
	b.axe() // with all tables open
	b.quiet()
}

// Names that would break a careless page are shown as they are.
func TestAwkwardNamesInChromium(t *testing.T) {
	r := report.New(samplePage())
	for _, name := range awkward() {
		r.Add(report.Row{Device: name, How: report.HowConnected, Failed: "tls", Cause: name, Fix: name, Diagnosis: name})
	}
	b := openReady(t, r, chromedp.EmulateViewport(390, 900))
	got := evaluate[[]string](b, `[...document.querySelectorAll("#rows th")].map((th) => th.textContent)`)
	for _, name := range awkward() {
		if strings.TrimSpace(name) == "" {
			name = `"` + name + `"`
		}
		if !slices.Contains(got, name) {
			t.Errorf("%q is not among %q", name, got)
		}
	}
	b.fits(390)
	b.axe()
	b.shoot("awkward")
	b.quiet()
}

// Without JavaScript the page says all but the table.
func TestPageWithoutScript(t *testing.T) {
	b := open(t, sample(1000), func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return chromedp.Void{}, err
	})
	b.do(chromedp.WaitVisible(chromedp.CSS("footer")))
	text, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("main")))
	if err != nil {
		t.Fatal(err)
	}
	wants(t, text, "31 of 1,000 devices failed", "credential-refused", "Half within (p50)", "need JavaScript")
	if strings.Contains(text, "Show in the table") || strings.Contains(text, "Result") {
		t.Error("what does nothing without JavaScript is shown")
	}
	b.shoot("no-script")
	b.quiet()
}

// On paper the page is light, and what only a screen needs is gone.
func TestPageOnPaper(t *testing.T) {
	b := openReady(t, sample(1000), media("print", "dark"))
	if got := evaluate[string](b, `getComputedStyle(document.querySelector("h2")).color + getComputedStyle(document.getElementById("find")).display`); got != "rgb(23, 33, 46)none" {
		t.Error(got)
	}
	evaluate[bool](b, `dispatchEvent(new Event("beforeprint"))`) // as printing does
	if got := evaluate[string](b, `document.documentElement.dataset.theme + document.querySelectorAll("details:not([open])").length`); got != "light0" {
		t.Errorf("before printing: %s", got)
	}
	b.shoot("print")
	evaluate[bool](b, `dispatchEvent(new Event("afterprint"))`)
	if got := evaluate[string](b, `String(document.documentElement.dataset.theme) + document.querySelectorAll("details[open]").length`); got != "undefined0" {
		t.Errorf("after printing: %s", got)
	}
	b.do(media("", "dark"))
	pdf, err := chromedp.Run(b.ctx, chromedp.PrintToPDF())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) {
		t.Error("printing gave no PDF")
	}
	if *shots != "" {
		if err := os.WriteFile(filepath.Join(*shots, "print.pdf"), pdf, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.quiet()
}
