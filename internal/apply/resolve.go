package apply

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/directive"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Target says for whom objects are applied.
type Target struct {
	// Application is the value of the label that marks the objects.
	Application string
	// Namespace is where namespaced objects go that name none.
	Namespace string
	// WaitForKinds puts off all objects whose kind the cluster does not know yet, and not only those that ask for it.
	WaitForKinds bool
}

// served is how the server, or the commit itself, serves a kind.
type served struct {
	resource   schema.GroupVersionResource
	namespaced bool
	deferred   bool
}

// Resolve finds the resource of each object and makes what will be applied. Its error, an Errors, names every object that the cluster cannot
// hold: of an unknown kind, or defined twice once default namespaces are filled in. What is put off until the cluster knows its kind is in waiting, each with what is said of it.
func (c *Cluster) Resolve(ctx context.Context, objects []*source.Object, t Target) (out []*Object, waiting Errors, err error) {
	definitions := definitionsIn(objects)
	kinds := map[schema.GroupVersionKind]*served{}
	unknown := map[schema.GroupVersionKind]bool{}
	var errs Errors
	out = make([]*Object, 0, len(objects))
	seen := make(map[diff.Key]*source.Object, len(objects))
	for _, s := range objects {
		gvk := s.GroupVersionKind()
		k, ok := kinds[gvk]
		if !ok && !unknown[gvk] {
			// Asking afresh for the first unknown kind is enough for all of them.
			found, err := c.serve(ctx, gvk, definitions, len(unknown) == 0)
			if err != nil {
				return nil, nil, err
			}
			if found == nil {
				unknown[gvk] = true
			} else {
				k = found
				kinds[gvk] = found
			}
		}
		if k == nil {
			e := unserved(s, c.mapper.Versions(gvk.GroupKind()))
			if e.Temporary && (t.WaitForKinds || waitsForKind(s)) {
				waiting = append(waiting, e)
			} else {
				errs = append(errs, e)
			}
			continue
		}
		o, err := newObject(s, *k, t)
		if wrong := (*Error)(nil); errors.As(err, &wrong) {
			errs = append(errs, wrong)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if first, dup := seen[o.Key]; dup {
			errs = append(errs, &Error{Source: s, Message: s.Twice(first)})
			continue
		}
		seen[o.Key] = s
		out = append(out, o)
	}
	if len(errs) > 0 {
		return nil, nil, errs
	}
	return out, waiting, nil
}

// waitsForKind says whether an object itself asks to be put off. What is wrong with its annotations is told when it is resolved.
func waitsForKind(s *source.Object) bool {
	asks, _ := directive.Read((&unstructured.Unstructured{Object: s.Content}).GetAnnotations())
	return asks.WaitForKind
}

func newObject(s *source.Object, k served, t Target) (*Object, error) {
	gvk := s.GroupVersionKind()
	namespace := ""
	if k.namespaced {
		if namespace = s.Namespace(); namespace == "" {
			namespace = t.Namespace
		}
	}
	ref := v1alpha1.ObjectRef{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: namespace, Name: s.Name()}
	o := &Object{Key: diff.KeyOf(ref), Ref: ref, Resource: k.resource, Source: s, Desired: prepare(s, namespace, t.Application), Deferred: k.deferred}
	h, err := hashOf(o.Desired)
	if err != nil {
		return nil, err
	}
	o.Hash = h
	asks, wrong := directive.Read(o.Desired.GetAnnotations())
	if wrong != nil {
		return nil, &Error{Source: s, Field: wrong.Field(), Message: wrong.Message}
	}
	o.Asks = asks
	return o, nil
}

// Serves says whether the cluster, or a definition among the objects, has a kind in any version.
func Serves(ctx context.Context, mapper *Mapper, gk schema.GroupKind, objects []*source.Object) (bool, error) {
	for gvk := range definitionsIn(objects) {
		if gvk.GroupKind() == gk {
			return true, nil
		}
	}
	return mapper.Knows(ctx, gk)
}

// serve returns nil when neither the server nor the commit serves the kind.
func (c *Cluster) serve(ctx context.Context, gvk schema.GroupVersionKind, definitions map[schema.GroupVersionKind]served, fresh bool) (*served, error) {
	d, inCommit := definitions[gvk]
	m, err := c.mapper.Mapping(ctx, gvk, fresh && !inCommit)
	switch {
	case err == nil:
		return &served{resource: m.Resource, namespaced: m.Scope.Name() == meta.RESTScopeNameNamespace}, nil
	case !meta.IsNoMatchError(err):
		return nil, fmt.Errorf("asking the API server for its kinds: %w", err)
	case inCommit:
		return &d, nil
	}
	return nil, nil
}

// definitionsIn lists the kinds that CustomResourceDefinitions of the commit define.
func definitionsIn(objects []*source.Object) map[schema.GroupVersionKind]served {
	out := map[schema.GroupVersionKind]served{}
	for _, s := range objects {
		if gk := s.GroupVersionKind().GroupKind(); gk.Group != "apiextensions.k8s.io" || gk.Kind != "CustomResourceDefinition" {
			continue
		}
		text := func(path ...string) string {
			v, _, err := unstructured.NestedString(s.Content, path...)
			if err != nil {
				return ""
			}
			return v
		}
		group, kind, plural := text("spec", "group"), text("spec", "names", "kind"), text("spec", "names", "plural")
		versions, _ := unstructuredList(s.Content, "spec", "versions")
		for _, v := range versions {
			m, ok := v.(map[string]any)
			if !ok {
				continue
			}
			if name, ok := m["name"].(string); ok && m["served"] != false {
				gv := schema.GroupVersion{Group: group, Version: name}
				out[gv.WithKind(kind)] = served{resource: gv.WithResource(plural), namespaced: text("spec", "scope") == "Namespaced", deferred: true}
			}
		}
	}
	return out
}

func unstructuredList(content map[string]any, path ...string) ([]any, bool) {
	v, ok, err := unstructured.NestedFieldNoCopy(content, path...)
	if err != nil || !ok {
		return nil, false
	}
	l, ok := v.([]any)
	return l, ok
}
