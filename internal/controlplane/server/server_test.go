package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func client(t *testing.T, c *rest.Config) kubernetes.Interface {
	t.Helper()
	k, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func namespace(t *testing.T, k kubernetes.Interface, name string) {
	t.Helper()
	must[*corev1.Namespace](t)(k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
}

func web(replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:v1"}}},
			},
		},
	}
}

func TestADeploymentIsDefaultedAndItsSpecAndStatusAreWrittenApart(t *testing.T) {
	c := servertest.Start(t)
	for name, config := range map[string]*rest.Config{"in process": c.System, "over TLS": c.User(t, "alice", "system:masters")} {
		t.Run(name, func(t *testing.T) {
			k := client(t, config)
			ns := map[string]string{"in process": "shop", "over TLS": "shop-tls"}[name]
			namespace(t, k, ns)
			d := web(2)
			d.Namespace = ns
			d.Status.Replicas = 7
			d = must[*appsv1.Deployment](t)(k.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}))
			if d.Generation != 1 || d.Status.Replicas != 0 || d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || *d.Spec.RevisionHistoryLimit != 10 {
				t.Errorf("created: generation %d, status.replicas %d, strategy %q; want 1, 0, RollingUpdate", d.Generation, d.Status.Replicas, d.Spec.Strategy.Type)
			}
			d.Status.Replicas, d.Status.ObservedGeneration = 2, 1
			*d.Spec.Replicas = 9
			d = must[*appsv1.Deployment](t)(k.AppsV1().Deployments(ns).UpdateStatus(t.Context(), d, metav1.UpdateOptions{}))
			if *d.Spec.Replicas != 2 || d.Status.Replicas != 2 || d.Generation != 1 {
				t.Errorf("after a status update: spec.replicas %d, status.replicas %d, generation %d; want 2, 2, 1", *d.Spec.Replicas, d.Status.Replicas, d.Generation)
			}
			s := must[*autoscalingv1.Scale](t)(k.AppsV1().Deployments(ns).GetScale(t.Context(), "web", metav1.GetOptions{}))
			s.Spec.Replicas = 5
			must[*autoscalingv1.Scale](t)(k.AppsV1().Deployments(ns).UpdateScale(t.Context(), "web", s, metav1.UpdateOptions{}))
			d = must[*appsv1.Deployment](t)(k.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{}))
			if *d.Spec.Replicas != 5 || d.Generation != 2 || d.Status.Replicas != 2 {
				t.Errorf("after scaling: spec.replicas %d, generation %d, status.replicas %d; want 5, 2, 2", *d.Spec.Replicas, d.Generation, d.Status.Replicas)
			}
		})
	}
}

func TestWhoChangesAnObjectThatCameFromGitIsNotedOnIt(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	d := web(2)
	d.Labels = map[string]string{v1alpha1.LabelApplication: "gitopsd-system.root"}
	must[*appsv1.Deployment](t)(k.AppsV1().Deployments("shop").Create(t.Context(), d, metav1.CreateOptions{}))
	alice := client(t, c.User(t, "alice", "system:masters"))
	s := must[*autoscalingv1.Scale](t)(alice.AppsV1().Deployments("shop").GetScale(t.Context(), "web", metav1.GetOptions{}))
	s.Spec.Replicas = 5
	must[*autoscalingv1.Scale](t)(alice.AppsV1().Deployments("shop").UpdateScale(t.Context(), "web", s, metav1.UpdateOptions{}))
	d = must[*appsv1.Deployment](t)(k.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{}))
	var by struct{ User string }
	if err := json.Unmarshal([]byte(d.Annotations[v1alpha1.AnnotationChangedBy]), &by); err != nil || by.User != "alice" {
		t.Errorf("the annotation %s is %q, want the user alice", v1alpha1.AnnotationChangedBy, d.Annotations[v1alpha1.AnnotationChangedBy])
	}
	bob := client(t, c.User(t, "bob", "system:masters"))
	d = must[*appsv1.Deployment](t)(bob.AppsV1().Deployments("shop").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"team":"b"}}}`), metav1.PatchOptions{}))
	if err := json.Unmarshal([]byte(d.Annotations[v1alpha1.AnnotationChangedBy]), &by); err != nil || by.User != "bob" {
		t.Errorf("after a change of a label the annotation is %q, want the user bob", d.Annotations[v1alpha1.AnnotationChangedBy])
	}
	d = must[*appsv1.Deployment](t)(k.AppsV1().Deployments("shop").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"2"}}}`), metav1.PatchOptions{}))
	if d.Annotations[v1alpha1.AnnotationChangedBy] == "" {
		t.Error("a controller's own annotation took the note away")
	}
}

