package ui

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progressAfter is how many things to do are worth a progress bar.
const progressAfter = 50

// redraws of a bar a second, and how wide it is.
const (
	redraw   = 200 * time.Millisecond
	barWidth = 30
)

// A Progress shows how far long work has come: a bar on stderr with what is done,
// the rate, the time that is left and the failures. Its methods may be called by
// many goroutines.
type Progress struct {
	ui     *UI
	all    *mpb.Progress // nil: nothing is shown
	bar    *mpb.Bar
	failed atomic.Int64
}

// Progress begins a bar for total things; what they are, such as "devices",
// stands beside it. Nothing is shown where stderr is no terminal, with -q, and
// for a few things. While it is there, all else that goes to a terminal is
// written above it. It has to be ended.
func (u *UI) Progress(what string, total int) *Progress {
	p := &Progress{ui: u}
	if u.options.Quiet || total < progressAfter || !isTerminal(u.streams.Err) {
		return p
	}
	p.all = mpb.New(mpb.WithOutput(u.streams.Err), mpb.WithRefreshRate(redraw), mpb.WithWidth(barWidth))
	p.bar = p.all.New(int64(total), mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d "+what)),
		mpb.AppendDecorators(
			decor.Percentage(decor.WC{W: 4}),
			decor.AverageSpeed(0, "  %.0f/s"),
			decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO), decor.Name(" left"),
			decor.Any(func(decor.Statistics) string {
				if n := p.failed.Load(); n > 0 {
					return fmt.Sprintf("  %d failed", n)
				}
				return ""
			}),
		))
	u.mu.Lock()
	defer u.mu.Unlock()
	u.above = p.all
	return p
}

// Done says that one more is done.
func (p *Progress) Done(ok bool) {
	if !ok {
		p.failed.Add(1)
	}
	if p.bar != nil {
		p.bar.Increment()
	}
}

// End takes the bar away.
func (p *Progress) End() {
	if p.all == nil {
		return
	}
	p.ui.mu.Lock()
	p.ui.above = nil
	p.ui.mu.Unlock()
	p.bar.Abort(true)
	p.all.Wait()
}

// target is where something for w is written: above the progress bar, when there
// is one and w is a terminal. It needs the lock.
func (u *UI) target(w io.Writer) io.Writer {
	if u.above != nil && isTerminal(w) {
		return u.above
	}
	return w
}
