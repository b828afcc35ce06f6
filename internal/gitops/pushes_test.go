package gitops_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// What Git hosts and those who push do to a repository, and what of it reaches the cluster.

func TestAReplayedWebhookWritesNothingAndAsksTheHostOnceEach(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	was, version := b.deployment(), b.until("it is there", func(*v1alpha1.Application) bool { return true }).Status.History
	asked := b.git.Requests.Load()
	const replays = 20
	for range replays {
		b.tell()
	}
	next := b.push(shop("web:2"))
	app := b.applied(next)
	if n := b.git.Requests.Load() - asked; n > 2*replays+10 {
		t.Errorf("%d requests to the host for %d webhooks", n, replays)
	}
	if len(app.Status.History) != len(version)+1 {
		t.Errorf("history %+v", app.Status.History)
	}
	if now := b.deployment(); now.Generation != was.Generation+1 {
		t.Errorf("generation %d, was %d: the replays wrote something", now.Generation, was.Generation)
	}
}

func TestABurstOfWebhooksIsFewLooks(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	asked := b.git.Requests.Load()
	commit := b.repo.Push(shop("web:2"))
	const posts = 15 // one address may post twenty a second
	var all sync.WaitGroup
	for range posts {
		all.Go(b.tell)
	}
	all.Wait()
	app := b.applied(commit)
	if n := b.git.Requests.Load() - asked; n >= posts {
		t.Errorf("%d requests to the host for %d webhooks of one push", n, posts)
	}
	applied := 0
	for _, h := range app.Status.History {
		if h.Revision == commit {
			applied++
		}
	}
	if applied != 1 {
		t.Errorf("the commit is %d times in the history", applied)
	}
}

func TestPushesSpreadOverASecondAreAHandfulOfLooks(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:0")))
	asked, began := b.git.Requests.Load(), time.Now()
	var last string
	for i := 1; i <= 4; i++ {
		last = b.repo.Push(shop(fmt.Sprint("web:", i)))
		for range 10 {
			b.tell()
			time.Sleep(25 * time.Millisecond)
		}
	}
	b.applied(last)
	// A look is one request, and one more where it finds a commit.
	most := 4 + 2 + int64(time.Since(began)/(200*time.Millisecond))
	if n := b.git.Requests.Load() - asked; n > most {
		t.Errorf("%d requests to the host for 40 webhooks in %s, want at most %d", n, time.Since(began), most)
	}
}

func TestPushesThatFollowEachOtherQuicklyEndAtTheLast(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:0")))
	var last string
	for i := 1; i <= 10; i++ {
		last = b.push(shop(fmt.Sprint("web:", i)))
	}
	b.applied(last)
	if got := b.image(); got != "web:10" {
		t.Errorf("image %s", got)
	}
}

// Whoever asks for a look and waits goes by the status: it must not call the request handled while it still speaks of the commit before.
func TestARequestIsHandledOnceTheStatusSpeaksOfWhatItFound(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	b.applied(b.push(files))
	w, err := b.apps.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	files["deploy/more.yaml"] = configMap("more", "", "1") // what is new is written down before it is made
	commit := b.repo.Push(files)
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"1"}}}`)
	for e := range w.ResultChan() {
		app, ok := e.Object.(*v1alpha1.Application)
		if !ok || app.Status.HandledRequest != "1" {
			continue
		}
		if app.Status.WantedRevision != commit || app.Status.AppliedRevision != commit {
			t.Errorf("the request is handled, and the status wants %s and has %s; want %s", app.Status.WantedRevision, app.Status.AppliedRevision, commit)
		}
		return
	}
}

func TestADeletedBranchPrunesNothingAndIsFollowedAgainWhenItIsBack(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Ref = v1alpha1.Ref{Branch: "prod"} })
	b.repo.Push(shop("web:1"))
	commit := b.repo.PushTo("prod", shop("web:1"))
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"1"}}}`)
	b.applied(commit)
	b.repo.Git("branch", "-D", "prod")
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"2"}}}`)
	app := b.sourceFails("RefNotFound", "its branches: main")
	if len(app.Status.Inventory) != 3 || app.Status.AppliedRevision != commit {
		t.Errorf("applied %s, inventory %v", app.Status.AppliedRevision, app.Status.Inventory)
	}
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	commit = b.repo.PushTo("prod", shop("web:2"))
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"3"}}}`)
	b.applied(commit)
}

