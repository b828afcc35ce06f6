package gitops_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
)

// sourceFails waits until the source is not ready for the reason, with a message that has the text.
func (b *bench) sourceFails(reason, text string) *v1alpha1.Application {
	b.t.Helper()
	return b.until("the source fails with "+reason+" and "+text, func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSourceReady)
		return c != nil && c.Status == metav1.ConditionFalse && c.Reason == reason && strings.Contains(c.Message, text)
	})
}

// edit merges something into the Application.
func (b *bench) edit(patch string) {
	b.t.Helper()
	if _, err := b.apps.Patch(b.t.Context(), "shop", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// settle does what the Deployment's controller does when all replicas it wants are there.
func (b *bench) settle() {
	b.t.Helper()
	d := b.deployment()
	n := *d.Spec.Replicas
	patch := fmt.Sprintf(`{"status":{"observedGeneration":%d,"replicas":%d,"updatedReplicas":%d,"availableReplicas":%d,"readyReplicas":%d}}`, d.Generation, n, n, n, n)
	if _, err := b.kube.AppsV1().Deployments("shop").Patch(b.t.Context(), "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) healthy(commit string) *v1alpha1.Application {
	b.t.Helper()
	return b.until("commit "+commit+" is healthy", func(a *v1alpha1.Application) bool {
		return a.Status.HealthyRevision == commit && a.Status.Health == "Healthy"
	})
}

func TestWhileTheHostIsDownTheLastCommitIsHeld(t *testing.T) {
	b := start(t, nil)
	commit := b.push(shop("web:1"))
	b.applied(commit)
	b.git.Down.Store(true)
	b.tell()
	b.sourceFails("RepositoryUnreachable", "503")
	b.eventually("RepositoryUnreachable", "cannot be read")
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	app := b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	if app.Status.AppliedRevision != commit || app.Status.Sync != "Synced" {
		t.Errorf("applied %s, sync %s", app.Status.AppliedRevision, app.Status.Sync)
	}
	next := b.repo.Push(shop("web:2"))
	b.git.Down.Store(false)
	b.tell()
	b.applied(next)
}

func TestWhileABaseInAnotherRepositoryCannotBeReadTheLastCommitIsHeldAndTheReasonTold(t *testing.T) {
	other := gittest.New(t)
	files := shop("web:2")
	files["deploy/kustomization.yaml"] = "resources: [namespace.yaml, web.yaml, service.yaml]\n"
	other.Push(files)
	host := other.Serve(t, false)
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Remotes = []string{host.Repo()} })
	commit := b.push(shop("web:1"))
	b.applied(commit)
	host.Down.Store(true)
	next := b.push(map[string]string{"deploy/kustomization.yaml": "resources:\n- " + host.Repo() + "//deploy?ref=main\n"})
	app := b.sourceFails("RepositoryUnreachable", "deploy/kustomization.yaml:2: ")
	if app.Status.AppliedRevision != commit || app.Status.WantedRevision != next || app.Status.Sync != "Failed" {
		t.Errorf("applied %s, wanted %s, sync %s", app.Status.AppliedRevision, app.Status.WantedRevision, app.Status.Sync)
	}
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	host.Down.Store(false)
	b.tell()
	b.applied(next)
	if got := b.image(); got != "web:2" {
		t.Errorf("image %s", got)
	}
}

func TestARepositoryWithoutCommitsIsSaidToBeEmptyAndThenFollowed(t *testing.T) {
	b := start(t, nil)
	b.sourceFails("RepositoryEmpty", "push one")
	b.applied(b.push(shop("web:1")))
}

func TestAMissingPathOrBranchIsNamedAndNothingIsPruned(t *testing.T) {
	b := start(t, nil)
	commit := b.push(shop("web:1"))
	b.applied(commit)
	b.edit(`{"spec":{"source":{"path":"deplyo"}}}`)
	app := b.sourceFails("PathNotFound", "folders there: deploy")
	if len(app.Status.Inventory) != 3 {
		t.Errorf("inventory %v", app.Status.Inventory)
	}
	b.eventually("PathNotFound", `path "deplyo" does not exist`)
	b.edit(`{"spec":{"source":{"path":"deploy","ref":{"branch":"prod"}}}}`)
	b.sourceFails("RefNotFound", "its branches: main")
	b.deployment()
	b.edit(`{"spec":{"source":{"ref":{"branch":"main"}}}}`)
	b.applied(commit)
}

func TestAForcePushIsAppliedAndHistoryTellsIt(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	files := shop("web:9")
	delete(files, "deploy/service.yaml")
	commit := b.repo.Rewrite(files)
	b.tell()
	app := b.applied(commit)
	if app.Status.History[0].Revision != commit || app.Status.History[0].Pruned != 1 {
		t.Errorf("history %+v", app.Status.History[0])
	}
}

func TestACommitWithoutObjectsPrunesOnlyWhenThatIsAllowed(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	commit := b.push(map[string]string{"deploy/README.md": "moved"})
	app := b.refused(commit)
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "gitopsd.io/allow-empty=true") {
		t.Errorf("message %s", c.Message)
	}
	b.deployment()
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/allow-empty":"true","gitopsd.io/requested-at":"now"}}}`)
	b.applied(commit)
	_, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
	b.absent(err, "the Service")
}

