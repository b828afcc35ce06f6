package kustomize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strconv"
	"strings"

	"github.com/gitopsd/gitopsd/internal/source"
)

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
