package gitops

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	typedauthorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/client"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/reconcile"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
	"github.com/gitopsd/gitopsd/internal/source/webhook"
)

// Config is what an Engine needs.
type Config struct {
	// RESTConfig reaches the API with every right; Applications with a serviceAccountName are applied by impersonating it.
	RESTConfig *rest.Config
	// DataDir is the control plane's data directory: stores are kept in git/ below it, and the webhook secret in webhook-secret.
	DataDir string
	// WebhookSecret is what webhooks are signed with; left empty, it is read from the data directory, where it is made at the first start.
	WebhookSecret []byte
	// Events is where Events about Applications go; left nil, the Engine records them itself.
	Events record.EventRecorder
	// DeletedBy says who deleted an object, and when, if that is known; left nil, it never is.
	DeletedBy func(resource schema.GroupResource, namespace, name string) (user string, at time.Time, ok bool)
}

// workers is how many Applications have a pass at once. Most of a pass is waiting for a Git host or the API.
const workers = 8

// Engine keeps Applications applied.
type Engine struct {
	git       *source.Git
	charts    *chart.Fetcher
	clients   *client.Client
	cluster   *apply.Cluster
	mapper    *apply.Mapper
	core      *typedcorev1.CoreV1Client
	access    *typedauthorizationv1.AuthorizationV1Client
	informer  cache.SharedIndexInformer
	loop      *reconcile.Loop
	reports   *reporter
	tracker   *tracker
	secret    []byte
	normalize diff.Normalize
	events    record.EventRecorder
	deletedBy func(resource schema.GroupResource, namespace, name string) (user string, at time.Time, ok bool)
	log       *slog.Logger
	now       func() time.Time
	// started is when Run was called.
	started time.Time

	mu sync.Mutex
	// memories are by Application; marks find the Application by the label's value on its objects.
	memories map[reconcile.Key]*memory
	marks    map[string]reconcile.Key
	// held are the Applications that wait for what others read.
	held map[reconcile.Key]bool
}

// Names of the informer's indexes.
const (
	indexRepo      = "repo"
	indexDependsOn = "dependsOn"
)

// New makes an Engine. It asks nothing of the API yet.
func New(c Config) (*Engine, error) {
	config := rest.CopyConfig(c.RESTConfig)
	if config.UserAgent == "" {
		config.UserAgent = v1alpha1.FieldManager
	}
	config.QPS = -1 // the server is in the same process; its own flow control is enough
	clients, err := client.New(config)
	if err != nil {
		return nil, fmt.Errorf("client for Applications: %w", err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("discovery client: %w", err)
	}
	mapper := apply.NewMapper(d)
	cluster, err := apply.NewCluster(config, mapper)
	if err != nil {
		return nil, fmt.Errorf("client for applying: %w", err)
	}
	watcher, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for watching: %w", err)
	}
	core, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for Secrets and Events: %w", err)
	}
	access, err := typedauthorizationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for access reviews: %w", err)
	}
	secret := c.WebhookSecret
	if len(secret) == 0 {
		if secret, err = webhook.OpenSecret(filepath.Join(c.DataDir, "webhook-secret")); err != nil {
			return nil, err
		}
	}
	e := &Engine{
		git: source.New(filepath.Join(c.DataDir, "git")), charts: &chart.Fetcher{},
		clients: clients, cluster: cluster, mapper: mapper, core: core, access: access,
		informer: clients.Informer(cache.Indexers{indexRepo: byRepo, indexDependsOn: byDependsOn}),
		secret:   secret, normalize: diff.Typed(apply.Scheme), events: c.Events, deletedBy: c.DeletedBy,
		log: slog.With("controller", "gitops"), now: time.Now,
		memories: map[reconcile.Key]*memory{}, marks: map[string]reconcile.Key{}, held: map[reconcile.Key]bool{},
	}
	e.loop = reconcile.New("gitops", e.reconcile)
	e.tracker = newTracker(watcher, e.seen)
	e.reports = newReporter(e)
	return e, nil
}

