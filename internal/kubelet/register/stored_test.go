package register

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
)

func TestANodeThatWasHeldForLostReportsReadyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		get := func() *v1.Node {
			n, err := client.CoreV1().Nodes().Get(t.Context(), "w1", metav1.GetOptions{})
			if err != nil {
				return nil
			}
			return n
		}
		n := &Node{
			Client: client, Name: "w1", DataDir: t.TempDir(), Stored: get,
			Observe:     func() Observed { return Observed{} },
			Allocatable: func(capacity v1.ResourceList) v1.ResourceList { return capacity },
			Containerd:  func() string { return "" },
			Images:      func() []*image.Image { return nil },
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); n.Run(ctx, func(*v1.Node) {}) }()
		synctest.Wait()

		lost := get()
		for i := range lost.Status.Conditions {
			lost.Status.Conditions[i].Status = v1.ConditionUnknown
		}
		lost.Status.Conditions = append(lost.Status.Conditions, v1.NodeCondition{Type: v1.NodeNetworkUnavailable, Status: v1.ConditionFalse})
		if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, lost, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkEvery + time.Second)
		synctest.Wait()
		for _, c := range get().Status.Conditions {
			if c.Status == v1.ConditionUnknown {
				t.Errorf("condition %s is still Unknown", c.Type)
			}
		}
		patches := len(client.Actions())
		time.Sleep(3 * checkEvery)
		synctest.Wait()
		for _, a := range client.Actions()[patches:] {
			if a.GetVerb() != "get" {
				t.Errorf("%s of %s, though nothing changed", a.GetVerb(), a.GetResource().Resource)
			}
		}
		cancel()
		<-done
	})
}
