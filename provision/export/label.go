package export

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"

	"github.com/tbcert/tbcert/provision"
)

// labelSchema is the schema of what a label's code holds.
const labelSchema = "tbcert.label/v1"

// A labelText is what the code on a label holds. A label is made to be seen, and
// stays on the device for its life: so it holds no token, no password and no key,
// which whoever takes a picture of it would have, and which would be wrong after
// the next rotation.
type labelText struct {
	Schema string `json:"schema"`
	Device string `json:"device"`
	Host   string `json:"host"`
	Port   int    `json:"port"`
}

// The measures of a label, in modules of the code but for moduleDots.
const (
	quietZone  = 4  // ISO/IEC 18004, 6.3.8
	moduleDots = 10 // dots of the PNG a module
	textHeight = 4
)

// label draws the code twice.
func (p *page) label() ([]provision.File, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(labelText{labelSchema, p.Device, p.Host, p.Port}); err != nil {
		return nil, err
	}
	code, err := qr.Encode(strings.TrimSuffix(text.String(), "\n"), qr.M, qr.Unicode)
	if err != nil {
		return nil, fmt.Errorf("draw the code: %w", err)
	}
	bitmap, err := labelPNG(code)
	if err != nil {
		return nil, fmt.Errorf("draw the code: %w", err)
	}
	vector, err := labelSVG(code, p.Device)
	if err != nil {
		return nil, fmt.Errorf("draw the code: %w", err)
	}
	return []provision.File{{Name: "label.png", Data: bitmap}, {Name: "label.svg", Data: vector}}, nil
}

// isDark reports whether a module is dark.
func isDark(code barcode.Barcode, x, y int) bool {
	red, _, _, _ := code.At(x, y).RGBA()
	return red == 0
}

func labelPNG(code barcode.Barcode) ([]byte, error) {
	size := code.Bounds().Dx()
	side := (size + 2*quietZone) * moduleDots
	picture := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	for y := range side {
		for x := range side {
			column, row := x/moduleDots-quietZone, y/moduleDots-quietZone
			if column >= 0 && row >= 0 && column < size && row < size && isDark(code, column, row) {
				picture.SetColorIndex(x, y, 1)
			}
		}
	}
	var out bytes.Buffer
	err := png.Encode(&out, picture)
	return out.Bytes(), err
}

// labelSVG draws the code with the device's name below it.
func labelSVG(code barcode.Barcode, name string) ([]byte, error) {
	size := code.Bounds().Dx()
	side := size + 2*quietZone
	var path, escaped strings.Builder
	for y := range size {
		for x := range size {
			if isDark(code, x, y) {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quietZone, y+quietZone)
			}
		}
	}
	if err := xml.EscapeText(&escaped, []byte(name)); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%dmm" height="%dmm">
<rect width="100%%" height="100%%" fill="#fff"/>
<path shape-rendering="crispEdges" d="%s"/>
<text x="%g" y="%d" font-family="sans-serif" font-size="3" text-anchor="middle" textLength="%d" lengthAdjust="spacingAndGlyphs">%s</text>
</svg>
`, side, side+textHeight, side, side+textHeight, path.String(), float64(side)/2, side, textLength(name, size), escaped.String())
	return out.Bytes(), nil
}

// textLength keeps a long name as wide as the code, and a short one about as
// wide as it is.
func textLength(name string, size int) int {
	return min(size, 2*len([]rune(name)))
}
