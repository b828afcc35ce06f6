package nodeipam_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/nodeipam"
)

func TestNodesGetBlocksOfTheirOwnAlsoAcrossARestart(t *testing.T) {
	e := controllerstest.New(t)
	pool, err := nodeipam.NewPool(netip.MustParsePrefix("10.42.0.0/16"), 24)
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
			if other, ok := holders[n.Spec.PodCIDR]; ok {
				t.Fatalf("%s and %s both have %s", other, n.Name, n.Spec.PodCIDR)
			}
			holders[n.Spec.PodCIDR] = n.Name
		}
		return holders
	}
	for round := range 3 {
		ctx, stop := context.WithCancel(e.Ctx)
		f := informers.NewSharedInformerFactory(e.Client, 0)
		c := nodeipam.New(e.Client, f, e.Events, pool)
		f.StartWithContext(ctx)
		done := make(chan struct{})
		go func() { c.Run(ctx); close(done) }()
		create(round*10, round*10+10)
		controllerstest.Eventually(t, "every Node has a block", func() bool { return len(all()) == round*10+10 })
		stop()
		<-done
	}
}
