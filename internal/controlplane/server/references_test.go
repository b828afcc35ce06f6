package server_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// A Secret of a storage driver, or of an iSCSI disk, is in a namespace of the driver's own; what leads to it is the Pod's claim and its volume.
func TestANodeReadsTheSecretsOfItsPodsVolumes(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	ctx := t.Context()
	namespace(t, k, "shop")
	namespace(t, k, "drivers")
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	once := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	driven := func(name string) corev1.PersistentVolumeSource {
		return corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
			Driver: "d.example", VolumeHandle: name, NodeStageSecretRef: &corev1.SecretReference{Namespace: "drivers", Name: name},
			// Only the driver's controller is to know this one.
			ControllerExpandSecretRef: &corev1.SecretReference{Namespace: "drivers", Name: "controller"},
		}}
	}
	iscsi := func(name string) corev1.PersistentVolumeSource {
		return corev1.PersistentVolumeSource{ISCSI: &corev1.ISCSIPersistentVolumeSource{
			TargetPortal: "192.0.2.1", IQN: "iqn.2026-01.example:disks", SessionCHAPAuth: true, SecretRef: &corev1.SecretReference{Namespace: "drivers", Name: name},
		}}
	}
	for name, v := range map[string]struct {
		node   string
		source corev1.PersistentVolumeSource
	}{"mine": {"n1", driven("mine")}, "other": {"n2", driven("other")}, "mine-iscsi": {"n1", iscsi("mine-iscsi")}, "other-iscsi": {"n2", iscsi("other-iscsi")}} {
		must[*corev1.Secret](t)(k.CoreV1().Secrets("drivers").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
		must[*corev1.PersistentVolume](t)(k.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
			AccessModes: once, Capacity: size, ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: name},
			PersistentVolumeSource: v.source,
		}}, metav1.CreateOptions{}))
		must[*corev1.Pod](t)(k.CoreV1().Pods("shop").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			NodeName: v.node, Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}},
		}}, metav1.CreateOptions{}))
	}
	must[*corev1.Secret](t)(k.CoreV1().Secrets("drivers").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "controller"}}, metav1.CreateOptions{}))
	n1 := client(t, c.User(t, "system:node:n1", "system:nodes"))
	for name, allowed := range map[string]bool{"mine": true, "other": false, "controller": false, "mine-iscsi": true, "other-iscsi": false} {
		_, err := n1.CoreV1().Secrets("drivers").Get(ctx, name, metav1.GetOptions{})
		if allowed && err != nil || !allowed && !apierrors.IsForbidden(err) {
			t.Errorf("reading the Secret %s: %v, want allowed=%v", name, err, allowed)
		}
	}
}
