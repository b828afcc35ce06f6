package translate

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Input is what a commit's foreign objects are translated from.
type Input struct {
	Objects []*source.Object
	// Own is the Application that the objects were rendered for.
	Own *v1alpha1.Application
	// Served says whether the cluster, or the commit, has a kind itself; then its objects stay as they are.
	Served func(schema.GroupKind) (bool, error)
	// Tree is the commit that the objects were rendered from.
	Tree fs.FS
	// Find finds what another Application knows of a source; nil for nothing.
	Find func(ctx context.Context, kind, namespace, name string) (map[string]any, error)
}

// Output is what came of it.
type Output struct {
	Objects []*source.Object
	// Found says that a source from outside the commit had a part in it.
	Found bool
}

const (
	fluxKustomize = "kustomize.toolkit.fluxcd.io"
	fluxHelm      = "helm.toolkit.fluxcd.io"
	fluxSource    = "source.toolkit.fluxcd.io"
	argo          = "argoproj.io"

	fluxNotification = "notification.toolkit.fluxcd.io"
	fluxImage        = "image.toolkit.fluxcd.io"
)

var (
	artifactGenerator = schema.GroupKind{Group: "source.extensions.fluxcd.io", Kind: "ArtifactGenerator"}
	applicationSet    = schema.GroupKind{Group: argo, Kind: "ApplicationSet"}
	appProject        = schema.GroupKind{Group: argo, Kind: "AppProject"}
)

// foreign are the kinds that can be translated.
var foreign = map[schema.GroupKind]func(*translation, *reading) ([]*v1alpha1.Application, error){
	{Group: fluxKustomize, Kind: "Kustomization"}: (*translation).kustomization,
	{Group: fluxHelm, Kind: "HelmRelease"}:        (*translation).helmRelease,
	{Group: argo, Kind: "Application"}:            (*translation).argoApplication,
}

// sources are the kinds of which only the description is kept: where something is, or what it was restricted to.
var sources = map[schema.GroupKind]bool{
	{Group: fluxSource, Kind: "GitRepository"}:        true,
	{Group: fluxSource, Kind: "HelmRepository"}:       true,
	{Group: fluxSource, Kind: "OCIRepository"}:        true,
	artifactGenerator:                                 true,
	appProject:                                        true,
	applicationSet:                                    true,
	{Group: fluxNotification, Kind: "Alert"}:          true,
	{Group: fluxNotification, Kind: "Provider"}:       true,
	{Group: fluxNotification, Kind: "Receiver"}:       true,
	{Group: fluxImage, Kind: "ImageRepository"}:       true,
	{Group: fluxImage, Kind: "ImagePolicy"}:           true,
	{Group: fluxImage, Kind: "ImageUpdateAutomation"}: true,
}

// besides says of a kind that it changes nothing of what is applied: whom the other tool tells of it, how it is told of a push, and what it writes into Git.
func besides(gk schema.GroupKind) bool { return gk.Group == fluxNotification || gk.Group == fluxImage }

// translation is one commit on its way.
type translation struct {
	ctx context.Context
	in  Input
	out Output
	// known are the sources of the commit.
	known map[sourceID]map[string]any
	// namespaces are those that the commit has, or was given.
	namespaces map[string]bool
}

// Objects translates. Its error, a source.ParseErrors where the commit is at fault, names every field that nothing can be made of.
func Objects(ctx context.Context, in Input) (Output, error) {
	t := &translation{ctx: ctx, in: in, known: map[sourceID]map[string]any{}, namespaces: map[string]bool{}}
	todo, err := t.survey()
	if err != nil {
		return Output{}, err
	}
	if len(todo) == 0 {
		return Output{Objects: in.Objects}, nil
	}
	var errs source.ParseErrors
	for _, o := range in.Objects {
		gk := o.GroupVersionKind().GroupKind()
		if !todo[gk] {
			t.out.Objects = append(t.out.Objects, o)
			continue
		}
		r := &reading{object: o}
		if sources[gk] {
			err = t.keep(r)
		} else {
			err = t.replace(r, foreign[gk])
		}
		if err == nil && gk == applicationSet {
			err = t.expand(r)
		}
		if err != nil {
			return Output{}, err
		}
		errs = append(errs, r.errs...)
	}
	if len(errs) > 0 {
		return Output{}, errs
	}
	return t.out, nil
}

// survey finds out which kinds are to be translated, and notes the sources and namespaces of the commit.
func (t *translation) survey() (map[schema.GroupKind]bool, error) {
	todo, asked := map[schema.GroupKind]bool{}, map[schema.GroupKind]bool{}
	for _, o := range t.in.Objects {
		gk := o.GroupVersionKind().GroupKind()
		if gk == (schema.GroupKind{Kind: "Namespace"}) {
			t.namespaces[o.Name()] = true
		}
		if sources[gk] {
			for _, d := range t.descriptions(&reading{object: o}) { // the errors are told when they are kept
				t.known[d.id] = map[string]any{"spec": d.spec}
			}
		}
		if (sources[gk] || foreign[gk] != nil) && !asked[gk] {
			asked[gk] = true
			served, err := t.in.Served(gk)
			if err != nil {
				return nil, err
			}
			if !served {
				todo[gk] = true
			}
		}
		if asked[gk] && !todo[gk] && t.before(gk, o) {
			todo[gk] = true
		}
	}
	return todo, nil
}

