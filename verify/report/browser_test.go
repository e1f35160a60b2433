package report_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/tbcert/tbcert/verify/report"
)

// shots is for who wants to look: go test ./verify/report -args -shots DIR.
var shots = flag.String("shots", "", "directory for pictures of the pages")

// browser is a page in headless Chromium that has told what it did.
type browser struct {
	testing.TB
	ctx      context.Context //nolint:containedctx // it is the browser
	mu       sync.Mutex
	requests []string
	faults   []string
}

// open writes the report to a file and waits until its script is done.
func open(t *testing.T, r *report.Report, before ...step) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("these tests need Chromium: make deps installs it")
	}
	// No sandbox: the tests may run as root, and the page is their own.
	allocated, stop := chromedp.NewExecAllocator(t.Context(), chromedp.Headless, chromedp.ExecPath(program), chromedp.WindowSize(1280, 900), chromedp.NoSandbox)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocated)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, stop = context.WithTimeout(ctx, time.Minute) // so that a page that hangs fails
	t.Cleanup(stop)
	b := &browser{TB: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, written(t, r), 0o600); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	b.do(before...)
	b.do(chromedp.Navigate("file://" + file))
	return b
}

// openReady is open for a page whose script runs.
func openReady(t *testing.T, r *report.Report, before ...step) *browser {
	t.Helper()
	b := open(t, r, before...)
	if err := chromedp.Do(b.ctx, chromedp.WaitReady(chromedp.CSS(`html[data-ready="yes"]`))); err != nil {
		b.quiet() // says why
		t.Fatal(err)
	}
	return b
}

type step = chromedp.Action[chromedp.Void]

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, fmt.Sprintf("%+v", e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		b.faults = append(b.faults, fmt.Sprint(e.Type, e.Args))
	case *log.EventEntryAdded:
		b.faults = append(b.faults, e.Entry.Text)
	}
}

func (b *browser) do(steps ...step) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

// call sends a command of the protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) R {
	b.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.Fatal(err)
	}
	return result
}

// evaluate gives what a JavaScript expression comes to.
func evaluate[T any](b *browser, expression string) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%v: %.300s", err, expression)
	}
	return value
}

// until waits for an expression to become true.
func (b *browser) until(expression string) {
	b.Helper()
	const turns = `new Promise((done) => { let left = 900; const look = () => { if (%[1]s) done(true); else if (!left--) done(false); else requestAnimationFrame(look); }; look(); })`
	if !evaluate[bool](b, fmt.Sprintf(turns, expression)) {
		b.Fatalf("never true: %s", expression)
	}
}

// quiet fails the test where the page asked for anything, or complained.
func (b *browser) quiet() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) != 1 || !strings.HasPrefix(b.requests[0], "file://") {
		b.Errorf("the page was to load itself alone, and asked for %q", b.requests)
	}
	for _, fault := range b.faults {
		b.Errorf("the browser says: %s", fault)
	}
}

// media emulates a medium ("" is the screen) and a color scheme.
func media(medium, scheme string) step {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Media: medium, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return chromedp.Void{}, err
	}
}

// shoot keeps a picture of the whole page where somebody asked for it.
func (b *browser) shoot(name string) {
	b.Helper()
	if *shots == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), picture, 0o600); err != nil {
		b.Fatal(err)
	}
}

// The pages that are looked at in both schemes, on a desk and in a hand.
func TestPageInChromium(t *testing.T) {
	for _, devices := range []int{10, 10_000} {
		for _, light := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 390} {
				t.Run(fmt.Sprintf("%d %s %d", devices, light, width), func(t *testing.T) {
					b := openReady(t, sample(devices), media("", light), chromedp.EmulateViewport(width, 900))
					b.chartsAreDrawn()
					b.fits(width)
					b.contrast()
					b.axe()
					b.shoot(fmt.Sprintf("%d-%s-%d", devices, light, width))
					b.quiet()
				})
			}
		}
	}
}

