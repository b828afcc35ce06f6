package kustomize

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitopsd/gitopsd/internal/source"
)

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
	named := filesNamed(k)
	for _, field := range slices.Sorted(maps.Keys(named)) {
		local := path.Join(dir, named[field])
		if err := g.file(at, f, field, local, false); err != nil {
			return nil, err
		}
	}
	return rewritten, g.patches(at, dir, f)
}

// filesNamed are the files that a kustomization names beside its lists, by the field that does.
func filesNamed(k *types.Kustomization) map[string]string {
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
	return named
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
