package static

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// lines finds the line of a field, written as the API writes it: spec.containers[0].image. A field that is not there has the line of the closest one around it.
type lines struct{ root *yaml.Node }

func (l lines) of(path string) int {
	n := l.root
	line := n.Line
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		child, at := below(n, part)
		if child == nil {
			break
		}
		n, line = child, at
	}
	return line
}

// below gives the value of a key or the item of an index, and its line: a value has that of its key.
func below(n *yaml.Node, part string) (*yaml.Node, int) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == part {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(part); err == nil && i < len(n.Content) {
			return n.Content[i], n.Content[i].Line
		}
	}
	return nil, 0
}

// twice finds a key that its map has already.
func twice(n *yaml.Node) *yaml.Node {
	keys := map[string]bool{}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if keys[c.Value] {
				return c
			}
			keys[c.Value] = true
		}
		if found := twice(c); found != nil {
			return found
		}
	}
	return nil
}

// pathAt gives the path of the value that ends at or spans an offset of a JSON text, which is how its decoder tells of a value of the wrong type.
func pathAt(text []byte, offset int64) string {
	d := json.NewDecoder(bytes.NewReader(text))
	return walk(d, "", offset)
}

// walk reads one value and gives the path of what lies at offset in it; empty if it lies behind.
func walk(d *json.Decoder, at string, offset int64) string {
	t, err := d.Token()
	if err != nil {
		return at
	}
	switch t {
	case json.Delim('{'):
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return at
			}
			if found := walk(d, strings.TrimPrefix(fmt.Sprintf("%s.%v", at, key), "."), offset); found != "" {
				return found
			}
		}
		d.Token()
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			if found := walk(d, fmt.Sprintf("%s[%d]", at, i), offset); found != "" {
				return found
			}
		}
		d.Token()
	}
	if d.InputOffset() >= offset {
		return at
	}
	return ""
}
