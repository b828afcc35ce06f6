package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/client"
)

// applicationsTime bounds the wait for all Applications.
const applicationsTime = 10 * time.Minute

// applicationManifest is one of the Applications that the first one holds.
const applicationManifest = `apiVersion: gitopsd.io/v1alpha1
kind: Application
metadata: {name: app-%[1]d, namespace: gitopsd-system}
spec:
  source: {repoURL: "%[2]s", path: apps/%[1]d}
  targetNamespace: bench-apps
  interval: 1h
`

// applicationObjects is what each of them holds: what Flux's published benchmark has in each Kustomization.
const applicationObjects = `apiVersion: v1
kind: ServiceAccount
metadata: {name: app-%[1]d}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app-%[1]d}
spec:
  replicas: 0
  selector: {matchLabels: {app: app-%[1]d}}
  template:
    metadata: {labels: {app: app-%[1]d}}
    spec:
      serviceAccountName: app-%[1]d
      containers:
      - name: web
        image: registry.example/web:v%[2]d
        ports: [{name: http, containerPort: 8080}]
        resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: app-%[1]d}
spec:
  selector: {app: app-%[1]d}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: app-%[1]d}
spec:
  rules:
  - host: app-%[1]d.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app-%[1]d, port: {name: http}}}}]}
`

// benchApplications takes the time until an Application that holds n others, all of one repository, has them all applied; that from a push which changes
// one of them; the processor time of a look that finds nothing new; and the memory of it all.
func benchApplications(ctx context.Context, bin, dir string, n int, out io.Writer) (err error) {
	repo := filepath.Join(dir, "apps-repo")
	url := "file://" + repo
	if err := writeApplications(ctx, repo, url, n); err != nil {
		return err
	}
	data := filepath.Join(dir, "apps")
	p, err := startControlPlane(ctx, bin, data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, err := followApplications(ctx, p.config)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d Applications of one repository, each with a Deployment, ServiceAccount, Service and Ingress\n", n)
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "all", Namespace: "gitopsd-system"},
		Spec:       v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: url, Path: "all"}, Interval: &metav1.Duration{Duration: time.Hour}},
	}
	begin := time.Now()
	if _, err := f.apps.Create(ctx, app, metav1.CreateOptions{}); err != nil {
		return err
	}
	head, err := headOf(ctx, repo)
	if err != nil {
		return err
	}
	if err := f.until(ctx, func() bool { return f.synced(head) == n+1 }); err != nil {
		return fmt.Errorf("%d of %d are synced: %w", f.synced(head), n+1, err)
	}
	used, err := p.processorTime()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  from nothing to all synced: %.1f s (%.1f s of processor time)\n", time.Since(begin).Seconds(), used.Seconds())

	hook, err := p.newHook(data, url)
	if err != nil {
		return err
	}
	one, all := figure{name: "push that changes one → it is applied"}, figure{name: "→ all have seen the commit"}
	for round := 1; round <= 10; round++ {
		i := (round*n)/11 + 1
		if err := os.WriteFile(filepath.Join(repo, "apps", fmt.Sprint(i), "all.yaml"), fmt.Appendf(nil, applicationObjects, i, round+1), 0o644); err != nil {
			return err
		}
		if err := git(ctx, repo, "commit", "-qam", fmt.Sprint("round ", round)); err != nil {
			return err
		}
		if head, err = headOf(ctx, repo); err != nil {
			return err
		}
		begin := time.Now()
		if err := hook.post(ctx, head); err != nil {
			return err
		}
		name := fmt.Sprint("app-", i)
		if err := f.until(ctx, func() bool { return f.applied[name] == head }); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		one.times = append(one.times, time.Since(begin))
		if err := f.until(ctx, func() bool { return f.synced(head) == n+1 }); err != nil {
			return err
		}
		all.times = append(all.times, time.Since(begin))
	}
	if err := table(out, "", []figure{one, all}); err != nil {
		return err
	}
	if err := p.noChange(ctx, f, hook, head, out); err != nil {
		return err
	}
	if err := p.memory(out, "after it"); err != nil {
		return err
	}
	return p.rest(ctx, out, "after a rest")
}

