package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
)

// allocator gives out addresses of the ServiceCIDR of these ranges.
func allocator(t *testing.T, cidrs ...string) *Allocator {
	t.Helper()
	m, err := etcd.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	var prefixes []netip.Prefix
	for _, c := range cidrs {
		prefixes = append(prefixes, netip.MustParsePrefix(c))
	}
	a := NewAllocator(m.Client(), prefixes)
	storage := NewStorage(m.Client(), func(schema.GroupResource) value.Transformer { return identity.NewEncryptCheckTransformer() })
	t.Cleanup(storage.Close)
	r, err := New(Deps{Storage: storage, Services: a})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range r.stores {
			s.DestroyFunc()
		}
	})
	for _, gr := range []schema.GroupResource{ipAddresses, serviceCIDRs} {
		if err := wait.PollUntilContextCancel(t.Context(), readyPoll, true, func(context.Context) (bool, error) { return r.Store(gr).ReadinessCheckFunc() == nil, nil }); err != nil {
			t.Fatal(err)
		}
	}
	addRange(t, a, clusterip.Default(prefixes))
	return a
}

// addRange makes a ServiceCIDR that is ready.
func addRange(t *testing.T, a *Allocator, c *networkingv1.ServiceCIDR) {
	t.Helper()
	ctx := genericapirequest.WithNamespace(t.Context(), "")
	obj, err := a.registry.Store(serviceCIDRs).Create(ctx, c, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	setReady(t, a, obj.(*networkingv1.ServiceCIDR), clusterip.Ready())
}

func setReady(t *testing.T, a *Allocator, c *networkingv1.ServiceCIDR, condition metav1.Condition) {
	t.Helper()
	next := c.DeepCopy()
	meta.SetStatusCondition(&next.Status.Conditions, condition)
	status := a.registry.served[serviceCIDRs]["servicecidrs/status"].(rest.Updater)
	_, _, err := status.Update(genericapirequest.WithNamespace(t.Context(), ""), c.Name, rest.DefaultUpdatedObjectInfo(next), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func shop(name any) clusterip.Holder {
	return clusterip.Holder{Namespace: "shop", Name: fmt.Sprint(name), UID: "u"}
}

func TestEveryAddressIsHandedOutOnceAndThenTheRangeIsFull(t *testing.T) {
	a := allocator(t, "10.43.0.0/26")
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[netip.Addr]int{}
	for i := range 62 { // of 64, the first and the last are no host's
		wg.Go(func() {
			ip, err := a.nextIP(t.Context(), corev1.IPv4Protocol, shop(i), false)
			if err != nil {
				t.Errorf("address %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[ip]++
		})
	}
	wg.Wait()
	if len(got) != 62 {
		t.Errorf("62 Services share %d addresses: %v", len(got), got)
	}
	if _, err := a.nextIP(t.Context(), corev1.IPv4Protocol, shop("one-more"), false); !errors.Is(err, errFull) {
		t.Errorf("one more gave %v, want that the range is full", err)
	}
	addRange(t, a, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.44.0.0/29"}}})
	if ip, err := a.nextIP(t.Context(), corev1.IPv4Protocol, shop("one-more"), false); err != nil || !netip.MustParsePrefix("10.44.0.0/29").Contains(ip) {
		t.Errorf("with a further range one more gave %s and %v", ip, err)
	}
	seven := netip.MustParseAddr("10.43.0.7")
	obj, err := a.addresses().Get(genericapirequest.WithNamespace(t.Context(), ""), seven.String(), &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if h, ok := clusterip.HeldBy(obj.(*networkingv1.IPAddress)); !ok || a.releaseIP(t.Context(), seven, h) != nil {
		t.Fatalf("%s of %v cannot be given back", seven, h)
	}
	if ip, err := a.nextIP(t.Context(), corev1.IPv4Protocol, shop("yet-one-more"), false); err != nil || ip != seven {
		t.Errorf("after 10.43.0.7 was released one more gave %s and %v", ip, err)
	}
}

func TestNoAddressComesFromARangeThatLeavesMeanwhile(t *testing.T) {
	a := allocator(t, "10.43.0.0/29", "fd43::/120")
	ip := netip.MustParseAddr("fd43::7")
	// The watch cache still shows it as usable.
	ranges, err := a.ranges(genericapirequest.WithNamespace(t.Context(), ""), corev1.IPv6Protocol, true)
	if err != nil || len(ranges) != 1 {
		t.Fatalf("%v, %v", ranges, err)
	}
	obj, err := a.registry.Get(genericapirequest.WithNamespace(t.Context(), ""), serviceCIDRs, clusterip.DefaultName)
	if err != nil {
		t.Fatal(err)
	}
	setReady(t, a, obj.(*networkingv1.ServiceCIDR), metav1.Condition{Type: "Ready", Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating})
	if ok, err := a.take(genericapirequest.WithNamespace(t.Context(), ""), ranges[0], ip, shop("late"), false); ok || !errors.Is(err, errLeaving) {
		t.Errorf("taken: %v, %v", ok, err)
	}
	if _, err := a.addresses().Get(genericapirequest.WithNamespace(t.Context(), ""), ip.String(), &metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the address is left behind: %v", err)
	}
	if _, err := a.nextIP(t.Context(), corev1.IPv6Protocol, shop("late"), false); !errors.Is(err, errFull) || !strings.Contains(err.Error(), "no ServiceCIDR") {
		t.Errorf("without a range that is ready: %v", err)
	}
}

func TestAClaimIsKeptFromOthersAndRepeatableByItsHolder(t *testing.T) {
	a := allocator(t, "10.43.0.0/16")
	ip := netip.MustParseAddr("10.43.0.10")
	dns := clusterip.Holder{Namespace: "kube-system", Name: "dns", UID: "u"}
	for i, test := range []struct {
		holder clusterip.Holder
		dryRun bool
		want   error
	}{
		{dns, true, nil}, {shop("web"), true, nil}, // a dry run claims nothing
		{dns, false, nil}, {dns, false, nil},
		{shop("web"), false, errTaken}, {shop("web"), true, errTaken}, {clusterip.Holder{Namespace: "kube-system", Name: "dns", UID: "another"}, false, errTaken},
	} {
		if err := a.claimIP(t.Context(), ip, test.holder, test.dryRun); !errors.Is(err, test.want) {
			t.Errorf("claim %d by %s: %v, want %v", i, test.holder, err, test.want)
		}
	}
	if err := a.releaseIP(t.Context(), ip, shop("web")); err != nil {
		t.Fatal(err)
	}
	if err := a.claimIP(t.Context(), ip, shop("web"), false); !errors.Is(err, errTaken) {
		t.Errorf("what another released is taken over: %v", err)
	}
	for _, bad := range []string{"10.43.0.0", "10.43.255.255", "10.44.0.1"} {
		if err := a.claimIP(t.Context(), netip.MustParseAddr(bad), shop("web"), false); !errors.Is(err, errRange) {
			t.Errorf("%s: %v, want that it is out of range", bad, err)
		}
	}
	if err := a.claimPort(t.Context(), 80, "TCP", shop("web"), false); err == nil || !strings.Contains(err.Error(), "30000-32767") {
		t.Errorf("node port 80: %v, want an error with the valid range", err)
	}
}

func TestRepairFreesWhatNoServiceHoldsAndRestoresWhatOneDoes(t *testing.T) {
	a := allocator(t, "10.43.0.0/16")
	service := func(name, ip string, port int32) corev1.Service {
		return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "u"}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Protocol: "TCP", Port: 80, NodePort: port}},
		}}
	}
	for name, ip := range map[string]string{"kept": "10.43.0.20", "died-before-it-was-stored": "10.43.0.21"} {
		if err := a.claimIP(t.Context(), netip.MustParseAddr(ip), shop(name), false); err != nil {
			t.Fatal(err)
		}
	}
	others := clusterip.Claim(netip.MustParseAddr("10.43.0.23"), shop("gateway"))
	others.Labels = nil
	if _, err := a.addresses().Create(genericapirequest.WithNamespace(t.Context(), ""), others, rest.ValidateAllObjectFunc, &metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	freed, restored, err := a.Repair(t.Context(), []corev1.Service{service("kept", "10.43.0.20", 30001), service("restored", "10.43.0.22", 30002)})
	if err != nil || freed != 1 || restored != 3 {
		t.Errorf("freed %d, restored %d, %v; want 1 and 3 (an address, two ports)", freed, restored, err)
	}
	r, err := a.client.Get(t.Context(), claims, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, kv := range r.Kvs {
		got = append(got, strings.TrimPrefix(string(kv.Key), claims)+" "+string(kv.Value))
	}
	list, err := a.addresses().List(genericapirequest.WithNamespace(t.Context(), ""), &metainternalversion.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range list.(*networkingv1.IPAddressList).Items {
		h, _ := clusterip.HeldBy(&it)
		got = append(got, it.Name+" "+h.String())
	}
	want := []string{"port/tcp/30001 shop/kept/u", "port/tcp/30002 shop/restored/u", "10.43.0.20 shop/kept/u", "10.43.0.22 shop/restored/u", "10.43.0.23 shop/gateway/u"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestAnAddressThatIsKeptForAServiceIsNobodyElses(t *testing.T) {
	a := allocator(t, "10.0.0.0/29")
	kept := netip.MustParseAddr("10.0.0.3")
	a.Reserve(kept, "kube-system", "kube-dns")
	if err := a.claimIP(t.Context(), kept, shop("kube-dns"), false); !errors.Is(err, errReserved) {
		t.Errorf("asked for by another: %v", err)
	}
	for i := range 5 {
		if ip, err := a.nextIP(t.Context(), corev1.IPv4Protocol, shop(i), false); err != nil || ip == kept {
			t.Errorf("handed out: %s, %v", ip, err)
		}
	}
	if ip, err := a.nextIP(t.Context(), corev1.IPv4Protocol, shop(9), false); !errors.Is(err, errFull) {
		t.Errorf("of a range that is full: %s, %v", ip, err)
	}
	if err := a.claimIP(t.Context(), kept, clusterip.Holder{Namespace: "kube-system", Name: "kube-dns", UID: "3"}, false); err != nil {
		t.Error(err)
	}
}