// A repository that is copied onto a host file by file names a commit before all that belongs to it is there.
func TestARepositoryThatIsHalfWrittenHoldsTheLastCommitUntilTheRestIsThere(t *testing.T) {
	for _, what := range []string{"HEAD:deploy/web.yaml", "HEAD^{tree}", "HEAD"} {
		t.Run(what, func(t *testing.T) {
			b := start(t, nil)
			commit := b.push(shop("web:1"))
			b.applied(commit)
			next := b.repo.Push(shop("web:2"))
			object := b.repo.Git("rev-parse", what)
			file := filepath.Join(b.repo.Bare, "objects", object[:2], object[2:])
			if err := os.Rename(file, file+".later"); err != nil {
				t.Fatal(err)
			}
			b.tell()
			app := b.until("the source cannot be read", func(a *v1alpha1.Application) bool {
				for _, c := range a.Status.Conditions {
					if c.Type == v1alpha1.ConditionSourceReady && c.Status == metav1.ConditionFalse {
						return true
					}
				}
				return false
			})
			if app.Status.AppliedRevision != commit || len(app.Status.Inventory) != 3 || b.image() != "web:1" {
				t.Errorf("applied %s, inventory %v, image %s", app.Status.AppliedRevision, app.Status.Inventory, b.image())
			}
			if err := os.Rename(file+".later", file); err != nil {
				t.Fatal(err)
			}
			b.tell()
			b.applied(next)
		})
	}
}

// Each Application of these holds one more, whose name is longer: without a bound there would be no end of them.
func TestFoldersThatNameEachOtherMakeABoundedNumberOfApplications(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.Source.Substitute = &v1alpha1.Substitute{Variables: map[string]string{"more": ""}}
	})
	b.push(map[string]string{"deploy/next.yaml": "apiVersion: gitopsd.io/v1alpha1\nkind: Application\nmetadata: {name: 'a${more}', namespace: gitopsd-system}\n" +
		"spec: {source: {repoURL: '" + b.git.Repo() + "', path: deploy, substitute: {variables: {more: '${more}a'}}}}\n"})
	last := strings.Repeat("a", 15)
	app := b.find(last, "the commit is refused there", func(a *v1alpha1.Application) bool { return a.Status.Sync == "Failed" })
	for _, c := range app.Status.Conditions {
		if c.Type == v1alpha1.ConditionSynced && !strings.Contains(c.Message, "deploy/next.yaml:1: Application gitopsd-system/"+last+"a: it would be Application number 17 in a row") {
			t.Errorf("message %s", c.Message)
		}
	}
	all, err := b.apps.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(all.Items) != 16 {
		t.Errorf("%d Applications, want 16: %v", len(all.Items), err)
	}
}

// A note of health gives way to what a push changes, and is made nevertheless.
func TestHealthIsToldOfThoseThatAPushDoesNotChange(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["other/cm.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: shop}\ndata: {round: '1'}\n"
	first := b.push(files)
	b.applied(first)
	const sharing = 12 // more than are looked at at once
	for i := range sharing {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("other-", i), Namespace: "gitopsd-system"}}
		app.Spec.Source = v1alpha1.Source{RepoURL: b.git.Repo(), Path: "other"}
		app.Spec.TargetNamespace = "shop"
		app.Spec.Source.Kustomize = &v1alpha1.Kustomize{NameSuffix: fmt.Sprint("-", i)}
		app.Spec.Interval = &metav1.Duration{Duration: time.Hour}
		if _, err := b.apps.Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.all(sharing+1, func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == first })
	files["other/cm.yaml"] = strings.Replace(files["other/cm.yaml"], "'1'", "'2'", 1)
	second := b.repo.Push(files)
	b.settle()
	b.tell()
	b.healthy(second)
	b.all(sharing+1, func(a *v1alpha1.Application) bool {
		return a.Status.AppliedRevision == second && a.Status.Health == "Healthy"
	})
}
