package source

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxDepth bounds nesting; the deepest objects of the Kubernetes API, JSON schemas in CRDs, stay below half of it.
const maxDepth = 100

// parseYAML reads every document of a file. values is what is left of the commit's allowance of values and is counted down, also for every
// use of an anchor, so that a few lines of aliases cannot grow into gigabytes.
func parseYAML(file string, data []byte, values *int) ([]Document, *ParseError) {
	if line := notUTF8(data); line > 0 {
		return nil, &ParseError{File: file, Line: line, Message: "a byte that is not UTF-8; save the file in that encoding, or put bytes into binaryData in base64"}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, &ParseError{File: file, Message: err.Error()}
	}
	var docs []Document
	for {
		var n yaml.Node
		switch err := loader.Load(&n); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, templated(syntaxError(file, data, err), data)
		}
		root := &n
		if root.Kind == yaml.DocumentNode {
			if len(root.Content) == 0 {
				continue
			}
			root = root.Content[0]
		}
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
			continue // nothing, or only comments, between two separators
		}
		c := converter{file: file, values: values}
		v, perr := c.convert(root, root.Line, 0)
		if perr != nil {
			return nil, templated(perr, data)
		}
		docs = append(docs, Document{File: file, Value: v, Line: root.Line, lines: c.lines})
	}
}

// notUTF8 is the first line with a byte that is no UTF-8, which the library finds without saying where; zero for none, and for UTF-16, which YAML allows too.
func notUTF8(data []byte) int {
	if utf8.Valid(data) || bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return 0
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if !utf8.Valid(text) {
			break
		}
	}
	return line
}

// syntaxError puts the library's finding at its place, with a remedy for the two mistakes that its words do not explain.
func syntaxError(file string, data []byte, err error) *ParseError {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return &ParseError{File: file, Message: err.Error()}
	}
	e := &ParseError{File: file, Line: le.Mark.Line, Column: le.Mark.Column, Message: le.Message}
	if le.ContextMsg != "" {
		e.Message += " " + le.ContextMsg
		if le.ContextMark.Line > 0 && le.ContextMark.Line != le.Mark.Line {
			e.Message += fmt.Sprintf(" that begins at line %d", le.ContextMark.Line)
		}
	}
	lines := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	if e.Line > len(lines) {
		// What is missing at the end is missed after the end, where no editor goes.
		e.Line, e.Column = len(lines), len(lines[len(lines)-1])+1
	}
	for i, text := range lines {
		switch {
		case bytes.HasPrefix(text, []byte("<<<<<<< ")):
			return &ParseError{File: file, Line: i + 1, Column: 1, Message: "a merge conflict was committed; resolve it"}
		case i+1 == e.Line && bytes.HasPrefix(bytes.TrimLeft(text, " "), []byte("\t")):
			e.Message, e.Column = "a tab cannot indent YAML; use spaces", bytes.IndexByte(text, '\t')+1
			return e
		}
	}
	return e
}

// templated says of an error on a line with {{ that the file is probably no manifest but what one is made of.
func templated(e *ParseError, data []byte) *ParseError {
	for n := 1; n < e.Line; n++ {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	if bytes.Contains(line, []byte("{{")) {
		e.Message += "; the line looks like a template's: have its tool write the manifest, make it a Helm chart, or keep the file out with .sourceignore"
	}
	return e
}

// converter turns YAML nodes into the values that JSON knows, and notes their lines.
type converter struct {
	file   string
	values *int
	lines  lineMap
}

func (c *converter) fail(n *yaml.Node, format string, args ...any) *ParseError {
	return &ParseError{File: c.file, Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...)}
}