// Run keeps Applications applied until ctx ends, and returns when everything has stopped.
func (e *Engine) Run(ctx context.Context) {
	if e.events == nil {
		b := record.NewBroadcaster(record.WithContext(ctx))
		defer b.Shutdown()
		b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: e.core.Events("")})
		e.events = b.NewRecorder(client.Scheme, corev1.EventSource{Component: v1alpha1.FieldManager})
	}
	if _, err := e.informer.AddEventHandler(e.loop.HandlerFor(e.concerns)); err != nil {
		e.log.Error("the informer of Applications takes no handler", "err", err) // only after it was stopped, which is after Run
		return
	}
	e.mu.Lock()
	e.started = e.now()
	e.mu.Unlock()
	if _, err := e.informer.AddEventHandler(e.reports.loop.HandlerFor(e.reports.concerns)); err != nil {
		e.log.Error("the informer of Applications takes no handler", "err", err)
		return
	}
	defer e.measured()()
	e.tracker.begin(ctx)
	defer e.tracker.wait()
	var informing sync.WaitGroup
	defer informing.Wait()
	informing.Go(func() { e.informer.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), e.informer.HasSynced) {
		return
	}
	informing.Go(func() { e.reports.loop.Run(ctx, reportWorkers) })
	e.loop.Run(ctx, workers)
}

// concerns lists the Applications that a change of one is news to: itself, and those that depend on it.
func (e *Engine) concerns(obj any) []reconcile.Key {
	app, ok := obj.(*v1alpha1.Application)
	if !ok {
		return nil
	}
	keys := []reconcile.Key{keyOf(app)}
	dependents, err := e.informer.GetIndexer().IndexKeys(indexDependsOn, app.Namespace+"/"+app.Name)
	if err != nil {
		return keys
	}
	for _, d := range dependents {
		ns, name, _ := strings.Cut(d, "/")
		keys = append(keys, reconcile.Key{Namespace: ns, Name: name})
	}
	return keys
}

func keyOf(app *v1alpha1.Application) reconcile.Key {
	return reconcile.Key{Namespace: app.Namespace, Name: app.Name}
}

func byRepo(obj any) ([]string, error) {
	app, ok := obj.(*v1alpha1.Application)
	if !ok {
		return nil, nil
	}
	if alone(app.Spec.Source.RepoURL) {
		return nil, nil
	}
	return []string{source.Canonical(app.Spec.Source.RepoURL)}, nil
}

func byDependsOn(obj any) ([]string, error) {
	app, ok := obj.(*v1alpha1.Application)
	if !ok {
		return nil, nil
	}
	out := make([]string, 0, len(app.Spec.DependsOn))
	for _, d := range app.Spec.DependsOn {
		out = append(out, d.Of(app.Namespace)+"/"+d.Name)
	}
	return out, nil
}

// WebhookHandler answers POST /webhook/HOST for each host whose form package webhook knows.
func (e *Engine) WebhookHandler() http.Handler {
	return &webhook.Handler{Secret: e.secret, Pushed: e.pushed}
}

// pushed has the Applications that follow the pushed ref looked at now.
func (e *Engine) pushed(p webhook.Push) []string {
	now := e.now()
	triggered := map[string]bool{}
	for _, url := range p.Repos {
		apps, err := e.informer.GetIndexer().ByIndex(indexRepo, source.Canonical(url))
		if err != nil {
			continue
		}
		for _, obj := range apps {
			app, ok := obj.(*v1alpha1.Application)
			if !ok || triggered[keyOf(app).String()] {
				continue
			}
			if !source.Follows(app.Spec.Source.Ref, p.Ref) {
				continue
			}
			triggered[keyOf(app).String()] = true
			e.loop.EnqueueFirst(keyOf(app), e.memory(keyOf(app)).ask(triggerWebhook, now).Sub(now))
		}
	}
	names := make([]string, 0, len(triggered))
	for n := range triggered {
		names = append(names, n)
	}
	slices.Sort(names)
	e.log.Info("push", "repos", p.Repos, "ref", p.Ref, "commit", p.Commit, "applications", names)
	return names
}

