package kustomize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Where the files lie in the file system that kustomize sees.
const (
	// sourceRoot holds the commit, remoteRoot what comes from elsewhere, overlayRoot what the Application adds.
	sourceRoot  = "/src"
	remoteRoot  = "/remote"
	overlayRoot = "/overlay"
)

const (
	// maxFolders bounds the kustomizations of one Application, and maxRemotes the repositories they come from.
	maxFolders = 1000
	maxRemotes = 32
)

// Remote fetches what a kustomization names by URL: the tree of a repository and a folder in it, or the content of one file.
type Remote interface {
	Base(ctx context.Context, url string) (tree fs.FS, dir string, err error)
	File(ctx context.Context, url string) ([]byte, error)
}

// Files are what a build needs, and nothing else is read for it.
type Files struct {
	// Content is by absolute path in kustomize's file system.
	Content map[string][]byte
	// Dir is the folder to build.
	Dir string
	// Remote says that some of it is from another repository, so that it may change without the commit.
	Remote bool

	// resources are what the files given in resources hold, by path.
	resources map[string][]source.Document
	folders   map[string]*folder
}

// folder is one kustomization.
type folder struct {
	// file is where it lies in kustomize's file system, shown how messages call it.
	file, shown   string
	kustomization types.Kustomization
	doc           source.Document
	text          []string
	patches       []patch
}

// Gather reads what building a folder needs; options are what the Application says on top, or nil. The error is a source.ParseErrors when the files are at fault.
func Gather(ctx context.Context, tree fs.FS, dir string, remote Remote, options *v1alpha1.Kustomize) (*Files, error) {
	g := &gatherer{
		ctx: ctx, remote: remote, mounts: map[string]string{},
		out: &Files{Content: map[string][]byte{}, Dir: path.Join(sourceRoot, dir), resources: map[string][]source.Document{}, folders: map[string]*folder{}},
	}
	at := place{tree: tree, mount: sourceRoot}
	if err := g.folder(at, dir, nil); err != nil {
		return nil, err
	}
	if options != nil {
		for _, c := range options.Components {
			local := path.Join(dir, c)
			if !fs.ValidPath(local) {
				g.errs = append(g.errs, &source.ParseError{File: local, Message: "spec.source.kustomize.components leads out of the repository"})
				continue
			}
			if err := g.folder(at, local, nil); err != nil {
				return nil, err
			}
		}
	}
	if len(g.errs) > 0 {
		return nil, g.errs
	}
	return g.out, nil
}

// place is a tree and where it is mounted.
type place struct {
	tree  fs.FS
	mount string
	// shown is put before paths in messages; empty for the Application's own repository.
	shown string
}

func (p place) name(file string) string {
	if p.shown == "" {
		return file
	}
	return p.shown + "//" + file
}

type gatherer struct {
	ctx    context.Context
	remote Remote
	out    *Files
	errs   source.ParseErrors
	total  int
	// mounts are the folders that URLs were fetched to.
	mounts  map[string]string
	remotes int
}

func (g *gatherer) failf(f *folder, field, format string, args ...any) {
	g.errs = append(g.errs, &source.ParseError{File: f.shown, Line: f.doc.At(field), Message: fmt.Sprintf(format, args...)})
}

