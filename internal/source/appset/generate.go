package appset

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// expansion is one ApplicationSet on its way. What a generator makes are sets of parameters, by which the template is filled in: as trees where templates are Go's, and otherwise flat, with
// keys such as path.basename.
type expansion struct {
	ctx  context.Context
	repo Repository
	style
}

type params = map[string]any

func (x *expansion) generate(at string, g *generator) (out []params, err error) {
	switch {
	case g.List != nil:
		out, err = x.list(at+".list", g.List)
	case g.Clusters != nil:
		out, err = x.cluster(at+".clusters", g.Clusters)
	case g.Git != nil:
		out, err = x.git(at+".git", g.Git)
	case g.Matrix != nil:
		out, err = x.matrix(at+".matrix", g.Matrix)
	case g.Merge != nil:
		out, err = x.merge(at+".merge", g.Merge)
	default:
		return nil, failf(at, "names no generator")
	}
	if err != nil || g.Selector == nil {
		return out, err
	}
	selector, err := metav1.LabelSelectorAsSelector(g.Selector)
	if err != nil {
		return nil, failf(at+".selector", "%v", err)
	}
	return slices.DeleteFunc(out, func(p params) bool { return !selector.Matches(labels.Set(flat(p))) }), nil
}

func (x *expansion) list(at string, l *list) ([]params, error) {
	elements := l.Elements
	if l.ElementsYAML != "" {
		var more []map[string]any
		if err := yaml.Unmarshal([]byte(l.ElementsYAML), &more); err != nil {
			return nil, failf(at+".elementsYaml", "%v", err)
		}
		elements = append(slices.Clone(elements), more...)
	}
	var out []params
	for _, e := range elements {
		out = append(out, x.shaped(e))
	}
	return out, nil
}

// shaped is a tree of parameters in the form that templates want.
func (x *expansion) shaped(tree map[string]any) params {
	if x.Go {
		return maps.Clone(tree)
	}
	out := params{}
	for k, v := range flat(tree) {
		out[k] = v
	}
	return out
}

// flat is a tree of parameters with the way to each as its key, and all values as text.
func flat(tree map[string]any) map[string]string {
	out := map[string]string{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, inner := range v {
				walk(at+"."+k, inner)
			}
		case []any:
			for i, inner := range v {
				walk(fmt.Sprintf("%s.%d", at, i), inner)
			}
		case string:
			out[at[1:]] = v
		case nil:
			out[at[1:]] = ""
		default: // numbers and booleans, as JSON has them
			text, _ := json.Marshal(v) // it came from there
			out[at[1:]] = string(text)
		}
	}
	for k, v := range tree {
		walk("."+k, v)
	}
	return out
}

// cluster is the one in which Argo CD, or here gitopsd, runs. Argo CD selects among clusters by the labels of their Secrets; this one has none.
func (x *expansion) cluster(at string, c *clusters) ([]params, error) {
	if s := c.Selector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 {
		return nil, failf(at+".selector", "gitopsd applies to its own cluster only, which has no labels to select by; take the selector away where this cluster is meant")
	}
	p := x.shaped(map[string]any{"name": "in-cluster", "nameNormalized": "in-cluster", "server": "https://kubernetes.default.svc", "project": ""})
	if x.Go {
		p["metadata"] = map[string]any{"labels": map[string]any{}, "annotations": map[string]any{}}
	}
	out := []params{p}
	return out, x.values(at, c.Values, out)
}

// values adds a generator's own values, which may speak of its other parameters.
func (x *expansion) values(at string, values map[string]string, to []params) error {
	if len(values) == 0 {
		return nil
	}
	template := map[string]any{}
	for k, v := range values {
		template[k] = v
	}
	filled, err := x.fill(at+".values", template, to)
	if err != nil {
		return err
	}
	for i, p := range to {
		if x.Go {
			p["values"] = filled[i]
			continue
		}
		for k, v := range filled[i] {
			p["values."+k] = v
		}
	}
	return nil
}

func (x *expansion) git(at string, g *git) ([]params, error) {
	if !x.repo.Here(g.RepoURL, g.Revision) {
		return nil, failf(at+".repoURL", "only the repository and revision that the ApplicationSet itself is read from can be looked into; move the set there, or write a list")
	}
	var out []params
	var err error
	if len(g.Files) > 0 {
		out, err = x.files(at, g)
	} else {
		out, err = x.directories(at, g)
	}
	if err != nil {
		return nil, err
	}
	return out, x.values(at, g.Values, out)
}

// directories are the folders that a pattern matches and none excludes, hidden ones left out. A star stands for one part of a path, as in Argo CD.
func (x *expansion) directories(at string, g *git) ([]params, error) {
	found := map[string]bool{}
	for _, exclude := range []bool{false, true} {
		for i, d := range g.Directories {
			if d.Exclude != exclude {
				continue
			}
			matches, err := x.glob(strings.TrimSuffix(strings.ReplaceAll(d.Path, "**", "*"), "/"))
			if err != nil {
				return nil, failf(fmt.Sprintf("%s.directories[%d].path", at, i), "%q: %v", d.Path, err)
			}
			for _, m := range matches {
				found[m] = !exclude
			}
		}
	}
	var out []params
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		info, err := fs.Stat(x.repo.Tree, dir)
		if err != nil {
			return nil, err
		}
		if found[dir] && info.IsDir() && !hidden(dir) {
			p := params{}
			x.place(p, g.PathParamPrefix, dir, "")
			out = append(out, p)
		}
	}
	return out, nil
}