// chartsAreDrawn looks for ink of the bars' color on each canvas.
func (b *browser) chartsAreDrawn() {
	b.Helper()
	inked := evaluate[map[string]int](b, `Object.fromEntries([...document.querySelectorAll(".plot")].map((plot) => {
		const canvas = plot.querySelector("canvas");
		const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
		const colors = new Map();
		for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] === 255) { const c = pixels[i] + "," + pixels[i + 1] + "," + pixels[i + 2]; colors.set(c, (colors.get(c) || 0) + 1); }
		const probe = document.body.appendChild(document.createElement("p"));
		probe.style.color = "var(--accent)";
		const accent = getComputedStyle(probe).color.match(/\d+/g).slice(0, 3).join(",");
		probe.remove();
		return [plot.id, colors.get(accent) || 0];
	}))`)
	for _, id := range []string{"latency-plot", "expiry-plot"} {
		if inked[id] < 200 {
			b.Errorf("chart %s has %d pixels of its bars", id, inked[id])
		}
	}
	if got := evaluate[int](b, `[...document.querySelectorAll("svg.chain")].filter((s) => s.getBoundingClientRect().width > 0).length`); got != 1 {
		b.Errorf("%d pictures of the chain are seen, not one", got)
	}
}

// fits holds that nothing but the tables has to be moved sideways.
func (b *browser) fits(width int64) {
	b.Helper()
	if got := evaluate[int64](b, `document.documentElement.scrollWidth`); got > width {
		b.Errorf("the page is %d wide on a screen of %d", got, width)
	}
}

// contrast holds each main text to WCAG's 4.5:1 by what the browser computed.
func (b *browser) contrast() {
	b.Helper()
	ratios := evaluate[map[string]float64](b, `(() => {
		const parse = (c) => c.match(/[\d.]+/g).map(Number);
		const lum = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
		const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
		const ratio = (e) => { const s = getComputedStyle(e); const svg = e instanceof SVGElement; const a = lum(parse(svg ? s.fill : s.color));
			const g = lum(svg ? parse(getComputedStyle(document.querySelector(".chain .box")).fill) : ground(e)); return (Math.max(a, g) + 0.05) / (Math.min(a, g) + 0.05); };
		const out = {};
		for (const s of ["h1", "h2", ".facts", ".eyebrow", "header nav a", ".headline", ".tile dt", ".tile .why", ".lead", ".count", ".cause dt", ".cause dd", ".cause bdi", "summary", "caption", "thead th button", "#rows th", "#rows td", ".state.failed", ".state.passed", ".check", "#found", ".hint", "footer p", "#theme", "#next", ".numbers dt", ".chain .role", ".chain .small", ".chain .life"]) {
			const e = document.querySelector(s); if (e) out[s] = ratio(e); }
		return out; })()`)
	if len(ratios) < 25 {
		b.Errorf("only %d texts were found", len(ratios))
	}
	for selector, ratio := range ratios {
		if !(ratio >= 4.5) {
			b.Errorf("%s has a contrast of %.2f, not 4.5", selector, ratio)
		}
	}
}

// axe runs axe-core's rules for WCAG 2.2 A and AA and its best practices.
func (b *browser) axe() {
	b.Helper()
	library, err := os.ReadFile("testdata/axe-core/axe.min.js")
	if err != nil {
		b.Fatal(err)
	}
	evaluate[int](b, string(library)+";0")
	type found struct {
		Violations []struct {
			ID, Impact, Help string
			Nodes            []string
		}
		Passes int
	}
	got := evaluate[found](b, `axe.run(document, {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then((r) => ({
		Passes: r.passes.length, Violations: r.violations.map((v) => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " " + n.failureSummary)}))}))`)
	if got.Passes < 20 {
		b.Errorf("axe found only %d rules to hold", got.Passes)
	}
	for _, v := range got.Violations {
		text, _ := json.Marshal(v.Nodes)
		b.Errorf("axe: %s (%s): %s: %s", v.ID, v.Impact, v.Help, text)
	}
}
