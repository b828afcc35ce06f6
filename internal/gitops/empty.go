package gitops

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/translate"
)

// What makes nothing any more, where it made something, is more often a mistake than a wish: a wrong path, a renamed folder or a typo in a pattern looks just like it.

// mayEmpty refuses a commit without objects, or with an ApplicationSet that makes none, when there are some to lose.
func (p *pass) mayEmpty(ctx context.Context, next *revision) error {
	if len(p.app.Status.Inventory) == 0 || !prunes(&p.app.Spec) || p.app.Annotations[v1alpha1.AnnotationAllowEmpty] == "true" {
		return nil
	}
	if len(next.objects) > 0 {
		return p.mayEmptySets(ctx, next)
	}
	return &source.Error{Reason: source.InvalidManifest, Message: fmt.Sprintf(
		"path %q holds no objects any more, which would prune all %d that were applied; if that is meant, annotate the Application with %s=true",
		p.app.Spec.Source.Path, len(p.app.Status.Inventory), v1alpha1.AnnotationAllowEmpty)}
}

// mayEmptySets is about ApplicationSets that are still there. One that Git dropped takes its Applications along, like any object that made others.
func (p *pass) mayEmptySets(ctx context.Context, next *revision) error {
	empty := next.emptySets(p.key.Namespace)
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
	lost := map[string][]string{}
	plan := diff.Make(diff.Input{Application: mark(p.key), Live: live, Inventory: gone, Prune: true, Claimed: func(k diff.Key) string { return p.claimed(ctx, k) }})
	for _, s := range plan {
		if k := diff.KeyOf(s.Ref); s.Action == diff.Prune {
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

// emptySets are the ApplicationSets of the commit that make nothing, and do not say that they may.
func (r *revision) emptySets(namespace string) []emptySet {
	makes := map[string]bool{}
	for _, o := range r.objects {
		if isApplication(o.Ref) {
			makes[o.Desired.GetAnnotations()[v1alpha1.AnnotationApplicationSet]] = true
		}
	}
	var out []emptySet
	for _, o := range r.objects {
		name, ok := translate.ApplicationSetOf(o.Ref)
		if ok && o.Ref.Namespace == namespace && !makes[name] && o.Desired.GetAnnotations()[v1alpha1.AnnotationAllowEmpty] != "true" {
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
