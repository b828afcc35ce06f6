package source

import (
	"fmt"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/directive"
)

// Bounds on one commit's folder. They are far above what people keep in one Application and far below what would hurt the control plane.
const (
	maxFileBytes  = 16 << 20
	maxTotalBytes = 128 << 20
	maxFiles      = 20_000
	maxObjects    = 20_000
	// MaxBytes bounds the files of one Application together.
	MaxBytes  = maxTotalBytes
	maxValues = 2_000_000
)

// From says what Parse cannot see in the files.
type From struct {
	// Repo is the URL without credentials, and Commit the full hash; both end up in each Origin.
	Repo, Commit string
	// DefaultNamespace is where objects without metadata.namespace go; two objects that differ only in naming it are duplicates.
	DefaultNamespace string
	// Omit says which objects of rendered files are left out; nil for none.
	Omit func(content map[string]any) bool
}

// Parse turns the files of a commit into objects, in the order of the files and of the documents in them. Files that are no manifests
// (see IsManifest) are not to be given. The error, a ParseErrors, names every place that is wrong; then there are no objects, because a
// commit is applied whole or not at all.
func Parse(files []File, from From) ([]*Object, error) {
	p := parser{from: from, values: maxValues, seen: map[identity]*Object{}}
	charts := chartsAmong(files)
	for _, f := range files {
		if !charts.hold(f.Path) {
			p.file(f)
		}
	}
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	return p.objects, nil
}

// IsManifest says whether plain mode reads the file: *.yaml, *.yml and *.json, but nothing hidden.
func IsManifest(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(path.Base(name), ".")
	}
	return false
}

// concerns says whether a file is a manifest, or says that the folder is not one of plain manifests.
func concerns(name string) bool { return path.Base(name) == ChartFile || IsManifest(name) }

// ChartFile is the file by whose presence a folder is a Helm chart.
const ChartFile = "Chart.yaml"

// folders is a set of them.
type folders map[string]bool

// chartsAmong are the folders of charts. That they are there is all that is to be said of them: their templates and values are no manifests.
func chartsAmong(files []File) folders {
	out := folders{}
	for _, f := range files {
		if path.Base(f.Path) == ChartFile {
			out[path.Dir(f.Path)] = true
		}
	}
	return out
}

// hold says whether a file is in one of the folders, or below it, and is not itself what makes the outermost of them a chart.
func (s folders) hold(file string) bool {
	if len(s) == 0 {
		return false
	}
	dir := path.Dir(file)
	if path.Base(file) == ChartFile {
		dir = above(dir)
	}
	for ; dir != ""; dir = above(dir) {
		if s[dir] {
			return true
		}
	}
	return false
}

// above is the folder that a folder is in, and nothing for the root.
func above(dir string) string {
	if dir == "." || dir == "/" {
		return ""
	}
	return path.Dir(dir)
}

// identity is what makes two objects the same one; the version of the API that was used to write it does not.
type identity struct {
	schema.GroupKind
	namespace, name string
}

type parser struct {
	from From
	// values is what is left of the commit's allowance of them; no file took more of it than greedy, which took most.
	values  int
	most    int
	greedy  string
	seen    map[identity]*Object
	objects []*Object
	errs    ParseErrors
}

