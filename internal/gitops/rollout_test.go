package gitops_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

// job is a Job with annotations, written as "name: value, name: value".
func job(name, annotations string) string {
	return fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: shop, annotations: {%s}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "task:1"}]}}}
`, name, annotations)
}

func configMap(name, annotations, data string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: shop, annotations: {%s}}\ndata: {text: %q}\n", name, annotations, data)
}

// rolling waits until the Application waits for a step with the text in its message.
func (b *bench) rolling(text string) *v1alpha1.Application {
	b.t.Helper()
	return b.until("it waits for "+text, func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSynced)
		return c != nil && c.Reason == "RollingOut" && strings.Contains(c.Message, text)
	})
}

// stopped waits until the commit has stopped at a step with the text in its message.
func (b *bench) stopped(text string) *v1alpha1.Application {
	b.t.Helper()
	return b.until("it stopped with "+text, func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSynced)
		return c != nil && c.Reason == "RolloutFailed" && strings.Contains(c.Message, text)
	})
}

func (b *bench) job(name string) *batchv1.Job {
	b.t.Helper()
	j, err := b.kube.BatchV1().Jobs("shop").Get(b.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return j
}

// end does what the Job's controller does at its end.
func (b *bench) end(name string, condition batchv1.JobConditionType) {
	b.t.Helper()
	j := b.job(name)
	now := metav1.Now()
	j.Status.StartTime = &now
	late := []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
	if condition == batchv1.JobFailed {
		late = []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
	} else {
		j.Status.Succeeded, j.Status.CompletionTime = 1, &now
	}
	for _, c := range late {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{
			Type: c, Status: corev1.ConditionTrue, Reason: "Tested", Message: "the test says so", LastTransitionTime: now, LastProbeTime: now,
		})
	}
	if _, err := b.kube.BatchV1().Jobs("shop").UpdateStatus(b.t.Context(), j, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) image() string {
	b.t.Helper()
	return b.deployment().Spec.Template.Spec.Containers[0].Image
}

// hasConfig says whether there is a ConfigMap.
func (b *bench) hasConfig(name string) bool {
	b.t.Helper()
	_, err := b.kube.CoreV1().ConfigMaps("shop").Get(b.t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		b.t.Fatal(err)
	}
	return err == nil
}

func TestAWaveWaitsUntilTheOneBeforeIsHealthy(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/last.yaml"] = configMap("last", `argocd.argoproj.io/sync-wave: "2"`, "1")
	files["deploy/first.yaml"] = configMap("first", `gitopsd.io/sync-wave: "-1"`, "1")
	files["deploy/namespace.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {gitopsd.io/sync-wave: \"-2\"}}\n"
	commit := b.push(files)
	app := b.rolling("Deployment shop/web")
	if r := app.Status.Rollout; r.Revision != commit || r.Step != 3 || r.Steps != 4 || r.Phase != "Sync" || app.Status.AppliedRevision != "" {
		t.Errorf("rollout %+v, applied %q", r, app.Status.AppliedRevision)
	}
	if !b.hasConfig("first") || b.hasConfig("last") {
		t.Errorf("first is there: %v, want true; last is there: %v, want false", b.hasConfig("first"), b.hasConfig("last"))
	}
	b.settle()
	app = b.applied(commit)
	if !b.hasConfig("last") || app.Status.Rollout != nil || len(app.Status.History) != 1 || app.Status.History[0].Created != 5 {
		t.Errorf("last is there: %v; rollout %+v; history %+v", b.hasConfig("last"), app.Status.Rollout, app.Status.History)
	}
	b.eventually("Applied", "5 created, 0 updated, 0 pruned, 0 unchanged")
}

func TestHooksRunBeforeAndAfterASyncAndGoByTheirPolicy(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	b.settle()
	files := shop("web:2")
	files["deploy/migrate.yaml"] = job("migrate", `argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded`)
	files["deploy/smoke.yaml"] = job("smoke", `gitopsd.io/hook: post-sync`)
	commit := b.push(files)
	app := b.rolling("hook Job shop/migrate")
	if b.image() != "web:1" || len(app.Status.Hooks) != 1 || app.Status.Hooks[0].Result != "Running" {
		t.Errorf("image %s before the hook has ended; hooks %+v", b.image(), app.Status.Hooks)
	}
	b.end("migrate", batchv1.JobComplete)
	b.rolling("Deployment shop/web")
	b.settle()
	b.rolling("hook Job shop/smoke")
	if b.image() != "web:2" {
		t.Errorf("image %s", b.image())
	}
	b.end("smoke", batchv1.JobComplete)
	app = b.applied(commit)
	_, err := b.kube.BatchV1().Jobs("shop").Get(t.Context(), "migrate", metav1.GetOptions{})
	b.absent(err, "the hook that is deleted once it succeeded")
	for _, h := range app.Status.Hooks {
		if h.Result != "Succeeded" || h.Deleted != (h.Name == "migrate") {
			t.Errorf("hook %+v", h)
		}
	}
	if len(app.Status.Inventory) != 3 {
		t.Errorf("hooks are in the inventory: %v", app.Status.Inventory)
	}
	smoke := b.job("smoke").UID

	// The same content again runs nothing; another one runs the hooks anew; a hook that Git dropped is deleted.
	files["deploy/README.md"] = "hello"
	b.applied(b.push(files))
	if got := b.job("smoke").UID; got != smoke {
		t.Errorf("the hook ran again although nothing changed")
	}
	files["deploy/web.yaml"] = web("web:3")
	delete(files, "deploy/migrate.yaml")
	commit = b.push(files)
	b.rolling("Deployment shop/web")
	b.settle()
	b.until("the hook runs again", func(a *v1alpha1.Application) bool {
		j, err := b.kube.BatchV1().Jobs("shop").Get(t.Context(), "smoke", metav1.GetOptions{})
		return err == nil && j.UID != smoke
	})
	b.end("smoke", batchv1.JobComplete)
	b.applied(commit)
	delete(files, "deploy/smoke.yaml")
	files["deploy/web.yaml"] = web("web:4")
	b.applied(b.push(files))
	_, err = b.kube.BatchV1().Jobs("shop").Get(t.Context(), "smoke", metav1.GetOptions{})
	b.absent(err, "the hook that Git dropped")
}

func TestAHookThatCannotBeStartedYetIsWaitedFor(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/last.yaml"] = configMap("last", `gitopsd.io/sync-wave: "1"`, "1")
	files["deploy/smoke.yaml"] = job("smoke", `gitopsd.io/hook: post-sync`)
	commit := b.push(files)
	b.rolling("Deployment shop/web")
	none := corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")}
	quotas := b.kube.CoreV1().ResourceQuotas("shop")
	q, err := quotas.Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: none}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: none, Used: none}
	if _, err := quotas.UpdateStatus(t.Context(), q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.rolling("exceeded quota: none")
	if err := quotas.Delete(t.Context(), "none", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the hook is started", func(a *v1alpha1.Application) bool {
		_, err := b.kube.BatchV1().Jobs("shop").Get(t.Context(), "smoke", metav1.GetOptions{})
		return err == nil
	})
	b.end("smoke", batchv1.JobComplete)
	b.applied(commit)
}

func TestAFailedHookStopsTheCommitBeforeAnythingElseAndIsTriedAgainOnRequest(t *testing.T) {
	b := start(t, nil)
	good := b.push(shop("web:1"))
	b.applied(good)
	b.settle()
	files := shop("web:2")
	files["deploy/migrate.yaml"] = job("migrate", `helm.sh/hook: "pre-upgrade", helm.sh/hook-weight: "-5"`)
	files["deploy/alarm.yaml"] = job("alarm", `argocd.argoproj.io/hook: SyncFail`)
	bad := b.push(files)
	b.rolling("hook Job shop/migrate")
	failed := b.job("migrate").UID
	b.end("migrate", batchv1.JobFailed)
	b.rolling("hook Job shop/alarm")
	b.end("alarm", batchv1.JobComplete)
	app := b.stopped("the test says so")
	if b.image() != "web:1" || app.Status.AppliedRevision != good || app.Status.History[0].Result != "Failed" || app.Status.History[0].Revision != bad {
		t.Errorf("image %s, applied %s, history %+v", b.image(), app.Status.AppliedRevision, app.Status.History[0])
	}
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "deploy/migrate.yaml:1") {
		t.Errorf("the message does not say where the hook is: %s", c.Message)
	}
	// Neither a webhook for the same commit nor a restart tries it again; drift is still set back to what is applied.
	b.tell()
	b.halt()
	b.run()
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	if got := b.job("migrate").UID; got != failed {
		t.Errorf("the failed hook ran again")
	}
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"again"}}}`)
	b.until("the hook runs again", func(a *v1alpha1.Application) bool {
		j, err := b.kube.BatchV1().Jobs("shop").Get(t.Context(), "migrate", metav1.GetOptions{})
		return err == nil && j.UID != failed
	})
	b.end("migrate", batchv1.JobComplete)
	b.applied(bad)
	if b.image() != "web:2" {
		t.Errorf("image %s", b.image())
	}
}

