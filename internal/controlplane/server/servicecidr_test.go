package server_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	networkingclient "k8s.io/client-go/kubernetes/typed/networking/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/server"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestTheRangeOfClusterIPsIsAnObject(t *testing.T) {
	c := servertest.Start(t)
	client, err := kubernetes.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		got, err := client.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && slices.Equal(got.Spec.CIDRs, []string{servertest.ServiceCIDR.String()}) && meta.IsStatusConditionTrue(got.Status.Conditions, "Ready"), nil
	})
	if err != nil {
		t.Fatalf("no ServiceCIDR kubernetes with the server's range that is Ready: %v", err)
	}
}

// TestAClusterOfOneFamilyBecomesOneOfTwo starts again with a range of each family, on what was stored with one.
func TestAClusterOfOneFamilyBecomesOneOfTwo(t *testing.T) {
	six := netip.MustParsePrefix("fd43::/112")
	dir := t.TempDir()
	var addresses networkingclient.IPAddressInterface
	var services coreclient.ServiceInterface
	begin := func(cidrs ...netip.Prefix) (stop func()) {
		c, stop := servertest.StartInWith(t, dir, func(cfg *server.Config) { cfg.ServiceCIDRs = cidrs })
		client, err := kubernetes.NewForConfig(c.System)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		services, addresses = client.CoreV1().Services("shop"), client.NetworkingV1().IPAddresses()
		return stop
	}
	service := func(name string, policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			IPFamilyPolicy: &policy, IPFamilies: families, Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80}},
		}}
	}
	in := func(s *corev1.Service, prefixes ...netip.Prefix) {
		t.Helper()
		if len(s.Spec.ClusterIPs) != len(prefixes) || len(s.Spec.IPFamilies) != len(prefixes) || s.Spec.ClusterIP != s.Spec.ClusterIPs[0] {
			t.Fatalf("%s has %q of %q, want one of each of %v", s.Name, s.Spec.ClusterIPs, s.Spec.IPFamilies, prefixes)
		}
		for i, ip := range s.Spec.ClusterIPs {
			if !prefixes[i].Contains(netip.MustParseAddr(ip)) {
				t.Errorf("%s has %s, which is not of %s", s.Name, ip, prefixes[i])
			}
			if _, err := addresses.Get(t.Context(), ip, metav1.GetOptions{}); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
	}
	create := func(s *corev1.Service) *corev1.Service {
		t.Helper()
		made, err := services.Create(t.Context(), s, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	four := servertest.ServiceCIDR

	stop := begin(four)
	in(create(service("prefer", corev1.IPFamilyPolicyPreferDualStack)), four)
	if _, err := services.Create(t.Context(), service("require", corev1.IPFamilyPolicyRequireDualStack), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("two families of a cluster of one: %v", err)
	}
	stop()

	defer begin(four, six)()
	prefer, err := services.Get(t.Context(), "prefer", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	in(prefer, four)
	in(create(service("prefer-now", corev1.IPFamilyPolicyPreferDualStack, corev1.IPv6Protocol)), six, four)
	in(create(service("six", corev1.IPFamilyPolicySingleStack, corev1.IPv6Protocol)), six)
	both := create(service("require", corev1.IPFamilyPolicyRequireDualStack))
	in(both, four, six)
	second := both.Spec.ClusterIPs[1]
	both.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	if both, err = services.Update(t.Context(), both, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	in(both, four)
	if _, err := addresses.Get(t.Context(), second, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the second address is not given back: %v", err)
	}
	both.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	if both, err = services.Update(t.Context(), both, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	in(both, four, six)
}
