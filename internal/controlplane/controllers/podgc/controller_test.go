package podgc_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podgc"
)

func TestOnlyAMachineDeclaredOutOfServiceLosesItsTerminatingPods(t *testing.T) {
	e := controllerstest.New(t)
	c := podgc.New(e.Client, e.Factory, podgc.DefaultKept)
	e.Start(t, c.Run)
	n := e.Node(t, "n1", "4", "4Gi")
	pods := e.Client.CoreV1().Pods("default")
	for _, name := range []string{"ending", "running"} {
		if _, err := pods.Create(e.Ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := pods.Delete(e.Ctx, "ending", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.Status.Conditions[0].Status = corev1.ConditionUnknown
	if _, err := e.Client.CoreV1().Nodes().UpdateStatus(e.Ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(e.Ctx, "ending", metav1.GetOptions{}); err != nil {
		t.Fatalf("the Pod does not outlive its node's silence: %v", err)
	}
	taint := []byte(`{"spec":{"taints":[{"key":"node.kubernetes.io/out-of-service","value":"nodeshutdown","effect":"NoExecute"}]}}`)
	if _, err := e.Client.CoreV1().Nodes().Patch(e.Ctx, "n1", types.MergePatchType, taint, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the terminating Pod is gone", func() bool {
		_, err := pods.Get(e.Ctx, "ending", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if _, err := pods.Get(e.Ctx, "running", metav1.GetOptions{}); err != nil {
		t.Errorf("a Pod that nobody deleted: %v", err)
	}
}
