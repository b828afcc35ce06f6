package admission

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestATokenIsMountedUnlessPodOrAccountSayNo(t *testing.T) {
	yes, no := true, false
	own := corev1.VolumeMount{Name: "mine", MountPath: tokenPath}
	for name, test := range map[string]struct {
		pod, account *bool
		mounts       []corev1.VolumeMount
		want         []corev1.VolumeMount
		volumes      int
	}{
		"nobody says anything":       {want: []corev1.VolumeMount{{Name: "kube-api-access-xxxxx", ReadOnly: true, MountPath: tokenPath}}, volumes: 1},
		"the account says no":        {account: &no},
		"the Pod says no":            {pod: &no},
		"the Pod overrules":          {pod: &yes, account: &no, want: []corev1.VolumeMount{{Name: "kube-api-access-xxxxx", ReadOnly: true, MountPath: tokenPath}}, volumes: 1},
		"the Pod overrules with no":  {pod: &no, account: &yes},
		"something is mounted there": {mounts: []corev1.VolumeMount{own}, want: []corev1.VolumeMount{own}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{AutomountServiceAccountToken: test.pod, Containers: []corev1.Container{{Name: "web", VolumeMounts: test.mounts}}}}
			useAccount(pod, &corev1.ServiceAccount{AutomountServiceAccountToken: test.account}, func(int) string { return "xxxxx" })
			if diff := cmp.Diff(test.want, pod.Spec.Containers[0].VolumeMounts); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
			if len(pod.Spec.Volumes) != test.volumes {
				t.Errorf("%d volumes, want %d", len(pod.Spec.Volumes), test.volumes)
			}
		})
	}
}

func TestAPodTakesItsAccountsPullSecretsUnlessItHasItsOwn(t *testing.T) {
	account := &corev1.ServiceAccount{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "account"}}}
	for name, test := range map[string]struct{ have, want []corev1.LocalObjectReference }{
		"none": {nil, account.ImagePullSecrets},
		"own":  {[]corev1.LocalObjectReference{{Name: "own"}}, []corev1.LocalObjectReference{{Name: "own"}}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{ImagePullSecrets: test.have}}
			useAccount(pod, account, func(int) string { return "xxxxx" })
			if diff := cmp.Diff(test.want, pod.Spec.ImagePullSecrets); diff != "" {
				t.Errorf("pull secrets (-want +got):\n%s", diff)
			}
		})
	}
}
