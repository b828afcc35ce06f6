package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/client"
	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/shop"
)

// chartFolder is where the test's Application lies in the repository, and sitesNamespace where it goes.
const chartFolder, sitesNamespace = "sites", "sites"

// operated is the Application with the operator.
type operated struct {
	*shop.Shop
	t *testing.T
}

// installOperator gives the operator's image to the nodes, and makes an Application of its chart with these sites.
func installOperator(t *testing.T, ctx context.Context, s *shop.Shop, sites string) operated {
	t.Helper()
	img, err := images.New(filepath.Join(bin, "operator"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range s.Workers() {
		if err := images.Save(filepath.Join(s.Dir(), h.Name, "images", "operator.tar"), map[string]v1.Image{"registry.example/operator:v1": img}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(s.Worktree(), chartFolder), os.DirFS(filepath.Join("..", "operator", "chart"))); err != nil {
		t.Fatal(err)
	}
	o := operated{s, t}
	o.push(ctx, sites)
	rc, err := s.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	clients, err := client.New(rc)
	if err != nil {
		t.Fatal(err)
	}
	apps := clients.In("gitopsd-system")
	root, err := apps.Get(ctx, "root", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: chartFolder, Namespace: "gitopsd-system"}}
	app.Spec.Source = v1alpha1.Source{
		RepoURL: root.Spec.Source.RepoURL, Ref: root.Spec.Source.Ref, Path: chartFolder, SecretRef: root.Spec.Source.SecretRef,
		Rendering: v1alpha1.Rendering{Helm: &v1alpha1.Helm{ReleaseName: "sites-operator", ValuesFiles: []string{"values-test.yaml"}}},
	}
	if _, err := apps.Create(ctx, app, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := afterwards(t)
		if _, err := s.Output(ctx, "kubectl", "-n", app.Namespace, "delete", "application.gitopsd.io", app.Name); err != nil {
			t.Error(err)
		}
		if _, err := s.Git(ctx, "rm", "-r", "--quiet", chartFolder); err != nil {
			t.Error(err)
		}
		if _, err := s.Push(ctx, "the operator is gone"); err != nil {
			t.Error(err)
		}
	})
	return o
}

// push pushes other sites and returns the commit.
func (o operated) push(ctx context.Context, sites string) string {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.Worktree(), chartFolder, "values-test.yaml"), []byte("sites: "+sites+"\n"), 0o644); err != nil {
		o.t.Fatal(err)
	}
	commit, err := o.Push(ctx, "sites: "+sites)
	if err != nil {
		o.t.Fatal(err)
	}
	return commit
}