// folder reads one kustomization and all that it names. The error is one that is not about the content of the files.
func (g *gatherer) folder(at place, dir string, ancestors []string) error {
	here := path.Join(at.mount, dir)
	if slices.Contains(ancestors, here) {
		g.errs = append(g.errs, &source.ParseError{File: at.name(dir), Message: "the kustomizations lead in a circle: " + strings.ReplaceAll(strings.Join(append(ancestors, here), " → "), sourceRoot+"/", "")})
		return nil
	}
	if g.out.folders[here] != nil {
		return nil
	}
	if len(g.out.folders) == maxFolders {
		g.errs = append(g.errs, &source.ParseError{File: at.name(dir), Message: fmt.Sprintf("more than %d kustomizations in one Application; split it", maxFolders)})
		return nil
	}
	var found []string
	for _, name := range source.KustomizationFiles {
		switch info, err := fs.Stat(at.tree, path.Join(dir, name)); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.Mode().IsRegular():
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		g.errs = append(g.errs, &source.ParseError{File: at.name(dir), Message: "the folder has no kustomization.yaml"})
		return nil
	case 1:
	default:
		g.errs = append(g.errs, &source.ParseError{File: at.name(dir), Message: "the folder has several kustomizations: " + strings.Join(found, ", ") + "; remove all but one"})
		return nil
	}
	file := path.Join(dir, found[0])
	data, err := fs.ReadFile(at.tree, file)
	if err != nil {
		return err
	}
	f := &folder{file: path.Join(at.mount, file), shown: at.name(file), text: strings.Split(string(data), "\n")}
	g.out.folders[here] = f
	docs, err := source.Documents(source.File{Path: f.shown, Data: data})
	if err != nil {
		return g.collect(err)
	}
	if len(docs) != 1 {
		g.errs = append(g.errs, &source.ParseError{File: f.shown, Message: fmt.Sprintf("a kustomization is one document; this file has %d", len(docs))})
		return nil
	}
	f.doc = docs[0]
	content, ok := f.doc.Value.(map[string]any)
	if !ok {
		g.errs = append(g.errs, &source.ParseError{File: f.shown, Line: f.doc.Line, Message: "a kustomization is a map of fields such as resources"})
		return nil
	}
	k := &f.kustomization
	if err := k.Unmarshal(data); err != nil {
		g.unmarshal(f, err)
		return nil
	}
	head := types.Kustomization{TypeMeta: k.TypeMeta}
	if head.Kind == "" {
		head.Kind = types.KustomizationKind
	}
	if wrong := head.EnforceFields(); len(wrong) > 0 {
		for _, text := range wrong {
			field, _, _ := strings.Cut(text, " ")
			g.failf(f, field, "%s, or be left out", text)
		}
		return nil
	}
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 {
		field := "helmCharts"
		if len(k.HelmCharts) == 0 {
			field = "helmChartInflationGenerator"
		}
		g.failf(f, field, "%s is not supported, because it runs the helm program; make the chart an Application of its own with spec.source.helm.chart", field)
		return nil
	}
	rewritten, err := g.references(at, dir, f, content, append(slices.Clone(ancestors), here))
	if err != nil {
		return err
	}
	if rewritten != nil {
		if data, err = json.Marshal(rewritten); err != nil {
			return fmt.Errorf("%s: %w", f.shown, err)
		}
	}
	g.add(f, "", f.file, data)
	return nil
}

// collect keeps what is wrong with files, to tell all of it at once, and returns any other error.
func (g *gatherer) collect(err error) error {
	var all source.ParseErrors
	var one *source.ParseError
	switch {
	case errors.As(err, &all):
		g.errs = append(g.errs, all...)
		return nil
	case errors.As(err, &one):
		g.errs = append(g.errs, one)
		return nil
	}
	return err
}

// quoted finds the first name in an error of the JSON decoder.
var quoted = regexp.MustCompile(`"([^"]+)"|field (?:Kustomization\.)?([\w.]+)`)

func (g *gatherer) unmarshal(f *folder, err error) {
	line := f.doc.Line
	message := strings.Join(strings.Fields(err.Error()), " ")
	if m := quoted.FindStringSubmatch(message); m != nil {
		line = f.doc.At(m[1] + m[2])
	}
	message = strings.TrimPrefix(strings.TrimPrefix(message, "invalid Kustomization: "), "error unmarshaling JSON: while decoding JSON: ")
	g.errs = append(g.errs, &source.ParseError{File: f.shown, Line: line, Message: "kustomization: " + strings.TrimPrefix(message, "json: ")})
}

// add puts a file into kustomize's file system.
func (g *gatherer) add(f *folder, field, to string, data []byte) {
	if g.total += len(data); g.total > source.MaxBytes {
		g.failf(f, field, "the Application's files are larger than %d MiB together; split it", source.MaxBytes>>20)
		return
	}
	g.out.Content[to] = data
}

