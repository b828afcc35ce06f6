package clusterip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestARangeHasTheAddressesThatHostsMayHave(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.43.0.0/16": "65534: 10.43.0.1 to 10.43.255.254", "10.0.0.8/29": "6: 10.0.0.9 to 10.0.0.14", "10.0.0.8/31": "none", "10.0.0.8/32": "none",
		"fd00::/120": "255: fd00:: 1 to fd00::ff", "fd00::ffff:ffff:ffff:fff0/124": "15: fd00::ffff:ffff:ffff:fff1 to fd00::ffff:ffff:ffff:ffff", "fd00::/127": "1: fd00::1 to fd00::1",
		"fd00:1::/48": "1152921504606846975: fd00:1::1 to fd00:1::fff:ffff:ffff:ffff",
	} {
		p := netip.MustParsePrefix(prefix)
		n := Hosts(p)
		got := "none"
		if n > 0 {
			got = fmt.Sprintf("%d: %s to %s", n, At(p, 1), At(p, n))
			for _, i := range []uint64{1, n} {
				if !Has(p, At(p, i)) {
					t.Errorf("%s has not its own address %s", p, At(p, i))
				}
			}
		}
		if want = strings.ReplaceAll(want, ":: ", "::"); got != want {
			t.Errorf("%s: got %s, want %s", p, got, want)
		}
	}
	for prefix, no := range map[string]string{"10.43.0.0/16": "10.43.0.0 10.43.255.255 10.44.0.1 fd00::1", "fd00::/112": "fd00:: fd00::1:0 10.43.0.1"} {
		for _, ip := range strings.Fields(no) {
			if Has(netip.MustParsePrefix(prefix), netip.MustParseAddr(ip)) {
				t.Errorf("%s may be given out of %s", ip, prefix)
			}
		}
	}
	if got := At(netip.MustParsePrefix("fd00:0:0:1:8000::/65"), 1<<63); got.String() != "fd00:0:0:2::" {
		t.Errorf("the carry into the upper half is lost: %s", got)
	}
}

func TestAddressesComeFromTheClustersOwnRangeFirstThenFromTheOldestThatIsReady(t *testing.T) {
	now := metav1.Now()
	cidr := func(name string, age int, ready metav1.ConditionStatus, deleted *metav1.Time, cidrs ...string) networkingv1.ServiceCIDR {
		return networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(1000-int64(age), 0), DeletionTimestamp: deleted},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: cidrs},
			Status:     networkingv1.ServiceCIDRStatus{Conditions: []metav1.Condition{{Type: "Ready", Status: ready}}},
		}
	}
	all := []networkingv1.ServiceCIDR{
		cidr("new", 1, "True", nil, "10.1.0.0/24"), cidr("old-b", 9, "True", nil, "10.2.0.0/24"), cidr("old-a", 9, "True", nil, "10.3.0.0/24", "fd00:3::/112"),
		cidr("unready", 20, "False", nil, "10.4.0.0/24"), cidr("going", 20, "True", &now, "10.5.0.0/24"), cidr("six", 7, "True", nil, "fd00:6::/112"),
		cidr(DefaultName, 5, "True", nil, "10.43.0.0/16", "fd00:43::/112"),
	}
	for family, want := range map[corev1.IPFamily]string{
		corev1.IPv4Protocol: "kubernetes 10.43.0.0/16, old-a 10.3.0.0/24, old-b 10.2.0.0/24, new 10.1.0.0/24",
		corev1.IPv6Protocol: "kubernetes fd00:43::/112, old-a fd00:3::/112, six fd00:6::/112",
	} {
		var got []string
		for _, r := range Ranges(all, family) {
			got = append(got, fmt.Sprint(r.Name, " ", r.Prefix))
		}
		if diff := cmp.Diff(want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", family, diff)
		}
	}
}

func TestAnIPAddressSaysWhoseItIs(t *testing.T) {
	h := Holder{"shop", "web", "u-1"}
	a := Claim(netip.MustParseAddr("fd00::7"), h)
	if got, ok := HeldBy(a); !ok || got != h || !Managed(a) || a.Labels[networkingv1.LabelIPAddressFamily] != "IPv6" {
		t.Errorf("held by %v, %v: %+v", got, ok, a)
	}
	a.Spec.ParentRef.Resource = "gateways"
	if got, ok := HeldBy(a); ok {
		t.Errorf("a gateway's address counts as that of Service %v", got)
	}
}