func TestACommitWhoseHookFailsIsRolledBackWhenAskedTo(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.OnFailure = v1alpha1.FailureRollback })
	good := b.push(shop("web:1"))
	b.applied(good)
	b.settle()
	b.healthy(good)
	files := shop("web:2")
	files["deploy/smoke.yaml"] = job("smoke", `gitopsd.io/hook: post-sync`)
	bad := b.push(files)
	b.rolling("Deployment shop/web")
	b.settle()
	b.rolling("hook Job shop/smoke")
	b.end("smoke", batchv1.JobFailed)
	app := b.until("the commit is rolled back", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSynced)
		return a.Status.AppliedRevision == good && c.Reason == "RolledBack"
	})
	if b.image() != "web:1" || app.Status.WantedRevision != bad || app.Status.Rollout != nil {
		t.Errorf("image %s, wanted %s, rollout %+v", b.image(), app.Status.WantedRevision, app.Status.Rollout)
	}
	said := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionSynced).Message
	for _, want := range []string{"commit " + bad[:12] + ": step ", "hook Job shop/smoke (deploy/smoke.yaml:1) failed: ", "; rolled back to commit " + good[:12] + "; push a fix"} {
		if !strings.Contains(said, want) {
			t.Errorf("the status says %q, want %q in it", said, want)
		}
	}
}