func (c *converter) convert(n *yaml.Node, line, depth int) (any, *ParseError) {
	if depth > maxDepth {
		return nil, c.fail(n, "nested deeper than %d levels", maxDepth)
	}
	if *c.values--; *c.values < 0 {
		return nil, c.fail(n, "more than %d values in one commit, counting every use of an anchor; split the Application", maxValues)
	}
	if tag := n.ShortTag(); n.Kind == yaml.SequenceNode && tag != "!!seq" || n.Kind == yaml.MappingNode && tag != "!!map" {
		return nil, c.fail(n, "unknown tag %s; Kubernetes objects use only plain YAML", tag)
	}
	switch n.Kind {
	case yaml.AliasNode:
		*c.values++ // counted by the call below
		v, err := c.convert(n.Alias, line, depth+1)
		if err != nil && *c.values < 0 {
			err.Line, err.Column = n.Line, n.Column // it is the use that is too much, not what is used
		}
		return v, err
	case yaml.ScalarNode:
		c.lines = append(c.lines, int32(line))
		return c.scalar(n)
	case yaml.SequenceNode:
		c.lines = append(c.lines, int32(line))
		out := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			v, err := c.convert(item, item.Line, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.MappingNode:
		c.lines = append(c.lines, int32(line))
		fields, err := c.fields(n, depth)
		if err != nil {
			return nil, err
		}
		out := make(map[string]any, len(fields))
		for _, f := range fields {
			v, err := c.convert(f.value, f.line, depth+1)
			if err != nil {
				return nil, err
			}
			out[f.key] = v
		}
		return out, nil
	}
	return nil, c.fail(n, "unexpected YAML node")
}

type field struct {
	key   string
	value *yaml.Node
	line  int
}

// fields returns a mapping's fields in the order of their keys, with what merge keys (<<) bring in.
func (c *converter) fields(n *yaml.Node, depth int) ([]field, *ParseError) {
	if depth > maxDepth {
		return nil, c.fail(n, "nested deeper than %d levels", maxDepth)
	}
	seen := make(map[string]*field, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			return nil, c.fail(n.Content[i], "a map's key must be a plain value")
		}
		if k.ShortTag() == "!!merge" {
			merged = append(merged, v)
			continue
		}
		key, err := c.key(k)
		if err != nil {
			return nil, err
		}
		if first, dup := seen[key]; dup {
			return nil, c.fail(n.Content[i], "duplicate key %q, first at line %d", key, first.line)
		}
		seen[key] = &field{key: key, value: v, line: n.Content[i].Line}
	}
	for _, m := range merged {
		if err := c.merge(seen, m, depth); err != nil {
			return nil, err
		}
	}
	out := make([]field, 0, len(seen))
	for _, f := range seen {
		out = append(out, *f)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key < out[j].key })
	return out, nil
}

// merge adds the fields of a merge key's mapping, or of its mappings in order; a field that is already there wins.
func (c *converter) merge(into map[string]*field, n *yaml.Node, depth int) *ParseError {
	if *c.values--; *c.values < 0 {
		return c.fail(n, "more than %d values in one commit, counting every use of an anchor; split the Application", maxValues)
	}
	m := n
	if m.Kind == yaml.AliasNode {
		m = m.Alias
	}
	switch m.Kind {
	case yaml.SequenceNode:
		for _, item := range m.Content {
			if err := c.merge(into, item, depth+1); err != nil {
				return err
			}
		}
		return nil
	case yaml.MappingNode:
		fields, err := c.fields(m, depth+1)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if _, has := into[f.key]; !has {
				into[f.key] = &f
			}
		}
		return nil
	}
	return c.fail(n, "a merge key (<<) needs a map or a list of maps")
}

// key gives a map key the text that JSON would have, as kubectl does: 80: becomes "80", true: becomes "true".
func (c *converter) key(n *yaml.Node) (string, *ParseError) {
	v, err := c.scalar(n)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 32), nil
	}
	return "", c.fail(n, "a map's key must not be null")
}

// boolean11 are the booleans of YAML 1.1 that YAML 1.2 dropped. kubectl reads them as booleans, so a manifest that people already have may
// rely on it.
var boolean11 = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

func (c *converter) scalar(n *yaml.Node) (any, *ParseError) {
	switch tag := n.ShortTag(); tag {
	case "!!str":
		if n.Style == 0 {
			if b, ok := boolean11[n.Value]; ok {
				return b, nil
			}
		}
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!timestamp", "!!merge":
		return n.Value, nil
	case "!!binary":
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil || !utf8.Valid(b) {
			return nil, c.fail(n, "!!binary must be base64 of UTF-8 text here; use a Secret's data or a ConfigMap's binaryData with base64 in a plain string")
		}
		return string(b), nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, c.fail(n, "%q is no %s", n.Value, strings.TrimPrefix(tag, "!!"))
		}
		return c.number(n, v)
	default:
		return nil, c.fail(n, "unknown tag %s; Kubernetes objects use only plain YAML", tag)
	}
}

func (c *converter) number(n *yaml.Node, v any) (any, *ParseError) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case int:
		return int64(v), nil
	case int64:
		return v, nil
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, c.fail(n, "%s has no form in JSON, which the Kubernetes API speaks", n.Value)
		}
		return v, nil
	case time.Time, string:
		return n.Value, nil
	}
	return nil, c.fail(n, "%q cannot be read as a number", n.Value)
}