func TestAfterARestartNothingIsWrittenAndDriftIsStillKnown(t *testing.T) {
	b := start(t, nil)
	commit := b.push(shop("web:1"))
	b.applied(commit)
	b.settle()
	before := b.healthy(commit)
	version := b.deployment().ResourceVersion
	b.halt()
	b.run()
	// Asking and being answered shows that the new Engine has had its first pass.
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"1"}}}`)
	after := b.until("a look was taken", func(a *v1alpha1.Application) bool { return a.Status.HandledRequest == "1" })
	if got := b.deployment().ResourceVersion; got != version {
		t.Errorf("the Deployment was written: version %s, was %s", got, version)
	}
	if len(after.Status.History) != len(before.Status.History) {
		t.Errorf("history grew: %+v", after.Status.History)
	}
	b.halt()
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	b.git.Down.Store(true)
	b.run()
	b.until("what drifted meanwhile is reverted, without the Git host", func(a *v1alpha1.Application) bool {
		return len(a.Status.Reverted) > 0 && a.Status.Reverted[0].User == "alice"
	})
}

func TestACommitThatDoesNotBecomeHealthyIsRolledBackAndStaysAway(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.OnFailure = v1alpha1.FailureRollback
		a.Spec.HealthTimeout = &metav1.Duration{Duration: time.Second}
	})
	good := b.push(shop("web:1"))
	b.applied(good)
	b.settle()
	b.healthy(good)
	bad := b.push(shop("web:broken"))
	app := b.until("the bad commit is rolled back", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSynced)
		return a.Status.AppliedRevision == good && c.Reason == "RolledBack"
	})
	if img := b.deployment().Spec.Template.Spec.Containers[0].Image; img != "web:1" {
		t.Errorf("image %s", img)
	}
	if app.Status.WantedRevision != bad || app.Status.History[1].Result != "RolledBack" || app.Status.History[1].Revision != bad {
		t.Errorf("wanted %s, history %+v", app.Status.WantedRevision, app.Status.History)
	}
	b.eventually("RolledBack", "not healthy in time; rolled back to commit "+good[:12])
	if said := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionSynced).Message; !strings.Contains(said, "; Deployment shop/web: ") {
		t.Errorf("the status does not say what was not healthy: %s", said)
	}
	b.settle()
	b.tell() // the same commit again
	b.healthy(good)
	fixed := b.push(shop("web:2"))
	b.applied(fixed)
}

func TestAnIgnoredFieldIsNeitherRevertedNorOverwrittenByTheNextPush(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.IgnoreDifferences = []v1alpha1.IgnoreDifference{{Group: "apps", Kind: "Deployment", Fields: []string{"spec.replicas"}}}
	})
	b.applied(b.push(shop("web:1")))
	b.editAs("autoscaler", `{"spec":{"replicas":5}}`)
	b.applied(b.push(shop("web:2")))
	d := b.deployment()
	if *d.Spec.Replicas != 5 || d.Spec.Template.Spec.Containers[0].Image != "web:2" {
		t.Errorf("replicas %d, image %s", *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image)
	}
}

func TestASuspendedApplicationIsLeftAlone(t *testing.T) {
	b := start(t, nil)
	first := b.push(shop("web:1"))
	b.applied(first)
	b.edit(`{"spec":{"suspend":true}}`)
	b.until("it is suspended", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == "Suspended"
	})
	b.push(shop("web:2"))
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	app := b.until("the drift is seen", func(a *v1alpha1.Application) bool { return len(a.Status.Drift) == 1 })
	if app.Status.AppliedRevision != first {
		t.Errorf("applied %s", app.Status.AppliedRevision)
	}
	b.edit(`{"spec":{"suspend":false}}`)
	b.until("both are made up for", func(a *v1alpha1.Application) bool {
		return a.Status.AppliedRevision != first && a.Status.Sync == "Synced" && len(a.Status.Drift) == 0
	})
}

func TestARefusalThatTheClusterIsTheCauseOfIsTriedAgainOnRequest(t *testing.T) {
	b := start(t, nil)
	files := map[string]string{"deploy/service.yaml": service}
	commit := b.push(files)
	b.refused(commit)
	if _, err := b.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"1"}}}`)
	b.applied(commit)
}