// kubectl runs the stock kubectl, and returns what it printed.
func (o operated) kubectl(ctx context.Context, args ...string) string {
	o.t.Helper()
	out, err := o.Output(ctx, "kubectl", args...)
	if err != nil {
		o.state(ctx)
		o.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// wait waits for a fact about an object in the sites' namespace.
func (o operated) wait(ctx context.Context, object, fact string) {
	o.t.Helper()
	o.kubectl(ctx, "-n", sitesNamespace, "wait", object, "--for="+fact, "--timeout=60s")
}

// applied waits until the Application has applied a commit and all of it is healthy.
func (o operated) applied(ctx context.Context, commit string) {
	o.t.Helper()
	for _, fact := range []string{"jsonpath={.status.appliedRevision}=" + commit, "condition=Ready"} {
		o.kubectl(ctx, "-n", "gitopsd-system", "wait", "application.gitopsd.io/"+chartFolder, "--for="+fact, "--timeout=60s")
	}
}

// state tells, for a failure, what there is.
func (o operated) state(ctx context.Context) {
	for _, args := range [][]string{
		{"-n", sitesNamespace, "get", "sites,deployments,pods,events", "-o", "wide"}, {"-n", sitesNamespace, "logs", "deployment/sites-operator", "--tail=20"},
		{"-n", "gitopsd-system", "get", "application.gitopsd.io", chartFolder, "-o", "jsonpath={.status.conditions}"},
	} {
		out, err := o.Output(ctx, "kubectl", args...)
		o.t.Log(out, err)
	}
}

func TestAnOperatorItsKindAndItsObjectsComeFromOneCommitAndWork(t *testing.T) {
	ctx, s := begin(t)
	o := installOperator(t, ctx, s, fmt.Sprintf("[{name: blog, image: %q, replicas: 2}, {name: wiki, image: %q}]", images.Web+":v1", images.Web+":v1"))
	head, err := s.Git(ctx, "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	o.applied(ctx, head)
	for _, site := range []string{"blog", "wiki"} {
		o.wait(ctx, "site/"+site, "condition=Ready")
	}
	blog, err := s.API.AppsV1().Deployments(sitesNamespace).Get(ctx, "blog", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if owner := metav1.GetControllerOf(blog); owner == nil || owner.Kind != "Site" || owner.Name != "blog" || blog.Status.ReadyReplicas != 2 {
		t.Errorf("the Deployment belongs to %+v and has %d ready replicas, want Site blog and 2", owner, blog.Status.ReadyReplicas)
	}
	if got := o.kubectl(ctx, "-n", sitesNamespace, "get", "lease", "sites.example.com", "-o", "jsonpath={.spec.holderIdentity}"); !strings.HasPrefix(got, "sites-operator-") {
		t.Errorf("the leader is %q, want the operator's Pod", got)
	}
	if got := o.directory(ctx); got["sites.blog"] != images.Web+":v1" || len(got) != 2 {
		t.Errorf("the directory has %v", got)
	}

	// What Git changes in a Site, the operator changes in its Deployment.
	o.applied(ctx, o.push(ctx, fmt.Sprintf("[{name: blog, image: %q, replicas: 3}, {name: wiki, image: %q}]", images.Web+":v2", images.Web+":v1")))
	o.wait(ctx, "deployment/blog", "jsonpath={.spec.template.spec.containers[0].image}="+images.Web+":v2")
	o.kubectl(ctx, "-n", sitesNamespace, "rollout", "status", "deployment/blog", "--timeout=60s")
	o.wait(ctx, "site/blog", "jsonpath={.status.readyReplicas}=3")

	// What the kind's definition refuses, is refused with the template's line, and nothing changes.
	o.push(ctx, fmt.Sprintf("[{name: blog, image: %q, replicas: 30}]", images.Web+":v2"))
	o.kubectl(ctx, "-n", "gitopsd-system", "wait", "application.gitopsd.io/"+chartFolder, "--for=condition=Ready=False", "--timeout=60s")
	message := o.kubectl(ctx, "-n", "gitopsd-system", "get", "application.gitopsd.io", chartFolder, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].message}`)
	if !strings.Contains(message, "sites/templates/sites.yaml:11: Site sites/blog: spec.replicas: ") {
		t.Errorf("message %q, want the template and its line, the Site and the field", message)
	}

	// What Git drops goes only when the operator's finalizer has done its work; its Deployment follows.
	o.applied(ctx, o.push(ctx, fmt.Sprintf("[{name: wiki, image: %q}]", images.Web+":v1")))
	o.wait(ctx, "site/blog", "delete")
	o.wait(ctx, "deployment/blog", "delete")
	if got := o.directory(ctx); len(got) != 1 || got["sites.wiki"] == "" {
		t.Errorf("the directory has %v, want only the wiki", got)
	}
	o.applied(ctx, o.push(ctx, "[]"))
	o.wait(ctx, "site/wiki", "delete")
}

// directory is what the operator has written down about the sites.
func (o operated) directory(ctx context.Context) map[string]string {
	o.t.Helper()
	c, err := o.API.CoreV1().ConfigMaps(sitesNamespace).Get(ctx, "directory", metav1.GetOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	return c.Data
}
