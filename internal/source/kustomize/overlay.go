package kustomize

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Overlay puts what the Application says on top of objects that no kustomization has, such as a chart's. file is the one that messages name.
func Overlay(ctx context.Context, made []source.Made, file string, options *v1alpha1.Kustomize) ([]source.Made, error) {
	if len(options.Components) > 0 {
		return nil, source.ParseErrors{{File: file, Message: "spec.source.kustomize.components: a component needs a folder with a kustomization.yaml; use patches"}}
	}
	const objects = "objects.yaml"
	at := path.Join(sourceRoot, objects)
	top := &folder{
		file: path.Join(sourceRoot, source.KustomizationFiles[0]), shown: file, doc: source.Document{File: file},
		kustomization: types.Kustomization{Resources: []string{objects}},
	}
	definition, err := json.Marshal(top.kustomization)
	if err != nil {
		return nil, fmt.Errorf("a kustomization for %s: %w", file, err)
	}
	var text strings.Builder
	var documents []source.Document
	for i, m := range made {
		b, err := json.Marshal(marked(m.Content, at+"#"+strconv.Itoa(i)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Written.File, err)
		}
		text.WriteString("---\n")
		text.Write(b)
		text.WriteByte('\n')
		documents = append(documents, m.Written)
	}
	return Build(ctx, &Files{
		Content: map[string][]byte{top.file: definition, at: []byte(text.String())}, Dir: sourceRoot,
		resources: map[string][]source.Document{at: documents}, folders: map[string]*folder{sourceRoot: top},
	}, options)
}

// overlayOf is the kustomization that the Application puts on top.
func overlayOf(dir string, top *folder, o *v1alpha1.Kustomize) ([]byte, error) {
	k := types.Kustomization{
		TypeMeta:      types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind},
		Resources:     []string{relative(overlayRoot, dir)},
		BuildMetadata: []string{types.OriginAnnotations, types.TransformerAnnotations},
		SortOptions:   top.kustomization.SortOptions,
	}
	if slices.Contains(top.kustomization.BuildMetadata, types.ManagedByLabelOption) {
		k.BuildMetadata = append(k.BuildMetadata, types.ManagedByLabelOption)
	}
	if o != nil {
		k.NamePrefix, k.NameSuffix, k.Namespace = o.NamePrefix, o.NameSuffix, o.Namespace
		k.CommonAnnotations = o.CommonAnnotations
		if len(o.CommonLabels) > 0 {
			k.Labels = append(k.Labels, types.Label{Pairs: o.CommonLabels, IncludeSelectors: true})
		}
		if len(o.Labels) > 0 {
			k.Labels = append(k.Labels, types.Label{Pairs: o.Labels})
		}
		if len(o.Annotations) > 0 {
			t, err := annotations(o.Annotations)
			if err != nil {
				return nil, err
			}
			k.Transformers = append(k.Transformers, t)
		}
		for _, i := range o.Images {
			k.Images = append(k.Images, types.Image{Name: i.Name, NewName: i.NewName, NewTag: i.NewTag, Digest: i.Digest})
		}
		for _, r := range o.Replicas {
			k.Replicas = append(k.Replicas, types.Replica{Name: r.Name, Count: r.Count})
		}
		for _, p := range o.Patches {
			t := types.Patch{Patch: p.Patch}
			if s := p.Target; s != nil {
				t.Target = &types.Selector{LabelSelector: s.LabelSelector, AnnotationSelector: s.AnnotationSelector}
				t.Target.Group, t.Target.Version, t.Target.Kind, t.Target.Name, t.Target.Namespace = s.Group, s.Version, s.Kind, s.Name, s.Namespace
			}
			k.Patches = append(k.Patches, t)
		}
		for _, c := range o.Components {
			k.Components = append(k.Components, relative(overlayRoot, path.Join(dir, c)))
		}
	}
	return yaml.Marshal(k)
}

// annotations is the transformer that sets annotations on objects themselves; those of a kustomization get into templates too.
func annotations(pairs map[string]string) (string, error) {
	text, err := json.Marshal(map[string]any{
		"apiVersion": konfig.BuiltinPluginApiVersion, "kind": "AnnotationsTransformer", "metadata": map[string]any{"name": "annotations"},
		"annotations": pairs, "fieldSpecs": []any{map[string]any{"path": "metadata/annotations", "create": true}},
	})
	return string(text), err
}
