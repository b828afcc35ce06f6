package controllers_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// start runs every controller and the scheduler.
func start(t testing.TB, e *controllerstest.Env) {
	t.Helper()
	cert, key := newCA(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run, func(ctx context.Context) {
		err := controllers.Run(ctx, controllers.Config{
			Client: e.Client, Metadata: e.Metadata, Discovery: e.Discovery, REST: e.Cluster.System, Informers: e.Factory, Events: e.Events,
			CACertificate: cert, CAKey: key,
			ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, ServiceCIDRs: []netip.Prefix{servertest.ServiceCIDR},
			KubernetesIP: netip.MustParseAddr("10.43.0.1"), Advertise: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, AdvertisePort: 6443,
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func newCA(t testing.TB) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// kubelet reports every Pod that is bound as running and ready, at once.
func kubelet(t testing.TB, e *controllerstest.Env) {
	t.Helper()
	w, err := e.Client.CoreV1().Pods("").Watch(e.Ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	go func() {
		next := 1
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if !ok || p.Spec.NodeName == "" {
				continue
			}
			switch {
			case p.DeletionTimestamp != nil && ev.Type != "DELETED":
				go func() {
					_ = e.Client.CoreV1().Pods(p.Namespace).Delete(e.Ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
				}()
			case p.Status.Phase == corev1.PodPending:
				ip := fmt.Sprintf("10.42.0.%d", next%250+1)
				next++
				go func() {
					p := p.DeepCopy()
					p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
					p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
					_, _ = e.Client.CoreV1().Pods(p.Namespace).UpdateStatus(e.Ctx, p, metav1.UpdateOptions{})
				}()
			}
		}
	}()
}

func web(name string, replicas int32, image string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
			},
		},
	}
}

func complete(d *appsv1.Deployment) bool {
	n, s := *d.Spec.Replicas, d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n
}

func TestANewClusterHasWhatEveryClusterHas(t *testing.T) {
	e := controllerstest.New(t)
	start(t, e)
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease", "gitopsd-system"} {
		controllerstest.Eventually(t, "Namespace "+name+" with its ServiceAccount and the CA", func() bool {
			_, err := e.Client.CoreV1().ServiceAccounts(name).Get(e.Ctx, "default", metav1.GetOptions{})
			if err != nil {
				return false
			}
			_, err = e.Client.CoreV1().ConfigMaps(name).Get(e.Ctx, "kube-root-ca.crt", metav1.GetOptions{})
			return err == nil
		})
	}
	controllerstest.Eventually(t, "the Service of the API server", func() bool {
		svc, err := e.Client.CoreV1().Services("default").Get(e.Ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && svc.Spec.ClusterIP == "10.43.0.1" && svc.Spec.Ports[0].Name == "https" && svc.Spec.Ports[0].TargetPort.IntVal == 6443
	})
	controllerstest.Eventually(t, "its endpoints", func() bool {
		s, err := e.Client.DiscoveryV1().EndpointSlices("default").Get(e.Ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && s.Endpoints[0].Addresses[0] == "192.0.2.1"
	})
	// What is deleted comes back.
	if err := e.Client.DiscoveryV1().EndpointSlices("default").Delete(e.Ctx, "kubernetes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the endpoints are back", func() bool {
		_, err := e.Client.DiscoveryV1().EndpointSlices("default").Get(e.Ctx, "kubernetes", metav1.GetOptions{})
		return err == nil
	})
}

func TestADeploymentIsRolledOutServedAndRemoved(t *testing.T) {
	e := controllerstest.New(t)
	start(t, e)
	kubelet(t, e)
	for i := range 3 {
		e.Node(t, fmt.Sprintf("node%d", i), "16", "32Gi")
	}
	deployments := e.Client.AppsV1().Deployments("default")
	controllerstest.Eventually(t, "the default ServiceAccount is there", func() bool {
		_, err := e.Client.CoreV1().ServiceAccounts("default").Get(e.Ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	_, err := e.Client.CoreV1().Services("default").Create(e.Ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rolledOut := func(image string) {
		t.Helper()
		controllerstest.Eventually(t, "rolled out: "+image, func() bool {
			d, err := deployments.Get(e.Ctx, "web", metav1.GetOptions{})
			return err == nil && d.Spec.Template.Spec.Containers[0].Image == image && complete(d)
		})
	}
	began := time.Now()
	if _, err := deployments.Create(e.Ctx, web("web", 6, "example.com/web:1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	rolledOut("example.com/web:1")
	t.Logf("6 replicas created and rolled out in %v", time.Since(began))

	endpoints := func() (ready int) {
		slices, err := e.Client.DiscoveryV1().EndpointSlices("default").List(e.Ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range slices.Items {
			for _, ep := range s.Endpoints {
				if ptr.Deref(ep.Conditions.Ready, false) {
					ready++
				}
			}
		}
		return ready
	}
	controllerstest.Eventually(t, "six endpoints are ready", func() bool { return endpoints() == 6 })

	began = time.Now()
	update(t, e, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "example.com/web:2" })
	rolledOut("example.com/web:2")
	t.Logf("new image rolled out in %v", time.Since(began))
	update(t, e, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "example.com/web:1" })
	rolledOut("example.com/web:1")

	sets, err := e.Client.AppsV1().ReplicaSets("default").List(e.Ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(sets.Items) != 2 {
		t.Errorf("got %d ReplicaSets, want 2: going back to an image uses the ReplicaSet it had", len(sets.Items))
	}
	var revisions []string
	for _, rs := range sets.Items {
		revisions = append(revisions, rs.Annotations["deployment.kubernetes.io/revision"])
	}
	slices.Sort(revisions)
	if want := []string{"2", "3"}; !slices.Equal(revisions, want) {
		t.Errorf("revisions are %q, want %q", revisions, want)
	}

	if err := deployments.Delete(e.Ctx, "web", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "nothing of the Deployment is left", func() bool {
		pods, err := e.Client.CoreV1().Pods("default").List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sets, err := e.Client.AppsV1().ReplicaSets("default").List(e.Ctx, metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0 && len(sets.Items) == 0
	})
	controllerstest.Eventually(t, "no endpoint is left", func() bool { return endpoints() == 0 })
}

func update(t testing.TB, e *controllerstest.Env, change func(*appsv1.Deployment)) {
	t.Helper()
	controllerstest.Eventually(t, "the update is accepted", func() bool {
		d, err := e.Client.AppsV1().Deployments("default").Get(e.Ctx, "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(d)
		_, err = e.Client.AppsV1().Deployments("default").Update(e.Ctx, d, metav1.UpdateOptions{})
		return err == nil
	})
}

func TestAReplicationControllerHasItsPodsAndTakesThemAlong(t *testing.T) {
	e := controllerstest.New(t)
	start(t, e)
	e.Node(t, "w1", "4", "8Gi")
	kubelet(t, e)
	labels := map[string]string{"app": "old"}
	rc := &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Name: "old"},
		Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](3), Selector: labels, Template: &corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
		}},
	}
	client := e.Client.CoreV1().ReplicationControllers("default")
	if _, err := client.Create(e.Ctx, rc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pods := func() []corev1.Pod {
		l, err := e.Client.CoreV1().Pods("default").List(e.Ctx, metav1.ListOptions{LabelSelector: "app=old"})
		if err != nil {
			t.Fatal(err)
		}
		return l.Items
	}
	controllerstest.Eventually(t, "three available replicas", func() bool {
		got, err := client.Get(e.Ctx, "old", metav1.GetOptions{})
		return err == nil && got.Status.AvailableReplicas == 3 && got.Status.ObservedGeneration == got.Generation
	})
	for _, p := range pods() {
		if ref := metav1.GetControllerOf(&p); ref == nil || ref.Kind != "ReplicationController" || ref.APIVersion != "v1" {
			t.Errorf("Pod %s is controlled by %v", p.Name, ref)
		}
	}
	if _, err := client.Patch(e.Ctx, "old", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "one replica", func() bool { return len(pods()) == 1 })
	if err := client.Delete(e.Ctx, "old", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "no Pod", func() bool { return len(pods()) == 0 })
}