func TestABadObjectInANamespaceOfTheSameCommitStopsItBeforeTheNamespaceIsMade(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/web.yaml"] = strings.Replace(web("web:1"), "replicas: 0", "replicas: -1", 1)
	app := b.refused(b.push(files))
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "deploy/web.yaml:7: Deployment shop/web: spec.replicas: ") {
		t.Errorf("message %s", c.Message)
	}
	_, err := b.kube.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	b.absent(err, "the Namespace of the refused commit")
}

func TestAnApplicationWaitsForThoseItDependsOn(t *testing.T) {
	b := start(t, nil)
	b.push(map[string]string{"deploy/ns.yaml": namespace, "other/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late, namespace: shop}\n"})
	second := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "second", Namespace: "gitopsd-system"},
		Spec: v1alpha1.ApplicationSpec{
			Source:    v1alpha1.Source{RepoURL: b.git.Repo(), Path: "other"},
			DependsOn: []v1alpha1.Dependency{{Name: "shop"}},
		},
	}
	b.until("the first is healthy", func(a *v1alpha1.Application) bool { return a.Status.Health == "Healthy" })
	b.edit(`{"spec":{"suspend":true}}`)
	if _, err := b.apps.Create(t.Context(), second, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.find("second", "it waits", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSynced)
		return c != nil && c.Reason == "WaitingForDependency" && strings.Contains(c.Message, "it is suspended")
	})
	b.edit(`{"spec":{"suspend":false}}`)
	b.find("second", "it is applied", func(a *v1alpha1.Application) bool { return a.Status.Sync == "Synced" })
}

func TestTwoApplicationsDoNotFightOverOneObject(t *testing.T) {
	b := start(t, nil)
	first := b.push(shop("web:1"))
	b.applied(first)
	rival := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "rival", Namespace: "gitopsd-system"},
		Spec:       v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: b.git.Repo(), Path: "deploy"}},
	}
	if _, err := b.apps.Create(t.Context(), rival, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.find("rival", "it is refused", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && strings.Contains(c.Message, "belongs to Application gitopsd-system/shop")
	})
	if got := b.deployment().Labels[v1alpha1.LabelApplication]; got != "gitopsd-system.shop" {
		t.Errorf("the Deployment belongs to %s", got)
	}
}

