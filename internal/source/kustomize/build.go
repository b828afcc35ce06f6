package kustomize

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/sandbox"
)

// building is held while kustomize builds: the schemas that it merges by are a variable of its package.
var building sync.Mutex

// The annotations in which kustomize tells where an object is from.
const (
	originAnnotation          = "config.kubernetes.io/origin"
	transformationsAnnotation = "alpha.config.kubernetes.io/transformations"
)

// Build makes the objects. It reads nothing but the files.
func Build(ctx context.Context, files *Files, options *v1alpha1.Kustomize) ([]source.Made, error) {
	top := files.folders[files.Dir]
	if top.kustomization.Kind == types.ComponentKind {
		return nil, source.ParseErrors{{File: top.shown, Line: top.doc.At("kind"), Message: "a component is part of a kustomization and cannot be applied by itself"}}
	}
	overlay, err := overlayOf(files.Dir, top, options)
	if err != nil {
		return nil, err
	}
	out, err := job.Do(ctx, work{Content: files.Content, Overlay: overlay})
	switch {
	case errors.Is(err, sandbox.ErrLimits):
		return nil, source.ParseErrors{{File: top.shown, Message: fmt.Sprintf("kustomize cannot build it: %v", err)}}
	case err != nil:
		return nil, err
	case out.Error != "":
		return nil, files.explain(top, out.Error)
	}
	var made []source.Made
	for _, r := range out.Resources {
		m, err := files.made(top, r)
		if err != nil {
			return nil, err
		}
		made = append(made, m)
	}
	return made, nil
}

// work is what kustomize is given, and result what it makes of it: objects as JSON, or what it complains about.
type work struct {
	Content map[string][]byte
	Overlay []byte
}

type result struct {
	Resources [][]byte
	Error     string
}

var job = sandbox.New("kustomize", run)

