package report

import (
	"fmt"
	"strings"
	"time"
)

// Sizes of the chain's picture, in its own units: one is a CSS pixel where the
// picture is not made smaller.
const (
	boxWidth  = 318
	boxHeight = 166
	boxGap    = 66
	lineWidth = 38 // letters that a line of a box holds
)

// picture is the chain as boxes and arrows: from left to right, or on narrow
// screens from top to bottom.
type picture struct {
	Tall          bool
	Width, Height int
	Boxes         []box
	Arrows        []arrow
	Label         string
}

type box struct {
	X, Y                  int
	Role, Name, Rest      string // the first part of the subject, and the others
	Print1, Print2        string // the fingerprint, in two lines
	Dates, Life, LifeKind string
}

type arrow struct {
	Path, Head string // SVG paths
	X, Y       int    // of its words
}

func pictureOf(chain []Certificate, now time.Time, tall bool) picture {
	n := len(chain)
	p := picture{Tall: tall, Width: n*boxWidth + (n-1)*boxGap, Height: boxHeight}
	if tall {
		p.Width, p.Height = boxWidth, n*boxHeight+(n-1)*boxGap
	}
	var said []string
	for i, c := range chain {
		b := boxOf(c, now)
		b.X, b.Y = i*(boxWidth+boxGap), 0
		if tall {
			b.X, b.Y = 0, i*(boxHeight+boxGap)
		}
		p.Boxes = append(p.Boxes, b)
		if i < n-1 {
			p.Arrows = append(p.Arrows, arrowFrom(b, tall))
		}
		said = append(said, c.Role+" "+c.Subject+", "+life(c, now))
	}
	p.Label = "The server's chain: " + strings.Join(said, "; signed by ") + "."
	return p
}

func boxOf(c Certificate, now time.Time) box {
	name, rest, _ := strings.Cut(c.Subject, ",")
	b := box{
		Role: c.Role, Name: cut(name, lineWidth), Rest: cut(rest, lineWidth+2),
		Dates: date(c.NotBefore) + " to " + date(c.NotAfter), Life: life(c, now), LifeKind: lifeKind(c, now),
	}
	digits := plainPrint(c.Fingerprint)
	half := (len(digits) + 1) / 2
	b.Print1, b.Print2 = spaced(digits[:half]), spaced(digits[half:])
	return b
}

// spaced puts a blank after every eight digits, to compare by eye.
func spaced(digits string) string {
	var out strings.Builder
	for i, c := range digits {
		if i > 0 && i%8 == 0 {
			out.WriteByte(' ')
		}
		out.WriteRune(c)
	}
	return out.String()
}

// arrowFrom leads out of a box, to the right or down.
func arrowFrom(b box, tall bool) arrow {
	if tall {
		x, y := b.X+boxWidth/2, b.Y+boxHeight
		return arrow{
			Path: fmt.Sprintf("M%d %dv%d", x, y+4, boxGap-14),
			Head: fmt.Sprintf("M%d %dl-6 -9h12z", x, y+boxGap-3),
			X:    x + 42, Y: y + boxGap/2 + 3,
		}
	}
	x, y := b.X+boxWidth, b.Y+boxHeight/2
	return arrow{
		Path: fmt.Sprintf("M%d %dh%d", x+4, y, boxGap-14),
		Head: fmt.Sprintf("M%d %dl-9 -6v12z", x+boxGap-3, y),
		X:    x + boxGap/2, Y: y - 12,
	}
}
