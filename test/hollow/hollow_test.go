package hollow

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
)

// controlPlane runs one on the loopback interface until the test ends.
func controlPlane(t *testing.T) (k kubernetes.Interface, url, token string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir, started, ended := t.TempDir(), make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- serve.Run(ctx, serve.Options{
			DataDir: dir, BindAddress: "127.0.0.1", Port: port, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.64.0.0/16")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")},
			NodeMonitorGracePeriod: time.Minute,
		}, func() { close(started) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-started:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if k, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "node-token"))
	if err != nil {
		t.Fatal(err)
	}
	return k, config.Host, strings.TrimSpace(string(text))
}

func TestPodsOfHollowNodesBecomeReadyAndGoAsThoseOfRealOnes(t *testing.T) {
	k, url, token := controlPlane(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	f := informers.NewSharedInformerFactory(k, 0)
	nodes := map[string]*Node{}
	for _, name := range []string{"a", "b"} {
		n, err := Join(ctx, Options{Server: url, Token: token, Dir: t.TempDir(), Name: name, Nodes: f.Core().V1().Nodes().Lister()})
		if err != nil {
			t.Fatal(err)
		}
		nodes[name] = n
	}
	pods := make(chan struct{}, 1)
	poke := func() {
		select {
		case pods <- struct{}{}:
		default:
		}
	}
	up := make(chan string, 100) // nodes that are Ready, some more than once
	assigned := func(obj any) {
		n := obj.(*corev1.Node)
		nodes[n.Name].Assigned()
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && len(n.Spec.Taints) == 0 {
				up <- n.Name
			}
		}
	}
	for inf, h := range map[cache.SharedIndexInformer]cache.ResourceEventHandlerFuncs{
		f.Core().V1().Nodes().Informer(): {AddFunc: assigned, UpdateFunc: func(_, obj any) { assigned(obj) }},
		f.Core().V1().Pods().Informer():  {AddFunc: func(any) { poke() }, UpdateFunc: func(any, any) { poke() }, DeleteFunc: func(any) { poke() }},
	} {
		if _, err := inf.AddEventHandler(h); err != nil {
			t.Fatal(err)
		}
	}
	running, stop := context.WithCancel(ctx)
	f.Start(running.Done())
	ended := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { ended <- n.Run(running) }()
	}
	defer func() {
		stop()
		f.Shutdown()
		for range nodes {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	await := func(what string, done func([]corev1.Pod) bool) {
		t.Helper()
		for {
			list, err := k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if done(list.Items) {
				return
			}
			select {
			case <-pods:
			case <-ctx.Done():
				t.Fatalf("%s: there are %s", what, describe(list.Items))
			}
		}
	}

	for there := map[string]bool{}; len(there) < len(nodes); {
		select {
		case name := <-up:
			there[name] = true
		case <-ctx.Done():
			t.Fatalf("only %v are Ready", there)
		}
	}
	labels := map[string]string{"app": "web"}
	_, err := k.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](4), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "hollow.example/web:1"}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	await("four Pods Ready, on both nodes", func(list []corev1.Pod) bool {
		on := map[string]int{}
		for i := range list {
			if ready(&list[i]) {
				on[list[i].Spec.NodeName]++
			}
		}
		return on["a"] == 2 && on["b"] == 2
	})
	if _, err := k.AppsV1().Deployments("default").Patch(ctx, "web", "application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	await("all Pods gone", func(list []corev1.Pod) bool { return len(list) == 0 })
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func describe(pods []corev1.Pod) string {
	var out []string
	for i := range pods {
		p := &pods[i]
		out = append(out, fmt.Sprintf("%s (%s, on %q, Ready: %v, being deleted: %v)", p.Name, p.Status.Phase, p.Spec.NodeName, ready(p), p.DeletionTimestamp != nil))
	}
	return strings.Join(out, ", ")
}