// references reads everything that a kustomization names. It returns the kustomization with what was fetched from elsewhere replaced by where it is now; nil when there is
// nothing of that.
func (g *gatherer) references(at place, dir string, f *folder, content map[string]any, ancestors []string) (map[string]any, error) {
	k := &f.kustomization
	var rewritten map[string]any
	for _, list := range []struct {
		field string
		items []string
		// folders says that the items may be folders, resources that files hold objects.
		folders, resources bool
	}{
		{"resources", k.Resources, true, true}, {"components", k.Components, true, false},
		//lint:ignore SA1019 repositories have it
		{"bases", k.Bases, true, true},
		{"crds", k.Crds, false, false}, {"configurations", k.Configurations, false, false},
		{"generators", k.Generators, true, false}, {"transformers", k.Transformers, true, false}, {"validators", k.Validators, true, false},
	} {
		for i, item := range list.items {
			field := fmt.Sprintf("%s[%d]", list.field, i)
			if strings.ContainsAny(item, "\n{") { // an inline transformer
				if err := g.plugin(at, dir, f, field, source.File{Path: f.shown, Data: []byte(item)}); err != nil {
					return nil, err
				}
				continue
			}
			local := path.Join(dir, item)
			info, err := stat(at.tree, local)
			switch {
			case err == nil && info.IsDir() && list.folders:
				if err := g.folder(at, local, ancestors); err != nil {
					return nil, err
				}
			case err == nil && info.IsDir():
				g.failf(f, field, "%s is a folder; %s takes files", item, list.field)
			case err == nil:
				if err := g.file(at, f, field, local, list.resources); err != nil {
					return nil, err
				}
				if list.folders && !list.resources {
					if data, ok := g.out.Content[path.Join(at.mount, local)]; ok {
						if err := g.plugin(at, dir, f, field, source.File{Path: at.name(local), Data: data}); err != nil {
							return nil, err
						}
					}
				}
			case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid):
				if err := g.collect(err); err != nil {
					return nil, err
				}
			case list.folders && isURL(item):
				to, err := g.fetch(f, field, item, list.resources)
				if err != nil || to == "" {
					if err := g.collect(err); err != nil {
						return nil, err
					}
					continue
				}
				if rewritten == nil {
					rewritten = maps.Clone(content)
				}
				items := slices.Clone(rewritten[list.field].([]any)) // it was read as a list of strings
				items[i] = relative(path.Dir(f.file), to)
				rewritten[list.field] = items
			default:
				g.missing(at, f, field, item, local)
			}
		}
	}
	named := map[string]string{}
	if p := k.OpenAPI["path"]; p != "" {
		named["openapi.path"] = p
	}
	for i, r := range k.Replacements {
		if r.Path != "" {
			named[fmt.Sprintf("replacements[%d].path", i)] = r.Path
		}
	}
	generators := map[string][]types.KvPairSources{}
	for _, c := range k.ConfigMapGenerator {
		generators["configMapGenerator"] = append(generators["configMapGenerator"], c.KvPairSources)
	}
	for _, s := range k.SecretGenerator {
		generators["secretGenerator"] = append(generators["secretGenerator"], s.KvPairSources)
	}
	for kind, list := range generators {
		for i, s := range list {
			for j, file := range s.FileSources {
				if _, after, ok := strings.Cut(file, "="); ok {
					file = after
				}
				named[fmt.Sprintf("%s[%d].files[%d]", kind, i, j)] = file
			}
			for j, file := range s.EnvSources {
				named[fmt.Sprintf("%s[%d].envs[%d]", kind, i, j)] = file
			}
			if s.EnvSource != "" {
				named[fmt.Sprintf("%s[%d].env", kind, i)] = s.EnvSource
			}
		}
	}
	for _, field := range slices.Sorted(maps.Keys(named)) {
		local := path.Join(dir, named[field])
		if err := g.file(at, f, field, local, false); err != nil {
			return nil, err
		}
	}
	return rewritten, g.patches(at, dir, f)
}

// plugin looks at the configuration of a generator or transformer, and reads the files that it names.
func (g *gatherer) plugin(at place, dir string, f *folder, field string, file source.File) error {
	docs, err := source.Documents(file)
	if err != nil {
		return g.collect(err)
	}
	for _, d := range docs {
		if err := g.builtin(at, dir, f, field, d); err != nil {
			return err
		}
	}
	return nil
}

