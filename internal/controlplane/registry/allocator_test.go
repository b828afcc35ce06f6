package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
)

func allocator(t *testing.T, cidr string) *Allocator {
	t.Helper()
	m, err := etcd.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return NewAllocator(m.Client(), netip.MustParsePrefix(cidr))
}

func TestEveryAddressIsHandedOutOnceAndThenTheRangeIsFull(t *testing.T) {
	a := allocator(t, "10.43.0.0/26")
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[netip.Addr]int{}
	for i := range 62 { // of 64, the first and the last are no host's
		wg.Go(func() {
			ip, err := a.nextIP(t.Context(), fmt.Sprint("shop/s", i), false)
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
	if _, err := a.nextIP(t.Context(), "shop/one-more", false); !errors.Is(err, errFull) {
		t.Errorf("one more gave %v, want that the range is full", err)
	}
	if err := a.release(t.Context(), a.ipKey(netip.MustParseAddr("10.43.0.7")), got7(t, a)); err != nil {
		t.Fatal(err)
	}
	if ip, err := a.nextIP(t.Context(), "shop/one-more", false); err != nil || ip.String() != "10.43.0.7" {
		t.Errorf("after 10.43.0.7 was released one more gave %s and %v", ip, err)
	}
}

func got7(t *testing.T, a *Allocator) string {
	t.Helper()
	r, err := a.client.Get(t.Context(), a.ipKey(netip.MustParseAddr("10.43.0.7")))
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("the claim of 10.43.0.7: %v, %v", r, err)
	}
	return string(r.Kvs[0].Value)
}

func TestAClaimIsKeptFromOthersAndRepeatableByItsHolder(t *testing.T) {
	a := allocator(t, "10.43.0.0/16")
	ip := netip.MustParseAddr("10.43.0.10")
	for i, test := range []struct {
		holder string
		dryRun bool
		want   error
	}{
		{"kube-system/dns", true, nil}, {"shop/web", true, nil}, // a dry run claims nothing
		{"kube-system/dns", false, nil}, {"kube-system/dns", false, nil},
		{"shop/web", false, errTaken}, {"shop/web", true, errTaken},
	} {
		if err := a.claimIP(t.Context(), ip, test.holder, test.dryRun); !errors.Is(err, test.want) {
			t.Errorf("claim %d by %s: %v, want %v", i, test.holder, err, test.want)
		}
	}
	if err := a.release(t.Context(), a.ipKey(ip), "shop/web"); err != nil {
		t.Fatal(err)
	}
	if err := a.claimIP(t.Context(), ip, "shop/web", false); !errors.Is(err, errTaken) {
		t.Errorf("what another released is taken over: %v", err)
	}
	for _, bad := range []string{"10.43.0.0", "10.43.255.255", "10.44.0.1"} {
		if err := a.claimIP(t.Context(), netip.MustParseAddr(bad), "shop/web", false); !errors.Is(err, errRange) {
			t.Errorf("%s: %v, want that it is out of range", bad, err)
		}
	}
	if err := a.claimPort(t.Context(), 80, "TCP", "shop/web", false); err == nil || !strings.Contains(err.Error(), "30000-32767") {
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
	for holder, ip := range map[string]string{"shop/kept/u": "10.43.0.20", "shop/died-before-it-was-stored": "10.43.0.21"} {
		if err := a.claimIP(t.Context(), netip.MustParseAddr(ip), holder, false); err != nil {
			t.Fatal(err)
		}
	}
	freed, restored, err := a.Repair(t.Context(), Held([]corev1.Service{service("kept", "10.43.0.20", 30001), service("restored", "10.43.0.22", 30002)}))
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
	want := []string{"ip/10.43.0.20 shop/kept/u", "ip/10.43.0.22 shop/restored/u", "port/tcp/30001 shop/kept/u", "port/tcp/30002 shop/restored/u"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestAnAddressThatIsKeptForAServiceIsNobodyElses(t *testing.T) {
	a := allocator(t, "10.0.0.0/29")
	kept := netip.MustParseAddr("10.0.0.3")
	a.Reserve(kept, "kube-system", "kube-dns")
	if err := a.claimIP(t.Context(), kept, "shop/kube-dns/1", false); !errors.Is(err, errReserved) {
		t.Errorf("asked for by another: %v", err)
	}
	for i := range 5 {
		if ip, err := a.nextIP(t.Context(), fmt.Sprint("shop/web/", i), false); err != nil || ip == kept {
			t.Errorf("handed out: %s, %v", ip, err)
		}
	}
	if ip, err := a.nextIP(t.Context(), "shop/web/9", false); !errors.Is(err, errFull) {
		t.Errorf("of a range that is full: %s, %v", ip, err)
	}
	if err := a.claimIP(t.Context(), kept, "kube-system/kube-dns/3", false); err != nil {
		t.Error(err)
	}
}