func TestAWatchSeesEveryChangeInOrderAndBookmarks(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	w, err := k.CoreV1().ConfigMaps("shop").Watch(t.Context(), metav1.ListOptions{AllowWatchBookmarks: true, ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	cm := must[*corev1.ConfigMap](t)(k.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{}))
	must[*corev1.ConfigMap](t)(k.CoreV1().ConfigMaps("shop").Patch(t.Context(), cm.Name, types.MergePatchType, []byte(`{"data":{"a":"1"}}`), metav1.PatchOptions{}))
	if err := k.CoreV1().ConfigMaps("shop").Delete(t.Context(), "c", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 3 {
		select {
		case e := <-w.ResultChan():
			switch o := e.Object.(type) {
			case *corev1.ConfigMap:
				if e.Type != watch.Bookmark {
					got = append(got, string(e.Type)+" "+o.Data["a"])
				}
			default:
				t.Fatalf("the watch gave %s %v after %v", e.Type, o, got)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no further event after %v", got)
		}
	}
	if diff := cmp.Diff([]string{"ADDED ", "MODIFIED 1", "DELETED 1"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestServerSideApplySharesAnObjectBetweenManagers(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	apply := func(manager, body string, force bool) (*appsv1.Deployment, error) {
		return k.AppsV1().Deployments("shop").Patch(t.Context(), "web", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: manager, Force: &force})
	}
	const base = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},
		"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	if _, err := apply("gitopsd", base, false); err != nil {
		t.Fatal(err)
	}
	_, err := apply("other", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3}}`, false)
	if !apierrors.IsConflict(err) {
		t.Errorf("applying a field of another manager gave %v, want a conflict", err)
	}
	d, err := apply("other", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3}}`, true)
	if err != nil || *d.Spec.Replicas != 3 {
		t.Errorf("forced apply gave %v replicas and %v, want 3", d.Spec.Replicas, err)
	}
	_, err = k.AppsV1().Deployments("shop").Patch(t.Context(), "web", types.ApplyPatchType, []byte(strings.Replace(base, `"replicas"`, `"replica"`, 1)),
		metav1.PatchOptions{FieldManager: "gitopsd", FieldValidation: "Strict", DryRun: []string{"All"}})
	if err == nil || !strings.Contains(err.Error(), "replica") {
		t.Errorf("an unknown field gave %v, want an error that names it", err)
	}
}

func TestServicesNeverShareAnAddressAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	c, stop := servertest.StartIn(t, dir)
	k := client(t, c.System)
	namespace(t, k, "shop")
	service := func(name string, ip string, port int32) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80, NodePort: port}},
		}}
	}
	first := must[*corev1.Service](t)(k.CoreV1().Services("shop").Create(t.Context(), service("a", "", 0), metav1.CreateOptions{}))
	if first.Spec.ClusterIP == "" || first.Spec.Ports[0].NodePort < 30000 {
		t.Fatalf("the Service got cluster IP %q and node port %d", first.Spec.ClusterIP, first.Spec.Ports[0].NodePort)
	}
	stop()
	c, stop = servertest.StartIn(t, dir)
	defer stop()
	k = client(t, c.System)
	_, err := k.CoreV1().Services("shop").Create(t.Context(), service("b", first.Spec.ClusterIP, 0), metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "already allocated") {
		t.Errorf("a second Service with the same cluster IP gave %v, want Invalid: already allocated", err)
	}
	port := first.Spec.Ports[0].NodePort
	taken := fmt.Sprintf("spec.ports[0].nodePort: Invalid value: %d: provided port is already allocated, to Service shop/a:", port)
	for _, dryRun := range [][]string{nil, {metav1.DryRunAll}} {
		_, err = k.CoreV1().Services("shop").Create(t.Context(), service("b", "", port), metav1.CreateOptions{DryRun: dryRun})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), taken) {
			t.Errorf("a second Service with the same node port (dry run: %v) gave %v, want Invalid: %s", dryRun, err, taken)
		}
	}
	// What the refused creations had claimed besides is free again, and so is everything of a deleted Service.
	if err := k.CoreV1().Services("shop").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := must[*corev1.Service](t)(k.CoreV1().Services("shop").Create(t.Context(), service("b", first.Spec.ClusterIP, first.Spec.Ports[0].NodePort), metav1.CreateOptions{}))
	if again.Spec.ClusterIP != first.Spec.ClusterIP {
		t.Errorf("cluster IP %s, want %s", again.Spec.ClusterIP, first.Spec.ClusterIP)
	}
	// A creation that is refused because of the name gives nothing of the other's back.
	if _, err := k.CoreV1().Services("shop").Create(t.Context(), service("b", first.Spec.ClusterIP, 0), metav1.CreateOptions{}); err == nil {
		t.Error("a Service was created twice")
	}
	if _, err := k.CoreV1().Services("shop").Create(t.Context(), service("c", first.Spec.ClusterIP, 0), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("the cluster IP of a Service was free after a second creation of it had been refused: %v", err)
	}
}

