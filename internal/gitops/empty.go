package gitops

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/translate"
)

// What makes nothing any more, where it made something, is more often a mistake than a wish: a wrong path, a renamed folder or a typo in a pattern looks just like it.

// mayEmpty refuses a commit without objects, or with an ApplicationSet that makes none, when there are some to lose.
func (p *pass) mayEmpty(ctx context.Context, next *revision) error {
	if err := emptied(p.app, next.objects); err != nil {
		return err
	}
	empty := emptySets(p.app, next.objects)
	if len(empty) == 0 {
		return nil
	}
	// Only in this rare case the cluster is asked: which set made an Application is no part of the inventory.
	gone := slices.DeleteFunc(p.gone(next), func(r v1alpha1.ObjectRef) bool { return !isApplication(r) })
	cluster, err := p.as()
	if err != nil {
		return err
	}
	live, err := cluster.Live(ctx, gone)
	if err != nil {
		return err
	}
	plan := diff.Make(diff.Input{Application: mark(p.key), Live: live, Inventory: gone, Prune: true, Claimed: func(k diff.Key) string { return p.claimed(ctx, k) }})
	return emptiedSets(empty, plan, live)
}

// guarded says whether an Application has something to lose that nobody said may go.
func guarded(app *v1alpha1.Application) bool {
	return len(app.Status.Inventory) > 0 && prunes(&app.Spec) && app.Annotations[v1alpha1.AnnotationAllowEmpty] != "true"
}

// emptied refuses a commit without objects.
func emptied(app *v1alpha1.Application, objects []*apply.Object) error {
	if !guarded(app) || len(objects) > 0 {
		return nil
	}
	return &source.Error{Reason: source.InvalidManifest, Message: fmt.Sprintf(
		"path %q holds no objects any more, which would prune all %d that were applied; if that is meant, annotate the Application with %s=true",
		app.Spec.Source.Path, len(app.Status.Inventory), v1alpha1.AnnotationAllowEmpty)}
}

// emptiedSets refuses a plan that prunes what the empty sets made. They are still there: one that Git dropped takes its Applications along, like any object that made others.
func emptiedSets(empty []emptySet, plan diff.Plan, live map[diff.Key]*unstructured.Unstructured) error {
	lost := map[string][]string{}
	for _, s := range plan {
		if k := diff.KeyOf(s.Ref); s.Action == diff.Prune && isApplication(s.Ref) {
			set := live[k].GetAnnotations()[v1alpha1.AnnotationApplicationSet]
			lost[set] = append(lost[set], k.Name)
		}
	}
	var errs source.ParseErrors
	for _, set := range empty {
		if apps := lost[set.name]; len(apps) > 0 {
			errs = append(errs, &source.ParseError{File: set.kept.Source.Origin.File, Line: set.kept.Source.Origin.Line, Message: fmt.Sprintf(
				"ApplicationSet %s makes no Applications any more, which would prune all %d that it made (%s) with everything that they brought; if that is meant, annotate the ApplicationSet with %s: \"true\"",
				set.name, len(apps), few(apps), v1alpha1.AnnotationAllowEmpty)})
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// emptySet is an ApplicationSet of a commit, by the ConfigMap that is kept of it.
type emptySet struct {
	name string
	kept *apply.Object
}

// emptySets are the ApplicationSets of a commit that make nothing, and do not say that they may; none where the Application has nothing to lose.
func emptySets(app *v1alpha1.Application, objects []*apply.Object) []emptySet {
	if !guarded(app) {
		return nil
	}
	makes := map[string]bool{}
	for _, o := range objects {
		if isApplication(o.Ref) {
			makes[o.Desired.GetAnnotations()[v1alpha1.AnnotationApplicationSet]] = true
		}
	}
	var out []emptySet
	for _, o := range objects {
		name, ok := translate.ApplicationSetOf(o.Ref)
		if ok && o.Ref.Namespace == app.Namespace && !makes[name] && o.Desired.GetAnnotations()[v1alpha1.AnnotationAllowEmpty] != "true" {
			out = append(out, emptySet{name, o})
		}
	}
	return out
}

func isApplication(r v1alpha1.ObjectRef) bool {
	return r.Group == v1alpha1.GroupVersion.Group && r.Kind == "Application"
}

// few names a few of many.
func few(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
