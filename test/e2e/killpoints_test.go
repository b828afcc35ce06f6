package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/client"
	"github.com/gitopsd/gitopsd/internal/killpoint"
)

// killTime bounds each wait of the test below. A round takes about a second.
const killTime = time.Minute

// The control plane is killed at each named point of a sync that has hooks, waves and something to prune. After the next start the cluster is as
// after a sync that nothing disturbed.
func TestASyncThatIsKilledAtAnyPointEndsLikeOneThatIsNot(t *testing.T) {
	dir := t.TempDir()
	repo, data := filepath.Join(dir, "repo"), filepath.Join(dir, "data")
	gitRun(t, dir, "init", "-q", "-b", "main", repo)
	// Two commits take turns; each creates, changes and prunes what the other has.
	want := map[string]string{}
	for _, variant := range []string{"a", "b", "a"} {
		commit := commitVariant(t, repo, variant)
		p := serveAlone(t, data, repo, "")
		p.settles(commit)
		seen := p.state(variant)
		if before, ok := want[variant]; ok && before != seen {
			t.Fatalf("two undisturbed syncs of the same differ (-first +second):\n%s", cmp.Diff(before, seen))
		}
		want[variant] = seen
		p.end()
	}
	variant := "a"
	for _, point := range killpoint.Points {
		variant = map[string]string{"a": "b", "b": "a"}[variant]
		t.Run(point, func(t *testing.T) {
			commit := commitVariant(t, repo, variant)
			killed := serveAlone(t, data, repo, point)
			killed.dies()
			p := serveAlone(t, data, repo, "")
			p.settles(commit)
			if d := cmp.Diff(want[variant], p.state(variant)); d != "" {
				t.Errorf("after a kill at %s (-undisturbed +now):\n%s", point, d)
			}
			p.end()
		})
	}
}

// commitVariant commits one of two states: a hook before and one after, a first wave, a Deployment, a Service and a last wave; half of the names are its own.
func commitVariant(t *testing.T, repo, variant string) string {
	t.Helper()
	config := func(name, annotations string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: killed, annotations: {%s}}\ndata: {variant: %s}\n---\n", name, annotations, variant)
	}
	text := "apiVersion: v1\nkind: Namespace\nmetadata: {name: killed, annotations: {gitopsd.io/sync-wave: \"-2\"}}\n---\n" +
		config("before", `gitopsd.io/hook: pre-sync, gitopsd.io/sync-wave: "-1", gitopsd.io/hook-delete-policy: never`) +
		config("gone", `argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded`) +
		config("first", `gitopsd.io/sync-wave: "-1"`) + config("only-"+variant, "") +
		config("last", `gitopsd.io/sync-wave: "1"`) + config("last-"+variant, `gitopsd.io/sync-wave: "1"`) + `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: killed}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "registry.example/web:` + variant + `"}]}
`
	// The namespace of the hook comes with the same commit, so it runs in one that is always there.
	text = strings.Replace(text, "name: before, namespace: killed", "name: before, namespace: default", 1)
	text = strings.Replace(text, "gitopsd.io/hook-delete-policy: never", "gitopsd.io/hook-delete-policy: failed", 1)
	if err := os.WriteFile(filepath.Join(repo, "all.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	gitRun(t, repo, "add", ".")
	gitRun(t, repo, "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", "variant "+variant)
	return gitRun(t, repo, "rev-parse", "HEAD")
}

func gitRun(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// alone is a control plane without nodes on the loopback interface.
type alone struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    *strings.Builder
	config string
	ended  chan error
}

func serveAlone(t *testing.T, data, repo, killAt string) *alone {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a := &alone{t: t, log: &strings.Builder{}, config: filepath.Join(data, "admin.kubeconfig"), ended: make(chan error, 1)}
	a.cmd = exec.Command(filepath.Join(bin, "gitopsd"), "serve", "--data-dir", data, "--bind-address", "127.0.0.1", "--https-port", fmt.Sprint(port), "--repo", "file://"+repo, "--path", ".")
	a.cmd.Stderr, a.cmd.Env = a.log, append(os.Environ(), killpointEnvironment+"="+killAt)
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { a.ended <- a.cmd.Wait() }()
	t.Cleanup(func() { _ = a.cmd.Process.Kill() })
	return a
}

// killpointEnvironment is killpoint.Environment, which only programs with the tag have.
const killpointEnvironment = "GITOPSD_KILL_AT"

// dies waits until the process has killed itself.
func (a *alone) dies() {
	a.t.Helper()
	select {
	case err := <-a.ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			a.t.Fatalf("it ended with %v\n%s", err, a.log)
		}
	case <-time.After(killTime):
		a.t.Fatalf("it never came to the point\n%s", a.log)
	}
}

