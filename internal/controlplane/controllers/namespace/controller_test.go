package namespace_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/namespace"
)

func TestANamespaceGoesOnceItIsEmptyAndItsPodsGoFirst(t *testing.T) {
	e := controllerstest.New(t)
	inv := inventory.New(e.Metadata, e.Discovery, e.Factory)
	c := namespace.New(e.Client, e.Factory, e.Metadata, inv)
	e.Start(t, inv.Run, c.Run)
	ns := "shop"
	if _, err := e.Client.CoreV1().Namespaces().Create(e.Ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.CoreV1().ServiceAccounts(ns).Create(e.Ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if _, err := e.Client.CoreV1().ConfigMaps(ns).Create(e.Ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.CoreV1().Pods(ns).Create(e.Ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Finalizers: []string{"example.com/hold"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := e.Client.CoreV1().Namespaces().Delete(e.Ctx, ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	var message string
	controllerstest.Eventually(t, "the Namespace says what it waits for", func() bool {
		got, err := e.Client.CoreV1().Namespaces().Get(e.Ctx, ns, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range got.Status.Conditions {
			if c.Type == corev1.NamespaceFinalizersRemaining && c.Status == corev1.ConditionTrue {
				message = c.Message
			}
		}
		return message != ""
	})
	if want := "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"; message != want {
		t.Errorf("condition says %q, want %q", message, want)
	}
	if _, err := e.Client.CoreV1().ConfigMaps(ns).Get(e.Ctx, "settings", metav1.GetOptions{}); err != nil {
		t.Errorf("the ConfigMap is gone before the Pod that may need it: %v", err)
	}

	start := time.Now()
	if _, err := e.Client.CoreV1().Pods(ns).Patch(e.Ctx, "web", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the Namespace is gone", func() bool {
		_, err := e.Client.CoreV1().Namespaces().Get(e.Ctx, ns, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	t.Logf("gone %v after its last Pod", time.Since(start))
}
