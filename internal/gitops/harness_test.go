package gitops_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/client"
	"github.com/gitopsd/gitopsd/internal/controlplane/server"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
	"github.com/gitopsd/gitopsd/internal/gitops"
	"github.com/gitopsd/gitopsd/internal/logging"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
	"github.com/gitopsd/gitopsd/internal/source/webhook"
)

var secret = []byte("a secret of some length")

// bench is a cluster with an Engine, and one Application that follows one repository.
type bench struct {
	t       testing.TB
	cluster *servertest.Cluster
	kube    kubernetes.Interface
	apps    client.Applications
	repo    *gittest.Repo
	git     *gittest.Server
	hook    *httptest.Server
	dir     string

	engine atomic.Pointer[gitops.Engine]
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// files of a small web application; Deployments have no replicas, so that they are healthy without nodes.
func web(image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: %s
        resources: {requests: {cpu: 1000m, memory: 64Mi}}
`, image)
}

const namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n"

const service = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

func shop(image string) map[string]string {
	return map[string]string{"deploy/namespace.yaml": namespace, "deploy/web.yaml": web(image), "deploy/service.yaml": service}
}

// start brings up a cluster and an Engine with an Application named shop, whose spec edit may change.
func start(t testing.TB, edit func(*v1alpha1.Application)) *bench {
	t.Helper()
	b := &bench{t: t, repo: gittest.New(t), dir: t.TempDir()}
	b.cluster = servertest.With(t, func(c *server.Config) {
		c.Where = func(namespace, application string, ref v1alpha1.ObjectRef, field string) (string, int) {
			return b.engine.Load().Where(namespace, application, ref, field)
		}
	})
	b.git = b.repo.Serve(t, false)
	var err error
	if b.kube, err = kubernetes.NewForConfig(b.cluster.System); err != nil {
		t.Fatal(err)
	}
	clients, err := client.New(b.cluster.System)
	if err != nil {
		t.Fatal(err)
	}
	b.apps = clients.In("gitopsd-system")
	b.run()
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "gitopsd-system"},
		Spec: v1alpha1.ApplicationSpec{
			Source:   v1alpha1.Source{RepoURL: b.git.Repo(), Path: "deploy"},
			Interval: &metav1.Duration{Duration: time.Hour}, // what happens must happen by events
		},
	}
	if edit != nil {
		edit(app)
	}
	if err := gitops.EnsureRoot(t.Context(), b.cluster.System, app); err != nil {
		t.Fatal(err)
	}
	return b
}

// run starts an Engine on the bench's data directory.
func (b *bench) run() {
	b.t.Helper()
	e, err := gitops.New(gitops.Config{RESTConfig: b.cluster.System, DataDir: b.dir, WebhookSecret: secret, DeletedBy: b.cluster.Server.Deletions().Who})
	if err != nil {
		b.t.Fatal(err)
	}
	b.engine.Store(e)
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	b.done.Go(func() { e.Run(ctx) })
	b.hook = httptest.NewServer(e.WebhookHandler())
	b.t.Cleanup(b.halt)
}

// halt stops the Engine.
func (b *bench) halt() {
	b.stop()
	b.done.Wait()
	b.hook.Close()
}

// push pushes files and tells the Engine by webhook.
func (b *bench) push(files map[string]string) string {
	b.t.Helper()
	commit := b.repo.Push(files)
	b.tell()
	return commit
}

// tell posts the generic webhook and fails the test unless it sets off the Application.
func (b *bench) tell() {
	b.t.Helper()
	body, err := json.Marshal(map[string]string{"repo": b.git.Repo(), "ref": "refs/heads/main"})
	if err != nil {
		b.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, b.hook.URL+"/webhook/generic", bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("X-Gitopsd-Signature", webhook.Sign(secret, body))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		b.t.Fatalf("webhook: %s", res.Status)
	}
}

// until waits, by a watch, until the Application satisfies cond, and returns it. The test fails after a time that no honest run needs.
func (b *bench) until(what string, cond func(*v1alpha1.Application) bool) *v1alpha1.Application {
	b.t.Helper()
	return b.find("shop", what, cond)
}

// find is until for any Application beside it.
func (b *bench) find(name, what string, cond func(*v1alpha1.Application) bool) *v1alpha1.Application {
	b.t.Helper()
	return b.findIn("gitopsd-system", name, what, cond)
}

// findIn is until for an Application of any namespace.
func (b *bench) findIn(namespace, name, what string, cond func(*v1alpha1.Application) bool) *v1alpha1.Application {
	b.t.Helper()
	clients, err := client.New(b.cluster.System)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	var last *v1alpha1.Application
	for ctx.Err() == nil {
		w, err := clients.In(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			b.t.Fatal(err)
		}
		for e := range w.ResultChan() {
			if app, ok := e.Object.(*v1alpha1.Application); ok && e.Type != watch.Deleted {
				if last = app; cond(app) {
					w.Stop()
					return app
				}
			}
		}
	}
	text, err := json.MarshalIndent(last, "", " ")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Fatalf("not within 20 s: %s\n%s", what, text)
	return nil
}

func (b *bench) applied(commit string) *v1alpha1.Application {
	b.t.Helper()
	return b.until("commit "+commit+" is applied and in sync", func(a *v1alpha1.Application) bool {
		return a.Status.AppliedRevision == commit && a.Status.Sync == "Synced"
	})
}

func (b *bench) refused(commit string) *v1alpha1.Application {
	b.t.Helper()
	return b.until("commit "+commit+" is refused", func(a *v1alpha1.Application) bool {
		return a.Status.Sync == "Failed" && len(a.Status.History) > 0 && a.Status.History[0].Revision == commit && a.Status.History[0].Result == "Refused"
	})
}

func (b *bench) deployment() *appsv1.Deployment {
	b.t.Helper()
	d, err := b.kube.AppsV1().Deployments("shop").Get(b.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// eventually waits until an Event about the Application has the reason and a message with the text.
func (b *bench) eventually(reason, text string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	var seen []string
	w, err := b.kube.CoreV1().Events("gitopsd-system").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if ev, ok := e.Object.(*corev1.Event); ok {
			seen = append(seen, ev.Reason+": "+ev.Message)
			if ev.Reason == reason && strings.Contains(ev.Message, text) {
				return
			}
		}
	}
	b.t.Errorf("no Event %s with %q; there were:\n%s", reason, text, strings.Join(seen, "\n"))
}

func (b *bench) absent(err error, what string) {
	b.t.Helper()
	if !apierrors.IsNotFound(err) {
		b.t.Errorf("%s: %v, want not found", what, err)
	}
}

// as is a client with the rights of an administrator and another name.
func (b *bench) as(user string) kubernetes.Interface {
	b.t.Helper()
	c, err := kubernetes.NewForConfig(b.cluster.User(b.t, user, "system:masters"))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func TestMain(m *testing.M) {
	logging.Setup(io.Discard, slog.LevelError)
	m.Run()
}

// vanishes waits until the Application is gone.
func (b *bench) vanishes() {
	b.t.Helper()
	b.gone("shop")
}

// gone is vanishes for any Application.
func (b *bench) gone(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	w, err := b.apps.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Stop()
	for {
		// A watch that began after the deletion shows none.
		if _, err := b.apps.Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return
		} else if err != nil {
			b.t.Fatalf("Application %s does not go: %v", name, err)
		}
		if _, open := <-w.ResultChan(); !open {
			b.t.Fatalf("Application %s is still there after 20 s", name)
		}
	}
}

// all waits until n Applications satisfy cond.
func (b *bench) all(n int, cond func(*v1alpha1.Application) bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	w, err := b.apps.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Stop()
	good := map[string]bool{}
	for e := range w.ResultChan() {
		if app, ok := e.Object.(*v1alpha1.Application); ok {
			good[app.Name] = cond(app)
			count := 0
			for _, g := range good {
				if g {
					count++
				}
			}
			if count == n {
				return
			}
		}
	}
	for name, g := range good {
		if !g {
			app, err := b.apps.Get(b.t.Context(), name, metav1.GetOptions{})
			b.t.Fatalf("%d Applications of %d are there; one is not as wanted after 2 minutes: %v %+v", len(good), n, err, app.Status)
		}
	}
	b.t.Fatalf("%d Applications of %d are there after 2 minutes", len(good), n)
}