// before says whether an object was translated before. Then its kind goes on being translated: if the cluster came to serve it meanwhile, what the objects stood for would be
// dropped, and everything that it brought with it.
func (t *translation) before(gk schema.GroupKind, o *source.Object) bool {
	made := func(group, kind, namespace, name string) bool {
		return slices.ContainsFunc(t.in.Own.Status.Inventory, func(r v1alpha1.ObjectRef) bool {
			return r.Group == group && r.Kind == kind && r.Namespace == namespace && r.Name == name
		})
	}
	namespace, name := t.namespaceOf(o), o.Name()
	switch {
	case sources[gk]:
		return slices.ContainsFunc(t.descriptions(&reading{object: o}), func(d description) bool {
			return made("", "ConfigMap", d.id.namespace, ConfigMapName(d.id.kind, d.id.name))
		})
	case gk.Group == fluxHelm:
		name += releaseSuffix
	case gk.Group == argo:
		namespace = t.in.Own.Namespace
	}
	return made(v1alpha1.GroupVersion.Group, "Application", namespace, name)
}

// namespaceOf is where an object is.
func (t *translation) namespaceOf(o *source.Object) string {
	switch {
	case o.Namespace() != "":
		return o.Namespace()
	case t.in.Own.Spec.TargetNamespace != "":
		return t.in.Own.Spec.TargetNamespace
	}
	return "default"
}

// replace puts Applications in an object's place.
func (t *translation) replace(r *reading, make func(*translation, *reading) ([]*v1alpha1.Application, error)) error {
	apps, err := make(t, r)
	if err != nil || len(r.errs) > 0 {
		return err
	}
	for _, app := range apps {
		if err := t.add(r, app); err != nil {
			return err
		}
	}
	return nil
}

// add puts one Application into the result, unless it would do what the one does that the object was read for.
func (t *translation) add(r *reading, app *v1alpha1.Application) error {
	if app.Namespace == t.in.Own.Namespace && app.Name == t.in.Own.Name {
		if !t.leadsHere(app) {
			r.fail("metadata.name", "the Application that it was read for has the same name; give it another")
		}
		return nil
	}
	if t.leadsHere(app) {
		return nil // such as Flux's Kustomization of its own folder: the Application that it was read for does that
	}
	// What is applied with an account's rights leads to nothing that is applied with all.
	if account := t.in.Own.Spec.ServiceAccountName; account != "" && app.Spec.ServiceAccountName == "" {
		if app.Namespace != t.in.Own.Namespace {
			r.fail("metadata.namespace", "the Application that it was read for has the rights of the account %s of namespace %s, which another namespace has not; put it there, or name an account of its own", account, t.in.Own.Namespace)
			return nil
		}
		app.Spec.ServiceAccountName = account
	}
	app.TypeMeta.APIVersion, app.TypeMeta.Kind = v1alpha1.GroupVersion.String(), "Application"
	t.describe(app, r)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(app)
	if err != nil {
		return fmt.Errorf("%s: %w", r.object, err)
	}
	delete(content, "status")
	if app.Spec.Source.Ref == (v1alpha1.Ref{}) {
		unstructured.RemoveNestedField(content, "spec", "source", "ref")
	}
	t.out.Objects = append(t.out.Objects, r.object.With(content))
	return nil
}

// leadsHere says whether an Application would read what the one reads that it comes from.
func (t *translation) leadsHere(app *v1alpha1.Application) bool {
	a, b := app.Spec.Source, t.in.Own.Spec.Source
	if a.Helm != nil && a.Helm.Chart != nil || source.Canonical(a.RepoURL) != source.Canonical(b.RepoURL) {
		return false
	}
	here, err := source.CleanPath(a.Path)
	if err != nil {
		return false
	}
	there, err := source.CleanPath(b.Path)
	return err == nil && here == there
}

// describe copies the object's own labels and annotations, and says what the Application stands for.
func (t *translation) describe(app *v1alpha1.Application, r *reading) {
	app.Labels, app.Annotations = r.metadata("labels"), r.metadata("annotations")
	app.Annotations[v1alpha1.AnnotationTranslatedFrom] = r.standsFor()
	delete(app.Annotations, v1alpha1.AnnotationApplicationSet)
	if r.set != nil {
		app.Annotations[v1alpha1.AnnotationApplicationSet] = r.set.Name()
	}
}

// metadata reads the labels or annotations of the object.
func (r *reading) metadata(field string) map[string]string {
	out := map[string]string{}
	m, _ := r.object.Content["metadata"].(map[string]any)
	values, _ := m[field].(map[string]any)
	for k, v := range values {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}

// standsFor says what an object was made from, and what was left out.
func (r *reading) standsFor() string {
	text := fmt.Sprintf("%s of %s", r.object, r.object.GroupVersionKind().GroupVersion())
	if r.set != nil {
		text += ", made by " + r.set.String()
	}
	if len(r.dropped) > 0 {
		text += "; without " + strings.Join(slices.Compact(slices.Sorted(slices.Values(r.dropped))), ", ")
	}
	return text
}

// namespace adds a Namespace unless the commit has it: one that is made if it is missing, and that is then nobody's.
func (t *translation) namespace(r *reading, name string, labels, annotations map[string]string) {
	if t.namespaces[name] || name == "" {
		return
	}
	t.namespaces[name] = true
	notes := map[string]any{v1alpha1.AnnotationReconcile: "once", v1alpha1.AnnotationPrune: "disabled"}
	for k, v := range annotations {
		notes[k] = v
	}
	metadata := map[string]any{"name": name, "annotations": notes}
	if len(labels) > 0 {
		all := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(labels)) {
			all[k] = labels[k]
		}
		metadata["labels"] = all
	}
	t.out.Objects = append(t.out.Objects, r.object.With(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
}

// home makes the namespace in which Flux keeps its objects, which nothing else does where Flux is not installed.
func (t *translation) home(r *reading, namespace string) {
	if namespace == "flux-system" {
		t.namespace(r, namespace, nil, nil)
	}
}
