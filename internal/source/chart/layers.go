package chart

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gitopsd/gitopsd/internal/source"
)

// layers are what the values of a chart and its dependencies are made of.
type layers struct {
	files map[string][]byte
	root  string
	given []layer // the topmost first
	own   map[string][]layer
}

// layer is one document of values: what each path sets, and at which line. One that cannot be read might set anything.
type layer struct {
	file       string
	sets       map[string]set
	unreadable bool
}

type set struct {
	value any
	line  int
}

func newLayers(files []source.File, root string, given []source.File) *layers {
	l := &layers{files: map[string][]byte{}, root: root, own: map[string][]layer{}}
	for _, f := range files {
		l.files[f.Path] = f.Data
	}
	for _, f := range slices.Backward(given) {
		l.given = append(l.given, layersIn(f)...)
	}
	return l
}

// layersIn are the documents of a values file, the last of them first.
func layersIn(f source.File) []layer {
	docs, err := source.Documents(f)
	if err != nil {
		return []layer{{unreadable: true}}
	}
	var out []layer
	for _, d := range slices.Backward(docs) {
		l := layer{file: f.Path, sets: map[string]set{}}
		d.Walk(func(path []string, value any, line int) { l.sets[joined(path)] = set{value, line} })
		out = append(out, l)
	}
	return out
}

func joined(path []string) string { return strings.Join(path, "\x00") }

// ofChart are the layers of a chart's own values.yaml; the chart is named by those that lead to it.
func (l *layers) ofChart(charts []string) []layer {
	dir := l.root
	for _, c := range charts {
		dir = path.Join(dir, "charts", c)
	}
	if known, ok := l.own[dir]; ok {
		return known
	}
	var out []layer
	if data, ok := l.files[path.Join(dir, "values.yaml")]; ok {
		out = layersIn(source.File{Path: path.Join(dir, "values.yaml"), Data: data})
	} else if _, ok := l.files[path.Join(dir, definition)]; !ok {
		out = []layer{{unreadable: true}} // it is in an archive, or goes by an alias
	}
	l.own[dir] = out
	return out
}

// find says where a value is set, and what it is there: in the topmost layer that says anything of it. There is no place where it is nowhere set, is taken away, or is set outside of files.
func (l *layers) find(charts, keys []string) (source.Place, any, bool) {
	depth := len(charts)
	if keys[0] == "global" { // what a chart sets for all goes before what its dependencies set
		depth = 0
	}
	for ; depth <= len(charts); depth++ {
		if p, v, known := findIn(l.given, slices.Concat(charts[:depth], keys)); known {
			return p, v, p.File != ""
		}
		for i := range depth + 1 {
			if p, v, known := findIn(l.ofChart(charts[:i]), slices.Concat(charts[i:depth], keys)); known {
				return p, v, p.File != ""
			}
		}
	}
	return source.Place{}, nil, false
}

// findIn is known when one of the layers says something of the path: with a place, that it sets it.
func findIn(all []layer, path []string) (p source.Place, value any, known bool) {
	for _, l := range all {
		if s, known := l.says(path); known {
			if s.value != nil {
				p = source.Place{File: l.file, Line: s.line}
			}
			return p, s.value, true
		}
	}
	return p, nil, false
}

// says is known unless the layer leaves the path to those below it. Maps are merged with theirs, and nothing else is; a null takes away what they have.
func (l layer) says(path []string) (s set, known bool) {
	if l.unreadable {
		return set{}, true
	}
	for n, key := range path {
		switch v := l.sets[joined(path[:n])].value.(type) {
		case map[string]any:
			if _, has := v[key]; !has {
				return set{}, false
			}
		case []any:
		default:
			return set{}, true
		}
	}
	return l.sets[joined(path)], true
}

// placed says for the lines of a rendered file where their values are set, as far as the value there is the one that is in the file.
func (l *layers) placed(name, text string, fills []fill, refs []reference) map[int]source.Place {
	docs, err := source.Documents(source.File{Path: name, Data: []byte(text)})
	if err != nil {
		return nil // which is told when the file is read for good
	}
	at := map[int]*occurrence{}
	for _, f := range fills {
		o := &occurrence{reference: refs[f.ref], item: -1}
		above, isBlock := f.block()
		switch {
		case f.one():
			o.scalar, o.above = true, f.from
			at[f.from] = o
		case isBlock:
			o.above = above
			for line := above + 1; line <= f.to; line++ {
				at[line] = o
			}
			if above == f.from && holder.MatchString(f.before) {
				at[above] = o
			}
		}
	}
	out := map[int]source.Place{}
	for _, d := range docs {
		var lines []int // of the value and all that hold it
		d.Walk(func(path []string, value any, line int) {
			lines = append(lines[:len(path)], line)
			o := at[line]
			if o == nil {
				return
			}
			var below []string
			if line > o.above {
				below = o.below(path, lines)
			}
			if _, isMap := value.(map[string]any); isMap && o.scalar {
				return
			}
			if p, v, ok := l.find(o.charts, slices.Concat(o.keys, below)); ok && same(value, v) {
				out[line] = p
			} else {
				delete(out, line)
			}
		})
	}
	return out
}

// occurrence is a value in a rendered file.
type occurrence struct {
	reference
	scalar bool
	// above is the last line before those that are the value's alone.
	above int
	// item is the number that the first of the value's items has in a list that has others before it; -1 until it is seen.
	item int
}

// below is the path within the value.
func (o *occurrence) below(path []string, lines []int) []string {
	holders := 0
	for holders < len(lines) && lines[holders] <= o.above {
		holders++
	}
	out := slices.Clone(path[max(holders-1, 0):])
	if len(out) == 0 || holders == 0 {
		return out
	}
	if n, err := strconv.Atoi(strings.Trim(out[0], "[]")); err == nil && out[0][0] == '[' {
		if o.item < 0 {
			o.item = n
		}
		out[0] = fmt.Sprintf("[%d]", n-o.item)
	}
	return out
}

// same says whether a field has a value that is set, perhaps as text.
func same(have, set any) bool {
	if reflect.DeepEqual(have, set) {
		return true
	}
	switch have.(type) {
	case string, bool, int64, float64:
	default:
		return false
	}
	switch set.(type) {
	case string, bool, int64, float64:
		return fmt.Sprint(have) == fmt.Sprint(set)
	}
	return false
}