// end stops it as an administrator would.
func (a *alone) end() {
	a.t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
	if err := <-a.ended; err != nil {
		a.t.Fatalf("%v\n%s", err, a.log)
	}
}

func (a *alone) rest() *rest.Config {
	a.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", a.config)
	if err != nil {
		a.t.Fatal(err)
	}
	return config
}

// settles waits until the commit is applied and everything is healthy.
func (a *alone) settles(commit string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), killTime)
	defer cancel()
	var last v1alpha1.ApplicationStatus
	for ; ctx.Err() == nil; <-time.After(20 * time.Millisecond) { // a server that is not there yet has no watch
		config, err := clientcmd.BuildConfigFromFlags("", a.config)
		if err != nil {
			continue
		}
		c, err := client.New(config)
		if err != nil {
			a.t.Fatal(err)
		}
		app, err := c.In("gitopsd-system").Get(ctx, "root", metav1.GetOptions{})
		if err != nil {
			continue
		}
		if last = app.Status; last.AppliedRevision == commit && last.Sync == "Synced" && last.Health == "Healthy" && last.Rollout == nil {
			return
		}
	}
	text, _ := json.MarshalIndent(last, "", " ")
	a.t.Fatalf("commit %s is not applied in time: %s\n%s", commit, text, a.log)
}

// state is everything that a sync has to do with, without what differs from one to the next by nature.
func (a *alone) state(variant string) string {
	a.t.Helper()
	ctx := a.t.Context()
	d, err := dynamic.NewForConfig(a.rest())
	if err != nil {
		a.t.Fatal(err)
	}
	var out []string
	for _, r := range []struct {
		gvr       schema.GroupVersionResource
		namespace string
	}{
		{schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "killed"}, {schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "default"},
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, "killed"},
	} {
		list, err := d.Resource(r.gvr).Namespace(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: v1alpha1.LabelApplication})
		if err != nil {
			a.t.Fatal(err)
		}
		for _, o := range list.Items {
			out = append(out, plain(a.t, o))
		}
	}
	c, err := client.New(a.rest())
	if err != nil {
		a.t.Fatal(err)
	}
	app, err := c.In("gitopsd-system").Get(ctx, "root", metav1.GetOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	for _, o := range app.Status.Inventory {
		out = append(out, fmt.Sprintf("inventory: %s %s/%s adopted %v", o.Kind, o.Namespace, o.Name, o.Adopted))
	}
	for _, h := range app.Status.Hooks {
		out = append(out, fmt.Sprintf("hook: %s %s %s deleted %v", h.Name, h.Phase, h.Result, h.Deleted))
	}
	if h := app.Status.History; len(h) == 0 || h[0].Revision != app.Status.AppliedRevision || h[0].Result != "Applied" {
		out = append(out, fmt.Sprintf("history: %+v", h))
	}
	slices.Sort(out)
	return "variant " + variant + "\n" + strings.Join(out, "\n")
}

// plain is an object's content as text.
func plain(t *testing.T, o unstructured.Unstructured) string {
	t.Helper()
	annotations := o.GetAnnotations()
	for _, a := range []string{v1alpha1.AnnotationOrigin, v1alpha1.AnnotationHookRun, "deployment.kubernetes.io/revision"} {
		delete(annotations, a)
	}
	delete(o.Object, "status")
	text, err := json.Marshal(map[string]any{"kind": o.GetKind(), "name": o.GetName(), "labels": o.GetLabels(), "annotations": annotations, "spec": o.Object["spec"], "data": o.Object["data"]})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
