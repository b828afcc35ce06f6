package nodeipam_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/nodeipam"
	"github.com/gitopsd/gitopsd/internal/network"
)

func TestNodesGetBlocksOfTheirOwnAlsoAcrossARestart(t *testing.T) {
	e := controllerstest.New(t)
	pools, err := nodeipam.Pools([]netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")})
	if err != nil {
		t.Fatal(err)
	}
	create := func(from, to int) {
		for i := from; i < to; i++ {
			if _, err := e.Client.CoreV1().Nodes().Create(e.Ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := func() map[string]string {
		nodes, err := e.Client.CoreV1().Nodes().List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		holders := map[string]string{}
		for _, n := range nodes.Items {
			if n.Spec.PodCIDR == "" {
				continue
			}
			if len(n.Spec.PodCIDRs) != 2 || n.Spec.PodCIDRs[0] != n.Spec.PodCIDR || !strings.HasSuffix(n.Spec.PodCIDRs[0], "/24") || !strings.HasSuffix(n.Spec.PodCIDRs[1], "/64") {
				t.Fatalf("%s has not a block of each family: %q, %q", n.Name, n.Spec.PodCIDR, n.Spec.PodCIDRs)
			}
			for _, block := range n.Spec.PodCIDRs {
				if other, ok := holders[block]; ok {
					t.Fatalf("%s and %s both have %s", other, n.Name, block)
				}
				holders[block] = n.Name
			}
		}
		return holders
	}
	for round := range 3 {
		ctx, stop := context.WithCancel(e.Ctx)
		f := informers.NewSharedInformerFactory(e.Client, 0)
		c := nodeipam.New(e.Client, f, e.Events, pools, time.Time{})
		f.StartWithContext(ctx)
		done := make(chan struct{})
		go func() { c.Run(ctx); close(done) }()
		create(round*10, round*10+10)
		controllerstest.Eventually(t, "every Node has a block", func() bool { return len(all()) == 2*(round*10+10) })
		stop()
		<-done
	}
}

// One that is new and comes first is not given what Pods of another have addresses of, which the control plane does not know yet.
func TestAfterALossANewNodeWaitsForThoseThatHaveBlocks(t *testing.T) {
	e := controllerstest.New(t)
	pools, err := nodeipam.Pools([]netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	e.Start(t, nodeipam.New(e.Client, e.Factory, e.Events, pools, time.Now().Add(3*time.Second)).Run)
	block := func(name string) string {
		n, err := e.Client.CoreV1().Nodes().Get(e.Ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n.Spec.PodCIDR
	}
	for _, n := range []metav1.ObjectMeta{{Name: "new"}, {Name: "old", Annotations: map[string]string{network.AnnPodCIDRs: "10.42.0.0/24"}}} {
		time.Sleep(300 * time.Millisecond) // the first has been looked at
		if _, err := e.Client.CoreV1().Nodes().Create(e.Ctx, &corev1.Node{ObjectMeta: n}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	controllerstest.Eventually(t, "both have blocks", func() bool { return block("new") != "" && block("old") != "" })
	if block("new") != "10.42.1.0/24" || block("old") != "10.42.0.0/24" {
		t.Errorf("the new one has %s, that with Pods %s", block("new"), block("old"))
	}
}