// hidden says whether a part of a path begins with a dot.
func hidden(p string) bool {
	return slices.ContainsFunc(strings.Split(p, "/"), func(part string) bool { return strings.HasPrefix(part, ".") })
}

// glob lists what a pattern matches; it reads only the folders that could have some of it.
func (x *expansion) glob(pattern string, options ...doublestar.GlobOption) ([]string, error) {
	return doublestar.Glob(x.repo.Tree, strings.TrimPrefix(pattern, "./"), append(options, doublestar.WithFailOnIOErrors())...)
}

// files are the contents of files that a pattern matches: a set of parameters, or a list of them, as YAML or JSON.
func (x *expansion) files(at string, g *git) ([]params, error) {
	found := map[string]bool{}
	for _, exclude := range []bool{false, true} {
		for i, f := range g.Files {
			if f.Exclude != exclude {
				continue
			}
			matches, err := x.glob(f.Path, doublestar.WithFilesOnly())
			if err != nil {
				return nil, failf(fmt.Sprintf("%s.files[%d].path", at, i), "%q: %v", f.Path, err)
			}
			for _, m := range matches {
				found[m] = !exclude
			}
		}
	}
	var out []params
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !found[name] {
			continue
		}
		data, err := fs.ReadFile(x.repo.Tree, name)
		if err != nil {
			return nil, err
		}
		var one map[string]any
		all := []map[string]any{}
		if yaml.Unmarshal(data, &all) != nil {
			if err := yaml.Unmarshal(data, &one); err != nil {
				return nil, failf(at+".files", "%s is neither a map nor a list of maps: %v", name, err)
			}
			all = []map[string]any{one}
		}
		for _, tree := range all {
			p := x.shaped(tree)
			x.place(p, g.PathParamPrefix, path.Dir(name), path.Base(name))
			out = append(out, p)
		}
	}
	return out, nil
}

// place adds what a path gives: itself, its last part, and its parts.
func (x *expansion) place(p params, prefix, dir, file string) {
	parts := strings.Split(dir, "/")
	base := path.Base(dir)
	if x.Go {
		segments := make([]any, 0, len(parts))
		for _, s := range parts {
			segments = append(segments, s)
		}
		tree := map[string]any{"path": dir, "basename": base, "basenameNormalized": normalized(base), "segments": segments}
		if file != "" {
			tree["filename"], tree["filenameNormalized"] = file, normalized(file)
		}
		if prefix != "" {
			p[prefix] = map[string]any{"path": tree}
		} else {
			p["path"] = tree
		}
		return
	}
	at := "path"
	if prefix != "" {
		at = prefix + ".path"
	}
	p[at], p[at+".basename"], p[at+".basenameNormalized"] = dir, base, normalized(base)
	for i, s := range parts {
		p[fmt.Sprintf("%s[%d]", at, i)] = s
	}
	if file != "" {
		p[at+".filename"], p[at+".filenameNormalized"] = file, normalized(file)
	}
}

// matrix pairs each set of the first generator with each of the second, which may speak of the first's.
func (x *expansion) matrix(at string, m *combination) ([]params, error) {
	if len(m.Generators) != 2 {
		return nil, failf(at+".generators", "must be two, got %d", len(m.Generators))
	}
	first, err := x.generate(at+".generators[0]", &m.Generators[0])
	if err != nil {
		return nil, err
	}
	var second map[string]any
	if err := strictly(m.Generators[1], &second); err != nil {
		return nil, err
	}
	at += ".generators[1]"
	filled, err := x.fill(at, second, first)
	if err != nil {
		return nil, err
	}
	var out []params
	for i, a := range first {
		var g generator
		if err := strictly(filled[i], &g); err != nil {
			return nil, failf(at, "%v", err)
		}
		more, err := x.generate(at, &g)
		if err != nil {
			return nil, err
		}
		for _, b := range more {
			if x.Go {
				out = append(out, merged(a, b))
				continue
			}
			both := maps.Clone(a)
			for k, v := range b {
				if was, ok := both[k]; ok && was != v {
					return nil, failf(at, "gives %s the value %v, and the first generator %v; rename one, or set pathParamPrefix", k, v, was)
				}
				both[k] = v
			}
			out = append(out, both)
		}
		if len(out) > maxApplications {
			return nil, failf(at, "the generators make more than %d Applications; split the set", maxApplications)
		}
	}
	return out, nil
}

// merge puts the sets of later generators over those of the first that have the same values for the keys.
func (x *expansion) merge(at string, m *combination) ([]params, error) {
	if len(m.Generators) < 2 || len(m.MergeKeys) == 0 {
		return nil, failf(at, "must have two generators or more, and mergeKeys")
	}
	key := func(p params) string {
		all, parts := flat(p), make([]string, 0, len(m.MergeKeys))
		for _, k := range m.MergeKeys {
			parts = append(parts, fmt.Sprintf("%q", all[k]))
		}
		return strings.Join(parts, " ")
	}
	var out []params
	index := map[string]int{}
	for i := range m.Generators {
		here := fmt.Sprintf("%s.generators[%d]", at, i)
		sets, err := x.generate(here, &m.Generators[i])
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		for _, p := range sets {
			k := key(p)
			if seen[k] {
				return nil, failf(here, "makes two sets of parameters with the same %s: %s", strings.Join(m.MergeKeys, ", "), k)
			}
			seen[k] = true
			switch n, ok := index[k]; {
			case i == 0:
				index[k] = len(out)
				out = append(out, p)
			case ok:
				out[n] = merged(out[n], p)
			}
		}
	}
	return out, nil
}
