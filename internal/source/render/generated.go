package render

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitopsd/gitopsd/internal/source"
)

// overlaid puts what the Application says on top of plain manifests: as Flux does it, the folder is given a kustomization that names all of them.
func (in *Input) overlaid(ctx context.Context, dir string) (Output, error) {
	files, overlays, err := source.Plain(in.Tree, dir, in.Spec.Directory)
	if err != nil {
		return Output{}, err
	}
	if len(files) == 0 && len(overlays) == 0 {
		return Output{}, nil
	}
	k := types.Kustomization{TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}}
	for _, f := range files {
		if path.Base(f.Path) == source.ChartFile {
			return in.plain(ctx, dir) // which says what is wrong with a chart here
		}
		k.Resources = append(k.Resources, below(dir, f.Path))
	}
	for _, o := range overlays {
		k.Resources = append(k.Resources, below(dir, o))
	}
	text, err := json.Marshal(k)
	if err != nil {
		return Output{}, fmt.Errorf("a kustomization for %s: %w", dir, err)
	}
	whole := in.Tree
	in.Tree = generated{whole, path.Join(dir, source.KustomizationFiles[0]), text}
	defer func() { in.Tree = whole }()
	return in.kustomize(ctx, dir, in.Spec.Kustomize)
}

// below is a path relative to a folder that it is in.
func below(dir, name string) string {
	if dir == "." {
		return name
	}
	return strings.TrimPrefix(name, dir+"/")
}

// generated is a tree with one file more.
type generated struct {
	fs.FS
	name string
	data []byte
}

func (g generated) ReadFile(name string) ([]byte, error) {
	if name == g.name {
		return g.data, nil
	}
	return fs.ReadFile(g.FS, name)
}

func (g generated) Stat(name string) (fs.FileInfo, error) {
	if name == g.name {
		return generatedInfo(g), nil
	}
	return fs.Stat(g.FS, name)
}

func (g generated) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(g.FS, name) }

// generatedInfo describes the file.
type generatedInfo generated

func (g generatedInfo) Name() string     { return path.Base(g.name) }
func (g generatedInfo) Size() int64      { return int64(len(g.data)) }
func (generatedInfo) Mode() fs.FileMode  { return 0o444 }
func (generatedInfo) ModTime() time.Time { return time.Time{} }
func (generatedInfo) IsDir() bool        { return false }
func (generatedInfo) Sys() any           { return nil }