func run(ctx context.Context, w work) (result, error) {
	disk := filesys.MakeFsInMemory()
	for name, data := range w.Content {
		if err := disk.WriteFile(name, data); err != nil {
			return result{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := disk.WriteFile(path.Join(overlayRoot, source.KustomizationFiles[0]), w.Overlay); err != nil {
		return result{}, err
	}
	building.Lock()
	defer building.Unlock()
	if err := ctx.Err(); err != nil {
		return result{}, err
	}
	// Everything that could be loaded is in the commit, or was fetched with the Application's permission; a base may use files beside it.
	o := krusty.MakeDefaultOptions()
	o.LoadRestrictions = types.LoadRestrictionsNone
	resources, err := krusty.MakeKustomizer(o).Run(disk, overlayRoot)
	if err != nil {
		return result{Error: err.Error()}, nil
	}
	var out result
	for _, r := range resources.Resources() {
		b, err := r.MarshalJSON()
		if err != nil {
			return result{Error: err.Error()}, nil
		}
		out.Resources = append(out.Resources, b)
	}
	return out, nil
}

// made turns what kustomize made back into an object of ours.
func (f *Files) made(top *folder, b []byte) (source.Made, error) {
	docs, err := source.Documents(source.File{Path: top.shown + ".json", Data: b})
	if err != nil || len(docs) != 1 {
		return source.Made{}, fmt.Errorf("%s: what kustomize made cannot be read: %w", top.shown, err)
	}
	content, ok := docs[0].Value.(map[string]any)
	if !ok {
		return source.Made{}, fmt.Errorf("%s: what kustomize made is no object", top.shown)
	}
	mark, origin, transformations := takeAnnotations(content, slices.Contains(top.kustomization.BuildMetadata, types.OriginAnnotations), slices.Contains(top.kustomization.BuildMetadata, types.TransformerAnnotations))
	m := source.Made{Content: content, Written: f.written(top, content, mark, origin)}
	before, _ := m.Written.Value.(map[string]any)
	seen := map[string]bool{}
	for _, t := range transformations {
		g := f.folders[path.Dir(path.Join(overlayRoot, t.ConfiguredIn))]
		if g == nil {
			continue
		}
		if key, ok := settings[t.ConfiguredBy.Kind]; ok {
			m.Layers = append(m.Layers, setting{folder: g, key: key, before: m.Written})
		}
		if strings.HasPrefix(t.ConfiguredBy.Kind, "Patch") && !seen[g.file] {
			seen[g.file] = true
			m.Layers = append(m.Layers, g.layersOf(before, content)...)
		}
	}
	if origin.ConfiguredIn != "" {
		if g := f.folders[path.Dir(path.Join(overlayRoot, origin.ConfiguredIn))]; g != nil {
			m.Layers = append([]source.Layer{generated{folder: g, line: m.Written.Line}}, m.Layers...)
		}
	}
	return m, nil
}

// takeAnnotations removes what is only for us, and returns it.
func takeAnnotations(content map[string]any, keepOrigin, keepTransformations bool) (mark string, origin resource.Origin, transformations []resource.Origin) {
	meta, _ := content["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	if annotations == nil {
		return "", origin, nil
	}
	mark, _ = annotations[markAnnotation].(string)
	delete(annotations, markAnnotation)
	// The annotations are kustomize's own, so they parse; if ever not, an object lacks its layers, and nothing else.
	text, _ := annotations[originAnnotation].(string)
	_ = yaml.Unmarshal([]byte(text), &origin)
	text, _ = annotations[transformationsAnnotation].(string)
	_ = yaml.Unmarshal([]byte(text), &transformations)
	if !keepOrigin {
		delete(annotations, originAnnotation)
	}
	if !keepTransformations {
		delete(annotations, transformationsAnnotation)
	}
	if len(annotations) == 0 {
		delete(meta, "annotations")
	}
	return mark, origin, transformations
}

// written finds what an object was made from: the document with its mark; failing that, one of its kind in the file that kustomize names; or its generator.
func (f *Files) written(top *folder, content map[string]any, mark string, origin resource.Origin) source.Document {
	if file, index, ok := strings.Cut(mark, "#"); ok {
		if i, err := strconv.Atoi(index); err == nil && i < len(f.resources[file]) {
			return f.resources[file][i]
		}
	}
	kind, name := identify(content)
	if origin.ConfiguredIn != "" {
		if g := f.folders[path.Dir(path.Join(overlayRoot, origin.ConfiguredIn))]; g != nil {
			return source.Document{File: g.shown, Line: g.generator(kind, name)}
		}
	}
	for _, d := range f.resources[path.Join(overlayRoot, origin.Path)] {
		c, _ := d.Value.(map[string]any)
		if k, n := identify(c); k == kind && strings.Contains(name, n) {
			return d
		}
	}
	return source.Document{File: top.shown, Line: top.doc.Line}
}

// generator is the line of the generator that made an object; names get a prefix and a suffix, so the longest that fits is meant.
func (f *folder) generator(kind, name string) int {
	line, best := f.doc.Line, -1
	try := func(field, n string, i int) {
		if strings.Contains(name, n) && len(n) > best {
			line, best = f.doc.At(fmt.Sprintf("%s[%d]", field, i)), len(n)
		}
	}
	if kind == "Secret" {
		for i, s := range f.kustomization.SecretGenerator {
			try("secretGenerator", s.Name, i)
		}
		return line
	}
	for i, c := range f.kustomization.ConfigMapGenerator {
		try("configMapGenerator", c.Name, i)
	}
	return line
}

// generated is the layer of a generator: the keys of what it makes come from files.
type generated struct {
	folder *folder
	line   int
}

func (g generated) Place(field string, _ any) (string, int, bool) {
	key, ok := strings.CutPrefix(field, "data.")
	if !ok {
		if key, ok = strings.CutPrefix(field, "data["); !ok {
			return "", 0, false
		}
		key = strings.Trim(strings.TrimSuffix(key, "]"), `"`)
	}
	k := &g.folder.kustomization
	find := func(kind string, i int, s types.KvPairSources) (string, int, bool) {
		if g.folder.doc.At(fmt.Sprintf("%s[%d]", kind, i)) != g.line {
			return "", 0, false
		}
		for _, file := range s.FileSources {
			name, from, named := strings.Cut(file, "=")
			if !named {
				name, from = path.Base(file), file
			}
			if name == key {
				return path.Join(path.Dir(g.folder.shown), from), 1, true
			}
		}
		for j, literal := range s.LiteralSources {
			if name, _, _ := strings.Cut(literal, "="); name == key {
				return g.folder.shown, g.folder.doc.At(fmt.Sprintf("%s[%d].literals[%d]", kind, i, j)), true
			}
		}
		return "", 0, false
	}
	for i, c := range k.ConfigMapGenerator {
		if file, line, ok := find("configMapGenerator", i, c.KvPairSources); ok {
			return file, line, true
		}
	}
	for i, s := range k.SecretGenerator {
		if file, line, ok := find("secretGenerator", i, s.KvPairSources); ok {
			return file, line, true
		}
	}
	return "", 0, false
}

// settings are the keys of a kustomization by the transformer that carries them out, with the fields that each may set.
var settings = map[string]struct {
	key    string
	fields *regexp.Regexp
}{
	"ImageTagTransformer":     {"images", regexp.MustCompile(`\.image$`)},
	"ReplicaCountTransformer": {"replicas", regexp.MustCompile(`^spec\.replicas$`)},
	"NamespaceTransformer":    {"namespace", regexp.MustCompile(`namespace$`)},
	"PrefixTransformer":       {"namePrefix", regexp.MustCompile(`[nN]ame$`)},
	"SuffixTransformer":       {"nameSuffix", regexp.MustCompile(`[nN]ame$`)},
	"PrefixSuffixTransformer": {"namePrefix", regexp.MustCompile(`[nN]ame$`)},
	"LabelTransformer":        {"labels", regexp.MustCompile(`[lL]abels|[sS]elector`)},
	"AnnotationsTransformer":  {"commonAnnotations", regexp.MustCompile(`annotations`)},
	"ReplacementTransformer":  {"replacements", regexp.MustCompile(`.`)},
}

// setting is the layer of a kustomization's own fields.
type setting struct {
	folder *folder
	key    struct {
		key    string
		fields *regexp.Regexp
	}
	before source.Document
}

func (s setting) Place(field string, value any) (string, int, bool) {
	if !s.key.fields.MatchString(field) {
		return "", 0, false
	}
	if v, ok := s.before.Field(field); ok && equal(v, value) {
		return "", 0, false
	}
	key := s.key.key
	if _, ok := s.folder.doc.Field(key); !ok {
		if key != "labels" {
			return "", 0, false
		}
		if key = "commonLabels"; s.folder.doc.Value == nil {
			return "", 0, false
		}
	}
	line := s.folder.doc.At(key)
	// In a list of images or replicas, the entry whose new value is there.
	if list, ok := s.folder.doc.Field(key); ok {
		if items, ok := list.([]any); ok {
			for i, item := range items {
				m, _ := item.(map[string]any)
				for _, k := range slices.Sorted(maps.Keys(m)) {
					if v, isText := m[k].(string); k != "name" && (equal(m[k], value) || isText && v != "" && strings.HasSuffix(fmt.Sprint(value), v)) {
						return s.folder.shown, s.folder.doc.At(fmt.Sprintf("%s[%d].%s", key, i, k)), true
					}
				}
			}
		}
	}
	return s.folder.shown, line, true
}

var (
	// patchTarget finds the object in kustomize's words about a patch that found nothing to change, and twice in those about an object that is there already.
	patchTarget = regexp.MustCompile(`no matches for Id (\w+)\.\S*?/(\S+)\.[^.;\s]+`)
	twice       = regexp.MustCompile(`already registered id: (\w+)\.\S*?/(\S+)\.[^.;'\s]+`)
	// accumulation is how kustomize says which folders led to what it means to say.
	accumulation = regexp.MustCompile(`^.*recursed accumulation of path '[^']*': `)
)

// explain says in our words what kustomize complains about, with its place where that is known.
func (f *Files) explain(top *folder, text string) error {
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, sourceRoot+"/", "")), " ")
	if m := patchTarget.FindStringSubmatch(text); m != nil {
		for _, dir := range slices.Sorted(maps.Keys(f.folders)) {
			g := f.folders[dir]
			for _, p := range g.patches {
				for _, d := range p.docs {
					content, _ := d.Value.(map[string]any)
					if kind, name := identify(content); kind == m[1] && name == m[2] {
						return source.ParseErrors{{File: d.File, Line: d.Line, Message: fmt.Sprintf("the patch is for %s %s, which is not among the resources of %s", kind, name, g.shown)}}
					}
				}
			}
		}
	}
	if m := twice.FindStringSubmatch(text); m != nil {
		var found []source.Document
		for _, file := range slices.Sorted(maps.Keys(f.resources)) {
			for _, d := range f.resources[file] {
				content, _ := d.Value.(map[string]any)
				if kind, name := identify(content); kind == m[1] && name == m[2] {
					found = append(found, d)
				}
			}
		}
		if len(found) > 1 {
			return source.ParseErrors{{File: found[1].File, Line: found[1].Line, Message: fmt.Sprintf("%s %s is already defined at %s; remove one of the two", m[1], m[2], source.At(found[0].File, found[0].Line))}}
		}
	}
	return source.ParseErrors{{File: top.shown, Message: "kustomize: " + accumulation.ReplaceAllString(text, "")}}
}
