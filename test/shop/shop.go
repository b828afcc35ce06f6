package shop

import (
	"context"
	"encoding/json"

	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/gitopsd/gitopsd/test/cluster"
)

// What example-repo is made of.
const (
	Namespace = "shop"
	Name      = "web"
	NodePort  = 30080
	// Manifest is the Deployment's file, from the repository's root.
	Manifest = "deploy/web/deployment.yaml"
)

// Shop is the application in a cluster.
type Shop struct {
	*cluster.Cluster
	API kubernetes.Interface
}

// Open finds the application's cluster.
func Open(c *cluster.Cluster) (*Shop, error) {
	api, err := c.Client()
	if err != nil {
		return nil, err
	}
	return &Shop{Cluster: c, API: api}, nil
}

// Write replaces a file of the worktree by what edit makes of it.
func (s *Shop) Write(file string, edit func(string) string) error {
	path := filepath.Join(s.Worktree(), file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(edit(string(text))), 0o644)
}

var (
	imageLine    = regexp.MustCompile(`(?m)(image: .*/web):v\d+`)
	replicasLine = regexp.MustCompile(`(?m)^  replicas: \d+`)
)

// Release changes the image's version and the number of replicas, pushes that, and returns the commit.
func (s *Shop) Release(ctx context.Context, version string, replicas int) (string, error) {
	err := s.Write(Manifest, func(text string) string {
		text = imageLine.ReplaceAllString(text, "${1}:"+version)
		return replicasLine.ReplaceAllString(text, fmt.Sprint("  replicas: ", replicas))
	})
	if err != nil {
		return "", err
	}
	return s.Push(ctx, fmt.Sprintf("web %s, %d replicas", version, replicas))
}

// Deployed waits until the Deployment is fully rolled out with this version and number of replicas, and nothing of an earlier one is left.
func (s *Shop) Deployed(ctx context.Context, version string, replicas int32) error {
	return s.Deployment(ctx, fmt.Sprintf("%d replicas of %s", replicas, version), func(d *appsv1.Deployment) bool {
		return strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":"+version) && *d.Spec.Replicas == replicas && Complete(d)
	})
}

// Complete says whether all replicas are of the newest template and available, as "kubectl rollout status" does.
func Complete(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas &&
		d.Status.Replicas == *d.Spec.Replicas && d.Status.AvailableReplicas == *d.Spec.Replicas
}

// Deployment waits, by a watch, until check is true of the Deployment; what says in words what that is.
func (s *Shop) Deployment(ctx context.Context, what string, check func(*appsv1.Deployment) bool) error {
	var last *appsv1.Deployment
	lw := cache.NewListWatchFromClient(s.API.AppsV1().RESTClient(), "deployments", Namespace, fields.OneTermEqualSelector("metadata.name", Name))
	_, err := watchtools.UntilWithSync(ctx, lw, &appsv1.Deployment{}, nil, func(e watch.Event) (bool, error) {
		d, ok := e.Object.(*appsv1.Deployment)
		if !ok {
			return false, nil
		}
		last = d
		return e.Type != watch.Deleted && check(d), nil
	})
	if err != nil {
		state := "it does not exist"
		if last != nil {
			state = fmt.Sprintf("%d replicas wanted, %d there, %d updated, %d available, image %s", *last.Spec.Replicas, last.Status.Replicas,
				last.Status.UpdatedReplicas, last.Status.AvailableReplicas, last.Spec.Template.Spec.Containers[0].Image)
		}
		return fmt.Errorf("wait for Deployment %s/%s to have %s: %w: %s", Namespace, Name, what, err, state)
	}
	return nil
}

// Pods lists the application's Pods that are not being deleted, by name.
func (s *Shop) Pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := s.API.CoreV1().Pods(Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + Name})
	if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, nil
}

// Pod waits, by a watch, until check is true of one Pod.
func (s *Shop) Pod(ctx context.Context, name, what string, check func(*corev1.Pod) bool) error {
	lw := cache.NewListWatchFromClient(s.API.CoreV1().RESTClient(), "pods", Namespace, fields.OneTermEqualSelector("metadata.name", name))
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		p, ok := e.Object.(*corev1.Pod)
		return ok && e.Type != watch.Deleted && check(p), nil
	})
	if err != nil {
		return fmt.Errorf("wait for Pod %s/%s to have %s: %w", Namespace, name, what, err)
	}
	return nil
}

