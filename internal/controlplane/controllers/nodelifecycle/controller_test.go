package nodelifecycle_test

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/nodelifecycle"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

const grace = time.Second

// beat renews a Node's Lease until stop is closed.
func beat(t *testing.T, e *controllerstest.Env, node string, stop <-chan struct{}) {
	t.Helper()
	leases := e.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if _, err := leases.Create(e.Ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: node},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &node, LeaseDurationSeconds: ptr.To[int32](40), RenewTime: ptr.To(metav1.NowMicro())},
	}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	go func() {
		tick := time.NewTicker(grace / 10)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-e.Ctx.Done():
				return
			case now := <-tick.C:
				patch := []byte(`{"spec":{"renewTime":"` + now.UTC().Format(metav1.RFC3339Micro) + `"}}`)
				_, _ = leases.Patch(e.Ctx, node, types.MergePatchType, patch, metav1.PatchOptions{}) // one that fails is a renewal lost
			}
		}
	}()
}

func ready(n *corev1.Node) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return ""
}

func TestASilentNodeLosesItsPodsAndIsTakenBackWhenItReturns(t *testing.T) {
	e := controllerstest.New(t)
	e.Node(t, "silent", "4", "4Gi")
	e.Node(t, "other", "4", "4Gi")
	beat(t, e, "other", nil)
	pods := e.Client.CoreV1().Pods("default")
	for _, name := range []string{"impatient", "patient"} {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{NodeName: "silent", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
		}
		if name == "impatient" {
			p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)}}
		}
		made, err := pods.Create(e.Ctx, p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made.Status.Phase = corev1.PodRunning
		made.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		if _, err := pods.UpdateStatus(e.Ctx, made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c := nodelifecycle.New(e.Client, e.Factory, e.Events, grace, nodelifecycle.DefaultRates)
	e.Start(t, c.Run)
	node := func() *corev1.Node {
		n, err := e.Client.CoreV1().Nodes().Get(e.Ctx, "silent", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	pod := func(name string) *corev1.Pod {
		p, err := pods.Get(e.Ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	controllerstest.Eventually(t, "the Node is given up", func() bool { return ready(node()) == corev1.ConditionUnknown })
	controllerstest.Eventually(t, "it is tainted", func() bool { return len(node().Spec.Taints) == 2 })
	controllerstest.Eventually(t, "its Pods are not ready", func() bool { return !podstate.Ready(pod("patient")) && !podstate.Ready(pod("impatient")) })
	controllerstest.Eventually(t, "the Pod that tolerates nothing is being deleted", func() bool { return pod("impatient").DeletionTimestamp != nil })
	if cond := podstate.Condition(pod("impatient"), corev1.DisruptionTarget); cond == nil || cond.Reason != "DeletionByTaintManager" {
		t.Errorf("its condition DisruptionTarget is %v", cond)
	}
	if pod("patient").DeletionTimestamp != nil {
		t.Error("a Pod that tolerates it for five minutes is deleted at once")
	}

	beat(t, e, "silent", nil)
	controllerstest.Eventually(t, "the node reports again", func() bool {
		n := node()
		for i := range n.Status.Conditions {
			if n.Status.Conditions[i].Type == corev1.NodeReady {
				n.Status.Conditions[i].Status = corev1.ConditionTrue
			}
		}
		_, err := e.Client.CoreV1().Nodes().UpdateStatus(e.Ctx, n, metav1.UpdateOptions{})
		return err == nil
	})
	controllerstest.Eventually(t, "its taints are gone", func() bool { return len(node().Spec.Taints) == 0 })
	if pod("patient").DeletionTimestamp != nil {
		t.Error("the patient Pod is being deleted although its Node is back")
	}
}

func TestAPartitionEvictsNothing(t *testing.T) {
	e := controllerstest.New(t)
	names := []string{"n1", "n2", "n3", "n4", "n5"}
	near := make(chan struct{}) // closed when the nodes on this side of the partition fall silent too
	for i, name := range names {
		e.Node(t, name, "4", "4Gi")
		if i < 2 {
			beat(t, e, name, near)
		}
	}
	c := nodelifecycle.New(e.Client, e.Factory, e.Events, grace, nodelifecycle.DefaultRates)
	e.Start(t, c.Run)
	taints := func(effect corev1.TaintEffect) (n int) {
		list, err := e.Client.CoreV1().Nodes().List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range list.Items {
			for _, taint := range node.Spec.Taints {
				if taint.Effect == effect {
					n++
				}
			}
		}
		return n
	}
	controllerstest.Eventually(t, "three of five nodes are given up", func() bool { return taints(corev1.TaintEffectNoSchedule) == 3 })
	for end := time.Now().Add(2 * grace); time.Now().Before(end); time.Sleep(grace / 10) {
		if n := taints(corev1.TaintEffectNoExecute); n > 1 {
			t.Fatalf("%d nodes are told to let their Pods go; only the first one was lost before it could be known that the zone was", n)
		}
	}
	close(near)
	controllerstest.Eventually(t, "all nodes are given up, and none is told to let its Pods go", func() bool {
		return taints(corev1.TaintEffectNoSchedule) == 5 && taints(corev1.TaintEffectNoExecute) == 0
	})
}
