package gitops_test

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

func TestARollbackHoldsUntilGitMovesOnOrSomebodyAsksForGit(t *testing.T) {
	b := start(t, nil)
	first := b.push(shop("web:1"))
	b.applied(first)
	second := b.push(shop("web:2"))
	b.applied(second)
	annotate := func(values map[string]any) {
		t.Helper()
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": values}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.apps.Patch(t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	back := func() {
		t.Helper()
		note, err := json.Marshal(v1alpha1.Rollback{To: first, From: second})
		if err != nil {
			t.Fatal(err)
		}
		annotate(map[string]any{v1alpha1.AnnotationRollback: string(note)})
		app := b.until("the first commit is applied again", func(a *v1alpha1.Application) bool {
			c := a.Status.Conditions
			return a.Status.AppliedRevision == first && len(c) > 0 && a.Status.Sync == "OutOfSync" && a.Status.WantedRevision == second
		})
		if h := app.Status.History[0]; h.Revision != first || h.Trigger != "rollback" || h.Result != "Applied" {
			t.Errorf("history says %+v, want that %s was applied by a rollback", h, first)
		}
		if image := b.deployment().Spec.Template.Spec.Containers[0].Image; image != "web:1" {
			t.Errorf("the image is %s, want web:1", image)
		}
	}
	back()
	// A push of what is there already changes nothing, and neither does a restart.
	b.tell()
	b.halt()
	b.run()
	// Drift is measured against what was rolled back to.
	if _, err := b.as("alice").AppsV1().Deployments("shop").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":6}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the drift is set back", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	if d := b.deployment(); *d.Spec.Replicas != 0 || d.Spec.Template.Spec.Containers[0].Image != "web:1" {
		t.Errorf("%d replicas of %s, want 0 of web:1", *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image)
	}
	annotate(map[string]any{v1alpha1.AnnotationRequestedAt: "1", v1alpha1.AnnotationRollback: nil}) // as gitopsd sync does
	b.applied(second)
	back()
	app := b.applied(b.push(shop("web:3")))
	if note, there := app.Annotations[v1alpha1.AnnotationRollback]; there {
		t.Errorf("after a push the annotation is still there, and would hold again if Git came back: %s", note)
	}
	if image := b.deployment().Spec.Template.Spec.Containers[0].Image; image != "web:3" {
		t.Errorf("the image is %s after a push, want web:3", image)
	}
}