func (p *parser) failf(file string, line int, format string, args ...any) {
	p.errs = append(p.errs, &ParseError{File: file, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (p *parser) file(f File) {
	if path.Base(f.Path) == ChartFile {
		p.failf(f.Path, 0, "a Helm chart among plain manifests; make it an Application of its own, whose spec.source.path is the chart's folder")
		return
	}
	if p.values < 0 {
		return // what used the allowance up is told already, and this file is not to be blamed for it
	}
	left := p.values
	docs, err := documents(f, &p.values)
	if took := left - p.values; took > p.most {
		p.most, p.greedy = took, f.Path
	}
	if err != nil {
		if p.values < 0 && p.greedy != f.Path {
			err.Message += fmt.Sprintf("; %s has %d of them, the most", p.greedy, p.most)
		}
		if f.Rendered && err.Line > 0 {
			err = &ParseError{File: err.File, Line: f.line(err.Line), Message: fmt.Sprintf("line %d of what the template makes: %s", err.Line, err.Message)}
		}
		p.errs = append(p.errs, err)
		return
	}
	for _, d := range docs {
		if f.Rendered {
			if content, ok := d.Value.(map[string]any); d.Value == nil || ok && (len(content) == 0 || p.from.Omit != nil && p.from.Omit(content)) {
				continue
			}
		}
		for _, item := range d.Items() {
			if f.Rendered {
				item = item.renderedFrom(f)
			}
			p.document(item)
		}
	}
}

func (p *parser) document(d Document) {
	content, ok := d.Value.(map[string]any)
	if !ok {
		p.failf(d.File, d.Line, "expected a Kubernetes object, found %s; keep other files out with .sourceignore, or hide them with a leading dot", typeName(d.Value))
		return
	}
	o := &Object{
		Content: content,
		Origin:  p.origin(d),
		written: d,
	}
	if p.complete(o) {
		p.add(o)
	}
}

func (p *parser) origin(d Document) v1alpha1.Origin {
	return v1alpha1.Origin{Repo: p.from.Repo, Commit: p.from.Commit, File: d.File, Line: d.Line}
}

// complete says whether the object has what identifies it, in the right types.
func (p *parser) complete(o *Object) bool {
	file, line := o.Origin.File, o.Origin.Line
	switch {
	case text(o.Content["apiVersion"]) == "" && text(o.Content["kind"]) == "":
		p.failf(file, line, "not a Kubernetes object: apiVersion and kind are missing; keep other files out with .sourceignore, or hide them with a leading dot")
		return false
	case text(o.Content["apiVersion"]) == "":
		p.failf(file, o.Line("kind"), "%s: apiVersion is missing", text(o.Content["kind"]))
		return false
	case text(o.Content["kind"]) == "":
		p.failf(file, o.Line("apiVersion"), "kind is missing")
		return false
	}
	if _, err := schema.ParseGroupVersion(text(o.Content["apiVersion"])); err != nil {
		p.failf(file, o.Line("apiVersion"), "apiVersion: %q must be version or group/version", text(o.Content["apiVersion"]))
		return false
	}
	kind := text(o.Content["kind"])
	meta, ok := o.Content["metadata"].(map[string]any)
	if !ok {
		p.failf(file, o.Line("metadata"), "%s: metadata must be a map with a name, found %s", kind, typeName(o.Content["metadata"]))
		return false
	}
	if prefix := text(meta["generateName"]); prefix != "" && meta["name"] == nil && isHook(meta) {
		// A hook is made anew at each sync. Its name follows from the commit, so that it can be found again.
		meta["name"] = prefix + p.from.Commit[:min(len(p.from.Commit), 7)]
		delete(meta, "generateName")
	}
	if v, has := meta["name"]; !has && meta["generateName"] != nil {
		p.failf(file, o.Line("metadata.generateName"), "%s: metadata.generateName would make a new object at every apply; give it a metadata.name", kind)
		return false
	} else if text(v) == "" {
		p.failf(file, o.Line("metadata.name"), "%s: metadata.name must be a string that is not empty, found %s", kind, typeName(v))
		return false
	}
	if v, has := meta["namespace"]; has && v != nil {
		if _, ok := v.(string); !ok {
			p.failf(file, o.Line("metadata.namespace"), "%s %s: metadata.namespace must be a string, found %s", kind, text(meta["name"]), typeName(v))
			return false
		}
	}
	for _, field := range []string{"labels", "annotations"} {
		if !p.stringMap(o, meta, field) {
			return false
		}
	}
	return true
}

// isHook says whether the annotations make the object a hook, which is run and not kept.
func isHook(meta map[string]any) bool {
	annotations := map[string]string{}
	m, _ := meta["annotations"].(map[string]any)
	for k, v := range m {
		annotations[k] = text(v)
	}
	asks, err := directive.Read(annotations)
	return err == nil && len(asks.Hooks) > 0
}

// stringMap checks labels and annotations, because gitopsd adds its own to them before the API server has had a look.
func (p *parser) stringMap(o *Object, meta map[string]any, field string) bool {
	v, has := meta[field]
	if !has || v == nil {
		return true
	}
	m, ok := v.(map[string]any)
	if !ok {
		p.failf(o.Origin.File, o.Line("metadata."+field), "%s: metadata.%s must be a map, found %s", o, field, typeName(v))
		return false
	}
	for _, k := range sortedKeys(m) {
		if _, ok := m[k].(string); !ok && m[k] != nil {
			at := fmt.Sprintf("metadata.%s[%s]", field, k)
			p.failf(o.Origin.File, o.Line(at), "%s: %s: must be a string, found %s; put it in quotes", o, at, typeName(m[k]))
			return false
		}
	}
	return true
}

func (p *parser) add(o *Object) {
	id := identity{GroupKind: o.GroupVersionKind().GroupKind(), namespace: o.Namespace(), name: o.Name()}
	if id.namespace == "" {
		id.namespace = p.from.DefaultNamespace
	}
	if first, dup := p.seen[id]; dup {
		p.failf(o.Origin.File, o.Origin.Line, "%s %s", o, o.Twice(first))
		return
	}
	if len(p.objects) == maxObjects {
		p.failf(o.Origin.File, o.Origin.Line, "more than %d objects in one Application; split it", maxObjects)
		return
	}
	p.seen[id] = o
	p.objects = append(p.objects, o)
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	case string:
		return fmt.Sprintf("the string %q", clip(v))
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	default:
		return fmt.Sprintf("the number %v", v)
	}
}

// clip keeps a message readable, and a Secret's value that ended up in the wrong place mostly out of it.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
