package netpolicy

import (
	"fmt"
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
	"github.com/gitopsd/gitopsd/test/netns"
)

// What a change costs on a node of 100 guarded Pods with 10,000 peers: from the event to the kernel.
func BenchmarkAmongTenThousandPeers(b *testing.B) {
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: networkingv1.NetworkPolicySpec{
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}}},
	}}
	pod := func(n int) *rules.Pod {
		return &rules.Pod{Namespace: "shop", Name: fmt.Sprint(n), Labels: labels.Set{"app": "web"}, IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 42 + byte(n>>16), byte(n >> 8), byte(n)})}}
	}
	var own []rules.Pod
	members := rules.NewMembers()
	for n := range 10000 {
		members.Put(fmt.Sprint(n), pod(n))
		if n < 100 {
			own = append(own, *pod(n))
		}
	}
	ns := netns.New(b)
	var k *kernel
	if err := netns.Do(ns, func() (err error) { k, err = openKernel(families[0]); return err }); err != nil {
		b.Fatal(err)
	}
	run := func(name string, change func(n int) error) {
		b.Run(name, func(b *testing.B) {
			err := netns.Do(ns, func() error {
				for n := 0; b.Loop(); n++ {
					if err := change(n); err != nil {
						return err
					}
					g := rules.Build(own, []*networkingv1.NetworkPolicy{policy})
					members.Want(g.Peers)
					if _, err := k.apply(b.Context(), g, nil, members.Changes(), members.Of); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
	run("everything", func(int) error {
		k.have = nil
		return Cleanup(b.Context())
	})
	run("a peer", func(n int) error {
		members.Put("new", pod(20000+n%20000))
		return nil
	})
	run("an own Pod", func(n int) error {
		own[n%len(own)] = *pod(60000 + n)
		return nil
	})
}