func TestAWaveThatDoesNotBecomeHealthyInTimeStopsTheCommitWhereItIs(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.HealthTimeout = &metav1.Duration{Duration: time.Second} })
	files := shop("web:1")
	files["deploy/last.yaml"] = configMap("last", `gitopsd.io/sync-wave: "1"`, "1")
	b.push(files)
	b.stopped("not healthy within 1s: Deployment shop/web")
	if b.hasConfig("last") {
		t.Error("the next wave was applied")
	}
	// What was applied is held, also over a restart, and the next commit begins anew.
	b.halt()
	b.run()
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	files["deploy/web.yaml"] = web("web:2")
	commit := b.push(files)
	b.rolling("Deployment shop/web")
	b.settle()
	b.applied(commit)
	if !b.hasConfig("last") {
		t.Error("the last wave is missing")
	}
}

// The Engine is stopped at moments all over a sync with a hook and two waves. Whatever it had done by then, the next one finishes, and no hook runs twice.
func TestARolloutThatIsCutOffAnywhereIsFinishedAfterARestart(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:0")))
	for i := 1; i <= 10; i++ {
		hook := fmt.Sprintf("migrate%d", i)
		files := shop("web:0")
		files["deploy/hook.yaml"] = job(hook, `gitopsd.io/hook: pre-sync`)
		files["deploy/first.yaml"] = configMap(fmt.Sprintf("first%d", i), "", "x")
		files["deploy/last.yaml"] = configMap("last", `gitopsd.io/sync-wave: "1"`, fmt.Sprint(i))
		delete(files, "deploy/web.yaml")
		commit := b.push(files)
		cut := func(d time.Duration) {
			<-time.NewTimer(d).C
			b.halt()
			b.run()
		}
		cut(time.Duration(i) * 5 * time.Millisecond)
		b.rolling("hook Job shop/" + hook)
		uid := b.job(hook).UID
		b.end(hook, batchv1.JobComplete)
		cut(time.Duration(i) * 5 * time.Millisecond)
		app := b.applied(commit)
		if got := b.job(hook).UID; got != uid {
			t.Fatalf("round %d: the hook ran twice", i)
		}
		if n := len(app.Status.Inventory); n != 4 {
			t.Fatalf("round %d: inventory %v, want 4 objects", i, app.Status.Inventory)
		}
		if i > 1 {
			_, err := b.kube.BatchV1().Jobs("shop").Get(t.Context(), fmt.Sprintf("migrate%d", i-1), metav1.GetOptions{})
			b.absent(err, "the hook of the commit before")
		}
	}
}