func TestAServiceKeepsWhatItWasGivenThroughApplyAndGivesBackWhatANewTypeDoesNotNeed(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	apply := func(spec string) *corev1.Service {
		t.Helper()
		force := true
		return must[*corev1.Service](t)(k.CoreV1().Services("shop").Patch(t.Context(), "web", types.ApplyPatchType,
			[]byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":`+spec+`}`), metav1.PatchOptions{FieldManager: "gitopsd", Force: &force}))
	}
	first := apply(`{"type":"NodePort","selector":{"a":"b"},"ports":[{"port":80}]}`)
	second := apply(`{"type":"NodePort","selector":{"a":"c"},"ports":[{"port":80}]}`)
	if second.Spec.ClusterIP != first.Spec.ClusterIP || second.Spec.Ports[0].NodePort != first.Spec.Ports[0].NodePort {
		t.Errorf("after a second apply: %s and %d, want %s and %d", second.Spec.ClusterIP, second.Spec.Ports[0].NodePort, first.Spec.ClusterIP, first.Spec.Ports[0].NodePort)
	}
	put := second.DeepCopy()
	put.Spec.ClusterIP, put.Spec.ClusterIPs, put.Spec.Ports[0].NodePort = "", nil, 0
	put = must[*corev1.Service](t)(k.CoreV1().Services("shop").Update(t.Context(), put, metav1.UpdateOptions{}))
	if put.Spec.ClusterIP != first.Spec.ClusterIP || put.Spec.Ports[0].NodePort != first.Spec.Ports[0].NodePort {
		t.Errorf("after an update that leaves both out: %s and %d, want %s and %d", put.Spec.ClusterIP, put.Spec.Ports[0].NodePort, first.Spec.ClusterIP, first.Spec.Ports[0].NodePort)
	}
	put.Spec.Type = corev1.ServiceTypeClusterIP
	put = must[*corev1.Service](t)(k.CoreV1().Services("shop").Update(t.Context(), put, metav1.UpdateOptions{}))
	if put.Spec.Ports[0].NodePort != 0 || put.Spec.ExternalTrafficPolicy != "" {
		t.Errorf("a ClusterIP Service has node port %d and external traffic policy %q", put.Spec.Ports[0].NodePort, put.Spec.ExternalTrafficPolicy)
	}
	other := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: first.Spec.Ports[0].NodePort}},
	}}
	if _, err := k.CoreV1().Services("shop").Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Errorf("the node port that nobody has any more: %v", err)
	}
}

