package claimprotection_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claimprotection"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
)

func pod(name, node string, v corev1.VolumeSource) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		NodeName: node, TerminationGracePeriodSeconds: ptr.To[int64](0), Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: v}},
	}}
}

func of(claim string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}
}

func TestAPodUsesAClaimOnceItIsOnANode(t *testing.T) {
	ephemeral := corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
	for _, c := range []struct {
		pod  *corev1.Pod
		want bool
	}{
		{pod("p", "n1", of("data")), true}, {pod("p", "", of("data")), false}, {pod("p", "n1", of("other")), false},
		{pod("p", "n1", corev1.VolumeSource{}), false}, {pod("data", "n1", ephemeral), false},
	} {
		if got := claimprotection.User("data", []*corev1.Pod{c.pod}); (got != nil) != c.want {
			t.Errorf("%s on %q with %+v uses it: %v, want %v", c.pod.Name, c.pod.Spec.NodeName, c.pod.Spec.Volumes, got != nil, c.want)
		}
	}
	if claimprotection.User("data-v", []*corev1.Pod{pod("data", "n1", ephemeral)}) == nil {
		t.Error("a Pod does not use the claim made for it alone")
	}
}

func TestADeletedClaimStaysUntilThePodThatUsesItIsGone(t *testing.T) {
	e := controllerstest.New(t)
	e.Node(t, "n1", "1", "1Gi")
	e.Start(t, claimprotection.New(e.Client, e.Factory).Run)
	claims, pods := e.Client.CoreV1().PersistentVolumeClaims("default"), e.Client.CoreV1().Pods("default")
	for _, name := range []string{"used", "idle"} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"kubernetes.io/pvc-protection"}}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}}
		if _, err := claims.Create(e.Ctx, claim, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pods.Create(e.Ctx, pod("p", "n1", of("used")), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func(name string) func() bool {
		return func() bool {
			_, err := claims.Get(e.Ctx, name, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}
	}
	for _, name := range []string{"used", "idle"} {
		if err := claims.Delete(e.Ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	controllerstest.Eventually(t, "the claim that nobody uses is gone", gone("idle"))
	if gone("used")() {
		t.Error("a claim is gone although a Pod uses it")
	}
	if err := pods.Delete(e.Ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the claim is gone with its Pod", gone("used"))
}
