package ephemeralvolume_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ephemeralvolume"
)

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: ptr.To[int64](0), Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
		Volumes: []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"of": "scratch"}},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}}}}},
	}}
}

func TestWhichClaimsAPodLacks(t *testing.T) {
	own := pod("p")
	own.UID = "p1"
	finished, going := own.DeepCopy(), own.DeepCopy()
	finished.Status.Phase = corev1.PodSucceeded
	going.DeletionTimestamp = ptr.To(metav1.Now())
	controlled := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(own, corev1.SchemeGroupVersion.WithKind("Pod"))}}}
	for what, c := range map[string]struct {
		pod            *corev1.Pod
		claim          *corev1.PersistentVolumeClaim
		missing, taken int
	}{
		"none is there": {own, nil, 1, 0}, "its own": {own, controlled, 0, 0}, "somebody else's": {own, &corev1.PersistentVolumeClaim{}, 0, 1},
		"a finished Pod": {finished, nil, 0, 0}, "a Pod that goes": {going, nil, 0, 0},
	} {
		missing, taken := ephemeralvolume.Decide(c.pod, func(string) *corev1.PersistentVolumeClaim { return c.claim })
		if len(missing) != c.missing || len(taken) != c.taken {
			t.Errorf("%s: missing %v, taken %v; want %d and %d", what, missing, taken, c.missing, c.taken)
		}
	}
}

func TestAPodGetsItsClaimAndNobodyElses(t *testing.T) {
	e := controllerstest.New(t)
	e.Start(t, ephemeralvolume.New(e.Client, e.Factory, e.Events).Run)
	claims, pods := e.Client.CoreV1().PersistentVolumeClaims("default"), e.Client.CoreV1().Pods("default")
	template := pod("").Spec.Volumes[0].Ephemeral.VolumeClaimTemplate
	if _, err := claims.Create(e.Ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "theirs-scratch"}, Spec: template.Spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	made := map[string]*corev1.Pod{}
	for _, name := range []string{"mine", "theirs"} {
		p, err := pods.Create(e.Ctx, pod(name), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made[name] = p
	}
	controllerstest.Eventually(t, "the claim is made", func() bool {
		claim, err := claims.Get(e.Ctx, "mine-scratch", metav1.GetOptions{})
		return err == nil && metav1.IsControlledBy(claim, made["mine"]) && claim.Labels["of"] == "scratch"
	})
	controllerstest.Eventually(t, "an Event says that the name is taken", func() bool {
		list, err := e.Client.CoreV1().Events("default").List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			if ev := &list.Items[i]; ev.InvolvedObject.Name == "theirs" && ev.Reason == "FailedBinding" && strings.Contains(ev.Message, "pod is not owner") {
				return true
			}
		}
		return false
	})
}
