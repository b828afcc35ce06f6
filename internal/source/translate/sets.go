package translate

import (
	"errors"
	"maps"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/appset"
)

// expand puts the Applications of an ApplicationSet beside the ConfigMap that is kept of it, by which it is known to have been translated.
func (t *translation) expand(r *reading) error {
	own := t.in.Own.Spec.Source
	made, err := appset.Expand(t.ctx, r.object.Content["spec"], appset.Repository{
		Tree: t.in.Tree,
		Here: func(url, revision string) bool {
			ref := argoRevision(revision)
			return source.Canonical(url) == source.Canonical(own.RepoURL) && (ref == own.Ref || ref.Branch == source.HeadBranch)
		},
	})
	var wrong *appset.Error
	switch {
	case errors.As(err, &wrong):
		r.fail(wrong.Field, "%s", wrong.Message)
		return nil
	case err != nil:
		return err
	}
	for _, content := range made.Applications {
		keepAs(made.Policy, content)
		one := &reading{object: r.object.With(content), set: r.object}
		err := t.replace(one, func(t *translation, r *reading) ([]*v1alpha1.Application, error) {
			apps, err := t.argoApplication(r)
			for _, app := range apps {
				if made.Rolling {
					app.Spec.Suspend = false
				}
				app.Spec.OnDeletion = v1alpha1.DeletionPrune // Argo CD gives all of a set's its finalizer
				if made.Preserve {
					app.Spec.OnDeletion = v1alpha1.DeletionKeep
				}
			}
			return apps, err
		})
		if err != nil {
			return err
		}
		r.errs = append(r.errs, one.errs...)
	}
	return nil
}

// keptAs is what an Application of an ApplicationSet has to say for the set's policy about changes and deletions.
var keptAs = map[string]map[string]string{
	appset.CreateOnly:   {v1alpha1.AnnotationReconcile: "once", v1alpha1.AnnotationPrune: "disabled"},
	appset.CreateUpdate: {v1alpha1.AnnotationPrune: "disabled"},
	appset.CreateDelete: {v1alpha1.AnnotationReconcile: "once"},
}

// keepAs adds that to the annotations of an Application as the set has made it.
func keepAs(policy string, content map[string]any) {
	if len(keptAs[policy]) == 0 {
		return
	}
	metadata, _ := content["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	annotations = maps.Clone(annotations)
	if annotations == nil {
		annotations = map[string]any{}
	}
	for k, v := range keptAs[policy] {
		annotations[k] = v
	}
	metadata["annotations"] = annotations
}
