package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// yamlItem is a device in YAML. Spots are in places.
type yamlItem struct {
	text         []byte
	line, indent int      // of its hyphen
	places       [][2]int // line and column in the item
	draft        draft
}

// locate finds a spot in the file. The library counts columns in characters.
func (o *yamlItem) locate(spot int) (line, column int) {
	line, column = o.places[spot][0], o.places[spot][1]
	text := o.text
	for range line - 1 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	characters := bytes.Runes(text[:min(len(text), utf8.UTFMax*column)])
	return o.line + line - 1, len(string(characters[:min(len(characters), column-1)])) + 1
}

// spot is the spot of a place in the item.
func (o *yamlItem) spot(place *token.Position) int {
	o.places = append(o.places, [2]int{place.Line, max(place.Column, 1)})
	return len(o.places) - 1
}

func (o *yamlItem) nodeSpot(node ast.Node) int {
	if t := node.GetToken(); t != nil && t.Position != nil {
		return o.spot(t.Position)
	}
	return 0
}

// maxDepth is how deep an item may be nested: the library takes time with the
// square of it.
const maxDepth = 200

// read takes the device.
func (o *yamlItem) read(ctx context.Context, m *manifest) error {
	if o.draft.manifest != m {
		o.draft = draft{manifest: m, locate: o.locate}
	}
	o.places = append(o.places[:0], [2]int{1, o.indent + 1})
	d := &o.draft
	d.begin()
	if bad := invalidUTF8(o.text); bad >= 0 {
		line, column := (&jsonObject{raw: o.text, line: o.line, column: 1}).locate(bad)
		m.fail(line, column, notUTF8)
		return nil
	}
	if depthOf(o.text) > maxDepth || bytes.Contains(o.text, bytes.Repeat([]byte("- "), maxDepth)) {
		d.fail(0, fmt.Sprintf("the device is nested deeper than %d", maxDepth))
		return nil
	}
	body, problem, spot := o.parse()
	if problem != "" {
		d.fail(spot, problem)
		return nil
	}
	pairs, ok := mappingOf(body)
	if !ok {
		d.fail(0, "a device is wanted here, which is a mapping such as name: meter-1")
		return nil
	}
	o.fields(pairs)
	return d.end(ctx)
}

// parse parses the item; it says what is wrong with it, and where.
func (o *yamlItem) parse() (body ast.Node, problem string, spot int) {
	file, err := parser.ParseBytes(o.text, 0)
	var wrong yaml.Error
	switch {
	case errors.As(err, &wrong) && wrong.GetToken() != nil && wrong.GetToken().Position != nil:
		// The error itself would show the lines, and a token in them.
		return nil, "this is not YAML: " + wrong.GetMessage(), o.spot(wrong.GetToken().Position)
	case err != nil:
		return nil, "this is not YAML", 0
	case len(file.Docs) != 1:
		return nil, "the device has the mark of another document in it", 0
	}
	return file.Docs[0].Body, "", 0
}

// depthOf is how many brackets are open at most.
func depthOf(text []byte) (most int) {
	depth := 0
	for _, b := range text {
		switch b {
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth--
		}
	}
	return most
}

// mappingOf are the pairs of a mapping.
func mappingOf(node ast.Node) (pairs []*ast.MappingValueNode, ok bool) {
	switch node := node.(type) {
	case *ast.MappingNode:
		return node.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{node}, true
	default:
		return nil, false
	}
}

func (o *yamlItem) fields(pairs []*ast.MappingValueNode) {
	d := &o.draft
	for _, pair := range pairs {
		key, at := keyOf(pair), o.nodeSpot(pair.Key)
		switch c := d.columnOf(key); c {
		case columnUnknown:
			d.fail(at, fmt.Sprintf("field %s is unknown; the fields are %s", quote(key), knownFields()))
		case columnFailure: // whatever it says
		case columnServer, columnShared:
			if pair.Value.Type() != ast.NullType && d.take(c, at) {
				o.attributes(c, pair.Value)
			}
		default:
			o.field(c, pair.Value)
		}
	}
}

// keyOf is the key of a pair.
func keyOf(pair *ast.MappingValueNode) string {
	if t := pair.Key.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

// field takes a field that is no attributes. A number is taken as it is written,
// for it is meant as a text: 0012 is a name.
func (o *yamlItem) field(c column, value ast.Node) {
	spot := o.nodeSpot(value)
	switch node := value.(type) {
	case *ast.NullNode:
	case *ast.StringNode:
		o.draft.text(c, node.Value, spot)
	case *ast.LiteralNode:
		o.draft.text(c, node.Value.Value, spot)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		o.draft.text(c, node.GetToken().Value, spot)
	default:
		o.draft.fail(spot, fmt.Sprintf("the %s must be a text, and is %s", c, yamlKind(value)))
	}
}

// yamlKind is what a value is that is no scalar.
func yamlKind(node ast.Node) string {
	switch node.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType:
		return "an anchor or an alias, which is not taken: write the value itself"
	case ast.TagType:
		return "a value with a tag, which is not taken: write the value itself"
	default:
		return "something else"
	}
}

// attributes takes the attributes in a mapping.
func (o *yamlItem) attributes(c column, value ast.Node) {
	pairs, ok := mappingOf(value)
	if !ok {
		o.draft.fail(o.nodeSpot(value), fmt.Sprintf("the %s must be a mapping", c))
		return
	}
	for _, pair := range pairs {
		key, at := keyOf(pair), o.nodeSpot(pair.Key)
		text, problem := jsonOf(pair.Value)
		if problem == "" {
			problem = attributeProblem(key, text)
		}
		if problem != "" {
			o.draft.fail(at, problem)
			continue
		}
		o.draft.attribute(scopeOf(c), key, text, at)
	}
}

// jsonOf is a value as compact JSON.
func jsonOf(node ast.Node) (text json.RawMessage, problem string) {
	switch node := node.(type) {
	case *ast.NullNode:
		return json.RawMessage("null"), ""
	case *ast.StringNode:
		return textValue(node.Value), ""
	case *ast.LiteralNode:
		return textValue(node.Value.Value), ""
	case *ast.BoolNode:
		return json.RawMessage(fmt.Sprint(node.Value)), ""
	case *ast.IntegerNode:
		return json.RawMessage(fmt.Sprint(node.Value)), ""
	case *ast.FloatNode:
		text, err := json.Marshal(node.Value)
		return text, problemOf(err)
	case *ast.SequenceNode:
		return jsonList(node)
	}
	if pairs, ok := mappingOf(node); ok {
		return jsonMapping(pairs)
	}
	return nil, "the value is " + yamlKind(node)
}

func jsonList(node *ast.SequenceNode) (text json.RawMessage, problem string) {
	var values [][]byte
	for _, value := range node.Values {
		text, problem := jsonOf(value)
		if problem != "" {
			return nil, problem
		}
		values = append(values, text)
	}
	return slices.Concat([]byte("["), bytes.Join(values, []byte(",")), []byte("]")), ""
}

func jsonMapping(pairs []*ast.MappingValueNode) (text json.RawMessage, problem string) {
	var members [][]byte
	for _, pair := range pairs {
		text, problem := jsonOf(pair.Value)
		if problem != "" {
			return nil, problem
		}
		members = append(members, slices.Concat(textValue(keyOf(pair)), []byte(":"), text))
	}
	return slices.Concat([]byte("{"), bytes.Join(members, []byte(",")), []byte("}")), ""
}
