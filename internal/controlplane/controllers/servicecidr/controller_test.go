package servicecidr_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"net/netip"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/servicecidr"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func start(t *testing.T) (*controllerstest.Env, kubernetes.Interface) {
	t.Helper()
	e := controllerstest.New(t)
	e.Start(t, servicecidr.New(e.Client, e.Factory, e.Events, []netip.Prefix{servertest.ServiceCIDR}).Run)
	return e, e.Client
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}}
}

func TestARangeThatIsAddedServesUntilItsLastServiceIsGone(t *testing.T) {
	e, c := start(t)
	cidrs, services := c.NetworkingV1().ServiceCIDRs(), c.CoreV1().Services("default")
	make := func(name, cidr string) {
		t.Helper()
		if _, err := cidrs.Create(e.Ctx, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{cidr}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		controllerstest.Eventually(t, "ServiceCIDR "+name+" is ready and kept", func() bool {
			got, err := cidrs.Get(e.Ctx, name, metav1.GetOptions{})
			return err == nil && meta.IsStatusConditionTrue(got.Status.Conditions, "Ready") && len(got.Finalizers) == 1
		})
	}
	if _, err := services.Create(e.Ctx, service("web", "10.77.0.7"), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "The range of valid IPs is 10.43.0.0/16") {
		t.Fatalf("an address of no range: %v", err)
	}
	make("more", "10.77.0.0/24")
	made, err := services.Create(e.Ctx, service("web", "10.77.0.7"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ip, err := c.NetworkingV1().IPAddresses().Get(e.Ctx, "10.77.0.7", metav1.GetOptions{})
	if err != nil || ip.Spec.ParentRef == nil || *ip.Spec.ParentRef != (networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "web"}) ||
		ip.Labels["ipaddress.kubernetes.io/ip-family"] != "IPv4" || ip.Labels["ipaddress.kubernetes.io/managed-by"] != "ipallocator.k8s.io" {
		t.Fatalf("the IPAddress: %+v, %v", ip, err)
	}
	if err := cidrs.Delete(e.Ctx, "more", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the ServiceCIDR says what it waits for", func() bool {
		got, err := cidrs.Get(e.Ctx, "more", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ready := meta.FindStatusCondition(got.Status.Conditions, "Ready")
		return ready.Status == "False" && ready.Reason == "Terminating" && strings.Contains(ready.Message, "10.77.0.7 of Service default/web")
	})
	if _, err := services.Create(e.Ctx, service("late", "10.77.0.8"), metav1.CreateOptions{}); err == nil {
		t.Error("an address of a range that is being deleted is given out")
	}
	if err := services.Delete(e.Ctx, made.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func(name string) func() bool {
		return func() bool {
			_, err := cidrs.Get(e.Ctx, name, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}
	}
	controllerstest.Eventually(t, "the ServiceCIDR is gone with its last address", gone("more"))

	// One whose addresses another has goes at once.
	make("small", "10.78.0.0/28")
	if _, err := services.Create(e.Ctx, service("web", "10.78.0.7"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := cidrs.Delete(e.Ctx, "small", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	make("large", "10.78.0.0/24")
	controllerstest.Eventually(t, "the ServiceCIDR is gone that another contains", gone("small"))
}

func TestWhatIsTakenAwayFromServicesComesBack(t *testing.T) {
	e, c := start(t)
	made, err := c.CoreV1().Services("default").Create(e.Ctx, service("web", ""), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addresses := c.NetworkingV1().IPAddresses()
	was, err := addresses.Get(e.Ctx, made.Spec.ClusterIP, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := addresses.Delete(e.Ctx, was.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the IPAddress is back", func() bool {
		now, err := addresses.Get(e.Ctx, was.Name, metav1.GetOptions{})
		return err == nil && now.UID != was.UID && *now.Spec.ParentRef == *was.Spec.ParentRef
	})
	if err := c.CoreV1().Services("default").Delete(e.Ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := addresses.Get(e.Ctx, was.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Service is gone and its IPAddress is not: %v", err)
	}
	// With no address in use, nothing keeps the cluster's own range; but it comes back.
	own, err := c.NetworkingV1().ServiceCIDRs().Get(e.Ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.NetworkingV1().ServiceCIDRs().Delete(e.Ctx, "kubernetes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the ServiceCIDR kubernetes is made anew", func() bool {
		now, err := c.NetworkingV1().ServiceCIDRs().Get(e.Ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && now.UID != own.UID && meta.IsStatusConditionTrue(now.Status.Conditions, "Ready")
	})
}
