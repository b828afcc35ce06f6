package gitops_test

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// cutOff leaves the cluster as an Engine does that dies right after it has written down that a commit's first step begins.
func (b *bench) cutOff(files map[string]string, steps int32, wave int32) string {
	b.t.Helper()
	b.halt()
	commit := b.repo.Push(files)
	app, err := b.apps.Get(b.t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	app.Status.Rollout = &v1alpha1.Rollout{
		Revision: commit, Generation: app.Generation, Trigger: "webhook", Step: 1, Steps: steps, Phase: "Sync", Wave: wave, StartTime: metav1.NowMicro(), StepTime: metav1.NowMicro(),
	}
	if _, err := b.apps.UpdateStatus(b.t.Context(), app, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	return commit
}

func TestAStepThatHadBegunIsTakenAfterARestartWhateverIsDoneAboutDrift(t *testing.T) {
	for name, drift := range map[string]v1alpha1.DriftPolicy{"revert": v1alpha1.DriftRevert, "report": v1alpha1.DriftReport} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(a *v1alpha1.Application) { a.Spec.Drift = drift })
			files := map[string]string{
				"deploy/namespace.yaml": namespace,
				"deploy/changed.yaml":   configMap("changed", "", "1"),
				"deploy/dropped.yaml":   strings.Replace(configMap("dropped", "", "1"), "{text:", "{more: x, text:", 1),
				"deploy/last.yaml":      configMap("last", `gitopsd.io/sync-wave: "1"`, "1"),
			}
			b.applied(b.push(files))
			files["deploy/changed.yaml"] = configMap("changed", "", "2")
			files["deploy/dropped.yaml"] = configMap("dropped", "", "1")
			commit := b.cutOff(files, 2, 0)
			b.run()
			b.applied(commit)
			for name, want := range map[string]string{"changed": "2", "dropped": "1"} {
				cm, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), name, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if len(cm.Data) != 1 || cm.Data["text"] != want {
					t.Errorf("ConfigMap %s has %v, want text %s alone", name, cm.Data, want)
				}
			}
		})
	}
}

func TestAStepOfAFirstSyncThatHadBegunIsTakenAfterARestart(t *testing.T) {
	b := start(t, nil)
	files := map[string]string{
		"deploy/namespace.yaml": namespace,
		"deploy/dropped.yaml":   strings.Replace(configMap("dropped", "", "1"), "{text:", "{more: x, text:", 1),
		"deploy/web.yaml":       strings.Replace(web("web:1"), "namespace: shop", "namespace: shop\n  annotations: {gitopsd.io/sync-wave: \"1\"}", 1),
		"deploy/last.yaml":      configMap("last", `gitopsd.io/sync-wave: "2"`, "1"),
	}
	b.push(files)
	b.rolling("Deployment shop/web")
	files["deploy/dropped.yaml"] = configMap("dropped", "", "1")
	commit := b.cutOff(files, 3, 0)
	b.run()
	b.until("the new commit waits for its second step", func(a *v1alpha1.Application) bool {
		return a.Status.Rollout != nil && a.Status.Rollout.Revision == commit && a.Status.Rollout.Step == 2
	})
	cm, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "dropped", metav1.GetOptions{})
	if err != nil || len(cm.Data) != 1 {
		t.Errorf("ConfigMap dropped has %v, want one key (%v)", cm.Data, err)
	}
}

// Spec and Git both change while the Engine is down amid a commit. What the commit brought is not undone by way of drift, and nothing is left of its rollout.
func TestARolloutThatNobodyWantsAnyMoreEndsAfterARestart(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	first := b.push(files)
	b.applied(first)
	files["deploy/last.yaml"] = configMap("last", `gitopsd.io/sync-wave: "1"`, "1")
	b.cutOff(files, 2, 0)
	b.edit(`{"spec":{"interval":"2h"}}`)
	b.repo.Git("update-ref", "refs/heads/main", first)
	b.run()
	b.until("the rollout is over", func(a *v1alpha1.Application) bool {
		return a.Status.ObservedGeneration == a.Generation && a.Status.Rollout == nil && a.Status.Sync == "Synced"
	})
}

func TestAHookThatBecomesAnOrdinaryObjectAmidItsSyncIsKeptAsGitSays(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/note.yaml"] = configMap("note", `gitopsd.io/hook: pre-sync`, "1")
	files["deploy/migrate.yaml"] = job("migrate", `gitopsd.io/hook: pre-sync`)
	files["deploy/namespace.yaml"] = strings.Replace(namespace, "metadata:", "metadata:\n  annotations: {gitopsd.io/hook: pre-sync, gitopsd.io/sync-wave: \"-1\"}", 1)
	b.push(files)
	b.rolling("hook Job shop/migrate")
	delete(files, "deploy/migrate.yaml")
	files["deploy/namespace.yaml"] = namespace
	files["deploy/note.yaml"] = configMap("note", "", "1")
	b.applied(b.push(files))
	if _, err := b.as("alice").CoreV1().ConfigMaps("shop").Patch(t.Context(), "note", types.MergePatchType, []byte(`{"data":{"text":"2"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
}

func TestAHookThatRanOnceIsStillDeletedWhenGitDropsItLater(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/seed.yaml"] = configMap("seed", `helm.sh/hook: post-install`, "1")
	commit := b.push(files)
	b.rolling("Deployment shop/web")
	b.settle()
	b.applied(commit)
	files["deploy/web.yaml"] = web("web:2")
	b.applied(b.push(files))
	if !b.hasConfig("seed") {
		t.Fatal("the hook's object is gone while Git has it")
	}
	delete(files, "deploy/seed.yaml")
	b.applied(b.push(files))
	if b.hasConfig("seed") {
		t.Error("the hook's object is still there")
	}
}

func TestAHookGoesOnWhenTheSpecChangesAndWhileItsApplicationIsSuspended(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	files := shop("web:2")
	files["deploy/migrate.yaml"] = job("migrate", `gitopsd.io/hook: pre-sync`)
	commit := b.push(files)
	b.rolling("hook Job shop/migrate")
	was := b.job("migrate").UID
	seen := func(suspended bool) {
		t.Helper()
		b.until("the new spec is seen", func(a *v1alpha1.Application) bool {
			return a.Status.ObservedGeneration == a.Generation && a.Spec.Suspend == suspended
		})
	}
	b.edit(`{"spec":{"interval":"2h"}}`)
	seen(false)
	b.edit(`{"spec":{"suspend":true}}`)
	seen(true)
	b.edit(`{"spec":{"suspend":false}}`)
	seen(false)
	if b.job("migrate").UID != was {
		t.Fatal("the hook was started again")
	}
	b.end("migrate", batchv1.JobComplete)
	b.applied(commit)
}