func TestOriginIsThatOfTheCommitWhichChangedTheObject(t *testing.T) {
	b := start(t, nil)
	first := b.push(shop("web:1"))
	b.applied(first)
	files := shop("web:1")
	files["deploy/service.yaml"] = "# a comment on top\n" + strings.Replace(service, "port: 80,", "port: 81,", 1)
	second := b.push(files)
	b.applied(second)
	svc, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for object, want := range map[*metav1.ObjectMeta]v1alpha1.Origin{
		&svc.ObjectMeta:            {Repo: b.git.Repo(), Commit: second, File: "deploy/service.yaml", Line: 2},
		&b.deployment().ObjectMeta: {Repo: b.git.Repo(), Commit: first, File: "deploy/web.yaml", Line: 1},
	} {
		var got v1alpha1.Origin
		if err := json.Unmarshal([]byte(object.Annotations[v1alpha1.AnnotationOrigin]), &got); err != nil || got != want {
			t.Errorf("%s: origin %+v, want %+v (%v)", object.Name, got, want, err)
		}
	}
}

func TestWithoutAWebhookThePollFindsTheCommit(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Interval = &metav1.Duration{Duration: time.Second} })
	app := b.applied(b.repo.Push(shop("web:1")))
	if h := app.Status.History[0]; h.Trigger != "poll" && h.Trigger != "spec" {
		t.Errorf("trigger %s", h.Trigger)
	}
	app = b.applied(b.repo.Push(shop("web:2")))
	if h := app.Status.History[0]; h.Trigger != "poll" {
		t.Errorf("trigger %s", h.Trigger)
	}
}

func TestATouchedFileThatChangesNoObjectWritesNone(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	version := b.deployment().ResourceVersion
	files := shop("web:1")
	files["deploy/web.yaml"] = "# a comment\n" + files["deploy/web.yaml"]
	files["README.md"] = "hello"
	app := b.applied(b.push(files))
	if h := app.Status.History[0]; h.Unchanged != 3 || h.Updated != 0 {
		t.Errorf("history %+v", h)
	}
	if got := b.deployment().ResourceVersion; got != version {
		t.Errorf("the Deployment was written")
	}
}

// The Engine is stopped at moments all over a sync that creates, changes and prunes. Whatever it had done by then, the next one finishes.
func TestASyncThatIsCutOffAnywhereIsFinishedAfterARestart(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:0")))
	config := func(i int) map[string]string {
		files := shop(fmt.Sprintf("web:%d", i))
		files["deploy/cm.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm%d, namespace: shop}\n", i)
		return files
	}
	for i := 1; i <= 12; i++ {
		commit := b.push(config(i))
		cut := time.NewTimer(time.Duration(i) * 4 * time.Millisecond)
		<-cut.C
		b.halt()
		b.run()
		app := b.applied(commit)
		if n := len(app.Status.Inventory); n != 4 {
			t.Fatalf("round %d: inventory %v, want 4 objects", i, app.Status.Inventory)
		}
		list, err := b.kube.CoreV1().ConfigMaps("shop").List(t.Context(), metav1.ListOptions{LabelSelector: v1alpha1.LabelApplication})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || list.Items[0].Name != fmt.Sprintf("cm%d", i) {
			t.Fatalf("round %d: %d ConfigMaps of the Application, the first %s", i, len(list.Items), list.Items[0].Name)
		}
	}
}

// A host that accepts connections and says nothing, or behind a firewall that drops what is sent to it, must not keep others' Applications from being looked after.
func TestHostsThatAreSilentHoldUpNobodyElse(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	asked := make(chan struct{}, 100)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(b.halt) // whose looks end with it
	const apps = 20
	for i := range apps {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("silent-", i), Namespace: "gitopsd-system"}}
		app.Spec.Source.RepoURL = fmt.Sprintf("%s/%d.git", silent.URL, i)
		if _, err := b.apps.Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range apps {
		select {
		case <-asked:
		case <-time.After(10 * time.Second):
			t.Fatalf("only %d of %d Applications are looked after", i, apps)
		}
	}
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	b.applied(b.push(shop("web:2")))
}
