package garbagecollector_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/garbagecollector"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
)

// tree makes a ReplicaSet that owns a ConfigMap that owns a Secret, all blocking their owner's deletion.
func tree(t *testing.T, e *controllerstest.Env, name string) (rs *appsv1.ReplicaSet) {
	t.Helper()
	labels := map[string]string{"app": name}
	rs, err := e.Client.AppsV1().ReplicaSets("default").Create(e.Ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cm, err := e.Client.CoreV1().ConfigMaps("default").Create(e.Ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: name, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Client.CoreV1().Secrets("default").Create(e.Ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: name, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cm, corev1.SchemeGroupVersion.WithKind("ConfigMap"))},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestDependentsFollowTheirOwnerAsThePropagationPolicySays(t *testing.T) {
	e := controllerstest.New(t)
	inv := inventory.New(e.Metadata, e.Discovery, e.Factory)
	gc := garbagecollector.New(e.Metadata, inv)
	e.Start(t, inv.Run, gc.Run)

	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		t.Run(string(policy), func(t *testing.T) {
			name := map[metav1.DeletionPropagation]string{"Background": "bg", "Foreground": "fg", "Orphan": "orphan"}[policy]
			tree(t, e, name)
			gone := func(get func() error) func() bool { return func() bool { return apierrors.IsNotFound(get()) } }
			rsGone := gone(func() error {
				_, err := e.Client.AppsV1().ReplicaSets("default").Get(e.Ctx, name, metav1.GetOptions{})
				return err
			})
			cmGone := gone(func() error {
				_, err := e.Client.CoreV1().ConfigMaps("default").Get(e.Ctx, name, metav1.GetOptions{})
				return err
			})
			secretGone := gone(func() error {
				_, err := e.Client.CoreV1().Secrets("default").Get(e.Ctx, name, metav1.GetOptions{})
				return err
			})

			start := time.Now()
			if err := e.Client.AppsV1().ReplicaSets("default").Delete(e.Ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
				t.Fatal(err)
			}
			controllerstest.Eventually(t, "the ReplicaSet is gone", rsGone)
			if policy == metav1.DeletePropagationForeground && (!cmGone() || !secretGone()) {
				t.Fatal("the owner is gone before its dependents")
			}
			if policy == metav1.DeletePropagationOrphan {
				cm, err := e.Client.CoreV1().ConfigMaps("default").Get(e.Ctx, name, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if len(cm.OwnerReferences) > 0 {
					t.Fatalf("the orphan still names its owner: %v", cm.OwnerReferences)
				}
				return
			}
			controllerstest.Eventually(t, "the ConfigMap is gone", cmGone)
			controllerstest.Eventually(t, "the Secret is gone", secretGone)
			t.Logf("three objects gone after %v", time.Since(start))
		})
	}
}