// builtin refuses URLs in the configuration of kustomize's own plugins, wherever it stands: kustomize would fetch them. What is named there and is a file of the commit is read.
func (g *gatherer) builtin(at place, dir string, f *folder, field string, d source.Document) error {
	content, ok := d.Value.(map[string]any)
	if !ok || content["apiVersion"] != konfig.BuiltinPluginApiVersion {
		return nil // the configuration of others is for plugins that are not run
	}
	var look func(v any) error
	look = func(v any) error {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if err := look(v[k]); err != nil {
					return err
				}
			}
		case []any:
			for _, item := range v {
				if err := look(item); err != nil {
					return err
				}
			}
		case string:
			if _, after, named := strings.Cut(v, "="); named {
				v = after
			}
			if web.MatchString(strings.TrimSpace(v)) {
				g.errs = append(g.errs, &source.ParseError{File: d.File, Line: d.Line, Message: fmt.Sprintf("%s would be fetched by kustomize itself, which is not allowed; put the file into the repository", source.Redact(strings.TrimSpace(v)))})
				return nil
			}
			if info, err := stat(at.tree, path.Join(dir, v)); err == nil && info.Mode().IsRegular() {
				return g.file(at, f, field, path.Join(dir, v), false)
			}
		}
		return nil
	}
	return look(content)
}

// web matches what kustomize takes for a file to be fetched.
var web = regexp.MustCompile(`(?i)^https?:`)

// stat is fs.Stat for a path that may lead out of the tree.
func stat(tree fs.FS, name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
	}
	return fs.Stat(tree, name)
}

func (g *gatherer) missing(at place, f *folder, field, item, local string) {
	if !fs.ValidPath(local) {
		g.failf(f, field, "%s leads out of the repository", item)
		return
	}
	g.failf(f, field, "%s is not in the commit: there is no %s", item, at.name(local))
}

// file reads a file that a kustomization names; resource says that it holds objects.
func (g *gatherer) file(at place, f *folder, field, local string, resource bool) error {
	info, err := stat(at.tree, local)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid):
		g.missing(at, f, field, path.Base(local), local)
		return nil
	case err != nil:
		return g.collect(err)
	case info.Mode()&fs.ModeIrregular != 0:
		g.failf(f, field, "%s is a submodule; set spec.source.submodules", local)
		return nil
	case info.IsDir():
		g.failf(f, field, "%s is a folder; it must be a file", local)
		return nil
	}
	to := path.Join(at.mount, local)
	if _, have := g.out.Content[to]; have && (!resource || g.out.resources[to] != nil) {
		return nil
	}
	data, err := fs.ReadFile(at.tree, local)
	if err != nil {
		return g.collect(err)
	}
	if !resource {
		if _, have := g.out.Content[to]; !have {
			g.add(f, field, to, data)
		}
		return nil
	}
	return g.resource(at, path.Dir(local), f, field, to, source.File{Path: at.name(local), Data: data})
}

// resource notes what a file of objects holds, and gives kustomize the objects with a mark each, by which they are known again afterwards.
func (g *gatherer) resource(at place, dir string, f *folder, field, to string, file source.File) error {
	docs, err := source.Documents(file)
	if err != nil {
		return g.collect(err)
	}
	var flat []source.Document
	for _, d := range docs {
		flat = append(flat, d.Items()...)
	}
	var text strings.Builder
	for i, d := range flat {
		content, ok := d.Value.(map[string]any)
		if !ok {
			g.errs = append(g.errs, &source.ParseError{File: d.File, Line: d.Line, Message: "expected a Kubernetes object"})
			return nil
		}
		if err := g.builtin(at, dir, f, field, d); err != nil {
			return err
		}
		b, err := json.Marshal(marked(content, to+"#"+strconv.Itoa(i)))
		if err != nil {
			return fmt.Errorf("%s: %w", d.File, err)
		}
		text.WriteString("---\n")
		text.Write(b)
		text.WriteByte('\n')
	}
	g.out.resources[to] = flat
	g.add(f, field, to, []byte(text.String()))
	return nil
}