// memory finds or makes what is remembered of an Application.
func (e *Engine) memory(k reconcile.Key) *memory {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, ok := e.memories[k]
	if !ok {
		m = &memory{born: e.started, settled: map[diff.Key]settlement{}, sightings: map[diff.Key]*sighting{}, reverts: map[diff.Key][]time.Time{}}
		e.memories[k] = m
		e.marks[mark(k)] = k
	}
	return m
}

// forget drops what is remembered of an Application that is gone, and its repository if no other uses it.
func (e *Engine) forget(k reconcile.Key) {
	e.tracker.follow(k, nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.memories, k)
	delete(e.held, k)
	delete(e.marks, mark(k))
	var inUse []source.Request
	for _, obj := range e.informer.GetIndexer().List() {
		app, ok := obj.(*v1alpha1.Application)
		if !ok {
			continue
		}
		inUse = append(inUse, source.Request{URL: app.Spec.Source.RepoURL, Credentials: source.Credentials{Secret: secretName(app)}})
		if s := app.Status.AppliedSource; s != nil {
			inUse = append(inUse, source.Request{URL: s.RepoURL, Credentials: source.Credentials{Secret: secretName(app)}})
		}
	}
	if err := e.git.Forget(inUse); err != nil {
		e.log.Warn("cannot remove the Git stores that nobody uses any more", "err", err)
	}
}

// secretName is "namespace/name" of the Secret with the repository's credentials; empty for none.
func secretName(app *v1alpha1.Application) string {
	if s := app.Spec.Source.SecretRef; s != nil && s.Name != "" {
		return app.Namespace + "/" + s.Name
	}
	return ""
}

// seen is told by watches of each object with an Application's label.
func (e *Engine) seen(application string, n objectName, live *unstructured.Unstructured) {
	k := e.marked(application)
	app := e.application(k)
	if app == nil {
		return // the object outlived its Application
	}
	key := diff.Key{Group: n.Group, Kind: n.Kind, Namespace: n.namespace, Name: n.name}
	if wait, news := e.memory(k).see(key, live, e.judgeFor(app)); news {
		e.loop.EnqueueAfter(k, wait)
	}
}

// application returns what the informer has; nil when it has none. The object is shared and must not be changed.
func (e *Engine) application(k reconcile.Key) *v1alpha1.Application {
	obj, ok, err := e.informer.GetIndexer().GetByKey(cache.ObjectName{Namespace: k.Namespace, Name: k.Name}.String())
	if err != nil || !ok {
		return nil
	}
	app, ok := obj.(*v1alpha1.Application)
	if !ok {
		return nil
	}
	return app
}

// exists says whether there is an Application with a mark.
func (e *Engine) exists(application string) bool {
	return e.application(e.marked(application)) != nil
}

// marked finds the Application that a mark stands for. Before its first pass only a mark that is not shortened tells.
func (e *Engine) marked(application string) reconcile.Key {
	e.mu.Lock()
	k, ok := e.marks[application]
	e.mu.Unlock()
	if !ok {
		ns, name, _ := strings.Cut(application, ".")
		k = reconcile.Key{Namespace: ns, Name: name}
	}
	return k
}

// parent is the Application that brought one; nil for none.
func (e *Engine) parent(app *v1alpha1.Application) *v1alpha1.Application {
	by := app.Labels[v1alpha1.LabelApplication]
	if by == "" {
		return nil
	}
	return e.application(e.marked(by))
}

// mark is the value of the label on an Application's objects.
func mark(k reconcile.Key) string { return v1alpha1.Mark(k.Namespace, k.Name) }

// event records an Event about an Application.
func (e *Engine) event(app *v1alpha1.Application, kind, reason, message string) {
	ref := &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "Application",
		Namespace: app.Namespace, Name: app.Name, UID: app.UID, ResourceVersion: app.ResourceVersion,
	}
	e.events.Event(runtime.Object(ref), kind, reason, clip(message, maxEventMessage))
}

// maxEventMessage is the API's own bound on an Event's message.
const maxEventMessage = 1024
