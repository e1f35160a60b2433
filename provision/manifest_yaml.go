package provision

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
)

// yamlManifest is a list in YAML that is being read, an item at a time. An item
// goes from its hyphen to the next that stands as far in, for everything else of
// it stands further in.
type yamlManifest struct {
	*manifest
	lines   textLines
	wrapped bool // devices: was there
	indent  int  // of the hyphens; -1 before the first
	begun   int  // the line of the item's hyphen
	long    bool // the item is too long
	item    yamlItem
}

// maxItem is the longest item, in bytes: the library takes time with the square
// of the number of its fields.
const maxItem = 64 << 10

const wantList = "a manifest in YAML is a list with a hyphen before each device, which may stand below devices:"

func (m *manifest) readYAML(ctx context.Context, text *bufio.Reader) error {
	y := &yamlManifest{manifest: m, lines: textLines{in: text}, indent: -1}
	for {
		line, err := y.lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return y.end(ctx)
		case errors.Is(err, errRowTooLong):
			y.long = true
			continue
		case err != nil:
			return m.broken(err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err := y.take(ctx, line); err != nil {
			return err
		}
	}
}

// take takes a line.
func (y *yamlManifest) take(ctx context.Context, line []byte) error {
	content := bytes.TrimLeft(line, " ")
	in := len(line) - len(content)
	content = bytes.TrimRight(content, " \t\r\n")
	switch {
	case isHyphen(content) && (y.indent < 0 || in == y.indent):
		if err := y.end(ctx); err != nil {
			return err
		}
		y.indent, y.begun = in, y.lines.number
		line[in] = ' ' // the item alone
	case len(content) == 0, content[0] == '#', y.begun > 0 && in > y.indent:
	default:
		return y.around(ctx, in, string(content))
	}
	if y.begun > 0 && !y.long {
		y.item.text = append(y.item.text, line...)
		y.long = len(y.item.text) > maxItem
	}
	return nil
}

// isHyphen reports whether an item begins.
func isHyphen(content []byte) bool {
	return string(content) == "-" || bytes.HasPrefix(content, []byte("- ")) || bytes.HasPrefix(content, []byte("-\t"))
}

// around takes a line that is not of the list.
func (y *yamlManifest) around(ctx context.Context, in int, content string) error {
	if y.indent < 0 {
		name, rest, _ := bytes.Cut([]byte(content), []byte(":"))
		rest = bytes.TrimSpace(rest)
		switch {
		case content == "---" && in == 0:
			return nil
		case string(name) == "devices" && in == 0 && !y.wrapped && (len(rest) == 0 || rest[0] == '#'):
			y.wrapped = true
			return nil
		}
		return y.problem(y.lines.number, in+1, wantList)
	}
	if err := y.end(ctx); err != nil || content == "..." {
		return err
	}
	return y.problem(y.lines.number, in+1, "this is not part of the list of devices, and nothing else may follow it")
}

// end takes the item that was read, if there is one.
func (y *yamlManifest) end(ctx context.Context) error {
	o := &y.item
	defer func() { o.text, y.begun, y.long = o.text[:0], 0, false }()
	switch {
	case y.begun == 0 && y.long:
		return y.problem(1, 1, wantList)
	case y.begun == 0:
		return nil
	}
	y.rows++
	if y.long {
		y.fail(y.begun, y.indent+1, "the device is longer than 64 KiB, which is the most in YAML")
		return nil
	}
	o.line, o.indent = y.begun, y.indent
	return o.read(ctx, y.manifest)
}
