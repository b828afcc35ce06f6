package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/client"
)

// view is what status shows: Applications, nodes, and with a tree what stands below objects.
type view struct {
	connection *connection
	config     *rest.Config
	apps       *client.Client
	objects    dynamic.Interface
	name       string
	tree       bool
}

var (
	nodesResource = corev1.SchemeGroupVersion.WithResource("nodes")
	// owned are the kinds that stand below an Application's objects.
	owned = []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "replicasets"}, {Group: "batch", Version: "v1", Resource: "jobs"}, corev1.SchemeGroupVersion.WithResource("pods"),
	}
)

func (c *connection) view(args []string, tree bool) (*view, error) {
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	v := &view{connection: c, config: config, tree: tree}
	if len(args) > 0 {
		v.name = args[0]
	}
	if v.apps, err = client.New(config); err != nil {
		return nil, err
	}
	v.objects, err = dynamic.NewForConfig(config)
	return v, err
}

// resources are what is read besides Applications.
func (v *view) resources() []schema.GroupVersionResource {
	if v.tree {
		return append([]schema.GroupVersionResource{nodesResource}, owned...)
	}
	return []schema.GroupVersionResource{nodesResource}
}

// read asks for everything once. What may not be read is left out, Applications excepted.
func (v *view) read(ctx context.Context) (cli.Report, error) {
	apps, err := v.connection.list(ctx, v.apps, v.name)
	if err != nil {
		return cli.Report{}, err
	}
	found := map[schema.GroupVersionResource][]*unstructured.Unstructured{}
	for _, r := range v.resources() {
		l, err := v.objects.Resource(r).List(ctx, metav1.ListOptions{})
		switch {
		case apierrors.IsForbidden(err):
			continue
		case err != nil:
			return cli.Report{}, explainAPI(err)
		}
		found[r] = []*unstructured.Unstructured{}
		for i := range l.Items {
			found[r] = append(found[r], &l.Items[i])
		}
	}
	return v.report(apps, found)
}

func (v *view) report(apps []v1alpha1.Application, found map[schema.GroupVersionResource][]*unstructured.Unstructured) (cli.Report, error) {
	r := cli.NewReport(apps)
	if list, ok := found[nodesResource]; ok {
		nodes := make([]corev1.Node, len(list))
		for i, u := range list {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &nodes[i]); err != nil {
				return r, fmt.Errorf("node %s: %w", u.GetName(), err)
			}
		}
		r.AddNodes(nodes)
	}
	if v.tree {
		var below []*unstructured.Unstructured
		for _, o := range owned {
			below = append(below, found[o]...)
		}
		r.AddTrees(apps, below)
	}
	return r, nil
}

// settling is how long changes are gathered before they are shown: one change of a Deployment is a dozen events.
const settling = 50 * time.Millisecond

// watch shows the state now, and again after each change of it, until ctx ends. An error that show is called with says that there is no news.
func (v *view) watch(ctx context.Context, show func(cli.Report, error) error) error {
	if _, err := v.read(ctx); err != nil { // a name that is not there, or no answer at all, is no reason to wait
		return explainAPI(err)
	}
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default: // what will be shown includes this
		}
	}
	line := &line{changed: tell}
	config := rest.CopyConfig(v.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return line.over(next) })
	apps, err := client.New(config)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	stores := map[schema.GroupVersionResource]cache.Store{}
	applications := apps.Informer(cache.Indexers{})
	informers := []cache.SharedIndexInformer{applications}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(objects, 0)
	for _, r := range v.resources() {
		if _, err := objects.Resource(r).List(ctx, metav1.ListOptions{Limit: 1}); apierrors.IsForbidden(err) {
			continue
		}
		i := factory.ForResource(r).Informer()
		stores[r] = i.GetStore()
		informers = append(informers, i)
	}
	for _, i := range informers {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
		}); err != nil {
			return err
		}
		go i.RunWithContext(ctx)
	}
	for _, i := range informers {
		if !cache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
			return nil
		}
	}
	for tell(); ; {
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(settling):
		case <-ctx.Done():
			return nil
		}
		select { // what came meanwhile is shown now
		case <-changed:
		default:
		}
		found := map[schema.GroupVersionResource][]*unstructured.Unstructured{}
		for r, s := range stores {
			found[r] = []*unstructured.Unstructured{}
			for _, obj := range s.List() {
				if u, ok := obj.(*unstructured.Unstructured); ok {
					found[r] = append(found[r], u)
				}
			}
		}
		r, err := v.report(v.chosen(applications.GetStore()), found)
		if err != nil {
			return err
		}
		if err := show(r, line.fault()); err != nil {
			return err
		}
	}
}

// line notices when the control plane can no longer be reached, and when it can again: informers try again by themselves and tell nobody.
type line struct {
	changed func()

	mu   sync.Mutex
	down error
}

// over returns a transport whose requests it takes notice of.
func (l *line) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if r.Context().Err() == nil {
			l.note(err)
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (l *line) note(err error) {
	l.mu.Lock()
	turned := (err != nil) != (l.down != nil)
	l.down = err
	l.mu.Unlock()
	if turned {
		l.changed()
	}
}

// fault is why the control plane cannot be reached; nil when it can.
func (l *line) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

// chosen are the Applications of a cache that the command is about.
func (v *view) chosen(s cache.Store) []v1alpha1.Application {
	var out []v1alpha1.Application
	for _, obj := range s.List() {
		app, ok := obj.(*v1alpha1.Application)
		if ok && (v.name == "" || app.Name == v.name) && (v.connection.namespace == "" || app.Namespace == v.connection.namespace) {
			out = append(out, *app)
		}
	}
	return out
}
