package kustomize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitopsd/gitopsd/internal/source"
)

// patch is one patch of a kustomization, kept to tell which of its lines set a field.
type patch struct {
	// field is where the kustomization names it.
	field  string
	target *types.Selector
	// docs are a strategic merge patch, one for each object; operations a JSON patch.
	docs       []source.Document
	operations []operation
}

// operation is one step of a JSON patch.
type operation struct {
	path  string
	value any
	file  string
	line  int
}

// patches reads the patches of a kustomization.
func (g *gatherer) patches(at place, dir string, f *folder) error {
	k := &f.kustomization
	for i, p := range k.Patches {
		if err := g.patch(at, dir, f, fmt.Sprintf("patches[%d]", i), p.Path, p.Patch, p.Target); err != nil {
			return err
		}
	}
	//lint:ignore SA1019 repositories have it
	for i, p := range k.PatchesJson6902 {
		if err := g.patch(at, dir, f, fmt.Sprintf("patchesJson6902[%d]", i), p.Path, p.Patch, p.Target); err != nil {
			return err
		}
	}
	//lint:ignore SA1019 repositories have it
	for i, p := range k.PatchesStrategicMerge {
		file, inline := string(p), ""
		if info, err := stat(at.tree, path.Join(dir, file)); err != nil || !info.Mode().IsRegular() {
			if strings.ContainsAny(file, "\n:{") {
				file, inline = "", file
			}
		}
		if err := g.patch(at, dir, f, fmt.Sprintf("patchesStrategicMerge[%d]", i), file, inline, nil); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) patch(at place, dir string, f *folder, field, file, inline string, target *types.Selector) error {
	p := patch{field: field, target: target}
	text := source.File{Path: f.shown, Data: []byte(inline)}
	shift := func(line int) int { return line }
	if file != "" {
		local := path.Join(dir, file)
		before := len(g.errs)
		if err := g.file(at, f, field+".path", local, false); err != nil || len(g.errs) > before {
			return err
		}
		data, err := fs.ReadFile(at.tree, local)
		if err != nil {
			return g.collect(err)
		}
		text = source.File{Path: at.name(local), Data: data}
	} else {
		// The text of a block scalar begins a line below its key; what is written in another way is taken to be on that line.
		key := f.doc.At(field + ".patch")
		block := key > 0 && key <= len(f.text) && blockScalar.MatchString(f.text[key-1])
		shift = func(line int) int {
			if block {
				return key + line
			}
			return key
		}
	}
	docs, err := source.Documents(text)
	if err != nil {
		var all source.ParseErrors
		if errors.As(err, &all) && file == "" {
			for _, e := range all {
				e.Line, e.Column = shift(e.Line), 0
			}
		}
		return g.collect(err)
	}
	for _, d := range docs {
		list, ok := d.Value.([]any)
		if !ok {
			p.docs = append(p.docs, d.Shifted(shift))
			continue
		}
		for i, v := range list {
			op, _ := v.(map[string]any)
			to, _ := op["path"].(string)
			if value, sets := op["value"]; sets && to != "" {
				p.operations = append(p.operations, operation{path: to, value: value, file: d.File, line: shift(d.At(fmt.Sprintf("[%d]", i)))})
			}
		}
	}
	f.patches = append(f.patches, p)
	return nil
}

// blockScalar matches a line that ends by opening a block of text.
var blockScalar = regexp.MustCompile(`[|>][-+0-9]*\s*(#.*)?$`)

// layersOf are the patches of a kustomization that are for an object, given as it was before and as it is now.
func (f *folder) layersOf(before, now map[string]any) []source.Layer {
	var out []source.Layer
	for _, p := range f.patches {
		if p.target != nil && !selected(p.target, before) && !selected(p.target, now) {
			continue
		}
		for _, d := range p.docs {
			content, _ := d.Value.(map[string]any)
			if p.target == nil && !sameObject(content, before) && !sameObject(content, now) {
				continue
			}
			out = append(out, merge{d})
		}
		for _, op := range p.operations {
			out = append(out, op)
		}
	}
	return out
}

// merge is a strategic merge patch for one object. What it says to name the object is not what it sets.
type merge struct{ source.Document }

func (m merge) Place(field string, value any) (string, int, bool) {
	switch field {
	case "apiVersion", "kind", "metadata.name":
		return "", 0, false
	}
	return m.Document.Place(field, value)
}

// selected says whether a target chooses an object. Labels, annotations and namespaces are left to kustomize: a patch that is taken for one too many only counts
// where it has set just the value that is there.
func selected(s *types.Selector, content map[string]any) bool {
	kind, name := identify(content)
	return anchored(s.Kind, kind) && anchored(s.Name, name)
}

func anchored(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	return err == nil && re.MatchString(text)
}

func sameObject(a, b map[string]any) bool {
	ak, an := identify(a)
	bk, bn := identify(b)
	return ak == bk && an == bn
}

func identify(content map[string]any) (kind, name string) {
	kind, _ = content["kind"].(string)
	meta, _ := content["metadata"].(map[string]any)
	name, _ = meta["name"].(string)
	return kind, name
}

// Place makes an operation of a JSON patch a source.Layer. It sets its own path, and what is below in its value.
func (o operation) Place(field string, value any) (string, int, bool) {
	at := ""
	for _, part := range strings.Split(strings.TrimPrefix(o.path, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		if _, err := strconv.Atoi(part); err == nil {
			at += "[" + part + "]"
		} else if at == "" {
			at = part
		} else {
			at += "." + part
		}
	}
	rest, ok := strings.CutPrefix(field, at)
	if !ok {
		return "", 0, false
	}
	v := o.value
	if rest != "" {
		if v, ok = (source.Document{Value: o.value}).Field(rest); !ok {
			return "", 0, false
		}
	}
	return o.file, o.line, equal(v, value)
}

// equal compares values as the API would: a number is a number.
func equal(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && string(x) == string(y)
}