func TestAnonymousGetsHealthAndNothingElse(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.Anonymous())
	if body, err := k.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context()); err != nil || string(body) != "ok" {
		t.Errorf("/readyz gave %q and %v, want ok", body, err)
	}
	for _, path := range []string{"/api", "/apis", "/openapi/v3", "/metrics", "/api/v1/namespaces", "/api/v1/secrets"} {
		_, err := k.Discovery().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
		if !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) {
			t.Errorf("%s gave %v, want it refused", path, err)
		}
	}
}

func TestANodeTouchesItsOwnNodeLeaseAndPodsOnly(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "kube-node-lease")
	namespace(t, k, "shop")
	pod := func(name, node, secret string) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}},
		}}
		must[*corev1.Pod](t)(k.CoreV1().Pods("shop").Create(t.Context(), p, metav1.CreateOptions{}))
		must[*corev1.Secret](t)(k.CoreV1().Secrets("shop").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}}, metav1.CreateOptions{}))
	}
	pod("mine", "n1", "s1")
	pod("other", "n2", "s2")
	n1 := client(t, c.User(t, "system:node:n1", "system:nodes"))
	ctx := t.Context()
	_, err := n1.CoreV1().Pods("shop").Patch(ctx, "deleted", types.StrategicMergePatchType, []byte(`{"status":{"phase":"Failed"}}`), metav1.PatchOptions{}, "status")
	if !apierrors.IsNotFound(err) {
		t.Errorf("reporting on a Pod that is gone gave %v, want NotFound: a node would go on trying", err)
	}
	for name, test := range map[string]struct {
		try     func(context.Context) error
		allowed bool
	}{
		"create its own Node": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
			return err
		}, true},
		"create another Node": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n9"}}, metav1.CreateOptions{})
			return err
		}, false},
		"list its own Pods": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
			return err
		}, true},
		"list another node's Pods": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n2"})
			return err
		}, false},
		"list the Pods that are not its own": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName!=n1"})
			return err
		}, false},
		"list of all Pods what NetworkPolicies ask of them": {func(ctx context.Context) error {
			list, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
			if err == nil && len(list.Items) != 2 {
				return fmt.Errorf("%d Pods, want 2", len(list.Items))
			}
			for _, p := range list.Items {
				if p.Spec.NodeName != "" || len(p.Spec.Volumes) > 0 || len(p.Spec.Containers) > 0 {
					return fmt.Errorf("of Pod %s it is shown %+v", p.Name, p.Spec)
				}
			}
			return err
		}, true},
		"read a Secret of its Pod": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Secrets("shop").Get(ctx, "s1", metav1.GetOptions{})
			return err
		}, true},
		"read a Secret of another node's Pod": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Secrets("shop").Get(ctx, "s2", metav1.GetOptions{})
			return err
		}, false},
		"report the status of its Pod": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Pods("shop").Patch(ctx, "mine", types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
			return err
		}, true},
		"report the status of another node's Pod": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Pods("shop").Patch(ctx, "other", types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
			return err
		}, false},
		"list nothing of what it must not": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Secrets("shop").List(ctx, metav1.ListOptions{})
			return err
		}, false},
		"change its Pod's spec": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Pods("shop").Patch(ctx, "mine", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		}, false},
		"create a Pod elsewhere": {func(ctx context.Context) error {
			_, err := n1.CoreV1().Pods("shop").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: corev1.PodSpec{NodeName: "n2", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
			return err
		}, false},
		"create a Deployment": {func(ctx context.Context) error {
			_, err := n1.AppsV1().Deployments("shop").Create(ctx, web(1), metav1.CreateOptions{})
			return err
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.try(ctx)
			if test.allowed && err != nil || !test.allowed && !apierrors.IsForbidden(err) {
				t.Errorf("got %v, want allowed=%v", err, test.allowed)
			}
		})
	}
}