func TestAnImmutableObjectIsReplacedOnlyWhenAskedTo(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	fixed := func(annotations, text string) string {
		return configMap("fixed", annotations, text) + "immutable: true\n"
	}
	files["deploy/fixed.yaml"] = fixed("", "1")
	b.applied(b.push(files))
	was, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "fixed", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	files["deploy/fixed.yaml"] = fixed("", "2")
	app := b.refused(b.push(files))
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "deploy/fixed.yaml:") || !strings.Contains(c.Message, "gitopsd.io/replace") {
		t.Errorf("message %s", c.Message)
	}
	files["deploy/fixed.yaml"] = fixed(`kustomize.toolkit.fluxcd.io/force: enabled`, "2")
	b.applied(b.push(files))
	now, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "fixed", metav1.GetOptions{})
	if err != nil || now.UID == was.UID || now.Data["text"] != "2" {
		t.Errorf("%v; UID %s, was %s; data %v", err, now.UID, was.UID, now.Data)
	}
	// An object that is wrong in itself is not deleted for it.
	files["deploy/fixed.yaml"] = strings.Replace(fixed(`gitopsd.io/replace: "true"`, "3"), "data: {text", "data: {\"no/key\"", 1)
	b.refused(b.push(files))
	still, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "fixed", metav1.GetOptions{})
	if err != nil || still.UID != now.UID {
		t.Errorf("%v; UID %s, was %s", err, still.UID, now.UID)
	}
}

// An Application may say so for all its objects, but not for those that data goes with.
func TestAnApplicationMaySayThatItsObjectsMayBeReplaced(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Replace = true })
	files := shop("web:1")
	claim := "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: shop}\nspec: {accessModes: [ReadWriteOnce], storageClassName: CLASS, resources: {requests: {storage: 1Gi}}}\n"
	files["deploy/fixed.yaml"] = configMap("fixed", "", "1") + "immutable: true\n"
	files["deploy/claim.yaml"] = strings.Replace(claim, "CLASS", "fast", 1)
	b.push(files)
	b.until("it is written", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision != "" }) // nobody binds the claim
	was, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "fixed", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	files["deploy/fixed.yaml"] = configMap("fixed", "", "2") + "immutable: true\n"
	files["deploy/claim.yaml"] = strings.Replace(claim, "CLASS", "slow", 1)
	app := b.refused(b.push(files))
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "deploy/claim.yaml:") || strings.Contains(c.Message, "deploy/fixed.yaml:") {
		t.Errorf("message %s", c.Message)
	}
	files["deploy/claim.yaml"] = strings.Replace(claim, "CLASS", "fast", 1)
	commit := b.push(files)
	b.until("it is applied", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == commit })
	now, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "fixed", metav1.GetOptions{})
	if err != nil || now.UID == was.UID || now.Data["text"] != "2" {
		t.Errorf("%v; UID %s, was %s; data %v", err, now.UID, was.UID, now.Data)
	}
}