// markAnnotation carries, through the build, which document an object was made from.
const markAnnotation = "gitopsd.io/kustomize-resource"

// marked returns the object with the mark; one without proper metadata is returned as it is, for kustomize to complain about.
func marked(content map[string]any, mark string) map[string]any {
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		return content
	}
	annotations, ok := meta["annotations"].(map[string]any)
	if !ok && meta["annotations"] != nil {
		return content
	}
	annotations, meta, content = maps.Clone(annotations), maps.Clone(meta), maps.Clone(content)
	if annotations == nil {
		annotations = map[string]any{}
	}
	annotations[markAnnotation] = mark
	meta["annotations"], content["metadata"] = annotations, meta
	return content
}

// relative is the way from a folder to a path, both absolute.
func relative(from, to string) string {
	return strings.Repeat("../", strings.Count(strings.Trim(from, "/"), "/")+1) + strings.TrimPrefix(to, "/")
}

// isURL says whether an entry that is no path in the tree is meant as a URL.
func isURL(item string) bool {
	return strings.Contains(item, "://") || strings.HasPrefix(item, "git@") || strings.HasPrefix(item, "git::") || hosted.MatchString(item)
}

// hosted are hosts that kustomize takes without a scheme.
var hosted = regexp.MustCompile(`^(github\.com|gitlab\.com|bitbucket\.org)[/:]`)

// fetch brings what a URL names into the file system, and says where; empty when it must not, which is noted then.
func (g *gatherer) fetch(f *folder, field, item string, resource bool) (string, error) {
	if to, ok := g.mounts[item]; ok {
		return to, nil
	}
	if g.remotes++; g.remotes > maxRemotes {
		g.failf(f, field, "more than %d remote bases in one Application; copy some into the repository", maxRemotes)
		return "", nil
	}
	at := place{mount: path.Join(remoteRoot, strconv.Itoa(g.remotes)), shown: source.Redact(item)}
	at.shown, _, _ = strings.Cut(at.shown, "?")
	g.out.Remote = true
	if resource && isFile(item) {
		data, err := g.remote.File(g.ctx, item)
		if err != nil {
			return "", g.refused(f, field, err)
		}
		to := path.Join(at.mount, path.Base(at.shown))
		g.mounts[item] = to
		at.tree = nothing{}
		return to, g.resource(at, ".", f, field, to, source.File{Path: at.shown, Data: data})
	}
	tree, dir, err := g.remote.Base(g.ctx, item)
	if err != nil {
		return "", g.refused(f, field, err)
	}
	at.tree = tree
	at.shown, _, _ = strings.Cut(at.shown, "//"+dir)
	to := path.Join(at.mount, dir)
	g.mounts[item] = to
	info, err := stat(tree, dir)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	case err == nil && info.Mode().IsRegular() && resource:
		return to, g.file(at, f, field, dir, true)
	case err != nil || !info.IsDir():
		g.failf(f, field, "%s: there is no folder %q", source.Redact(item), dir)
		return "", nil
	}
	return to, g.folder(at, dir, nil)
}

// nothing is the tree beside a single file that was fetched.
type nothing struct{}

func (nothing) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// refused notes why something could not be fetched when the kustomization is at fault, and otherwise, as for a host that is down, returns it.
func (g *gatherer) refused(f *folder, field string, err error) error {
	var e *source.Error
	if errors.As(err, &e) && (e.Reason == source.InvalidSource || e.Reason == source.RefNotFound || e.Reason == source.NotFound) {
		g.failf(f, field, "%s", err)
		return nil
	}
	return fmt.Errorf("%s: %w", source.At(f.shown, f.doc.At(field)), err)
}

// isFile says whether a URL is that of a single file of manifests, rather than of a repository.
func isFile(item string) bool {
	u, _, _ := strings.Cut(item, "?")
	_, p, ok := strings.Cut(u, "://")
	return ok && strings.HasPrefix(item, "http") && !strings.Contains(p, "//") && !strings.Contains(p, ".git/") && source.IsManifest(u)
}
