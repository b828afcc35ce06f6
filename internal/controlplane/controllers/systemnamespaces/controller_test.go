package systemnamespaces_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/systemnamespaces"
)

func TestTheNamespacesOfEveryClusterAreThereAndComeBack(t *testing.T) {
	e := controllerstest.New(t)
	e.Start(t, systemnamespaces.New(e.Client, e.Factory).Run)
	namespaces := e.Client.CoreV1().Namespaces()
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease", "gitopsd-system"} {
		controllerstest.Eventually(t, name+" is there", func() bool {
			_, err := namespaces.Get(e.Ctx, name, metav1.GetOptions{})
			return err == nil
		})
	}

	// What the namespace controller, which does not run here, does once nothing is left in one that is deleted.
	before, err := namespaces.Get(e.Ctx, v1alpha1.SystemNamespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Delete(e.Ctx, before.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	going, err := namespaces.Get(e.Ctx, before.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	going.Spec.Finalizers = []corev1.FinalizerName{}
	if _, err := namespaces.Finalize(e.Ctx, going, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "a namespace that was deleted is there again", func() bool {
		now, err := namespaces.Get(e.Ctx, before.Name, metav1.GetOptions{})
		return err == nil && now.UID != before.UID
	})
}