// RunsOutside waits until n ready Pods of the application run on other workers than the one that was lost.
func (s *Shop) RunsOutside(ctx context.Context, lost string, n int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		pods, err := s.Pods(ctx)
		if err != nil {
			return err
		}
		ready := 0
		for i := range pods {
			if pods[i].Spec.NodeName != lost && Ready(&pods[i]) {
				ready++
			}
		}
		if ready >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d ready Pods outside %s, want %d: %w", ready, lost, n, ctx.Err())
		case <-tick.C:
		}
	}
}

// PodGone waits, by a watch, until the API no longer has a Pod.
func (s *Shop) PodGone(ctx context.Context, name string) error {
	lw := cache.NewListWatchFromClient(s.API.CoreV1().RESTClient(), "pods", Namespace, fields.OneTermEqualSelector("metadata.name", name))
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Pod{}, func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil },
		func(e watch.Event) (bool, error) { return e.Type == watch.Deleted, nil })
	if err != nil {
		return fmt.Errorf("wait for Pod %s/%s to be gone: %w", Namespace, name, err)
	}
	return nil
}

// Ready says whether a Pod's condition Ready is true.
func Ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Node waits, by a watch, until a node's readiness is as wanted.
func (s *Shop) Node(ctx context.Context, name string, ready bool) error {
	lw := cache.NewListWatchFromClient(s.API.CoreV1().RESTClient(), "nodes", "", fields.OneTermEqualSelector("metadata.name", name))
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Node{}, nil, func(e watch.Event) (bool, error) {
		n, ok := e.Object.(*corev1.Node)
		return ok && cluster.NodeIsReady(n) == ready, nil
	})
	if err != nil {
		return fmt.Errorf("wait for node %s to be ready=%v: %w", name, ready, err)
	}
	return nil
}

// Application is the part of the Application's status that users look at.
type Application struct {
	Spec struct {
		Drift string `json:"drift"`
	} `json:"spec"`
	Status struct {
		WantedRevision  string      `json:"wantedRevision"`
		AppliedRevision string      `json:"appliedRevision"`
		Sync            string      `json:"sync"`
		Health          string      `json:"health"`
		Drift           []Drift     `json:"drift"`
		Reverted        []Drift     `json:"reverted"`
		Conditions      []Condition `json:"conditions"`
	} `json:"status"`
}

// Drift is one field that somebody changed against Git.
type Drift struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Field string `json:"field"`
	Want  string `json:"want"`
	Live  string `json:"live"`
	User  string `json:"user"`
	File  string `json:"file"`
	Line  int    `json:"line"`
}

// Condition is one condition of an Application.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

const applicationPath = "/apis/gitopsd.io/v1alpha1/namespaces/gitopsd-system/applications/root"

// Application reads the first Application.
func (s *Shop) Application(ctx context.Context) (Application, error) {
	var a Application
	data, err := s.API.Discovery().RESTClient().Get().AbsPath(applicationPath).DoRaw(ctx)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(data, &a)
}

// Applied waits until the Application says what check wants to see.
func (s *Shop) Applied(ctx context.Context, what string, check func(Application) bool) (Application, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := s.Application(ctx)
		if err == nil && check(a) {
			return a, nil
		}
		select {
		case <-ctx.Done():
			return a, fmt.Errorf("wait for the Application to %s: %w: %v: %+v", what, ctx.Err(), err, a.Status)
		case <-tick.C:
		}
	}
}

// SetDrift says whether drift is only reported or reverted.
func (s *Shop) SetDrift(ctx context.Context, policy string) error {
	_, err := s.Output(ctx, "kubectl", "-n", "gitopsd-system", "patch", "application.gitopsd.io", "root", "--type=merge", "-p", `{"spec":{"drift":"`+policy+`"}}`)
	return err
}

// Status runs "gitopsd status" with the cluster's kubeconfig.
func (s *Shop) Status(ctx context.Context, gitopsd string, args ...string) (string, error) {
	return s.Output(ctx, gitopsd, append([]string{"status"}, args...)...)
}