func TestAnObjectThatIsToBeReplacedAndDoesNotGoHoldsUpNothingElse(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/fixed.yaml"] = configMap("fixed", `gitopsd.io/replace: "true"`, "1") + "immutable: true\n"
	b.applied(b.push(files))
	configs := b.kube.CoreV1().ConfigMaps("shop")
	finalizers := func(list string) {
		t.Helper()
		if _, err := configs.Patch(t.Context(), "fixed", types.MergePatchType, []byte(`{"metadata":{"finalizers":`+list+`}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["example.com/stay"]`)
	files["deploy/fixed.yaml"] = configMap("fixed", `gitopsd.io/replace: "true"`, "2") + "immutable: true\n"
	commit := b.push(files)
	b.until("the status says what it waits for", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSynced)
		return a.Status.Sync == "Failed" && strings.Contains(c.Message, "ConfigMap shop/fixed") && strings.Contains(c.Message, "example.com/stay")
	})
	finalizers(`[]`)
	b.applied(commit)
	if now, err := configs.Get(t.Context(), "fixed", metav1.GetOptions{}); err != nil || now.Data["text"] != "2" {
		t.Errorf("%v; data %v", err, now.Data)
	}
}

func TestAnObjectMayBeMadeOnceOrLeftAlone(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/once.yaml"] = configMap("once", `kustomize.toolkit.fluxcd.io/ssa: IfNotPresent`, "1")
	files["deploy/left.yaml"] = configMap("left", `gitopsd.io/reconcile: disabled`, "1")
	b.applied(b.push(files))
	if !b.hasConfig("once") || b.hasConfig("left") {
		t.Errorf("once is there: %v, want true; left is there: %v, want false", b.hasConfig("once"), b.hasConfig("left"))
	}
	nothing := func() {
		t.Helper()
		app := b.until("it is there", func(*v1alpha1.Application) bool { return true })
		look, _, err := gitops.Look(t.Context(), b.cluster.System, app, v1alpha1.Ref{Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range look.Plan() {
			if s.Action != diff.Unchanged {
				t.Errorf("a look says that a sync would %s %s %s", s.Action, s.Ref.Kind, s.Ref.Name)
			}
		}
	}
	nothing()
	patch := []byte(`{"data":{"text":"mine"}}`)
	if _, err := b.as("alice").CoreV1().ConfigMaps("shop").Patch(t.Context(), "once", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	files["deploy/once.yaml"] = configMap("once", `kustomize.toolkit.fluxcd.io/ssa: IfNotPresent`, "2")
	app := b.applied(b.push(files))
	c, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "once", metav1.GetOptions{})
	if err != nil || c.Data["text"] != "mine" || len(app.Status.Reverted) > 0 {
		t.Errorf("%v; data %v, want what alice wrote; reverted %+v", err, c.Data, app.Status.Reverted)
	}
	nothing()
	// An object that was applied and is to be left alone from now on stays as it is, and is not pruned.
	files["deploy/service.yaml"] = strings.Replace(service, "namespace: shop}", "namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled}}", 1)
	b.applied(b.push(files))
	if _, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	nothing()
	delete(files, "deploy/service.yaml")
	b.applied(b.push(files))
	_, err = b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
	b.absent(err, "the Service that Git dropped")
}

func TestAnAnnotationThatMeansNothingIsRefusedWithItsLine(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/hook.yaml"] = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: x\n  annotations:\n    gitopsd.io/hook: sometimes\n"
	app := b.refused(b.push(files))
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "deploy/hook.yaml:6: Job x: metadata.annotations[gitopsd.io/hook]: there is no hook") {
		t.Errorf("message %s", c.Message)
	}
}

func TestAHookMayHaveAGeneratedName(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/hook.yaml"] = strings.Replace(job("x", `gitopsd.io/hook: pre-sync`), "name: x", "generateName: migrate-", 1)
	delete(files, "deploy/namespace.yaml")
	if _, err := b.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	commit := b.push(files)
	name := "migrate-" + commit[:7]
	b.rolling("hook Job shop/" + name)
	b.end(name, batchv1.JobComplete)
	b.applied(commit)
}