// noChange takes the processor time of a webhook that announces what is applied already.
func (p *controlPlane) noChange(ctx context.Context, f *follower, h *hook, head string, out io.Writer) error {
	quiet := func() error { // until nobody has anything to say for a while
		for {
			select {
			case app := <-f.news:
				f.see(app)
			case <-time.After(2 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if err := quiet(); err != nil {
		return err
	}
	before, err := p.processorTime()
	if err != nil {
		return err
	}
	if err := h.post(ctx, head); err != nil {
		return err
	}
	if err := quiet(); err != nil {
		return err
	}
	after, err := p.processorTime()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "processor time of a look by all that finds nothing new: %d ms\n", (after - before).Milliseconds())
	return err
}

// follower knows what is applied by a watch.
type follower struct {
	apps    client.Applications
	news    chan *v1alpha1.Application
	applied map[string]string
}

func followApplications(ctx context.Context, config *rest.Config) (*follower, error) {
	c, err := client.New(config)
	if err != nil {
		return nil, err
	}
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	for _, ns := range []string{"bench-apps", "gitopsd-system"} {
		if err := createNamespace(ctx, k, ns); err != nil && !apierrors.IsAlreadyExists(err) { // the control plane makes its own
			return nil, err
		}
	}
	f := &follower{apps: c.In("gitopsd-system"), applied: map[string]string{}, news: make(chan *v1alpha1.Application, 1000)}
	tell := func(obj any) {
		if app, ok := obj.(*v1alpha1.Application); ok {
			select {
			case f.news <- app:
			case <-ctx.Done():
			}
		}
	}
	informer := c.Informer(nil)
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, obj any) { tell(obj) }}); err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	return f, nil
}

// see takes one Application in as it is now.
func (f *follower) see(app *v1alpha1.Application) {
	if app.Status.Sync == "Synced" {
		f.applied[app.Name] = app.Status.AppliedRevision
	}
}

// synced counts those that have the commit applied.
func (f *follower) synced(commit string) int {
	n := 0
	for _, c := range f.applied {
		if c == commit {
			n++
		}
	}
	return n
}

func (f *follower) until(ctx context.Context, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, applicationsTime)
	defer cancel()
	for !cond() {
		select {
		case app := <-f.news:
			f.see(app)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func writeApplications(ctx context.Context, repo, url string, n int) error {
	if err := os.MkdirAll(filepath.Join(repo, "all"), 0o755); err != nil {
		return err
	}
	for i := 1; i <= n; i++ {
		dir := filepath.Join(repo, "apps", fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for name, text := range map[string]string{
			filepath.Join(dir, "all.yaml"):                            fmt.Sprintf(applicationObjects, i, 1),
			filepath.Join(repo, "all", fmt.Sprintf("app-%d.yaml", i)): fmt.Sprintf(applicationManifest, i, url),
		} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"commit", "-qm", "all"}} {
		if err := git(ctx, repo, args...); err != nil {
			return err
		}
	}
	return nil
}

func headOf(ctx context.Context, repo string) (string, error) {
	text, err := exec.CommandContext(ctx, "git", "-C", repo, "rev-parse", "HEAD").Output()
	return strings.TrimSpace(string(text)), err
}

// newHook is what posts webhooks to a control plane on the loopback interface.
func (p *controlPlane) newHook(data, repo string) (*hook, error) {
	secret, err := os.ReadFile(filepath.Join(data, "webhook-secret"))
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(p.config)
	if err != nil {
		return nil, err
	}
	return &hook{client: &http.Client{Transport: transport}, url: p.config.Host + "/webhook/generic", repo: repo, secret: bytes.TrimSpace(secret)}, nil
}
